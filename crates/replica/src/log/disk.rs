//! The few things that the log does to a disk, behind a trait, so that tests can make them fail, and a simulation lose them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StorageError;

/// A disk.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file of `head` and zeros up to `length`, durable with its name: written aside, synced, renamed.
    ///
    /// # Errors
    /// Where the file system refuses; nothing is there then.
    fn create(&self, path: &Path, head: &[u8], length: u64) -> Result<File, StorageError>;
    /// Writes over what is at `offset`.
    ///
    /// # Errors
    /// Where the file system refuses.
    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// Where the file system refuses: nobody knows then what is durable.
    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError>;
    /// How long the next write and its sync take beyond the time of these calls: a simulated disk blocks nobody.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// The operating system's files.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, head: &[u8], length: u64) -> Result<File, StorageError> {
        let aside = aside(path);
        let made = fill(&aside, head, length).and_then(|file| {
            fs::rename(&aside, path).map_err(|e| StorageError::io("create", path, e))?;
            sync_dir(path.parent().unwrap_or(Path::new(".")))?;
            Ok(file)
        });
        if made.is_err() {
            // On a full disk the half that was written would be in the way; nothing else refers to it.
            let _ = fs::remove_file(&aside);
        }
        made
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        file.write_all_at(bytes, offset).map_err(|e| StorageError::io("write", path, e))
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        file.sync_data().map_err(|e| StorageError::io("sync", path, e))
    }
}

/// Where a file is written before it gets its name.
pub(crate) fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| StorageError::io("sync", dir, e))
}

/// Zeros are written, not only allotted: a sync of a file that does not grow writes no metadata, which
/// measured five times faster at batches of 16 entries.
fn fill(path: &Path, head: &[u8], length: u64) -> Result<File, StorageError> {
    let failed = |e| StorageError::io("create", path, e);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
    file.write_all(head).map_err(failed)?;
    let zeros = vec![0; 1 << 20];
    let mut left = length.saturating_sub(head.len() as u64);
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(&zeros[..piece as usize]).map_err(failed)?;
        left -= piece;
    }
    file.sync_all().map_err(failed)?;
    Ok(file)
}
