//! Several logs in one output: whole lines, each with its trial before it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heats_wire::v1;

use crate::hints;
use crate::words::bytes;

/// A line that is longer is printed in pieces, in bytes.
const LINE_MAX: usize = 64 << 10;
/// The colours of the marks, in turn: those that can be told from each other on light and on dark.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// One file of logs: trial, attempt, and whether it is the standard error.
type File = (u32, u32, bool);

/// Prints what comes.
pub struct Writer {
    /// Where the beginnings of lines wait for their ends; `None` where one trial's bytes are printed as they are.
    open: Option<BTreeMap<File, Vec<u8>>>,
}

impl Writer {
    /// Of one trial.
    pub const fn plain() -> Self {
        Self { open: None }
    }

    /// Of several.
    pub const fn marked() -> Self {
        Self { open: Some(BTreeMap::new()) }
    }

    /// Whether there was something to write, and no reason why there is not.
    pub fn write(&mut self, line: v1::LogLine) -> io::Result<bool> {
        let v1::LogLine { trial, attempt, stderr, mut data, error, at: _, left_out } = line;
        if !error.is_empty() {
            hints::warn(&format!("the logs of trial {trial}, attempt {attempt}: {error}"));
            return Ok(false);
        }
        if left_out > 0 {
            data = format!("[heats: {} are not kept here]\n", bytes(left_out)).into_bytes();
        }
        let Some(open) = &mut self.open else {
            let mut out = io::stdout().lock();
            out.write_all(&data)?;
            out.flush()?;
            return Ok(true);
        };
        let mut out = anstream::stdout().lock();
        let file = (trial, attempt, stderr);
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let line = open.entry(file).or_default();
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() >= LINE_MAX {
                let line = open.remove(&file).unwrap_or_default();
                put(&mut out, file, &line)?;
            }
        }
        out.flush()?;
        Ok(true)
    }

    /// There is no more: what stands after the last line's end is a line, too.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        for (file, line) in self.open.as_mut().map(std::mem::take).unwrap_or_default() {
            put(&mut out, file, &line)?;
        }
        out.flush()
    }
}

/// A line with its mark: `  12 | `, and `12@2 | ` of a later attempt.
fn put(out: &mut impl Write, (trial, attempt, _): File, line: &[u8]) -> io::Result<()> {
    let whose = if attempt > 1 { format!("{trial}@{attempt}") } else { trial.to_string() };
    let colour = COLOURS[trial as usize % COLOURS.len()];
    write!(out, "\x1b[{colour}m{whose:>4} |\x1b[0m ")?;
    out.write_all(line)?;
    if line.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
}
