//! One process per directory: an advisory lock on a file that says who holds it. The kernel drops the lock
//! with its process, so that a crash leaves none behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{OpenError, StorageError};

/// The lock; dropping it releases the directory.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let failed = |op, source| StorageError::io(op, &path, source);
        // Not truncated before the lock is held: until then the content is the holder's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(|e| failed("read", e))?;
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
                return Err(OpenError::Locked { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error).into()),
        }
        let command = std::env::args().next().unwrap_or_default();
        let holder = format!("process {} (`{command}`)", std::process::id());
        file.set_len(0).map_err(|e| failed("write", e))?;
        file.seek(SeekFrom::Start(0)).map_err(|e| failed("write", e))?;
        file.write_all(holder.as_bytes()).map_err(|e| failed("write", e))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_the_first_ones_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
