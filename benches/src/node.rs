//! One replica with its threads, its log on disk, and the streams that coordinators have between them.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heats_coordinator::{Peers, RaftService};
use heats_replica::{Replica, ReplicaConfig};
use heats_tls::Security;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;

/// More entries than any measurement writes: snapshots are taken when they are asked for.
const NEVER: u64 = 1 << 40;
/// What a node may take to stop its threads.
const STOP: Duration = Duration::from_secs(5);
/// Nothing takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked whether a log is short again.
const LOOK: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) replica: Replica,
    pub(crate) runtime: Runtime,
    /// How many entries that a snapshot covers its log keeps.
    log_keep: u64,
}

impl Node {
    /// A node without a cluster; it keeps everything in a folder of its own in `folder`.
    ///
    /// # Errors
    /// Where the disk or the network refuses.
    pub(crate) fn start(folder: &Path, id: u64) -> Result<Self> {
        let runtime = Runtime::new().context("cannot start threads")?;
        runtime
            .block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
                let address = listener.local_addr()?.to_string();
                let usual = ReplicaConfig::new(folder.join(id.to_string()), id, &address);
                let log_keep = usual.log_keep;
                let config = ReplicaConfig { snapshot_every: NEVER, snapshot_bytes: NEVER, ..usual };
                let replica = Replica::open(config, Arc::new(Peers::new(Security::PlainText))).await?;
                let connections = heats_tls::incoming(listener, Security::PlainText);
                let router = Server::builder().add_service(RaftService::server(replica.clone()));
                tokio::spawn(router.serve_with_incoming(connections));
                anyhow::Ok((address, replica, log_keep))
            })
            .map(|(address, replica, log_keep)| Self { id, address, replica, runtime, log_keep })
    }

    /// The last entry that it applied.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn applied(&self) -> Result<u64> {
        self.replica.status().applied.context("nothing was applied")
    }

    /// Takes a snapshot, and waits until the log has dropped what it covers.
    ///
    /// # Errors
    /// Where the node has stopped.
    pub(crate) fn snapshot(&self) -> Result<()> {
        let covered = self.runtime.block_on(self.replica.snapshot())?;
        let begun = Instant::now();
        while self.replica.status().purged.is_none_or(|purged| purged + self.log_keep < covered) {
            ensure!(begun.elapsed() < PATIENCE, "node {} keeps its log", self.id);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the entry at `index` is applied.
    ///
    /// # Errors
    /// Where that takes too long, or the node has stopped.
    pub(crate) fn catch_up(&self, index: u64) -> Result<()> {
        let mut states = self.replica.watch_state();
        self.runtime.block_on(async {
            let there = states.wait_for(|state| state.applied >= index);
            let _state = tokio::time::timeout(PATIENCE, there).await.context("a node does not catch up")??;
            Ok(())
        })
    }

    /// Waits until the entry at `index` is in the catalogue as well, which is the last that a node does with it.
    ///
    /// # Errors
    /// As [`Node::catch_up`].
    pub(crate) fn settle(&self, index: u64) -> Result<()> {
        let mut applied = self.replica.catalogue().applied();
        self.runtime.block_on(async {
            let there = applied.wait_for(|applied| *applied >= index);
            let _applied = tokio::time::timeout(PATIENCE, there).await.context("a catalogue does not catch up")??;
            Ok(())
        })
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.replica.shutdown());
        self.runtime.shutdown_timeout(STOP);
    }
}
