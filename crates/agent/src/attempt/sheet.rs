//! The file that tells of an attempt, `attempt.json`: three lines, each an object or still blank.
//!
//! | line | written by | says |
//! |---|---|---|
//! | 1 | the shim, after the start | [`super::Live`]: which processes run |
//! | 2 | the agent, before the start | [`super::Record`]: what runs, and within which limits |
//! | 3 | the shim, at the end | [`super::End`]: how it ended |
//!
//! What the shim has to say has its place from the beginning, so that a full disk cannot silence it. A line that is
//! half written is not an object yet: a reader takes it for blank.

use std::io::{Error, ErrorKind};
use std::os::fd::AsFd;

/// Room for three numbers and their names.
const LIVE_ROOM: usize = 128;
/// Room for an end; one that has to say why nothing was started may be longer.
const END_ROOM: usize = 1024;
/// No record is this long: what goes into one came in a message of at most 4 MiB.
const SHEET_MAX: usize = 16 << 20;

/// Which line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Live,
    Record,
    End,
}

/// The file's content.
#[derive(Debug)]
pub(super) struct Sheet(Vec<u8>);

impl Sheet {
    /// A sheet that tells of an attempt before its start.
    pub(super) fn new(record: &[u8]) -> Self {
        let mut bytes = vec![b' '; LIVE_ROOM];
        bytes.push(b'\n');
        bytes.extend_from_slice(record);
        bytes.push(b'\n');
        bytes.resize(bytes.len() + END_ROOM, b' ');
        Self(bytes)
    }

    /// Everything, as it is in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the file from its beginning, wherever it was read or written last.
    pub(super) fn read(file: impl AsFd) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        let mut piece = [0; 8192];
        loop {
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut piece, bytes.len() as u64))?;
            bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read == 0 {
                return Ok(Self(bytes));
            }
            if bytes.len() > SHEET_MAX {
                return Err(Error::new(ErrorKind::InvalidData, "it is larger than anything that is written there"));
            }
        }
    }

    /// One line's text: blank, an object, or nothing where the file ends before.
    pub(super) fn line(&self, line: Line) -> &[u8] {
        self.0.split(|&byte| byte == b'\n').nth(line as usize).unwrap_or_default()
    }

    /// Writes a line into its place in the file.
    pub(super) fn fill(&self, file: impl AsFd, line: Line, text: &[u8]) -> std::io::Result<()> {
        let before = self.0.split(|&byte| byte == b'\n').take(line as usize);
        let place = before.map(|line| line.len() + 1).sum::<usize>();
        let room = self.line(line).len();
        if place > self.0.len() || (text.len() > room && line != Line::End) {
            return Err(Error::new(ErrorKind::InvalidData, "it has no room for what is to be written"));
        }
        let mut text = text.to_vec();
        text.resize(text.len().max(room), b' ');
        let mut written = 0;
        while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, rest, (place + written) as u64))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("writes");
        file
    }

    fn lines(file: &std::fs::File) -> [String; 3] {
        let sheet = Sheet::read(file).expect("reads");
        [Line::Live, Line::Record, Line::End]
            .map(|line| String::from_utf8_lossy(sheet.line(line)).trim_end().to_owned())
    }

    #[test]
    fn each_line_is_filled_in_its_place_and_takes_no_more_of_the_disk() {
        let file = file(Sheet::new(b"{\"record\":1}").bytes());
        let length = file.metadata().expect("is there").len();
        assert_eq!(lines(&file), ["", "{\"record\":1}", ""]);
        let fill = |line, text: &[u8]| Sheet::read(&file).and_then(|sheet| sheet.fill(&file, line, text));
        fill(Line::Live, b"{\"live\":2}").expect("fills");
        fill(Line::End, b"{\"end\":3}").expect("fills");
        assert_eq!(lines(&file), ["{\"live\":2}", "{\"record\":1}", "{\"end\":3}"]);
        assert_eq!(file.metadata().expect("is there").len(), length);
    }

    #[test]
    fn a_long_end_is_kept_whole_and_a_long_line_before_it_spoils_nothing() {
        let file = file(Sheet::new(b"{}").bytes());
        let fill = |line, text: &[u8]| Sheet::read(&file).and_then(|sheet| sheet.fill(&file, line, text));
        let long = "x".repeat(3 * END_ROOM);
        fill(Line::End, long.as_bytes()).expect("fills");
        assert!(fill(Line::Live, long.as_bytes()).is_err());
        assert_eq!(lines(&file), ["", "{}", &long]);
    }

    #[test]
    fn a_file_that_ends_too_early_has_blank_lines_and_takes_none() {
        for cut in [&b""[..], b"   ", b"   \n{}"] {
            let file = file(cut);
            assert_eq!(lines(&file)[2], "");
            let sheet = Sheet::read(&file).expect("reads");
            assert!(sheet.fill(&file, Line::End, b"{}").is_err(), "{cut:?}");
        }
    }
}
