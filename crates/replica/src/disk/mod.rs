//! The few things that a node does to a disk, behind a trait, so that tests can make them fail, and a simulation lose them.

#[cfg(test)]
mod faults;
#[cfg(any(test, feature = "testing"))]
mod power;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StorageError;

#[cfg(test)]
pub(crate) use faults::{Fault, FaultyDisk};
#[cfg(any(test, feature = "testing"))]
pub use power::PowerDisk;

/// A disk. What was written is durable after a sync of its file, and a name after a sync of its folder; before that, a
/// power cut may leave any part of it.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty file, in place of one that has the name.
    ///
    /// # Errors
    /// Where the file system refuses.
    fn create(&self, path: &Path) -> Result<File, StorageError>;
    /// Writes at `offset`, over what is there or behind it.
    ///
    /// # Errors
    /// Where the file system refuses.
    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// Where the file system refuses: nobody knows then what is durable.
    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError>;
    /// Gives a file another name in its folder, in place of one that has it.
    ///
    /// # Errors
    /// Where the file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;
    /// Removes a file.
    ///
    /// # Errors
    /// Where the file system refuses.
    fn remove(&self, path: &Path) -> Result<(), StorageError>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Where the file system refuses: nobody knows then what is durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError>;
    /// How long the next write and its sync take beyond the time of these calls: a simulated disk blocks nobody.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// The operating system's files.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> Result<File, StorageError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        file.map_err(|e| StorageError::io("create", path, e))
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        file.write_all_at(bytes, offset).map_err(|e| StorageError::io("write", path, e))
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        file.sync_data().map_err(|e| StorageError::io("sync", path, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        fs::rename(from, to).map_err(|e| StorageError::io("create", to, e))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        fs::remove_file(path).map_err(|e| StorageError::io("remove", path, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| StorageError::io("sync", dir, e))
    }
}

/// Makes a file that `fill` fills, durable with its name: written aside, synced, renamed. Where that fails, nothing is there.
pub(crate) fn make(
    disk: &dyn Disk,
    path: &Path,
    fill: impl FnOnce(&File, &Path) -> Result<(), StorageError>,
) -> Result<File, StorageError> {
    let aside = aside(path);
    let made = disk.create(&aside).and_then(|file| {
        fill(&file, &aside)?;
        disk.sync(&file, &aside)?;
        disk.rename(&aside, path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        Ok(file)
    });
    if made.is_err() {
        // On a full disk the half that was written would be in the way; nothing else refers to it.
        let _ = disk.remove(&aside);
    }
    made
}

/// Where a file is written before it gets its name.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}
