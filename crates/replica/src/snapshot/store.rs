//! The directory of snapshots: the newest is kept, older ones go when a newer is durable.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heats_core::State;

use crate::codec;
use crate::error::{OpenError, StorageError};
use crate::ground::Ground;
use crate::pb::SnapshotHeader;
use crate::snapshot::file;
use crate::types::{LogId, SnapshotMeta};

/// A snapshot's file, open: it can be read to its end even after a newer one has replaced it.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// What it says, where it was read on its way here.
    pub(crate) read: Option<State>,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// A snapshot that was found when the node opened.
pub(crate) struct Loaded {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
}

/// The directory; clones share it.
#[derive(Clone)]
pub(crate) struct SnapshotStore {
    dir: PathBuf,
    ground: Ground,
    current: Arc<Mutex<Option<(SnapshotMeta, SnapshotFile)>>>,
    /// The length of the newest snapshot, in bytes.
    length: Arc<AtomicU64>,
}

impl SnapshotStore {
    /// Reads the newest snapshot that reads; says of each newer one why it does not.
    pub(crate) fn open(dir: &Path, ground: Ground) -> Result<(Self, Option<Loaded>, Vec<OpenError>), OpenError> {
        let store = Self::empty(dir, ground);
        // Half written when the process ended; one that a peer sends is kept, it goes on where it was.
        files(dir, "new")?.iter().try_for_each(|path| store.ground.disk.remove(path))?;
        let mut bad = Vec::new();
        for path in files(dir, "snapshot")?.into_iter().rev() {
            let read = file::read(&path).and_then(|(header, state)| {
                let meta = meta_of(&path, &header)?;
                let file = File::open(&path).map_err(|e| StorageError::io("open", &path, e))?;
                Ok((meta, state, file))
            });
            match read {
                Ok((meta, state, file)) => {
                    store.measure(&file, &path)?;
                    let file = SnapshotFile { file: Arc::new(file), path, read: None };
                    *store.lock() = Some((meta.clone(), file));
                    return Ok((store, Some(Loaded { meta, state }), bad));
                }
                Err(error) => bad.push(error),
            }
        }
        Ok((store, None, bad))
    }

    /// A directory without any.
    pub(crate) fn empty(dir: &Path, ground: Ground) -> Self {
        Self { dir: dir.to_owned(), ground, current: Arc::default(), length: Arc::default() }
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        self.lock().clone()
    }

    /// How long the newest snapshot is, in bytes; 0 where there is none.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn measure(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        let length = file.metadata().map_err(|e| StorageError::io("read", path, e))?.len();
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a snapshot of `state` and makes it the current one.
    pub(crate) fn build(&self, meta: &SnapshotMeta, state: &State) -> Result<SnapshotFile, StorageError> {
        let header = header_of(meta, state);
        let path = self.path(meta.last_log_id);
        file::write(&self.ground, &path, &header, state)?;
        self.adopt(meta, &path)
    }

    /// Where a snapshot that a peer sends is collected; digest and length say which it is.
    pub(crate) fn incoming(&self, digest: &[u8], length: u64) -> PathBuf {
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{name}-{length}.part"))
    }

    /// Adds a piece to what a peer has sent so far, if it is the next one; how much is there then, in bytes.
    pub(crate) fn extend(&self, part: &Path, offset: u64, data: &[u8]) -> Result<u64, StorageError> {
        let have = match fs::metadata(part) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(StorageError::io("read", part, error)),
        };
        if offset != have || data.is_empty() {
            return Ok(have);
        }
        let file = if have == 0 {
            self.ground.disk.create(part)?
        } else {
            OpenOptions::new().write(true).open(part).map_err(|e| StorageError::io("open", part, e))?
        };
        let begun = Instant::now();
        self.ground.disk.write(&file, part, have, data)?;
        self.ground.disk.sync(&file, part)?;
        self.ground.work.rest(begun);
        Ok(have + data.len() as u64)
    }

    /// Removes what a peer sent, for it does not read.
    pub(crate) fn discard(&self, part: &Path) -> Result<(), StorageError> {
        self.ground.disk.remove(part)
    }

    /// Gives a file that was read and found whole its name, and makes it the current one.
    pub(crate) fn keep(&self, meta: &SnapshotMeta, found: &SnapshotFile) -> Result<(), StorageError> {
        let path = self.path(meta.last_log_id);
        if found.path != path {
            self.ground.disk.sync(&found.file, &found.path)?;
            self.ground.disk.rename(&found.path, &path)?;
            self.ground.disk.sync_dir(&self.dir)?;
        }
        self.adopt(meta, &path)?;
        // What other transfers left is of snapshots that this one replaces.
        files(&self.dir, "part")?.iter().try_for_each(|part| self.ground.disk.remove(part))
    }

    fn adopt(&self, meta: &SnapshotMeta, path: &Path) -> Result<SnapshotFile, StorageError> {
        let file = File::open(path).map_err(|e| StorageError::io("open", path, e))?;
        let file = SnapshotFile { file: Arc::new(file), path: path.to_owned(), read: None };
        {
            let mut current = self.lock();
            if current.as_ref().is_some_and(|(newest, _)| newest.last_log_id > meta.last_log_id) {
                // A peer's snapshot overtook this one while it was built.
                return Ok(file);
            }
            self.measure(&file.file, path)?;
            *current = Some((meta.clone(), file.clone()));
        }
        // Not under the lock, which the state machine takes as well: to remove a large file takes time. One that is newer by
        // now stays.
        let others = files(&self.dir, "snapshot")?;
        others.iter().filter(|old| old.as_path() < path).try_for_each(|old| self.ground.disk.remove(old))?;
        Ok(file)
    }

    fn path(&self, last: Option<LogId>) -> PathBuf {
        let (index, term) = last.map_or((0, 0), |last| (last.index, last.leader_id.term));
        self.dir.join(format!("{index:020}-{term:020}.snapshot"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(SnapshotMeta, SnapshotFile)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn header_of(meta: &SnapshotMeta, state: &State) -> SnapshotHeader {
    SnapshotHeader {
        last: meta.last_log_id.as_ref().map(codec::log_id),
        membership_at: meta.last_membership.log_id().as_ref().map(codec::log_id),
        membership: codec::membership(meta.last_membership.membership()),
        at_ms: state.at_ms,
        turn_term: state.turn.term,
        turn_number: state.turn.number,
    }
}

fn meta_of(path: &Path, header: &SnapshotHeader) -> Result<SnapshotMeta, StorageError> {
    codec::to_meta(header).map_err(|error| StorageError::damaged(path, 0, error.to_string()))
}

/// The files with this extension, oldest snapshot first.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, StorageError> {
    let failed = |e| StorageError::io("read", dir, e);
    let mut paths = Vec::new();
    for item in fs::read_dir(dir).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
