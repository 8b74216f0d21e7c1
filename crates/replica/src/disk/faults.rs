//! A disk for tests that fails.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::disk::{Disk, RealDisk};
use crate::error::StorageError;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Making what was written durable.
    Sync,
    /// Making a file: there is no room.
    Full,
}

/// A disk that fails after so many writes.
pub(crate) struct FaultyDisk {
    fault: Fault,
    writes_left: AtomicU32,
}

impl FaultyDisk {
    pub(crate) fn new(fault: Fault, writes: u32) -> Self {
        Self { fault, writes_left: AtomicU32::new(writes) }
    }

    fn check(&self, fault: Fault, op: &'static str, path: &Path, kind: io::ErrorKind) -> Result<(), StorageError> {
        if self.fault == fault && self.writes_left.load(Ordering::Relaxed) == 0 {
            return Err(StorageError::io(op, path, kind.into()));
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> Result<File, StorageError> {
        self.check(Fault::Full, "create", path, io::ErrorKind::StorageFull)?;
        RealDisk.create(path)
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let one_less = |left: u32| Some(left.saturating_sub(1));
        let _ = self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        RealDisk.write(file, path, offset, bytes)
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        self.check(Fault::Sync, "sync", path, io::ErrorKind::Other)?;
        RealDisk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.check(Fault::Sync, "sync", dir, io::ErrorKind::Other)?;
        RealDisk.sync_dir(dir)
    }
}
