//! A disk for tests and simulations that remembers what a power cut would leave of it. It is as slow and as full as it
//! is told to be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::StorageError;
use crate::log::disk::{Disk, RealDisk};

/// Keeps apart what is durable and what is only written.
#[derive(Debug, Default)]
pub struct PowerDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<PathBuf, Shadow>,
    delay: Duration,
    full: bool,
    syncs_fail: bool,
}

#[derive(Clone, Debug, Default)]
struct Shadow {
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

/// The smallest piece that a disk writes whole.
const SECTOR: usize = 512;

impl PowerDisk {
    /// What the disk holds that was opened in another life: all of the files in `dir` are durable.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn with_files_of(dir: &Path) -> io::Result<Self> {
        let disk = Self::default();
        for item in std::fs::read_dir(dir)? {
            let path = item?.path();
            let durable = std::fs::read(&path)?;
            disk.lock().files.insert(path, Shadow { durable, pending: Vec::new() });
        }
        Ok(disk)
    }

    /// From now on a write takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// From now on there is room for no file more, or there is again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// From now on no sync succeeds.
    pub fn fail_syncs(&self) {
        self.lock().syncs_fail = true;
    }

    /// Writes to `dir` what a power cut now could leave: what is durable, and of what is only written, the
    /// sectors that `keep` says.
    ///
    /// # Errors
    /// Where `dir` cannot be written.
    pub fn cut(&self, dir: &Path, mut keep: impl FnMut() -> bool) -> io::Result<()> {
        for (path, shadow) in self.lock().files.iter().filter(|(path, _)| path.exists()) {
            let mut image = shadow.durable.clone();
            for (offset, bytes) in &shadow.pending {
                let mut at = *offset as usize;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    if keep() {
                        lay(&mut image, at, piece);
                    }
                    (at, rest) = (at + piece.len(), after);
                }
            }
            std::fs::write(dir.join(path.file_name().unwrap_or_default()), image)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes `piece` over what `image` holds at `at`.
fn lay(image: &mut [u8], at: usize, piece: &[u8]) {
    if let Some(place) = image.get_mut(at..at + piece.len()) {
        place.copy_from_slice(piece);
    }
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path, head: &[u8], length: u64) -> Result<File, StorageError> {
        if self.lock().full {
            return Err(StorageError::io("create", path, io::ErrorKind::StorageFull.into()));
        }
        let file = RealDisk.create(path, head, length)?;
        let durable = std::fs::read(path).map_err(|error| StorageError::io("read", path, error))?;
        self.lock().files.insert(path.to_owned(), Shadow { durable, pending: Vec::new() });
        Ok(file)
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if let Some(shadow) = self.lock().files.get_mut(path) {
            shadow.pending.push((offset, bytes.to_vec()));
        }
        RealDisk.write(file, path, offset, bytes)
    }

    fn sync(&self, _: &File, path: &Path) -> Result<(), StorageError> {
        let mut inner = self.lock();
        if inner.syncs_fail {
            return Err(StorageError::io("sync", path, io::ErrorKind::Other.into()));
        }
        if let Some(Shadow { durable, pending }) = inner.files.get_mut(path) {
            for (offset, bytes) in pending.drain(..) {
                lay(durable, offset as usize, &bytes);
            }
        }
        Ok(())
    }

    fn delay(&self) -> Duration {
        self.lock().delay
    }
}
