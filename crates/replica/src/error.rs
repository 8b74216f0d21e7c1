//! What can go wrong, by who is told: the opener, the proposer, the peer, or the process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use heats_core::ApplyError;

/// A file could not be read, written or made durable, or does not hold what it must.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system said no.
    #[error("cannot {op} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room.
    #[error(
        "the disk is full: cannot {op} `{}`; free some space and start again, nothing acknowledged is lost", path.display()
    )]
    DiskFull {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// A file holds something that no crash can have left there.
    #[error(
        "`{}` is damaged at byte {offset}: {why}; do not delete it: a node that forgets its log forgets its vote. \
         Restore the directory from a backup, or, where other coordinators hold the same log, move it away and join \
         again under a new node id", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version wrote the file.
    #[error("`{}` has format {found}, this version reads up to {known}: upgrade this node", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
}

impl StorageError {
    /// Names an error of the operating system.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { op, path },
            _ => Self::Io { op, path, source },
        }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, offset: u64, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), offset, why: why.into() }
    }
}

/// Why a node cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("`{}` is in use by {holder}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who has it: the process id and its command.
        holder: String,
    },
    /// The directory belongs to another node.
    #[error("`{}` belongs to node {found}, this is node {expected}", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who asked.
        expected: u64,
    },
    /// The log is gone although the node has had one.
    #[error(
        "`{}` has no log although node {node} has run here; starting with an empty one would forget votes and \
         entries. Restore the directory from a backup, or, where other coordinators hold the same log, move it away \
         and join again under a new node id", dir.display()
    )]
    LogMissing {
        /// The directory.
        dir: PathBuf,
        /// The node.
        node: u64,
    },
    /// The log starts after the newest snapshot that reads.
    #[error(
        "the log in `{}` starts after entry {purged}, and no snapshot that reads covers what came before{detail}; \
         restore the directory from a backup, or, where other coordinators hold the same log, move it away and join \
         again under a new node id", dir.display()
    )]
    SnapshotMissing {
        /// The directory.
        dir: PathBuf,
        /// The last entry that the log no longer holds.
        purged: u64,
        /// What is wrong with the snapshots that do not read.
        detail: String,
    },
    /// A file does not read or write.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What was committed does not apply.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The settings contradict each other.
    #[error("the settings of the replicated log do not fit together: {why}")]
    Config {
        /// Why.
        why: String,
    },
    /// The node stopped while it started.
    #[error("the replicated log did not start: {why}")]
    Start {
        /// Why.
        why: String,
    },
}

/// Why a cluster could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The members cannot form a cluster.
    #[error("these members cannot form a cluster: {why}")]
    Members {
        /// Why.
        why: String,
    },
    /// The node has stopped.
    #[error("the node has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why a proposal was not carried out here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none does. The entry may have been recorded all the same where this node
    /// led when it was proposed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who leads, as far as this node knows: its id and address.
        leader: Option<(u64, String)>,
    },
    /// The node has stopped. The entry may have been recorded all the same.
    #[error("the node has stopped")]
    Stopped,
}

/// Why the cluster's members stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// It was not asked of the leader, or the node has stopped.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The id belongs to a node elsewhere.
    #[error("node {node} is a member already, at `{address}`: remove it first, or choose another id")]
    OtherAddress {
        /// The id.
        node: u64,
        /// Where the member with that id listens.
        address: String,
    },
    /// There is no such member.
    #[error("node {node} is not a member")]
    Unknown {
        /// The id.
        node: u64,
    },
    /// The learner may not vote yet.
    #[error("node {node} has not caught up: it is {behind} entries behind, or does not answer")]
    Behind {
        /// The id.
        node: u64,
        /// How many entries it lacks.
        behind: u64,
    },
    /// The leader would remove itself.
    #[error("node {node} leads: hand the lead to another node first")]
    Leads {
        /// The id.
        node: u64,
    },
    /// Of the voters there would be, too few answer.
    #[error("of the {voters} voters that there would be, {silent:?} do not answer: no majority could decide anything")]
    NoMajority {
        /// How many there would be.
        voters: usize,
        /// Who of them is silent.
        silent: Vec<u64>,
    },
    /// The engine refuses.
    #[error("the members cannot be changed now: {why}")]
    Refused {
        /// Why.
        why: String,
    },
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing has been applied yet.
    #[error("there is nothing to take a snapshot of")]
    Empty,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a peer did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {target} at `{address}` cannot be reached: {why}")]
pub struct TransportError {
    /// Which peer.
    pub target: u64,
    /// Where it was looked for.
    pub address: String,
    /// What happened.
    pub why: String,
}

/// Why a node stopped itself. The process must end: what it would answer from now on may be wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Log(#[source] Arc<StorageError>),
    /// A snapshot cannot be written or read.
    #[error("a snapshot failed: {0}")]
    Snapshot(#[source] Arc<StorageError>),
    /// A committed entry does not apply.
    #[error("a committed entry does not apply: {0}")]
    Apply(#[from] ApplyError),
    /// A committed entry does not decode.
    #[error("entry {index} does not decode: {why}")]
    Decode {
        /// The log index.
        index: u64,
        /// Why.
        why: String,
    },
    /// Consensus stopped.
    #[error("the replicated log stopped: {why}")]
    Consensus {
        /// Why.
        why: String,
    },
}
