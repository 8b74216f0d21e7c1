//! Archives on this node's disk: `archives/HASH` and `logs/HASH` in the data directory, each whole or not there at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heats_domain::ArchiveName;
use tokio::time::Instant;

/// How much a store takes, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest archive.
    pub one: u64,
    /// All of them together.
    pub all: u64,
}

impl Limits {
    /// Of the code of sweeps.
    pub const CODE: Self = Self { one: 1 << 30, all: 64 << 30 };
}

/// What is left free on the disk, in bytes: the log is there too, and a node that cannot write it ends.
const FREE_MIN: u64 = 64 << 20;
/// How long an archive stays that no sweep names: its sweep may be about to be submitted.
const UNNAMED_FOR: Duration = Duration::from_secs(3_600);

/// Why an archive is not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is larger than one may be.
    #[error("an archive of {length} bytes: a coordinator keeps none above {limit}")]
    TooLarge {
        /// Its size.
        length: u64,
        /// The largest that is kept.
        limit: u64,
    },
    /// There is no room for it.
    #[error("no room for an archive of {length} bytes: {why}")]
    Full {
        /// Its size.
        length: u64,
        /// What is full.
        why: String,
    },
    /// Its bytes are not those that its name says.
    #[error("what came is not archive {0}: it was damaged on its way")]
    Damaged(ArchiveName),
    /// The file system refuses.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The archives of one node.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    kept: Mutex<BTreeMap<ArchiveName, Kept>>,
    /// Gives files that are being written names of their own.
    written: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    length: u64,
    /// When it came, or was last asked for by somebody who is about to name it.
    since: Instant,
}

impl Store {
    /// The archives in `folder`, which need not be there. What was half written by an earlier process is removed.
    pub fn open(folder: PathBuf, limits: Limits) -> Self {
        let mut kept = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().to_string_lossy().parse::<ArchiveName>() else {
                // Nobody else writes there; one that stays is in nobody's way.
                let _stays = std::fs::remove_file(entry.path());
                continue;
            };
            if let Ok(metadata) = entry.metadata() {
                kept.insert(name, Kept { length: metadata.len(), since: Instant::now() });
            }
        }
        Self { folder, limits, kept: Mutex::new(kept), written: AtomicU64::new(0) }
    }

    /// Whether it is here. It stays for a while from now on, also where no sweep names it.
    pub fn has(&self, name: &ArchiveName) -> bool {
        self.touch(name, Instant::now())
    }

    fn touch(&self, name: &ArchiveName, now: Instant) -> bool {
        self.kept().get_mut(name).map(|kept| kept.since = now).is_some()
    }

    /// The archive and its length, where it is here and can be read.
    pub fn read(&self, name: &ArchiveName) -> Option<(File, u64)> {
        let length = self.kept().get(name)?.length;
        match File::open(self.path(name)) {
            Ok(file) => Some((file, length)),
            Err(_lost) => {
                self.kept().remove(name);
                None
            }
        }
    }

    /// Begins to write an archive.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub fn begin(&self, name: &ArchiveName, length: u64) -> Result<Incoming<'_>, StoreError> {
        let Limits { one, all } = self.limits;
        if length > one {
            return Err(StoreError::TooLarge { length, limit: one });
        }
        let io = |source| StoreError::Io { path: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(io)?;
        let total: u64 = self.kept().values().map(|kept| kept.length).sum();
        let free = rustix::fs::statvfs(&self.folder).map_err(|errno| io(errno.into()))?;
        let free = free.f_bavail * free.f_frsize;
        let why = if total + length > all {
            format!("archives here hold {total} bytes, of {all} that they may; remove sweeps with `heats rm`")
        } else if free < length + FREE_MIN {
            format!("the disk of {} has {free} bytes left", self.folder.display())
        } else {
            let number = self.written.fetch_add(1, Ordering::Relaxed);
            let aside = self.folder.join(format!("{}.{number}.new", name.short()));
            let file = File::create(&aside).map_err(|source| StoreError::Io { path: aside.clone(), source })?;
            let hasher = blake3::Hasher::new();
            return Ok(Incoming { store: self, name: name.clone(), length, received: 0, aside, file, hasher });
        };
        Err(StoreError::Full { length, why })
    }

    /// Removes those that are not among `named`, and have not been asked for in a while.
    pub fn remove_unnamed(&self, named: &BTreeSet<ArchiveName>, now: Instant) -> Vec<ArchiveName> {
        let mut kept = self.kept();
        let is_old = |name: &ArchiveName, kept: &Kept| {
            !named.contains(name) && now.saturating_duration_since(kept.since) >= UNNAMED_FOR
        };
        let old: Vec<ArchiveName> =
            kept.iter().filter(|(name, kept)| is_old(name, kept)).map(|(name, _)| name.clone()).collect();
        for name in &old {
            kept.remove(name);
            // A file that stays is found again by the next process.
            let _stays = std::fs::remove_file(self.path(name));
        }
        old
    }

    fn path(&self, name: &ArchiveName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<ArchiveName, Kept>> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An archive that is being written, aside. Dropped before its end, it is gone.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    name: ArchiveName,
    length: u64,
    received: u64,
    aside: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Incoming<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Where there are more of them than were announced, or the file system refuses.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.received += data.len() as u64;
        if self.received > self.length {
            return Err(StoreError::Damaged(self.name.clone()));
        }
        self.hasher.update(data);
        self.file.write_all(data).map_err(|source| StoreError::Io { path: self.aside.clone(), source })
    }

    /// Makes it durable under its name.
    ///
    /// # Errors
    /// Where it is not what its name says, or the file system refuses.
    pub fn finish(self) -> Result<(), StoreError> {
        if self.received != self.length || self.hasher.finalize().to_hex().as_str() != self.name.as_str() {
            return Err(StoreError::Damaged(self.name.clone()));
        }
        let path = self.store.path(&self.name);
        let sync_folder = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all());
        let stored = self.file.sync_all().and_then(|()| std::fs::rename(&self.aside, &path));
        stored
            .and_then(|()| sync_folder(&self.store.folder))
            .map_err(|source| StoreError::Io { path: path.clone(), source })?;
        self.store.kept().insert(self.name.clone(), Kept { length: self.length, since: Instant::now() });
        Ok(())
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // Gone already where it has its name.
        let _renamed = std::fs::remove_file(&self.aside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(data: &[u8]) -> ArchiveName {
        blake3::hash(data).to_hex().parse().expect("a hash is a name")
    }

    fn put(store: &Store, name: &ArchiveName, data: &[u8]) -> Result<(), StoreError> {
        let mut incoming = store.begin(name, data.len() as u64)?;
        data.chunks(3).try_for_each(|piece| incoming.write(piece))?;
        incoming.finish()
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("is there").count()
    }

    #[tokio::test]
    async fn an_archive_is_whole_under_its_name_or_not_there() {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::open(root.path().to_owned(), Limits::CODE);
        let (right, wrong) = (b"some code".as_slice(), b"same size".as_slice());
        assert!(matches!(put(&store, &name(right), wrong), Err(StoreError::Damaged(_))));
        let mut short = store.begin(&name(right), right.len() as u64).expect("has room");
        short.write(&right[..4]).expect("writes");
        assert!(matches!(short.finish(), Err(StoreError::Damaged(_))));
        assert!(!store.has(&name(right)) && files(root.path()) == 0);
        put(&store, &name(right), right).expect("is right");
        std::fs::write(root.path().join("abc.0.new"), "half").expect("writes");
        let again = Store::open(root.path().to_owned(), Limits::CODE);
        assert!(again.has(&name(right)) && !again.has(&name(wrong)));
        assert_eq!(files(root.path()), 1, "what was half written is gone");
        std::fs::remove_file(root.path().join(name(right).as_str())).expect("removes");
        assert!(again.read(&name(right)).is_none() && !again.has(&name(right)), "a lost file is not had");
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_it_is_sent() {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::open(root.path().join("archives"), Limits::CODE);
        assert!(matches!(store.begin(&name(b""), Limits::CODE.one + 1), Err(StoreError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn an_archive_that_no_sweep_names_stays_for_an_hour_after_it_was_last_asked_for() {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::open(root.path().to_owned(), Limits::CODE);
        let (named, unnamed) = (name(b"a"), name(b"b"));
        put(&store, &named, b"a").expect("is stored");
        put(&store, &unnamed, b"b").expect("is stored");
        let sweeps = BTreeSet::from([named.clone()]);
        let asked_for = Instant::now() + UNNAMED_FOR;
        assert!(store.touch(&unnamed, asked_for), "somebody is about to submit it");
        assert_eq!(store.remove_unnamed(&sweeps, asked_for + UNNAMED_FOR / 2), []);
        assert_eq!(store.remove_unnamed(&sweeps, asked_for + UNNAMED_FOR), vec![unnamed.clone()]);
        assert!(store.has(&named) && !store.has(&unnamed) && files(root.path()) == 1);
    }
}
