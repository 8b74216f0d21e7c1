//! Reading a log's directory. A torn tail, which a crash leaves, is cut off; anything else that does not
//! read stops the node: what is missing may have been acknowledged.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::disk::{self, Disk};
use crate::error::StorageError;
use crate::frame;
use crate::log::contents::Contents;
use crate::pb::{self, Record};

/// The newest format of a log file that this version reads, and the one that it writes.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"HEATSLOG";
/// Magic, format, salt.
pub(crate) const PREAMBLE: usize = 16;

/// Where a log is, and how it is kept.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) dir: PathBuf,
    pub(crate) node: u64,
    pub(crate) segment_bytes: u64,
}

/// A file that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) path: PathBuf,
    /// The highest index of an entry that was appended in it.
    pub(crate) highest: Option<u64>,
}

/// The file that is written to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: fs::File,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) highest: Option<u64>,
}

/// An open log: what it holds, and where writing goes on.
pub(crate) struct Opened {
    pub(crate) contents: Contents,
    pub(crate) full: VecDeque<Full>,
    pub(crate) active: Active,
    pub(crate) salt: u32,
    pub(crate) sequence: u64,
    /// How many bytes of a torn tail were cut off.
    pub(crate) torn: u64,
}

/// Whether there is a log in `dir` at all.
pub(crate) fn exists(dir: &Path, disk: &dyn Disk) -> Result<bool, StorageError> {
    Ok(!segments(dir, disk)?.is_empty())
}

/// Opens the log, or makes an empty one where there is none.
pub(crate) fn open(settings: &LogSettings, disk: &Arc<dyn Disk>) -> Result<Opened, StorageError> {
    let numbers = segments(&settings.dir, disk.as_ref())?;
    let Some(&last) = numbers.last() else { return fresh(settings, disk) };
    let mut contents: Option<Contents> = None;
    let mut full = VecDeque::new();
    let mut expect: Option<(u64, u64, u32)> = None;
    for number in numbers {
        let path = segment_path(&settings.dir, number);
        let file = fs::read(&path).map_err(|e| StorageError::io("read", &path, e))?;
        let damaged = |offset: usize, why: &str| StorageError::damaged(&path, offset as u64, why);
        let salt = preamble(&path, &file)?;

        let head =
            frame::read(salt, &file, PREAMBLE).ok_or_else(|| damaged(PREAMBLE, "its beginning does not read"))?;
        let begin = beginning(head.body).ok_or_else(|| damaged(PREAMBLE, "its beginning makes no sense"))?;
        if begin.segment != number || begin.node != settings.node {
            let why = format!("it is file {} of node {}", begin.segment, begin.node);
            return Err(damaged(PREAMBLE, &why));
        }
        if let Some(expected) = expect
            && expected != (number, head.sequence, salt)
        {
            return Err(damaged(PREAMBLE, "it does not follow on from the file before it"));
        }

        let contents = contents.get_or_insert_with(|| Contents::begin(begin));
        let (mut offset, mut sequence, mut highest) = (head.end, head.sequence + 1, None);
        while let Some(frame) = frame::read(salt, &file, offset).filter(|frame| frame.sequence == sequence) {
            let body = pb::Frame::decode(Bytes::copy_from_slice(frame.body))
                .map_err(|error| damaged(offset, &error.to_string()))?;
            for record in body.records {
                let record = record.record.ok_or_else(|| damaged(offset, "a newer version wrote a record"))?;
                if let Record::Append(entry) = &record {
                    highest = highest.max(Some(entry.id.index));
                }
                contents.record(record).map_err(|why| damaged(offset, &why))?;
            }
            (offset, sequence) = (frame.end, sequence + 1);
        }
        if number != last {
            // Whether all of its frames were read shows at the next file, which knows its own sequence.
            full.push_back(Full { path: path.clone(), highest });
            expect = Some((number + 1, sequence, salt));
            continue;
        }

        if frame::any_after(salt, &file, offset, sequence) {
            return Err(damaged(offset, "a record does not read, and later ones do"));
        }
        let rest = file.get(offset..).unwrap_or_default();
        let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        if let Some(why) = contents.missing() {
            return Err(damaged(offset, &why));
        }
        let handle = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        if torn > 0 {
            // The remains must be gone before anything is written over them: they could read as a frame
            // that was never acknowledged.
            disk.write(&handle, &path, offset as u64, &vec![0; torn as usize])?;
            disk.sync(&handle, &path)?;
        }
        let length = file.len() as u64;
        let active = Active { file: handle, path, number, offset: offset as u64, length, highest };
        return Ok(Opened { contents: contents.clone(), full, active, salt, sequence, torn });
    }
    fresh(settings, disk)
}

/// Makes the file after the last one, with what those before it amount to.
pub(crate) fn create_segment(
    settings: &LogSettings,
    disk: &Arc<dyn Disk>,
    (salt, sequence): (u32, u64),
    begin: pb::Begin,
    room: u64,
) -> Result<Active, StorageError> {
    let number = begin.segment;
    let path = segment_path(&settings.dir, number);
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&salt.to_le_bytes());
    let body = pb::Frame { records: vec![pb::LogRecord { record: Some(Record::Begin(begin)) }] };
    head.extend(frame::seal(salt, sequence, |bytes| body.encode_raw(bytes)));
    let offset = head.len() as u64;
    let length = settings.segment_bytes.max(offset + room);
    let file = disk::make(disk.as_ref(), &path, |file, aside| fill(disk.as_ref(), file, aside, &head, length))?;
    Ok(Active { file, path, number, offset, length, highest: None })
}

/// Makes a log that begins with `begin`, of one file without entries. There must be none.
pub(crate) fn create(settings: &LogSettings, disk: impl Disk, begin: pb::Begin) -> Result<(), StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    create_segment(settings, &disk, (salt(), 0), begin, 0).map(drop)
}

fn fresh(settings: &LogSettings, disk: &Arc<dyn Disk>) -> Result<Opened, StorageError> {
    let salt = salt();
    let begin = pb::Begin { format: FORMAT, node: settings.node, segment: 1, ..Default::default() };
    let active = create_segment(settings, disk, (salt, 0), begin, 0)?;
    Ok(Opened { contents: Contents::default(), full: VecDeque::new(), active, salt, sequence: 1, torn: 0 })
}

/// Zeros are written, not only allotted: a sync of a file that does not grow writes no metadata, which
/// measured five times faster at batches of 16 entries.
fn fill(disk: &dyn Disk, file: &fs::File, path: &Path, head: &[u8], length: u64) -> Result<(), StorageError> {
    disk.write(file, path, 0, head)?;
    let mut at = head.len() as u64;
    let zeros = vec![0; length.saturating_sub(at).min(1 << 20) as usize];
    while at < length {
        let piece = zeros.len().min((length - at) as usize);
        disk.write(file, path, at, &zeros[..piece])?;
        at += piece as u64;
    }
    Ok(())
}

/// What tells a log's bytes from another log's.
fn salt() -> u32 {
    // Only has to differ from other logs'; the standard library's hasher keys are random per process.
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() as u32
}

fn preamble(path: &Path, file: &[u8]) -> Result<u32, StorageError> {
    let Some((head, _)) = file.split_at_checked(PREAMBLE).filter(|(head, _)| head[..8] == MAGIC) else {
        return Err(StorageError::damaged(path, 0, "it is not a file of this log"));
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    match word(8) {
        FORMAT => Ok(word(12)),
        found => Err(StorageError::Format { path: path.to_owned(), found, known: FORMAT }),
    }
}

fn beginning(body: &[u8]) -> Option<pb::Begin> {
    let mut frame = pb::Frame::decode(body).ok()?;
    match frame.records.pop()?.record? {
        Record::Begin(begin) => Some(begin),
        Record::Append(_) | Record::Vote(_) | Record::Committed(_) | Record::Truncate(_) | Record::Purge(_) => None,
    }
}

/// The numbers of the files, oldest first. What a crash left half made is removed.
fn segments(dir: &Path, disk: &dyn Disk) -> Result<Vec<u64>, StorageError> {
    let failed = |e| StorageError::io("read", dir, e);
    let mut numbers = Vec::new();
    for item in fs::read_dir(dir).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        match (extension, number) {
            (Some("log"), Some(number)) => numbers.push(number),
            (Some("new"), _) => {
                disk.remove(&path)?;
                disk.sync_dir(dir)?;
            }
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}
