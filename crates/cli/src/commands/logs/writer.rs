//! Several logs in one output: whole lines, each with its trial before it, or the rank of its process.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heats_wire::v1;

use crate::hints;
use crate::words::bytes;

/// A line that is longer is printed in pieces, in bytes.
const LINE_MAX: usize = 64 << 10;
/// The colours of the marks, in turn: those that can be told from each other on light and on dark.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// One file of logs: trial, attempt, rank where the attempt spans machines, and whether it is the standard error.
type File = (u32, u32, Option<u32>, bool);

/// Prints what comes.
pub struct Writer {
    /// Whether there are several trials, whose lines are told apart.
    by_trial: bool,
    /// Whether those of the processes of one are, where it spans machines.
    by_rank: bool,
    /// Where the beginnings of lines wait for their ends.
    open: BTreeMap<File, Vec<u8>>,
}

impl Writer {
    /// Of one trial or several, and of one process of each or all. What is one process's is printed as it is.
    pub const fn new(by_trial: bool, by_rank: bool) -> Self {
        Self { by_trial, by_rank, open: BTreeMap::new() }
    }

    /// Whether there was something to write, and no reason why there is not.
    pub fn write(&mut self, line: v1::LogLine) -> io::Result<bool> {
        let v1::LogLine { trial, attempt, stderr, mut data, error, at: _, left_out, rank } = line;
        if !error.is_empty() {
            let rank = rank.map_or_else(String::new, |rank| format!(", rank {rank}"));
            hints::warn(&format!("the logs of trial {trial}, attempt {attempt}{rank}: {error}"));
            return Ok(false);
        }
        if left_out > 0 {
            data = format!("[heats: {} are not kept here]\n", bytes(left_out)).into_bytes();
        }
        let rank = rank.filter(|_| self.by_rank);
        if !self.by_trial && rank.is_none() {
            let mut out = io::stdout().lock();
            out.write_all(&data)?;
            out.flush()?;
            return Ok(true);
        }
        let mut out = anstream::stdout().lock();
        let file = (trial, attempt, rank, stderr);
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let line = self.open.entry(file).or_default();
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() >= LINE_MAX {
                let line = self.open.remove(&file).unwrap_or_default();
                self.put(&mut out, file, &line)?;
            }
        }
        out.flush()?;
        Ok(true)
    }

    /// There is no more: what stands after the last line's end is a line, too.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        for (file, line) in std::mem::take(&mut self.open) {
            self.put(&mut out, file, &line)?;
        }
        out.flush()
    }

    /// A line with its mark: `  12 | `, `12@2 | ` of a later attempt, `12:1 | ` of rank 1, and `1 | ` where there is one trial.
    fn put(&self, out: &mut impl Write, (trial, attempt, rank, _): File, line: &[u8]) -> io::Result<()> {
        let attempt = if attempt > 1 { format!("@{attempt}") } else { String::new() };
        let (whose, colour) = match (self.by_trial, rank) {
            (true, Some(rank)) => (format!("{trial}{attempt}:{rank}"), trial),
            (true, None) => (format!("{trial}{attempt}"), trial),
            (false, rank) => (rank.unwrap_or_default().to_string(), rank.unwrap_or_default()),
        };
        let (width, colour) = (if self.by_trial { 4 } else { 1 }, COLOURS[colour as usize % COLOURS.len()]);
        write!(out, "\x1b[{colour}m{whose:>width$} |\x1b[0m ")?;
        out.write_all(line)?;
        if line.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
    }
}
