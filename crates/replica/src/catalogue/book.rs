//! The sled database: keys, values, reads. Filling it is the worker's.
//!
//! One tree, so that a batch is atomic: `m` the last entry that is in; `e`, sweep, log index, place among
//! the sweep's facts of that entry: the record. Numbers are big-endian, so that keys sort by them. Every
//! value begins with its crc32.

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
        let (start, end) = (event_key(sweep, from_index, 0), event_key(sweep, u64::MAX, u32::MAX));
        db.range(start..=end)
            .take(limit)
            .map(|item| {
                let (_, value) = item.map_err(|_| self.doubt())?;
                open_value(&value).and_then(|bytes| Record::decode(bytes).ok()).ok_or_else(|| self.doubt())
            })
            .collect()
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

pub(crate) fn seal_value(message: &impl Message) -> Vec<u8> {
    let mut value = vec![0; 4];
    message.encode_raw(&mut value);
    let crc = crc32fast::hash(&value[4..]);
    value[..4].copy_from_slice(&crc.to_le_bytes());
    value
}

pub(crate) fn open_value(value: &[u8]) -> Option<&[u8]> {
    let (crc, bytes) = value.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == crc32fast::hash(bytes)).then_some(bytes)
}

/// What the mark begins with. A catalogue of another layout counts as not closed whole, and is made anew.
const LAYOUT: &str = "2 ";

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
