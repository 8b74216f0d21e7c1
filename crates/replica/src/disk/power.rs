//! A disk for tests and simulations that remembers what a power cut would leave of it. It is as slow and as full as it
//! is told to be, and its power goes when it is told to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, RealDisk};
use crate::error::StorageError;

/// Keeps apart what is durable and what is only written. The files themselves hold what was written.
#[derive(Debug, Default)]
pub struct PowerDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Contents>,
    numbered: u64,
    /// Which file has which name, as programs see it, and as it is durable.
    names: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    /// What happened to names since their folder was synced, in order.
    changes: Vec<Change>,
    delay: Duration,
    full: bool,
    syncs_fail: bool,
    /// The power goes after so many more operations in this folder.
    goes_after: Option<(PathBuf, u32)>,
    is_out: bool,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

/// A name is taken from a file, given to one, or both at once.
#[derive(Clone, Debug)]
struct Change {
    taken: Option<PathBuf>,
    given: Option<(PathBuf, u64)>,
}

impl Change {
    fn carry_out(&self, names: &mut BTreeMap<PathBuf, u64>) {
        if let Some(path) = &self.taken {
            names.remove(path);
        }
        if let Some((path, file)) = &self.given {
            names.insert(path.clone(), *file);
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let path = self.taken.as_ref().or(self.given.as_ref().map(|(path, _)| path));
        path.is_some_and(|path| path.parent() == Some(dir))
    }
}

/// The smallest piece that a disk writes whole.
const SECTOR: usize = 512;

impl PowerDisk {
    /// What the disk holds that was opened in another life: all of the files in folders of `root` are durable.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn with_files_of(root: &Path) -> io::Result<Self> {
        let disk = Self::default();
        let mut inner = disk.lock();
        for folder in std::fs::read_dir(root)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            for item in std::fs::read_dir(folder)? {
                let path = item?.path();
                let file = inner.number(Contents { durable: std::fs::read(&path)?, pending: Vec::new() });
                inner.names.insert(path.clone(), file);
                inner.durable.insert(path, file);
            }
        }
        drop(inner);
        Ok(disk)
    }

    /// From now on a write takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// From now on there is room for nothing more, or there is again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// From now on no sync succeeds.
    pub fn fail_syncs(&self) {
        self.lock().syncs_fail = true;
    }

    /// The power goes after `operations` more in the folder `dir`, or does not: from then on nothing succeeds.
    pub fn cut_after(&self, operations: Option<(&Path, u32)>) {
        self.lock().goes_after = operations.map(|(dir, left)| (dir.to_owned(), left));
    }

    /// Whether the power is gone.
    pub fn is_out(&self) -> bool {
        self.lock().is_out
    }

    /// Writes to `to` what a power cut now could leave of what is below `from`: what is durable, and of what is only
    /// written, the sectors and the changes of names that `keep` says.
    ///
    /// # Errors
    /// Where `to` cannot be written.
    pub fn cut(&self, from: &Path, to: &Path, mut keep: impl FnMut() -> bool) -> io::Result<()> {
        let inner = self.lock();
        let mut names = inner.durable.clone();
        inner.changes.iter().filter(|_| keep()).for_each(|change| change.carry_out(&mut names));
        for (path, file) in &names {
            let (Ok(below), Some(contents)) = (path.strip_prefix(from), inner.files.get(file)) else { continue };
            let mut image = contents.durable.clone();
            for (offset, bytes) in &contents.pending {
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
            std::fs::write(to.join(below), image)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation on `path`, if there is power for it.
    fn begin(&self, op: &'static str, path: &Path) -> Result<MutexGuard<'_, Inner>, StorageError> {
        let mut inner = self.lock();
        if let Some((dir, left)) = &mut inner.goes_after
            && path.starts_with(dir)
        {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => inner.is_out = true,
            }
        }
        if inner.is_out {
            return Err(StorageError::io(op, path, io::ErrorKind::Other.into()));
        }
        Ok(inner)
    }
}

impl Inner {
    fn number(&mut self, contents: Contents) -> u64 {
        self.numbered += 1;
        self.files.insert(self.numbered, contents);
        self.numbered
    }

    fn change(&mut self, change: Change) {
        change.carry_out(&mut self.names);
        self.changes.push(change);
    }

    fn contents(&mut self, path: &Path) -> Option<&mut Contents> {
        self.files.get_mut(self.names.get(path)?)
    }
}

/// Writes `piece` at `at`, over what `image` holds there or behind it.
fn lay(image: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = at + piece.len();
    image.resize(image.len().max(end), 0);
    image[at..end].copy_from_slice(piece);
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path) -> Result<File, StorageError> {
        let mut inner = self.begin("create", path)?;
        if inner.full {
            return Err(StorageError::io("create", path, io::ErrorKind::StorageFull.into()));
        }
        let made = RealDisk.create(path)?;
        let file = inner.number(Contents::default());
        inner.change(Change { taken: None, given: Some((path.to_owned(), file)) });
        Ok(made)
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut inner = self.begin("write", path)?;
        let failed = |error| StorageError::io("write", path, error);
        let grows = offset + bytes.len() as u64 > file.metadata().map_err(failed)?.len();
        if inner.full && grows {
            return Err(failed(io::ErrorKind::StorageFull.into()));
        }
        if let Some(contents) = inner.contents(path) {
            contents.pending.push((offset, bytes.to_vec()));
        }
        RealDisk.write(file, path, offset, bytes)
    }

    fn sync(&self, _: &File, path: &Path) -> Result<(), StorageError> {
        let mut inner = self.begin("sync", path)?;
        if inner.syncs_fail {
            return Err(StorageError::io("sync", path, io::ErrorKind::Other.into()));
        }
        if let Some(Contents { durable, pending }) = inner.contents(path) {
            for (offset, bytes) in pending.drain(..) {
                lay(durable, offset as usize, &bytes);
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut inner = self.begin("create", to)?;
        RealDisk.rename(from, to)?;
        if let Some(file) = inner.names.get(from).copied() {
            inner.change(Change { taken: Some(from.to_owned()), given: Some((to.to_owned(), file)) });
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let mut inner = self.begin("remove", path)?;
        RealDisk.remove(path)?;
        inner.change(Change { taken: Some(path.to_owned()), given: None });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut inner = self.begin("sync", dir)?;
        if inner.syncs_fail {
            return Err(StorageError::io("sync", dir, io::ErrorKind::Other.into()));
        }
        let Inner { files, names, durable, changes, .. } = &mut *inner;
        changes.retain(|change| {
            let is_done = change.is_in(dir);
            if is_done {
                change.carry_out(durable);
            }
            !is_done
        });
        let left = |file: &u64| names.values().chain(durable.values()).any(|named| named == file);
        files.retain(|file, _| left(file));
        Ok(())
    }

    fn delay(&self) -> Duration {
        self.lock().delay
    }
}
