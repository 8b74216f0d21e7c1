//! Keeps a trial that prints forever from filling the disk: of each of its logs the beginning and the end are kept, and the
//! middle is given back to the file system while the trial writes on.
//!
//! The logs are files that the trial has open, so that it needs no agent to write; what is given back is a hole in them. Nothing
//! moves: what is read on is where it was. No report is lost to it, for of the standard output only what was read, and whose
//! reports a coordinator has for good, is given back; what a second reading has to know of it is noted before.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

use crate::attempt::AttemptDir;

/// How much of each log is kept unless set otherwise, in bytes: half of it at its beginning.
pub const LOG_LIMIT: u64 = 16 << 20;
/// The least that may be set, in bytes.
pub const LOG_LIMIT_MIN: u64 = 256 << 10;
/// Marks that are remembered: while no coordinator takes reports over, the oldest of them are enough.
const MARKS_MAX: usize = 4_096;
/// At least a block of any file system, in bytes.
const BLOCK: u64 = 64 << 10;
/// How far a line's end is looked for, in bytes.
const LINE: u64 = 64 << 10;

/// Where the collector was in the standard output, and what it knew by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The beginning of a line, unless `skipping`.
    pub at: u64,
    /// Whether it is in a line that is too long to be looked at.
    pub skipping: bool,
    /// The last step that was given or counted in this file.
    pub step: u64,
    /// The last step of all that was reported.
    pub reported: Option<u64>,
    /// Whether a report had all objectives.
    pub objective_seen: bool,
}

/// What is not kept of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cut {
    /// Where it begins.
    pub from: u64,
    /// What comes after it.
    pub to: Mark,
}

/// What is not kept of an attempt's logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cuts {
    /// Of its standard output.
    pub stdout: Option<Cut>,
    /// Of its standard error.
    pub stderr: Option<Cut>,
}

/// Looks after the logs of one attempt.
#[derive(Debug)]
pub struct Rotation {
    dir: AttemptDir,
    /// What is kept at each end.
    half: u64,
    /// What has to be too much before anything is done about it.
    stride: u64,
    cuts: Cuts,
    /// Where the first half of the standard output ends.
    first: Option<Mark>,
    /// Where what is kept of it may begin again, the earliest first.
    marks: VecDeque<Mark>,
    /// Whether the file system refused to take anything back.
    refused: bool,
}

impl Rotation {
    /// Keeps each log of the attempt in `dir` to about `limit` bytes.
    pub fn new(dir: AttemptDir, limit: u64) -> Self {
        let half = limit.max(LOG_LIMIT_MIN) / 2;
        let cuts = dir.cuts();
        Self { dir, half, stride: half / 8, cuts, first: None, marks: VecDeque::new(), refused: false }
    }

    /// What was not kept of the standard output by an earlier agent.
    pub const fn stdout(&self) -> Option<Cut> {
        self.cuts.stdout
    }

    /// The standard output was read up to `mark`, and what it reported is on its way.
    pub fn read(&mut self, mark: Mark) {
        if mark.at < self.half {
            // A program that opens its log anew begins from the start.
            self.first = None;
            self.marks.clear();
            return;
        }
        self.first.get_or_insert(mark);
        let far = self.marks.back().is_none_or(|last| mark.at >= last.at + self.stride);
        if far && self.marks.len() < MARKS_MAX {
            self.marks.push_back(mark);
        }
    }

    /// Gives back what is too much by now. Reports up to `durable` are with a coordinator for good.
    pub fn turn(&mut self, durable: Option<u64>) {
        if let Err(error) = self.turn_stdout(durable).and_then(|()| self.turn_stderr())
            && !std::mem::replace(&mut self.refused, true)
        {
            let folder = self.dir.path().display();
            tracing::warn!(%folder, %error, "a long log cannot be kept short: it may fill the disk");
        }
    }

    fn turn_stdout(&mut self, durable: Option<u64>) -> io::Result<()> {
        let Some(first) = self.first.filter(|_| !self.marks.is_empty()) else { return Ok(()) };
        let path = self.dir.stdout();
        let length = path.metadata()?.len();
        let is_ready = |mark: &Mark| mark.at + self.half <= length && mark.reported <= durable;
        let ready = self.marks.iter().take_while(|mark| is_ready(mark)).count();
        let Some(to) = ready.checked_sub(1).and_then(|last| self.marks.get(last).copied()) else { return Ok(()) };
        self.marks.drain(..ready);
        if self.cuts.stdout.is_some_and(|cut| length < cut.to.at) {
            self.cuts.stdout = None;
        }
        let from = self.cuts.stdout.map_or(first.at, |cut| cut.from);
        let before = self.cuts.stdout.map_or(from, |cut| cut.to.at);
        if to.at <= before {
            return Ok(());
        }
        self.cuts.stdout = Some(Cut { from, to });
        self.give_back(&path, from, before, to.at)
    }

    fn turn_stderr(&mut self) -> io::Result<()> {
        let path = self.dir.stderr();
        let length = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.cuts.stderr.is_some_and(|cut| length < cut.to.at) {
            self.cuts.stderr = None;
        }
        let before = self.cuts.stderr.map_or(self.half, |cut| cut.to.at);
        if length < before + self.half + self.stride {
            return Ok(());
        }
        let file = File::open(&path)?;
        let from = match self.cuts.stderr {
            Some(cut) => cut.from,
            None => line_after(&file, self.half)?,
        };
        let to = line_after(&file, length - self.half)?;
        self.cuts.stderr = Some(Cut { from, to: Mark { at: to, ..Mark::default() } });
        self.give_back(&path, from, before, to)
    }

    /// Notes that nothing is kept between `from` and `to`, and gives back what was there from `before` on.
    fn give_back(&self, path: &Path, from: u64, before: u64, to: u64) -> io::Result<()> {
        self.dir.write_cuts(&self.cuts).map_err(io::Error::other)?;
        let file = File::options().write(true).open(path)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Whole blocks only are given back: that in which the last hole ended is in this one.
        let begin = (before - before % BLOCK).max(from);
        Ok(fallocate(&file, hole, begin, to.saturating_sub(begin))?)
    }
}

/// Where the first line begins at `at` or after it; `at` itself where that is far.
fn line_after(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = vec![0; LINE as usize];
    let count = file.read_at(&mut bytes, at.saturating_sub(1))?;
    let end = bytes[..count].iter().position(|&byte| byte == b'\n');
    Ok(end.map_or(at, |end| at.saturating_sub(1) + end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::logfile::{LogFile, Piece};

    const LIMIT: u64 = LOG_LIMIT_MIN;

    fn line(number: u64) -> String {
        format!("line {number:>10}\n")
    }

    fn folder() -> (tempfile::TempDir, AttemptDir) {
        let root = tempfile::tempdir().expect("a folder");
        let dir = AttemptDir::at(root.path().to_owned());
        (root, dir)
    }

    fn write(path: &Path, lines: std::ops::Range<u64>) {
        use std::io::Write;
        let mut file = File::options().append(true).create(true).open(path).expect("opens");
        let text: String = lines.map(line).collect();
        file.write_all(text.as_bytes()).expect("writes");
    }

    /// What is kept of a log, and how much is missing in its middle.
    fn kept(dir: &AttemptDir, stderr: bool) -> (String, u64) {
        let mut file = LogFile::of(dir, stderr);
        let (mut text, mut missing) = (Vec::new(), 0);
        while let Some(Piece { data, left_out, .. }) = file.next_piece().expect("reads") {
            text.extend(data);
            missing += left_out;
        }
        (String::from_utf8(text).expect("no hole is read"), missing)
    }

    #[test]
    fn the_beginning_and_the_end_of_a_long_log_are_kept_in_whole_lines_and_the_rest_takes_no_room() {
        let (_root, dir) = folder();
        let mut rotation = Rotation::new(dir.clone(), LIMIT);
        for batch in 0..200 {
            write(&dir.stderr(), batch * 1_000..(batch + 1) * 1_000);
            rotation.turn(None);
        }
        let (text, missing) = kept(&dir, true);
        let numbers: Vec<u64> = text.lines().map(|line| line[4..].trim().parse().expect("a whole line")).collect();
        assert_eq!((numbers.first(), numbers.last()), (Some(&0), Some(&199_999)));
        assert_eq!(numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count(), 1, "one gap");
        assert_eq!(text.len() as u64 + missing, 200_000 * 16);
        assert!(text.len() as u64 <= LIMIT + LIMIT / 8, "{}", text.len());
        let taken = dir.stderr().metadata().expect("is there").blocks() * 512;
        assert!(taken <= 2 * LIMIT, "{taken} bytes of the disk");
    }

    #[test]
    fn nothing_of_the_standard_output_is_given_back_before_its_reports_are_durable() {
        let (_root, dir) = folder();
        let mut rotation = Rotation::new(dir.clone(), LIMIT);
        let lines = LIMIT / 16;
        for part in 0..32 {
            write(&dir.stdout(), part * lines / 8..(part + 1) * lines / 8);
            let at = dir.stdout().metadata().expect("is there").len();
            rotation.read(Mark { at, reported: Some(part), step: part, ..Mark::default() });
            rotation.turn(Some(2));
        }
        assert_eq!(kept(&dir, false).1, 0, "what is over the limit was reported at step 3 or later");
        rotation.turn(Some(10));
        let cut = dir.cuts().stdout.expect("is cut");
        assert_eq!((cut.to.reported, cut.to.step), (Some(10), 10));
        assert_eq!(Rotation::new(dir.clone(), LIMIT).stdout(), Some(cut), "the next agent knows");
        rotation.turn(Some(31));
        let (text, missing) = kept(&dir, false);
        assert!(text.ends_with(&line(4 * lines - 1)) && text.len() as u64 <= LIMIT + LIMIT / 4 && missing > 0);
    }
}
