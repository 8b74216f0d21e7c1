//! Where complete checkpoints are kept, so that another attempt, maybe on another machine, goes on from them; and artifacts, for
//! people.
//!
//! A storage has objects: the files of one checkpoint and a manifest with their names, sizes and hashes, under a name that says
//! whose it is, of which step, and what is in it. An object is there as a whole or not at all. Which objects there are, and
//! which of them are kept, the catalogue in the log says; a storage is asked nothing but to put, to get and to remove.

mod folder;
mod manifest;
#[cfg(feature = "s3")]
mod s3;
mod target;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use heats_domain::{AgentId, Object};
use tokio::sync::Semaphore;

use folder::Folder;
pub use manifest::hash_of_one;
pub use target::Target;
pub use tree::{How, copy, size, transfer};

use crate::keeping::Progress;

/// How many checkpoints of one agent are on their way at once.
const AT_ONCE: usize = 4;

/// A storage of checkpoints. Its calls block.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Its name in the catalogue: whoever reaches a storage of this name reaches this one.
    fn place(&self) -> &str;

    /// How often every byte of an object passes until it is kept.
    fn passes(&self) -> u64;

    /// Keeps what is in `folder` as `named`, whose hash, size and place it fills in. Durable when this returns. Twice is as good
    /// as once. What has passed is added to `progress`.
    ///
    /// # Errors
    /// See [`StorageError`]; nothing half is left where an object is looked for.
    fn put(&self, named: Object, folder: &Path, progress: &Progress) -> Result<Object, StorageError>;

    /// Makes `into`, which must not be there, from an object, and makes sure that it is what was put.
    ///
    /// # Errors
    /// See [`StorageError`]; `into` is not there then.
    fn get(&self, checkpoint: &Object, into: &Path) -> Result<(), StorageError>;

    /// A part of a file of an object: `length` bytes from `offset` on, fewer where it ends before. What it is worth the reader of
    /// the whole has to see: its hash is not looked at.
    ///
    /// # Errors
    /// See [`StorageError`].
    fn read(&self, object: &Object, file: &str, offset: u64, length: u64) -> Result<Vec<u8>, StorageError>;

    /// Removes an object. One that is gone is removed already.
    ///
    /// # Errors
    /// See [`StorageError`].
    fn delete(&self, checkpoint: &Object) -> Result<(), StorageError>;
}

/// Why a storage does not do it.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system refuses.
    #[error("`{path}` cannot be {verb}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `read`, `written`, `removed`.
        verb: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A server does not do it.
    #[error("`{name}` cannot be {verb} in `{place}`: {why}")]
    Remote {
        /// The object.
        name: String,
        /// What was tried: `read`, `written`, `removed`.
        verb: &'static str,
        /// The storage.
        place: String,
        /// Whether there is no such object.
        is_missing: bool,
        /// Why not.
        why: String,
    },
    /// The storage cannot be used at all.
    #[error("the storage `{place}` cannot be used: {why}")]
    Unusable {
        /// Its name.
        place: String,
        /// Why not.
        why: String,
    },
    /// What is there is not what was put.
    #[error("the checkpoint `{name}` is damaged: {what}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// It holds what no storage keeps.
    #[error("`{path}` {what}")]
    Unfit {
        /// What.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// It has too many files.
    #[error("a checkpoint has at most {limit} files and folders; pack them into one file")]
    TooMany {
        /// The most.
        limit: usize,
    },
}

impl StorageError {
    /// What makes a file system's error one of these.
    pub fn io(path: &Path, verb: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, verb, source }
    }

    /// Whether it may be better the next time.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Remote { .. } | Self::Unusable { .. } => true,
            Self::Damaged { .. } | Self::Unfit { .. } | Self::TooMany { .. } => false,
        }
    }

    /// Whether what was to be put or got is not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Remote { is_missing, .. } => *is_missing,
            Self::Unusable { .. } | Self::Damaged { .. } | Self::Unfit { .. } | Self::TooMany { .. } => false,
        }
    }
}

/// What an operator says about where checkpoints are kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// In the agent's own folder: nobody else reaches them.
    #[default]
    Local,
    /// In a folder that all agents mount, wherever each of them mounts it.
    Shared(PathBuf),
    /// In a bucket of S3, or of a server that speaks its protocol.
    S3(Target),
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "local" => Ok(Self::Local),
            Some(("shared", path)) if Path::new(path).is_absolute() => Ok(Self::Shared(path.into())),
            Some(("s3", _)) => text.parse().map(Self::S3),
            _ => Err(format!(
                "`{text}` names no storage: write `local`, `shared:/FOLDER` with the whole path, or `s3://BUCKET/PREFIX`"
            )),
        }
    }
}

/// The storages that an agent reaches.
#[derive(Debug)]
pub struct Stores {
    own: Arc<dyn Storage>,
    shared: Option<Arc<dyn Storage>>,
    /// Who has one may put or get.
    pub turns: Semaphore,
}

impl Stores {
    /// Opens the agent's own storage at `own`, and the one that its operator names, and removes what this agent left half done
    /// there.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(agent: AgentId, own: &Path, kind: &Kind) -> Result<Self, StorageError> {
        let own: Arc<dyn Storage> = Arc::new(Folder::own(own, agent)?);
        let shared: Option<Arc<dyn Storage>> = match kind {
            Kind::Local => None,
            Kind::Shared(path) => Some(Arc::new(Folder::shared(path, agent)?)),
            Kind::S3(target) => Some(bucket(target, agent)?),
        };
        Ok(Self { own, shared, turns: Semaphore::new(AT_ONCE) })
    }

    /// Their names.
    pub fn places(&self) -> Vec<String> {
        self.all().map(|storage| storage.place().to_owned()).collect()
    }

    /// The storage of this name, where the agent reaches it.
    pub fn at(&self, place: &str) -> Option<Arc<dyn Storage>> {
        self.all().find(|storage| storage.place() == place).cloned()
    }

    /// Where new checkpoints go.
    pub fn newest(&self) -> Arc<dyn Storage> {
        self.shared.as_ref().unwrap_or(&self.own).clone()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Storage>> {
        std::iter::once(&self.own).chain(&self.shared)
    }
}

#[cfg(feature = "s3")]
fn bucket(target: &Target, agent: AgentId) -> Result<Arc<dyn Storage>, StorageError> {
    Ok(Arc::new(s3::S3::open(target, agent)?))
}

#[cfg(not(feature = "s3"))]
fn bucket(target: &Target, _agent: AgentId) -> Result<Arc<dyn Storage>, StorageError> {
    let why = "this program was built without the feature `s3`".to_owned();
    Err(StorageError::Unusable { place: target.place(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_is_named_by_its_kind_and_a_whole_path() {
        assert_eq!("local".parse(), Ok(Kind::Local));
        assert_eq!("shared:/mnt/c:kpt".parse(), Ok(Kind::Shared("/mnt/c:kpt".into())));
        assert!(matches!("s3://ckpt/a".parse(), Ok(Kind::S3(_))));
        for bad in ["", "shared", "shared:", "shared:ckpt", "/mnt/ckpt", "s4://x"] {
            assert!(bad.parse::<Kind>().is_err_and(|why| why.contains("shared:/FOLDER")), "{bad}");
        }
    }
}
