//! What is in a checkpoint: every file with its size and hash. Its own hash is the checkpoint's.

use std::fs::{self, File};
use std::path::{Component, Path};

use heats_domain::Object;
use serde::{Deserialize, Serialize};

use super::StorageError;
use crate::keeping::{Counted, Progress};

/// The longest manifest that is read, in bytes.
pub const MANIFEST_MAX: u64 = 64 << 20;
/// The most files and folders.
const ENTRIES_MAX: usize = 100_000;

/// The manifest of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The folders, each after the one that it is in.
    pub folders: Vec<String>,
    /// The files, by path.
    pub files: Vec<Entry>,
}

/// A file of a checkpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is, seen from the checkpoint's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its content, in hexadecimal digits.
    pub hash: String,
}

impl Manifest {
    /// What is in `folder`; every file and folder is on disk when this returns. What was read is added to `progress`.
    ///
    /// # Errors
    /// Something cannot be read, or there is too much.
    pub fn of(folder: &Path, progress: &Progress) -> Result<Self, StorageError> {
        let mut manifest = Self::default();
        manifest.add(folder, "", progress)?;
        manifest.folders.sort();
        manifest.files.sort();
        Ok(manifest)
    }

    fn add(&mut self, folder: &Path, within: &str, progress: &Progress) -> Result<(), StorageError> {
        for entry in fs::read_dir(folder).map_err(StorageError::io(folder, "read"))? {
            let entry = entry.map_err(StorageError::io(folder, "read"))?;
            let path = entry.path();
            if self.folders.len() + self.files.len() >= ENTRIES_MAX {
                return Err(StorageError::TooMany { limit: ENTRIES_MAX });
            }
            let unfit = || StorageError::Unfit { path: path.clone(), what: "has a name that is no text" };
            let name = entry.file_name().into_string().map_err(|_| unfit())?;
            let name = if within.is_empty() { name } else { format!("{within}/{name}") };
            if entry.file_type().map_err(StorageError::io(&path, "read"))?.is_dir() {
                self.add(&path, &name, progress)?;
                self.folders.push(name);
            } else {
                let (hash, bytes) = hash(&path, progress)?;
                self.files.push(Entry { path: name, bytes, hash });
            }
        }
        sync(folder)
    }

    /// The bytes that stand for it, and their hash.
    pub fn to_bytes(&self) -> (Vec<u8>, blake3::Hash) {
        // Texts and numbers: serde_json has no way to fail on them.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let hash = blake3::hash(&bytes);
        (bytes, hash)
    }

    /// The manifest of `checkpoint` in its bytes.
    ///
    /// # Errors
    /// They are another's, or make no sense.
    pub fn read(checkpoint: &Object, bytes: &[u8]) -> Result<Self, StorageError> {
        let damaged = |what: String| StorageError::Damaged { name: checkpoint.name(), what };
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(damaged(format!("its manifest has more than {MANIFEST_MAX} bytes")));
        }
        if blake3::hash(bytes).as_bytes().as_slice() != checkpoint.hash {
            return Err(damaged("its manifest is another one".to_owned()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if !manifest.stays_within() {
            return Err(damaged("its manifest names files elsewhere".to_owned()));
        }
        Ok(manifest)
    }

    /// The size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether every path stays within the checkpoint's folder.
    fn stays_within(&self) -> bool {
        let paths = self.folders.iter().chain(self.files.iter().map(|file| &file.path));
        paths.into_iter().all(|path| {
            !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        })
    }
}

/// The hash of an object with one file, of so many bytes and with this content hash: what an artifact's has to be.
pub fn hash_of_one(path: &str, bytes: u64, hash: blake3::Hash) -> blake3::Hash {
    let file = Entry { path: path.to_owned(), bytes, hash: hash.to_hex().to_string() };
    Manifest { folders: Vec::new(), files: vec![file] }.to_bytes().1
}

/// The hash and the size of a file, which is on disk when this returns. What was read is added to `progress`.
pub fn hash(path: &Path, progress: &Progress) -> Result<(String, u64), StorageError> {
    let file = File::open(path).map_err(StorageError::io(path, "read"))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(Counted { source: &file, progress }).map_err(StorageError::io(path, "read"))?;
    file.sync_all().map_err(StorageError::io(path, "written"))?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}

/// Makes the names in a folder survive a power cut.
pub fn sync(folder: &Path) -> Result<(), StorageError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StorageError::io(folder, "written"))
}
