//! A file that grows, cut into lines: what [`crate::collector`] reads. Bounded, whatever the file holds.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::rotation::{Cut, Mark};

/// The longest line that is looked at, in bytes; the rest of a longer one is skipped.
pub const LINE_MAX: usize = 64 * 1024;
/// How much is read at a time, of a file that has more than a page to be read.
pub const CHUNK: usize = 64 * 1024;
/// How much is read of one that had nothing left: most lines come one by one.
const PAGE: usize = 4 * 1024;

/// Reads a growing file from its beginning, a chunk at a time.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: Option<File>,
    /// It was not there, and need not be looked for until something new is in its folder.
    missing: bool,
    offset: u64,
    partial: Vec<u8>,
    skipping: bool,
    /// The last chunk was full.
    behind: bool,
    /// What is not there to be read.
    gap: Option<Cut>,
    /// How many lines were too long.
    pub too_long: u64,
}

impl Lines {
    /// The lines of the file at `path`, which need not be there yet.
    pub const fn of(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            missing: false,
            offset: 0,
            partial: Vec::new(),
            skipping: false,
            behind: false,
            gap: None,
            too_long: 0,
        }
    }

    /// The same lines without those in `gap`.
    pub fn around(self, gap: Option<Cut>) -> Self {
        Self { gap, ..self }
    }

    /// Where the next line begins, and whether that is within one that is too long.
    pub fn position(&self) -> (u64, bool) {
        (self.offset - self.partial.len() as u64, self.skipping)
    }

    /// Goes over the gap, where it begins here; what was known on its other side.
    pub fn leap(&mut self) -> Option<Mark> {
        let (at, _) = self.position();
        let Cut { from: _, to } = self.gap.take_if(|gap| at >= gap.from)?;
        self.offset = to.at;
        self.partial.clear();
        self.skipping = to.skipping;
        Some(to)
    }

    /// There may be a file by now where there was none: the next reading looks for it.
    pub const fn look_again(&mut self) {
        self.missing = false;
    }

    /// Reads one chunk and hands each whole line, without its end, to `each`. `\r` ends a line too: progress
    /// bars use it. Whether there may be more to read. A file that was missing is not looked for before [`Self::look_again`].
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn read(&mut self, each: &mut impl FnMut(&[u8])) -> std::io::Result<bool> {
        if self.file.is_none() && !self.missing {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.missing = true,
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &self.file else { return Ok(false) };
        let most = if self.behind { CHUNK } else { PAGE };
        let room = self.gap.map_or(most as u64, |gap| gap.from.saturating_sub(self.offset).min(most as u64));
        let mut chunk = vec![0; room as usize];
        let count = file.read_at(&mut chunk, self.offset)?;
        self.behind = count == chunk.len();
        if count == 0 {
            // A program that opens the file anew truncates it: what it writes then are new lines.
            if self.offset > 0 && file.metadata()?.len() < self.offset {
                self.offset = 0;
                self.partial.clear();
                self.skipping = false;
                self.gap = None;
                return self.read(each);
            }
            return Ok(false);
        }
        self.offset += count as u64;
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|&b| b == b'\n' || b == b'\r') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.len() + line.len() > LINE_MAX {
                self.too_long += 1;
            } else if self.partial.is_empty() {
                each(line);
            } else {
                self.partial.extend_from_slice(line);
                each(&self.partial);
            }
            self.partial.clear();
        }
        if !self.skipping {
            if self.partial.len() + rest.len() > LINE_MAX {
                self.too_long += 1;
                self.skipping = true;
                self.partial.clear();
            } else {
                self.partial.extend_from_slice(rest);
            }
        }
        Ok(self.behind)
    }

    /// Hands over what stands after the last line's end: the writer is gone, so that is a line too.
    pub fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            each(&self.partial);
            self.partial.clear();
        }
    }
}

/// The last lines of a file for people: at most `lines` of them and 3 KiB, without what is not text. A coordinator
/// keeps the last 4 KiB of a detail: what stands before these lines must fit as well.
pub fn tail(path: &Path, lines: usize) -> String {
    const BYTES: u64 = 3 << 10;
    let Ok(mut file) = File::open(path) else { return String::new() };
    let length = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    let start = length.saturating_sub(BYTES);
    let read = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start))
        .and_then(|_| file.take(BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    if start > 0 {
        // The first line is cut in two, unless it is all there is.
        let whole = bytes.iter().position(|&b| b == b'\n').map_or(0, |end| end + 1);
        bytes.drain(..whole);
    }
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|c| if c == '\r' { '\n' } else { c })
        .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
        .collect();
    // What was no text has become longer.
    let excess = text.len().saturating_sub(BYTES as usize);
    let text = &text[(excess..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(excess)..];
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn collect(lines: &mut Lines) -> Vec<String> {
        let mut found = Vec::new();
        while lines.read(&mut |line| found.push(String::from_utf8_lossy(line).into_owned())).expect("reads") {}
        found
    }

    #[test]
    fn a_line_is_seen_once_it_is_whole_and_a_carriage_return_ends_one() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("log");
        let mut lines = Lines::of(path.clone());
        assert!(collect(&mut lines).is_empty(), "no file yet");
        let mut file = File::create(&path).expect("creates");
        file.write_all(b"one\ntw").expect("writes");
        assert!(collect(&mut lines).is_empty(), "it is not looked for");
        lines.look_again();
        assert_eq!(collect(&mut lines), ["one"]);
        file.write_all(b"o\n 50%\rthree").expect("writes");
        assert_eq!(collect(&mut lines), ["two", " 50%"]);
        let mut rest = Vec::new();
        lines.finish(&mut |line| rest.push(line.to_vec()));
        assert_eq!(rest, [b"three"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_skipped_and_counted() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("log");
        let mut file = File::create(&path).expect("creates");
        file.write_all(b"a\n").expect("writes");
        file.write_all(&vec![b'x'; 3 * LINE_MAX]).expect("writes");
        file.write_all(b"\nb\n").expect("writes");
        let mut lines = Lines::of(path);
        assert_eq!(collect(&mut lines), ["a", "b"]);
        assert_eq!(lines.too_long, 1);
    }

    #[test]
    fn a_file_that_is_written_anew_is_read_anew() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("log");
        std::fs::write(&path, "one\ntwo\n").expect("writes");
        let mut lines = Lines::of(path.clone());
        assert_eq!(collect(&mut lines), ["one", "two"]);
        std::fs::write(&path, "three\n").expect("writes");
        assert_eq!(collect(&mut lines), ["three"]);
    }

    #[test]
    fn the_tail_is_the_last_lines_whatever_the_file_holds() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("log");
        let mut file = File::create(&path).expect("creates");
        for number in 0..10_000 {
            writeln!(file, "line {number} \u{1b}[31m").expect("writes");
        }
        assert_eq!(tail(&path, 2), "line 9998 [31m\nline 9999 [31m");
        std::fs::write(&path, [0xff; 9000]).expect("writes");
        assert!(tail(&path, 3).len() <= 3 << 10);
        assert_eq!(tail(&root.path().join("none"), 3), "");
    }
}
