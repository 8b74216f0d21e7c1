//! The file: `magic, format, header, pieces, end, count, digest`.
//!
//! Header and pieces are protobuf, each behind its length and its crc32. A piece begins with a byte that says what it is: a
//! record, or a page of records as a journal has packed it, which costs neither packing nor unpacking here; in format 1 all were
//! records, and had no such byte. After the last one comes a length of all ones, the number of records, and the blake3 digest
//! of everything before it. A file is written aside, synced and renamed, so that one which does not read is damage, not a crash.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use heats_core::{ApplyError, Page, Piece, Record, Run, State, Turn};
use prost::Message;

use crate::disk::{self, Disk};
use crate::error::{OpenError, StorageError};
use crate::ground::{Ground, PIECE, Work};
use crate::pb::SnapshotHeader;

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 2;
/// In which everything was a record.
const FORMAT_OF_RECORDS: u32 = 1;
const MAGIC: [u8; 8] = *b"HEATSNAP";
const END: u32 = u32::MAX;
/// What a piece is.
const RECORD: u8 = 0;
const PAGE: u8 = 1;
const DIGEST: usize = 32;
/// Records that are handed from the thread that reads to the one that folds, together...
const BATCH: usize = 1_024;
/// ...and how many such batches may wait.
const AHEAD: usize = 8;
/// No piece comes near this; a length beyond it is damage, not a reason to reserve memory.
const PIECE_BYTES_MAX: u32 = 256 << 20;

/// Writes the snapshot to `path`, durable with its name.
pub(crate) fn write(ground: &Ground, path: &Path, header: &SnapshotHeader, state: &State) -> Result<(), StorageError> {
    let Ground { disk, work } = ground;
    let disk = disk.as_ref();
    let fill = |file: &File, path: &Path| {
        let mut out =
            Output { disk, work: *work, file, path, offset: 0, waiting: Vec::new(), hasher: blake3::Hasher::new() };
        out.add(&MAGIC)?;
        out.add(&FORMAT.to_le_bytes())?;
        let mut bytes = Vec::new();
        out.message(&mut bytes, None, header)?;
        let mut count = 0u64;
        for piece in state.pieces() {
            match &piece {
                Piece::Record(record) => out.message(&mut bytes, Some(RECORD), record.as_ref())?,
                Piece::Page(page) => out.message(&mut bytes, Some(PAGE), page.as_ref())?,
            }
            count += u64::from(piece.count());
        }
        out.add(&END.to_le_bytes())?;
        out.add(&count.to_le_bytes())?;
        let digest = out.hasher.finalize();
        out.add(digest.as_bytes())?;
        out.flush()
    };
    disk::make(disk, path, fill).map(drop)
}

/// A file that is being written, in pieces; each is durable before the next.
struct Output<'a> {
    disk: &'a dyn Disk,
    work: Work,
    file: &'a File,
    path: &'a Path,
    offset: u64,
    waiting: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Output<'_> {
    fn message(&mut self, bytes: &mut Vec<u8>, kind: Option<u8>, message: &impl Message) -> Result<(), StorageError> {
        bytes.clear();
        bytes.extend(kind);
        message.encode_raw(bytes);
        self.add(&(bytes.len() as u32).to_le_bytes())?;
        self.add(&crc32fast::hash(bytes).to_le_bytes())?;
        self.add(bytes)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.hasher.update(bytes);
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < PIECE {
            return Ok(());
        }
        let begun = Instant::now();
        self.flush()?;
        self.disk.sync(self.file, self.path)?;
        self.work.rest(begun);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.disk.write(self.file, self.path, self.offset, &self.waiting)?;
        self.offset += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// Reads the snapshot and makes its state.
pub(crate) fn read(path: &Path) -> Result<(SnapshotHeader, State), OpenError> {
    let (header, mut state) = scan(path, |runs| State::from_runs(0, Turn::default(), runs))?;
    state.applied = header.last.map_or(0, |last| last.index);
    state.turn = Turn { term: header.turn_term, number: header.turn_number };
    state.at_ms = state.at_ms.max(header.at_ms);
    Ok((header, state))
}

/// Reads the snapshot to its end, and makes of its records what `make` makes of them, in their order.
pub(crate) fn scan<T>(
    path: &Path,
    make: impl FnOnce(&mut dyn Iterator<Item = Run>) -> Result<T, ApplyError>,
) -> Result<(SnapshotHeader, T), OpenError> {
    let file = File::open(path).map_err(|e| StorageError::io("open", path, e))?;
    let input = Hashing { inner: BufReader::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() };
    let mut reader = Reader { path, input, format: FORMAT, offset: 0 };
    let mut head = [0; MAGIC.len() + 4];
    reader.take(&mut head)?;
    if head[..8] != MAGIC {
        return Err(StorageError::damaged(path, 0, "it is not a snapshot").into());
    }
    match reader.number(&head[8..]) {
        known @ (FORMAT | FORMAT_OF_RECORDS) => reader.format = known,
        found => return Err(StorageError::Format { path: path.to_owned(), found, known: FORMAT }.into()),
    }
    let header = match reader.bytes()? {
        Some((at, bytes)) => decoded(path, at, &bytes)?,
        None => return Err(StorageError::damaged(path, reader.offset, "it has no header").into()),
    };
    // What is read and decoded on one thread is folded on this one: each is about half of a restart.
    let (sender, batches) = mpsc::sync_channel(AHEAD);
    let (read, made) = thread::scope(|scope| {
        let reading = thread::Builder::new().name("heats-snapshot".to_owned());
        let reading = reading
            .spawn_scoped(scope, move || reader.runs(&sender))
            .map_err(|error| StorageError::io("read", path, error))?;
        let made = make(&mut batches.into_iter().flatten());
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, StorageError>((read, made))
    })?;
    match (read?, made?) {
        (Some(()), made) => Ok((header, made)),
        (None, _) => Err(StorageError::damaged(path, 0, "its records were not read to their end").into()),
    }
}

/// The digest at the end of a snapshot, and its length in bytes: which snapshot it is. Not verified.
pub(crate) fn digest_of(file: &File) -> io::Result<([u8; DIGEST], u64)> {
    let length = file.metadata()?.len();
    let mut digest = [0; DIGEST];
    file.read_exact_at(&mut digest, length.saturating_sub(DIGEST as u64))?;
    Ok((digest, length))
}

fn decoded<M: Message + Default>(path: &Path, at: u64, bytes: &[u8]) -> Result<M, StorageError> {
    M::decode(bytes).map_err(|error| StorageError::damaged(path, at, error.to_string()))
}

struct Reader<'a> {
    path: &'a Path,
    input: Hashing<BufReader<File>>,
    format: u32,
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

    /// The next message, and where it is; none where the end mark comes.
    fn bytes(&mut self) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let at = self.offset;
        let mut word = [0; 4];
        self.take(&mut word)?;
        let length = self.number(&word);
        if length == END {
            return Ok(None);
        }
        if length > PIECE_BYTES_MAX {
            return Err(StorageError::damaged(self.path, at, "a piece has an impossible length"));
        }
        self.take(&mut word)?;
        let crc = self.number(&word);
        let mut bytes = vec![0; length as usize];
        self.take(&mut bytes)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(StorageError::damaged(self.path, at, "a piece's checksum does not match"));
        }
        Ok(Some((at, bytes)))
    }

    /// The next piece, unpacked; none where the end mark comes.
    fn run(&mut self) -> Result<Option<Run>, StorageError> {
        let Some((at, bytes)) = self.bytes()? else { return Ok(None) };
        let (kind, bytes) = match bytes.split_first() {
            _ if self.format == FORMAT_OF_RECORDS => (RECORD, bytes.as_slice()),
            Some((kind, bytes)) => (*kind, bytes),
            None => return Err(StorageError::damaged(self.path, at, "a piece is empty")),
        };
        let piece = match kind {
            RECORD => Piece::Record(Arc::new(decoded::<Record>(self.path, at, bytes)?)),
            PAGE => Piece::Page(Arc::new(decoded::<Page>(self.path, at, bytes)?)),
            _ => return Err(StorageError::damaged(self.path, at, "a piece is neither a record nor a page")),
        };
        let run = piece.unpack().map_err(|error| StorageError::damaged(self.path, at, error.to_string()))?;
        Ok(Some(run))
    }

    /// Reads to the end, and hands on what is read; nothing where nobody wants it any more.
    fn runs(mut self, batches: &SyncSender<Vec<Run>>) -> Result<Option<()>, StorageError> {
        let mut count = 0;
        loop {
            let (mut batch, mut records) = (Vec::new(), 0);
            let is_last = loop {
                if records >= BATCH {
                    break false;
                }
                let Some(run) = self.run()? else { break true };
                records += run.records.len();
                batch.push(run);
            };
            count += records as u64;
            if batches.send(batch).is_err() {
                return Ok(None);
            }
            if is_last {
                return self.end(count).map(Some);
            }
        }
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

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
