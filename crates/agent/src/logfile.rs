//! One log of an attempt as it is shown to others: what is kept of it, and how much is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::attempt::AttemptDir;
use crate::rotation::LOG_LIMIT_MIN;

/// The most that is read at a time, in bytes.
pub const CHUNK: usize = 64 << 10;

/// A piece of a log: bytes, or that there are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where it begins.
    pub at: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// How many bytes from there on are not kept; there are no others then.
    pub left_out: u64,
}

/// Reads a log from its beginning, while it grows.
#[derive(Debug)]
pub struct LogFile {
    dir: AttemptDir,
    /// Whether it is the standard error.
    pub stderr: bool,
    file: Option<File>,
    offset: u64,
}

impl LogFile {
    /// The standard error of the attempt in `dir`, or its standard output. It need not be there yet.
    pub fn of(dir: &AttemptDir, stderr: bool) -> Self {
        Self { dir: dir.clone(), stderr, file: None, offset: 0 }
    }

    /// What comes next, if there is any by now.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        if self.file.is_none() {
            let path = if self.stderr { self.dir.stderr() } else { self.dir.stdout() };
            match File::open(path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &self.file else { return Ok(None) };
        let mut data = vec![0; CHUNK];
        let count = file.read_at(&mut data, self.offset)?;
        data.truncate(count);
        let at = self.offset;
        // Looked at after reading: what was not kept any more by then was noted before.
        let end = at + count as u64;
        let cut = if end > LOG_LIMIT_MIN / 2 { self.cut() } else { None };
        let overlaps = cut.filter(|(from, to)| at < *to && end > *from);
        if let Some((from, to)) = overlaps {
            if at >= from {
                self.offset = to;
                return Ok(Some(Piece { at, data: Vec::new(), left_out: to - at }));
            }
            data.truncate((from - at) as usize);
        }
        self.offset += data.len() as u64;
        Ok((count > 0).then_some(Piece { at, data, left_out: 0 }))
    }

    /// From where to where nothing is kept.
    fn cut(&self) -> Option<(u64, u64)> {
        let cuts = self.dir.cuts();
        let cut = if self.stderr { cuts.stderr } else { cuts.stdout }?;
        Some((cut.from, cut.to.at))
    }
}
