//! The sled database: keys, values, reads. Filling it is the worker's.
//!
//! One tree, so that a batch is atomic: `m` the last entry that is in; `e`, sweep, log index, place among
//! the sweep's facts of that entry: a page of the sweep's records, which begins with that one. Numbers are big-endian,
//! so that keys sort by them. Every value begins with its crc32.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use heats_core::Record;
use heats_domain::SweepId;
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Why the catalogue does not answer. The state still holds everything that it would have said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be opened or written.
    #[error("the catalogue is not available: {0}")]
    Unavailable(String),
    /// It is being opened, or made anew after a doubt.
    #[error("the catalogue is being opened or made anew; ask again in a moment")]
    Rebuilding,
}

/// Reads by key; clones share it. Reads block on the disk for a moment: many of them belong on a blocking
/// thread.
#[derive(Clone)]
pub struct Catalogue {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) open: RwLock<Result<sled::Db, CatalogueError>>,
    pub(crate) applied: watch::Sender<u64>,
    /// A reader found damage.
    pub(crate) doubt: Notify,
    pub(crate) close: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Catalogue {
    /// The catalogue of a node that keeps none.
    pub(crate) fn none() -> Self {
        let open = RwLock::new(Err(CatalogueError::Unavailable("this node keeps none".to_owned())));
        let (applied, _) = watch::channel(0);
        let (close, _) = mpsc::unbounded_channel();
        Self { shared: Arc::new(Shared { open, applied, doubt: Notify::new(), close }) }
    }

    /// The sweep's records from `from_index` on, at most `limit`, in log order.
    ///
    /// # Errors
    /// See [`CatalogueError`].
    pub fn events(&self, sweep: SweepId, from_index: u64, limit: usize) -> Result<Vec<Record>, CatalogueError> {
        let db = self.db()?;
        let (first, end) = (event_key(sweep, 0, 0), event_key(sweep, u64::MAX, u32::MAX));
        let asked = event_key(sweep, from_index, 0);
        // The page that begins before it may hold it.
        let before = db.range(first..asked).next_back().transpose().map_err(|_| self.doubt())?;
        let start = before.map_or_else(|| sled::IVec::from(&asked), |(key, _)| key);
        let mut records = Vec::new();
        for item in db.range(start..=sled::IVec::from(&end)) {
            let (_, value) = item.map_err(|_| self.doubt())?;
            let page = open_value(&value).and_then(|bytes| Page::decode(bytes).ok()).ok_or_else(|| self.doubt())?;
            let wanted = page.records.into_iter().filter(|record| record.log_index >= from_index);
            records.extend(wanted.take(limit - records.len()));
            if records.len() == limit {
                break;
            }
        }
        Ok(records)
    }

    /// The last log entry that the catalogue holds, as it moves. It follows the state by some milliseconds.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    fn db(&self) -> Result<sled::Db, CatalogueError> {
        self.shared.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What does not read is not repaired but made anew.
    fn doubt(&self) -> CatalogueError {
        self.shared.doubt.notify_one();
        CatalogueError::Rebuilding
    }

    /// Brings it up to date, closes it, and marks it as whole. What is not closed by `limit` is left, and made anew at the
    /// next start: on a disk without room sled may wait for what will never be written.
    pub(crate) async fn close(&self, limit: Duration) {
        let (done, closed) = oneshot::channel();
        // Where the worker has ended there is nothing to close.
        if self.shared.close.send(done).is_ok() && tokio::time::timeout(limit, closed).await.is_err() {
            tracing::warn!("the catalogue does not close; the next start makes it anew");
        }
    }
}

pub(crate) const META: &[u8] = b"m";
/// When a page is full. What is read is read by hundreds of records; sled splits its own pages at about as much.
const PAGE_BYTES: usize = 4 << 10;

pub(crate) fn event_key(sweep: SweepId, index: u64, place: u32) -> [u8; 21] {
    let mut key = [b'e'; 21];
    key[1..9].copy_from_slice(&sweep.bits.to_be_bytes());
    key[9..17].copy_from_slice(&index.to_be_bytes());
    key[17..].copy_from_slice(&place.to_be_bytes());
    key
}

/// The sweep that an event's key names.
pub(crate) fn sweep_of(key: &[u8]) -> Option<SweepId> {
    let bits = key.strip_prefix(b"e")?.first_chunk()?;
    Some(SweepId { bits: u64::from_be_bytes(*bits) })
}

/// Records of one sweep that follow each other. sled takes some ten microseconds for each key that it writes: one for each
/// record was more than half of all that a busy node had to do.
#[derive(Clone, PartialEq, Message)]
struct Page {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

/// A page as it is filled, from records that others hold.
pub(crate) struct Filling {
    key: [u8; 21],
    /// Begins with room for the crc32.
    value: Vec<u8>,
}

impl Filling {
    pub(crate) fn new(key: [u8; 21]) -> Self {
        Self { key, value: vec![0; 4] }
    }

    pub(crate) fn push(&mut self, record: &Record) {
        prost::encoding::message::encode(1, record, &mut self.value);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.value.len() >= PAGE_BYTES
    }

    /// The key and the value.
    pub(crate) fn seal(mut self) -> ([u8; 21], Vec<u8>) {
        let crc = crc32fast::hash(&self.value[4..]);
        self.value[..4].copy_from_slice(&crc.to_le_bytes());
        (self.key, self.value)
    }
}

pub(crate) fn open_value(value: &[u8]) -> Option<&[u8]> {
    let (crc, bytes) = value.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == crc32fast::hash(bytes)).then_some(bytes)
}

/// What the mark begins with. A catalogue of another layout counts as not closed whole, and is made anew.
const LAYOUT: &str = "3 ";

/// The file that says that the catalogue was closed whole, and at which entry.
pub(crate) fn mark_path(dir: &Path) -> PathBuf {
    dir.with_extension("clean")
}

/// Makes what sled wrote durable, which it does not itself, and marks it as whole.
pub(crate) fn mark(dir: &Path, applied: u64) -> std::io::Result<()> {
    sync_tree(dir)?;
    let path = mark_path(dir);
    fs::write(&path, format!("{LAYOUT}{applied}\n"))?;
    fs::File::open(&path)?.sync_all()?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes the mark away; the entry that it named. It is whole again only once it is closed again.
pub(crate) fn unmark(dir: &Path) -> Option<u64> {
    let path = mark_path(dir);
    let text = fs::read_to_string(&path).ok()?;
    fs::remove_file(&path).ok()?;
    fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).ok()?;
    text.strip_prefix(LAYOUT)?.trim().parse().ok()
}

fn sync_tree(dir: &Path) -> std::io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            fs::File::open(&path)?.sync_all()?;
        }
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_never_closes_it_keeps_nobody() {
        let (close, mut closing) = mpsc::unbounded_channel();
        let open = RwLock::new(Err(CatalogueError::Rebuilding));
        let shared = Shared { open, applied: watch::channel(0).0, doubt: Notify::new(), close };
        let catalogue = Catalogue { shared: Arc::new(shared) };
        catalogue.close(Duration::from_millis(1)).await;
        assert!(closing.recv().await.is_some(), "it was asked to");
    }
}
