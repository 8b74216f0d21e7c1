//! Disks for tests: one that fails, and one that remembers what a power cut would leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::StorageError;
use crate::log::disk::{Disk, RealDisk};

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
    fn create(&self, path: &Path, head: &[u8], length: u64) -> Result<File, StorageError> {
        self.check(Fault::Full, "create", path, io::ErrorKind::StorageFull)?;
        RealDisk.create(path, head, length)
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
}

/// A disk that keeps apart what is durable and what is only written.
#[derive(Default)]
pub(crate) struct PowerDisk {
    files: Mutex<BTreeMap<PathBuf, Shadow>>,
}

#[derive(Clone, Default)]
struct Shadow {
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

/// The smallest piece that a disk writes whole.
const SECTOR: usize = 512;

impl PowerDisk {
    /// Writes to `dir` what a power cut now could leave: what is durable, and of what is only written, the
    /// sectors that `keep` says.
    pub(crate) fn cut(&self, dir: &Path, mut keep: impl FnMut() -> bool) {
        for (path, shadow) in self.files.lock().unwrap().iter().filter(|(path, _)| path.exists()) {
            let mut image = shadow.durable.clone();
            for (offset, bytes) in &shadow.pending {
                let mut at = *offset as usize;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    if keep() {
                        image[at..at + piece.len()].copy_from_slice(piece);
                    }
                    (at, rest) = (at + piece.len(), after);
                }
            }
            std::fs::write(dir.join(path.file_name().unwrap()), image).unwrap();
        }
    }
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path, head: &[u8], length: u64) -> Result<File, StorageError> {
        let file = RealDisk.create(path, head, length)?;
        let durable = std::fs::read(path).unwrap();
        self.files.lock().unwrap().insert(path.to_owned(), Shadow { durable, pending: Vec::new() });
        Ok(file)
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut files = self.files.lock().unwrap();
        files.get_mut(path).unwrap().pending.push((offset, bytes.to_vec()));
        RealDisk.write(file, path, offset, bytes)
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        RealDisk.sync(file, path)?;
        let mut files = self.files.lock().unwrap();
        let shadow = files.get_mut(path).unwrap();
        for (offset, bytes) in shadow.pending.drain(..) {
            let at = offset as usize;
            shadow.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}
