//! The code that trials run in: fetched once, unpacked once, and given to each attempt as a working copy of its own.
//!
//! A working copy is made of hard links: it costs a folder per folder and a link per file, no bytes. Its folders are the
//! attempt's own, so that what a trial writes is there for no other; its files are shared and therefore read-only. One that
//! is removed from the cache stays for as long as an attempt has it.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use heats_client::{ClientError, Options};
use heats_domain::ArchiveName;
use tokio::sync::OnceCell;

use crate::reach::Reach;

/// How many trees are kept, and how many bytes they may be together; those that are waited for come on top.
const KEPT_MAX: usize = 32;
const KEPT_BYTES_MAX: u64 = 8 << 30;
/// What one archive may be when it is unpacked: a few bytes can be many.
const UNPACKED_MAX: u64 = 16 << 30;
/// Coordinators may be electing a leader, or fetching the archive themselves.
const OPTIONS: Options =
    Options { patience: Duration::from_secs(120), deadline: Duration::from_secs(60), stale: false };

/// Why there is no code to run.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The order names no archive.
    #[error("its code cannot be named: {0}")]
    Name(#[from] heats_domain::NotAName),
    /// No coordinator gives it.
    #[error("its code could not be fetched: {0}")]
    Fetch(#[from] ClientError),
    /// What came is something else.
    #[error("its code came damaged: it is not archive {0}")]
    Damaged(ArchiveName),
    /// It is a bomb, or a mistake.
    #[error("its code is more than {} GiB unpacked", UNPACKED_MAX >> 30)]
    TooLarge,
    /// It cannot be written or linked here.
    #[error("its code cannot be put into `{path}`: {source}{}", full(source))]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn full(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free some space on the agent's disk",
        _ => "",
    }
}

type Shared = Arc<OnceCell<Arc<Tree>>>;

/// The unpacked archives of one agent, and the way to more.
#[derive(Debug)]
pub struct Codes {
    folder: PathBuf,
    reach: Arc<Reach>,
    trees: Mutex<BTreeMap<ArchiveName, Shared>>,
}

/// One unpacked archive; whoever holds it keeps it from being removed.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    bytes: u64,
}

impl Codes {
    /// Those in `folder`, and others from the coordinators of `reach`.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn open(folder: PathBuf, reach: Arc<Reach>) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut trees = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_name().to_string_lossy().parse::<ArchiveName>() {
                Ok(name) => _ = trees.insert(name, Shared::from(OnceCell::from(Arc::new(Tree::at(entry.path()))))),
                // Half fetched, or half unpacked.
                Err(_) => remove(&entry.path()),
            }
        }
        Ok(Self { folder, reach, trees: Mutex::new(trees) })
    }

    /// The archive, unpacked: fetched where it is not here. Attempts that need the same one wait for one fetch.
    ///
    /// # Errors
    /// Where it cannot be had. The next caller tries again.
    pub async fn prepare(&self, name: &ArchiveName) -> Result<Arc<Tree>, CodeError> {
        let shared = self.trees().entry(name.clone()).or_default().clone();
        let tree = shared.get_or_try_init(|| self.fetch(name)).await?.clone();
        let (used, old) = (tree.path.clone(), self.excess());
        drop(shared);
        let tidied = tokio::task::spawn_blocking(move || {
            // The least recently used is removed first, also after a restart.
            let _undated = File::open(&used).and_then(|folder| folder.set_modified(SystemTime::now()));
            old.iter().for_each(|path| remove(path));
        });
        // It panics nowhere.
        let _tidied = tidied.await;
        Ok(tree)
    }

    async fn fetch(&self, name: &ArchiveName) -> Result<Arc<Tree>, CodeError> {
        let mut pieces = self.reach.client(OPTIONS)?.archive(name.as_str());
        let packed_path = self.folder.join(format!("{}.fetching", name.short()));
        let io = |source| CodeError::Io { path: packed_path.clone(), source };
        let mut packed =
            File::options().create(true).truncate(true).read(true).write(true).open(&packed_path).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if piece.offset == 0 {
                packed.set_len(0).and_then(|()| packed.rewind()).map_err(io)?;
                hasher.reset();
            }
            hasher.update(&piece.data);
            // A megabyte at most, into the page cache.
            packed.write_all(&piece.data).map_err(io)?;
        }
        if hasher.finalize().to_hex().as_str() != name.as_str() {
            remove(&packed_path);
            return Err(CodeError::Damaged(name.clone()));
        }
        let path = self.folder.join(name.as_str());
        let unpacked = tokio::task::spawn_blocking(move || {
            let aside = packed_path.with_extension("unpacking");
            remove(&aside);
            let unpacked = packed.rewind().map_err(|source| CodeError::Io { path: packed_path.clone(), source });
            let unpacked = unpacked.and_then(|()| unpack(packed, &aside)).and_then(|()| {
                std::fs::rename(&aside, &path).map_err(|source| CodeError::Io { path: path.clone(), source })
            });
            remove(&packed_path);
            unpacked.inspect_err(|_| remove(&aside)).map(|()| Arc::new(Tree::at(path)))
        });
        unpacked.await.map_err(|error| CodeError::Io { path: self.folder.clone(), source: error.into() })?
    }

    /// Takes what is too much out of the map, and says where it is. What somebody holds, or waits for, stays.
    fn excess(&self) -> Vec<PathBuf> {
        let mut trees = self.trees();
        let idle = |shared: &Shared| {
            let tree = shared.get().filter(|tree| Arc::strong_count(shared) == 1 && Arc::strong_count(tree) == 1)?;
            let used = std::fs::metadata(&tree.path).and_then(|metadata| metadata.modified());
            Some((used.unwrap_or(SystemTime::UNIX_EPOCH), tree.path.clone(), tree.bytes))
        };
        let mut candidates: Vec<_> =
            trees.iter().filter_map(|(name, shared)| Some((idle(shared)?, name.clone()))).collect();
        candidates.sort();
        let mut count = trees.len();
        let mut bytes: u64 = trees.values().filter_map(|shared| shared.get()).map(|tree| tree.bytes).sum();
        let mut old = Vec::new();
        for ((_, path, size), name) in candidates {
            if count <= KEPT_MAX && bytes <= KEPT_BYTES_MAX {
                break;
            }
            trees.remove(&name);
            (count, bytes) = (count - 1, bytes.saturating_sub(size));
            old.push(path);
        }
        old
    }

    fn trees(&self) -> MutexGuard<'_, BTreeMap<ArchiveName, Shared>> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    /// The one that is at `path`.
    pub fn at(path: PathBuf) -> Self {
        let bytes = size(&path);
        Self { path, bytes }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a working copy at `to`, which is not there yet.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn copy_to(&self, to: &Path) -> Result<(), CodeError> {
        copy(&self.path, to).map_err(|source| CodeError::Io { path: to.to_owned(), source })
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else if std::fs::hard_link(entry.path(), &target).is_err() {
            // A file system without links, or with as many of this file as it allows.
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Unpacks into the new folder `to`; durable when this returns.
pub fn unpack(packed: File, to: &Path) -> Result<(), CodeError> {
    let io = |source| CodeError::Io { path: to.to_owned(), source };
    std::fs::create_dir(to).map_err(io)?;
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).map_err(io)?);
    let mut bytes = 0;
    for entry in archive.entries().map_err(io)? {
        let mut entry = entry.map_err(io)?;
        bytes += entry.size();
        if bytes > UNPACKED_MAX {
            return Err(CodeError::TooLarge);
        }
        let relative = entry.path().map_err(io)?.into_owned();
        // It leaves out what would lie outside.
        let is_inside = entry.unpack_in(to).map_err(io)?;
        if is_inside && entry.header().entry_type().is_file() {
            let is_executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            let mode = if is_executable { 0o555 } else { 0o444 };
            std::fs::set_permissions(to.join(relative), Permissions::from_mode(mode)).map_err(io)?;
        }
    }
    // After a power cut it is whole under its name, or not there.
    File::open(to).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?)).map_err(io)
}

/// Bytes of the files below `path`.
fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_gone) => 0,
        })
        .sum()
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "what is left of an archive cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[(&str, u32, &str)]) -> File {
        let mut tar = tar::Builder::new(zstd::Encoder::new(tempfile::tempfile().expect("a file"), 0).expect("begins"));
        for (path, mode, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).expect("appends");
        }
        let mut file = tar.into_inner().and_then(zstd::Encoder::finish).expect("packs");
        file.rewind().expect("rewinds");
        file
    }

    fn codes(root: &Path) -> Codes {
        Codes::open(root.to_owned(), Arc::new(Reach::new(heats_tls::Security::PlainText, &[]))).expect("opens")
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_working_copy_has_its_own_folders_and_files_that_nobody_can_change() {
        let root = tempfile::tempdir().expect("a folder");
        let (tree, copy) = (root.path().join("tree"), root.path().join("copy"));
        unpack(packed(&[("a/run.sh", 0o755, "run"), ("a/b/data", 0o644, "data")]), &tree).expect("unpacks");
        Tree::at(tree.clone()).copy_to(&copy).expect("copies");
        assert_eq!((mode(&copy.join("a/run.sh")), mode(&copy.join("a/b/data"))), (0o555, 0o444));
        std::fs::write(copy.join("a/results"), "of this trial").expect("writes");
        assert!(!tree.join("a/results").exists());
        std::fs::remove_dir_all(&tree).expect("removes");
        assert_eq!(std::fs::read_to_string(copy.join("a/b/data")).expect("stays"), "data");
    }

    #[tokio::test]
    async fn the_least_recently_used_is_removed_first_and_none_that_somebody_holds() {
        let root = tempfile::tempdir().expect("a folder");
        let name = |i: usize| blake3::hash(&i.to_le_bytes()).to_hex().parse::<ArchiveName>().expect("a name");
        let at = |i: usize| root.path().join(name(i).as_str());
        for i in 0..KEPT_MAX + 2 {
            std::fs::create_dir(at(i)).expect("a folder");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(i as u64);
            File::open(at(i)).and_then(|folder| folder.set_modified(time)).expect("is dated");
        }
        std::fs::write(root.path().join("0123.fetching"), "half").expect("writes");
        let codes = codes(root.path());
        assert!(!root.path().join("0123.fetching").exists());
        let held = codes.trees()[&name(0)].get().expect("is here").clone();
        codes.prepare(&name(1)).await.expect("is here, and used now");
        assert_eq!([0, 1, 2, 3, 4].map(|i| at(i).exists()), [true, true, false, false, true]);
        drop(held);
    }
}
