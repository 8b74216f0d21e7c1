//! Backups: a snapshot's file, handed out by a running node, looked through, and made the beginning of a new cluster.
//!
//! A backup is what a snapshot is, the list of facts; so it has no format of its own. How it travels is the caller's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heats_core::ops::restore::begin_anew;
use heats_core::{ApplyError, Fact, Run, TurnError};
use openraft::BasicNode;

use crate::codec;
use crate::disk::{Disk, RealDisk};
use crate::error::{OpenError, SnapshotError, StorageError};
use crate::ground::{Ground, Work};
use crate::log::{self, LogSettings};
use crate::pb::{self, SnapshotHeader};
use crate::replica::{Replica, write_node};
use crate::snapshot::{self, SnapshotStore};
use crate::types::{Membership, SnapshotMeta, StoredMembership};

/// Terms between one lineage and the next: more than there are ever elections.
const TERMS: u64 = 1 << 20;

/// A backup that a node hands out. It can be read to its end whatever happens to the node's snapshots meanwhile.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The last entry that it covers.
    pub index: u64,
    /// Its length in bytes.
    pub length: u64,
    file: Arc<File>,
}

impl Backup {
    /// At most `most` bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Replica {
    /// A backup of everything that is applied here when this is called, or of a little more.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn backup(&self) -> Result<Backup, SnapshotError> {
        self.snapshot().await?;
        let (meta, snapshot) = self.snapshots().current().ok_or(SnapshotError::Empty)?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let length = snapshot.file.metadata().map_err(|_| SnapshotError::Stopped)?.len();
        Ok(Backup { index, length, file: snapshot.file })
    }
}

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last entry that it covers.
    pub index: u64,
    /// The leader's clock then, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many sweeps it holds.
    pub sweeps: u64,
    /// How many trials.
    pub trials: u64,
    /// How many of them held a lease.
    pub live: u64,
    /// The coordinators of its cluster: ids and addresses.
    pub members: Vec<(u64, String)>,
    /// The archives of code that it does not hold, by name, each with the sweeps that name it.
    pub code: BTreeMap<String, Vec<String>>,
}

/// Why a backup does not read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not whole.
    #[error("`{}` is no whole backup: {why}, at byte {offset}; nothing was restored: take another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version wrote it.
    #[error("`{}` is a backup of format {found}, this version reads up to {known}: use a newer version", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
    /// A newer version wrote facts into it, or it contradicts itself.
    #[error("`{}` cannot be restored by this version: {source}", path.display())]
    Facts {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ApplyError,
    },
    /// The new cluster's directory is not empty.
    #[error("`{}` is not empty: a new cluster begins in a directory of its own", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// Another restore was interrupted, or is on its way.
    #[error("`{}` is there: a restore was interrupted, or another one runs; remove it if none does", dir.display())]
    Unfinished {
        /// The directory that it wrote to.
        dir: PathBuf,
    },
    /// The new cluster's first node would be taken for one of the old cluster's.
    #[error(
        "coordinator {node} was one of the old cluster's: an old one that still runs would take the new one for it; \
         its first free number is {free}"
    )]
    WasMember {
        /// The number.
        node: u64,
        /// One that was nobody's.
        free: u64,
    },
    /// The operating system refuses.
    #[error(transparent)]
    Storage(StorageError),
}

impl BackupError {
    fn of(error: OpenError, path: &Path) -> Self {
        match error {
            OpenError::Storage(StorageError::Damaged { path, offset, why }) => Self::Damaged { path, offset, why },
            OpenError::Storage(StorageError::Format { path, found, known }) => Self::Format { path, found, known },
            OpenError::Storage(other) => Self::Storage(other),
            OpenError::Apply(source) => Self::Facts { path: path.to_owned(), source },
            other => Self::Damaged { path: path.to_owned(), offset: 0, why: other.to_string() },
        }
    }
}

/// Looks through the backup at `path`: every byte of it counts for its checksum. Needs little memory. Blocks.
///
/// # Errors
/// It does not read.
pub fn examine(path: &Path) -> Result<Summary, BackupError> {
    let count = |runs: &mut dyn Iterator<Item = Run>| {
        let mut summary = Summary::default();
        for fact in runs.flat_map(|run| run.records).filter_map(|record| record.cell.fact) {
            match fact {
                Fact::SweepSubmitted(fact) => {
                    summary.sweeps += 1;
                    if !fact.code.is_empty() {
                        summary.code.entry(fact.code).or_default().push(fact.name);
                    }
                }
                Fact::TrialCreated(_) => summary.trials += 1,
                Fact::TrialLeased(_) => summary.live += 1,
                Fact::AttemptEnded(_) => summary.live = summary.live.saturating_sub(1),
                _ => {}
            }
        }
        Ok(summary)
    };
    let (header, counted) = snapshot::scan(path, count).map_err(|error| BackupError::of(error, path))?;
    let bytes = fs::metadata(path).map_err(|e| BackupError::Storage(StorageError::io("read", path, e)))?.len();
    Ok(Summary { bytes, ..described(&header, counted) })
}

fn described(header: &SnapshotHeader, counted: Summary) -> Summary {
    let members = header.membership.nodes.iter().map(|node| (node.id, node.address.clone())).collect();
    Summary { index: header.last.map_or(0, |last| last.index), at_ms: header.at_ms, members, ..counted }
}

/// The first node of a cluster that is made from a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstNode {
    /// Its number; the first that was nobody's in the old cluster, unless given.
    pub node: Option<u64>,
    /// Where others are to reach it.
    pub address: String,
}

/// Makes the directory of a new cluster's first node from the backup at `path`; its number. What ran in the old cluster is
/// lost there, and tried again. The directory is there with everything in it, or not at all. Blocks.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(path: &Path, dir: &Path, first: &FirstNode) -> Result<u64, BackupError> {
    expect_empty(dir)?;
    let (header, state) = snapshot::read(path).map_err(|error| BackupError::of(error, path))?;
    let old = header.membership.nodes.iter().map(|node| node.id);
    let free = old.clone().max().map_or(1, |highest| highest + 1);
    let node = match first.node {
        Some(node) if old.clone().any(|id| id == node) => return Err(BackupError::WasMember { node, free }),
        Some(node) => node,
        None => free,
    };
    // Every place in the new log is beyond any of the old one.
    let term = (header.last.map_or(0, |last| last.term) / TERMS + 1) * TERMS;
    let state = begin_anew(state, term, lineage())
        .map_err(|TurnError::Contradiction(source)| BackupError::Facts { path: path.to_owned(), source })?;
    let last = pb::LogId { term, index: state.applied };
    let nodes: BTreeMap<u64, BasicNode> = [(node, BasicNode::new(&first.address))].into_iter().collect();
    let members = Membership::new(vec![[node].into()], nodes).map_err(|error| BackupError::Damaged {
        path: path.to_owned(),
        offset: 0,
        why: error.to_string(),
    })?;
    let meta = SnapshotMeta {
        last_log_id: Some(codec::to_log_id(last)),
        last_membership: StoredMembership::new(Some(codec::to_log_id(last)), members),
    };

    let aside = aside(dir);
    make(&aside).map_err(|error| match error {
        StorageError::Io { source, path, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            BackupError::Unfinished { dir: path }
        }
        other => BackupError::Storage(other),
    })?;
    let filled = fill(&aside, node, last, |store| store.build(&meta, &state).map(drop)).and_then(|()| {
        fs::rename(&aside, dir).map_err(|e| StorageError::io("create", dir, e))?;
        RealDisk.sync_dir(parent(dir))
    });
    if let Err(error) = filled {
        // On a full disk the half that was written would be in the way of another try.
        let _ = fs::remove_dir_all(&aside);
        return Err(BackupError::Storage(error));
    }
    Ok(node)
}

fn expect_empty(dir: &Path) -> Result<(), BackupError> {
    match fs::read_dir(dir).map(|mut items| items.next().is_some()) {
        Ok(true) => Err(BackupError::NotEmpty { dir: dir.to_owned() }),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::Storage(StorageError::io("read", dir, error))),
    }
}

/// Where the directory is made before it gets its name.
fn aside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    dir.with_file_name(name)
}

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn make(aside: &Path) -> Result<(), StorageError> {
    let failed = |path: &Path, e| StorageError::io("create", path, e);
    fs::create_dir_all(parent(aside)).map_err(|e| failed(parent(aside), e))?;
    fs::create_dir(aside).map_err(|e| failed(aside, e))?;
    for name in ["log", "snapshots"] {
        fs::create_dir(aside.join(name)).map_err(|e| failed(&aside.join(name), e))?;
    }
    Ok(())
}

/// What a node has that took a snapshot at `last` and dropped the log before it.
fn fill(
    dir: &Path,
    node: u64,
    last: pb::LogId,
    build: impl FnOnce(&SnapshotStore) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let settings = LogSettings { dir: dir.join("log"), node, segment_bytes: 0 };
    let vote = pb::Vote { term: last.term, node, committed: false };
    let begin = pb::Begin {
        format: log::FORMAT,
        node,
        segment: 1,
        vote: Some(vote),
        committed: Some(last),
        purged: Some(last),
        last: Some(last),
    };
    log::create(&settings, RealDisk, begin)?;
    // Nobody commits here meanwhile.
    let ground = Ground { disk: Arc::new(RealDisk), work: Work::Inline };
    build(&SnapshotStore::empty(&dir.join("snapshots"), ground))?;
    write_node(dir, node)
}

/// Only has to differ from other clusters': the standard library's hasher keys are random per process.
fn lineage() -> u64 {
    std::hash::RandomState::new().build_hasher().finish().max(1)
}
