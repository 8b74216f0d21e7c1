//! Bundles of logs: what an agent makes of the logs of attempts that are over, and coordinators keep. See `LogIndex` in
//! `proto/heats/v1/agents.proto` for what one looks like.
//!
//! Each attempt's logs are a frame of their own, so that one can be read out of thousands; where they are stands at the end, so
//! that a bundle is written in one go.

use std::io::{self, Read, Seek, SeekFrom, Write};

use prost::Message;

use crate::v1;

/// The last bytes of every bundle.
const MARK: [u8; 4] = *b"HLB1";
/// The longest index, in bytes.
const INDEX_MAX: u32 = 4 << 20;
/// What is read and handed on at a time, in bytes.
const PIECE: usize = 64 << 10;

/// Writes a bundle.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    hasher: blake3::Hasher,
    written: u64,
    index: v1::LogIndex,
}

/// A bundle that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its name: the hash of its bytes.
    pub name: String,
    /// Its size, in bytes.
    pub length: u64,
}

impl<W: Write> Writer<W> {
    /// A bundle of nothing, to be written to `to`.
    pub fn new(to: W) -> Self {
        Self { to, hasher: blake3::Hasher::new(), written: 0, index: v1::LogIndex::default() }
    }

    /// How large it is so far, in bytes.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Adds what an attempt wrote: parts of its files, in order, as `next` gives them.
    ///
    /// # Errors
    /// Where a part cannot be read or written: the bundle is then good for nothing.
    pub fn add(
        &mut self,
        trial: u32,
        attempt: u32,
        mut next: impl FnMut() -> io::Result<Option<(bool, u64, Vec<u8>)>>,
    ) -> io::Result<()> {
        let offset = self.written;
        let mut parts: Vec<v1::LogPart> = Vec::new();
        // Most trials of a second write nothing: they need no frame.
        let mut piece = next()?;
        if piece.is_some() {
            let mut frame = zstd::stream::write::Encoder::new(Hashed(self), zstd::DEFAULT_COMPRESSION_LEVEL)?;
            while let Some((stderr, at, data)) = piece {
                let length = data.len() as u64;
                match parts.last_mut().filter(|part| part.stderr == stderr && part.at + part.length == at) {
                    Some(part) => part.length += length,
                    None => parts.push(v1::LogPart { stderr, at, length }),
                }
                frame.write_all(&data)?;
                piece = next()?;
            }
            frame.finish()?;
        }
        let length = self.written - offset;
        self.index.members.push(v1::LogMember { trial, attempt, offset, length, parts });
        Ok(())
    }

    /// Ends it, and gives back what it was written to.
    ///
    /// # Errors
    /// Where the end cannot be written.
    pub fn finish(mut self) -> io::Result<(W, Written)> {
        let index = self.index.encode_to_vec();
        let length = u32::try_from(index.len()).ok().filter(|length| *length <= INDEX_MAX);
        let length = length.ok_or_else(|| io::Error::other("a bundle has too many attempts"))?;
        let mut to = Hashed(&mut self);
        to.write_all(&index)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(&MARK)?;
        to.flush()?;
        let name = self.hasher.finalize().to_hex().to_string();
        Ok((self.to, Written { name, length: self.written }))
    }
}

/// Counts what is written, and takes it into the hash.
struct Hashed<'a, W>(&'a mut Writer<W>);

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.0.to.write(data)?;
        self.0.hasher.update(&data[..count]);
        self.0.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.to.flush()
    }
}

/// Reads the logs of one attempt out of a bundle.
pub struct Logs<R: Read> {
    parts: std::vec::IntoIter<v1::LogPart>,
    part: v1::LogPart,
    /// Where the file that is being read has been read to.
    reached: u64,
    frame: Option<zstd::stream::read::Decoder<'static, io::BufReader<io::Take<R>>>>,
}

/// A piece of a log: bytes, or that there are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Of the standard error.
    pub stderr: bool,
    /// Where in the file it begins.
    pub at: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// How many bytes from there on were not kept; there are no others then.
    pub left_out: u64,
}

impl<R: Read + Seek> Logs<R> {
    /// Those of an attempt, in a bundle of `length` bytes; `None` where they are not in it.
    ///
    /// # Errors
    /// Where it cannot be read, or is no bundle.
    pub fn open(mut bundle: R, length: u64, trial: u32, attempt: u32) -> io::Result<Option<Self>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is no bundle of logs");
        let mut end = [0; 8];
        let at = length.checked_sub(end.len() as u64).ok_or_else(damaged)?;
        bundle.seek(SeekFrom::Start(at))?;
        bundle.read_exact(&mut end)?;
        let [a, b, c, d, mark @ ..] = end;
        let index_length = u32::from_le_bytes([a, b, c, d]);
        let begin = at.checked_sub(u64::from(index_length)).ok_or_else(damaged)?;
        if mark != MARK || index_length > INDEX_MAX {
            return Err(damaged());
        }
        bundle.seek(SeekFrom::Start(begin))?;
        let mut index = vec![0; index_length as usize];
        bundle.read_exact(&mut index)?;
        let v1::LogIndex { members } = v1::LogIndex::decode(index.as_slice()).map_err(|_| damaged())?;
        let found = members.into_iter().find(|member| (member.trial, member.attempt) == (trial, attempt));
        let Some(v1::LogMember { offset, length, parts, .. }) = found else { return Ok(None) };
        let frame = if length == 0 {
            None
        } else {
            bundle.seek(SeekFrom::Start(offset))?;
            Some(zstd::stream::read::Decoder::new(bundle.take(length))?)
        };
        Ok(Some(Self { parts: parts.into_iter(), part: v1::LogPart::default(), reached: 0, frame }))
    }

    /// The next piece, of at most 64 KiB.
    ///
    /// # Errors
    /// Where the bundle cannot be read, or is damaged.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        while self.part.length == 0 {
            let Some(next) = self.parts.next() else { return Ok(None) };
            let reached = if next.stderr == self.part.stderr { self.reached } else { 0 };
            self.part = next;
            self.reached = next.at;
            if next.at > reached {
                let left_out = next.at - reached;
                return Ok(Some(Piece { stderr: next.stderr, at: reached, data: Vec::new(), left_out }));
            }
        }
        let frame = self.frame.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        let count = self.part.length.min(PIECE as u64);
        let mut data = vec![0; count as usize];
        frame.read_exact(&mut data)?;
        let piece = Piece { stderr: self.part.stderr, at: self.part.at, data, left_out: 0 };
        self.part.at = self.part.at.saturating_add(count);
        self.part.length -= count;
        self.reached = self.part.at;
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    type Parts = Vec<(bool, u64, Vec<u8>)>;

    fn bundle(members: &[(u32, u32, Parts)]) -> (Vec<u8>, Written) {
        let mut writer = Writer::new(Vec::new());
        for (trial, attempt, parts) in members {
            let mut parts = parts.clone().into_iter();
            writer.add(*trial, *attempt, || Ok(parts.next())).expect("writes");
        }
        writer.finish().expect("ends")
    }

    fn read(bytes: &[u8], trial: u32, attempt: u32) -> Option<Vec<Piece>> {
        let mut logs = Logs::open(Cursor::new(bytes), bytes.len() as u64, trial, attempt).expect("reads")?;
        let mut pieces = Vec::new();
        while let Some(piece) = logs.next_piece().expect("reads") {
            pieces.push(piece);
        }
        Some(pieces)
    }

    #[test]
    fn each_attempts_logs_are_read_out_of_many_with_what_is_missing_in_the_middle() {
        let big = vec![b'a'; 3 * PIECE + 1];
        let (bytes, written) = bundle(&[
            (0, 1, vec![]),
            (7, 2, vec![(false, 0, b"one".to_vec()), (false, 3, b"two".to_vec()), (true, 0, b"err".to_vec())]),
            (8, 1, vec![(false, 0, big.clone()), (false, 1 << 30, b"end".to_vec()), (true, 5, b"late".to_vec())]),
        ]);
        assert_eq!(written.name, blake3::hash(&bytes).to_hex().to_string());
        assert_eq!(written.length, bytes.len() as u64);
        let piece = |stderr, at, data: &[u8]| Piece { stderr, at, data: data.to_vec(), left_out: 0 };
        assert_eq!(read(&bytes, 0, 1), Some(vec![]));
        assert_eq!(read(&bytes, 7, 2), Some(vec![piece(false, 0, b"onetwo"), piece(true, 0, b"err")]));
        assert_eq!(read(&bytes, 7, 1), None);
        let pieces = read(&bytes, 8, 1).expect("is there");
        let head: Vec<u8> = pieces[..4].iter().flat_map(|piece| piece.data.clone()).collect();
        let (from, left_out) = (big.len() as u64, (1 << 30) - big.len() as u64);
        assert!(head == big);
        assert_eq!(pieces[4], Piece { stderr: false, at: from, data: Vec::new(), left_out });
        assert_eq!(pieces[5], piece(false, 1 << 30, b"end"));
        assert_eq!(pieces[6], Piece { stderr: true, at: 0, data: Vec::new(), left_out: 5 });
        assert_eq!(pieces[7], piece(true, 5, b"late"));
    }

    #[test]
    fn what_is_no_bundle_or_was_cut_is_an_error_and_never_a_panic() {
        let (bytes, _) = bundle(&[(1, 1, vec![(false, 0, b"hello hello hello".to_vec())])]);
        for end in 0..bytes.len() {
            assert!(Logs::open(Cursor::new(&bytes[..end]), end as u64, 1, 1).is_err(), "{end}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0xff;
            let opened = Logs::open(Cursor::new(&damaged), damaged.len() as u64, 1, 1);
            if let Ok(Some(mut logs)) = opened {
                while let Ok(Some(_)) = logs.next_piece() {}
            }
        }
    }
}
