//! The file: `magic, format, header, records, end, count, digest`.
//!
//! Header and records are protobuf, each behind its length and its crc32; after the last record comes a
//! length of all ones, the number of records, and the blake3 digest of everything before it. A file is
//! written aside, synced and renamed, so that one which does not read is damage, not a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use heats_core::{ApplyError, Record, State, Turn};
use prost::Message;

use crate::error::{OpenError, StorageError};
use crate::log::sync_dir;
use crate::pb::SnapshotHeader;

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"HEATSNAP";
const END: u32 = u32::MAX;
const DIGEST: usize = 32;
/// No record comes near this; a length beyond it is damage, not a reason to reserve memory.
const RECORD_BYTES_MAX: u32 = 256 << 20;

/// Writes the snapshot to `path`, durable with its name.
pub(crate) fn write(path: &Path, header: &SnapshotHeader, state: &State) -> Result<(), StorageError> {
    let aside = path.with_extension("new");
    let written = write_aside(&aside, header, state)
        .map_err(|e| StorageError::io("write", &aside, e))
        .and_then(|()| fs::rename(&aside, path).map_err(|e| StorageError::io("create", path, e)))
        .and_then(|()| sync_dir(path.parent().unwrap_or(Path::new("."))));
    if written.is_err() {
        // On a full disk the half that was written would be in the way; nothing else refers to it.
        let _ = fs::remove_file(&aside);
    }
    written
}

fn write_aside(path: &Path, header: &SnapshotHeader, state: &State) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut out = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() };
    out.write_all(&MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    let mut bytes = Vec::new();
    put(&mut out, &mut bytes, header)?;
    let mut count = 0u64;
    for record in state.records() {
        put(&mut out, &mut bytes, record.as_ref())?;
        count += 1;
    }
    out.write_all(&END.to_le_bytes())?;
    out.write_all(&count.to_le_bytes())?;
    let digest = out.hasher.finalize();
    out.inner.write_all(digest.as_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn put(out: &mut impl Write, bytes: &mut Vec<u8>, message: &impl Message) -> io::Result<()> {
    bytes.clear();
    message.encode_raw(bytes);
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads the snapshot and makes its state.
pub(crate) fn read(path: &Path) -> Result<(SnapshotHeader, State), OpenError> {
    let (header, mut state) = scan(path, |records| State::from_records(0, Turn::default(), records))?;
    state.applied = header.last.map_or(0, |last| last.index);
    state.turn = Turn { term: header.turn_term, number: header.turn_number };
    state.at_ms = state.at_ms.max(header.at_ms);
    Ok((header, state))
}

/// Reads the snapshot to its end, and makes of its records what `make` makes of them, one by one.
pub(crate) fn scan<T>(
    path: &Path,
    make: impl FnOnce(&mut dyn Iterator<Item = Record>) -> Result<T, ApplyError>,
) -> Result<(SnapshotHeader, T), OpenError> {
    let file = File::open(path).map_err(|e| StorageError::io("open", path, e))?;
    let input = Hashing { inner: BufReader::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() };
    let mut reader = Reader { path, input, offset: 0 };
    let mut head = [0; MAGIC.len() + 4];
    reader.take(&mut head)?;
    if head[..8] != MAGIC {
        return Err(StorageError::damaged(path, 0, "it is not a snapshot").into());
    }
    match reader.number(&head[8..]) {
        FORMAT => {}
        found => return Err(StorageError::Format { path: path.to_owned(), found, known: FORMAT }.into()),
    }
    let header: SnapshotHeader =
        reader.message()?.ok_or_else(|| StorageError::damaged(path, reader.offset, "it has no header"))?;
    let mut failed = None;
    let mut count = 0u64;
    let mut records = std::iter::from_fn(|| match reader.message::<Record>() {
        Ok(record) => {
            count += u64::from(record.is_some());
            record
        }
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let made = make(&mut records);
    if let Some(error) = failed {
        return Err(error.into());
    }
    let made = made?;
    reader.end(count)?;
    Ok((header, made))
}

/// The digest at the end of a snapshot, and its length in bytes: which snapshot it is. Not verified.
pub(crate) fn digest_of(file: &File) -> io::Result<([u8; DIGEST], u64)> {
    let length = file.metadata()?.len();
    let mut digest = [0; DIGEST];
    file.read_exact_at(&mut digest, length.saturating_sub(DIGEST as u64))?;
    Ok((digest, length))
}

struct Reader<'a> {
    path: &'a Path,
    input: Hashing<BufReader<File>>,
    offset: u64,
}

impl Reader<'_> {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), StorageError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StorageError::damaged(self.path, self.offset, "it ends too early"),
            _ => StorageError::io("read", self.path, error),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn number(&self, bytes: &[u8]) -> u32 {
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    /// The next message; none where the end mark comes.
    fn message<M: Message + Default>(&mut self) -> Result<Option<M>, StorageError> {
        let at = self.offset;
        let mut word = [0; 4];
        self.take(&mut word)?;
        let length = self.number(&word);
        if length == END {
            return Ok(None);
        }
        if length > RECORD_BYTES_MAX {
            return Err(StorageError::damaged(self.path, at, "a record has an impossible length"));
        }
        self.take(&mut word)?;
        let crc = self.number(&word);
        let mut bytes = vec![0; length as usize];
        self.take(&mut bytes)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(StorageError::damaged(self.path, at, "a record's checksum does not match"));
        }
        let message = M::decode(bytes.as_slice());
        message.map(Some).map_err(|error| StorageError::damaged(self.path, at, error.to_string()))
    }

    /// What follows the end mark.
    fn end(mut self, count: u64) -> Result<(), StorageError> {
        let mut said = [0; 8];
        self.take(&mut said)?;
        let digest = self.input.hasher.finalize();
        let mut stored = [0; DIGEST];
        self.take(&mut stored)?;
        if u64::from_le_bytes(said) != count || digest != blake3::Hash::from_bytes(stored) {
            return Err(StorageError::damaged(self.path, self.offset, "its digest or its count does not match"));
        }
        match self.input.inner.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(StorageError::damaged(self.path, self.offset, "something follows its end")),
            Err(error) => Err(StorageError::io("read", self.path, error)),
        }
    }
}

/// Hashes what passes through.
struct Hashing<I> {
    inner: I,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
