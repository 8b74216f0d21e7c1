//! Three replicas, each a process with its log on disk, and between them the streams that coordinators have: consensus as a
//! cluster has it, without the deciders above it. The one that leads is in this process, so that it can be asked directly.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use heats_core::Entry;
use heats_replica::Leadership;
use tempfile::TempDir;

use crate::node::Node;
use crate::remote::Remote;

/// Entries that are on their way at once while a state is made.
const IN_FLIGHT: usize = 1_024;
/// How long the first node may take to be elected by all.
const ELECTION: Duration = Duration::from_secs(10);

/// Three nodes, of which this process's leads.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) leader: Node,
    pub(crate) followers: Vec<Remote>,
    /// The term that the leader leads in.
    pub(crate) term: u64,
}

impl Cluster {
    /// Makes one in a temporary folder.
    ///
    /// # Errors
    /// Where the disk or the network refuses.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let leader = Node::start(folder.path(), 1)?;
        let followers = (2..=3).map(|id| Remote::start(folder.path(), id)).collect::<Result<Vec<_>>>()?;
        let others = followers.iter().map(|follower| (follower.id, follower.address.clone()));
        let members: BTreeMap<u64, String> = others.chain([(leader.id, leader.address.clone())]).collect();
        let term = leader.runtime.block_on(async {
            leader.replica.bootstrap(members).await?;
            let mut leadership = leader.replica.leadership();
            let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
            let leads = tokio::time::timeout(ELECTION, leads).await.context("another was elected: try again")??;
            anyhow::Ok(term_of(&leads))
        })?;
        Ok(Self { folder, leader, followers, term })
    }

    /// Records the entries, as fast as the cluster takes them, and waits until every node has done everything with them.
    ///
    /// # Errors
    /// Where the leader loses the lead.
    pub(crate) fn record(&mut self, entries: impl Iterator<Item = Entry>) -> Result<()> {
        let Node { replica, runtime, .. } = &self.leader;
        let proposals = futures::stream::iter(entries.map(|entry| replica.propose(entry)));
        let recorded = runtime.block_on(proposals.buffered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }));
        recorded.with_context(|| match &*replica.failed().borrow() {
            Some(failure) => failure.to_string(),
            None => "the leader does not lead any more: the machine is too busy".to_owned(),
        })?;
        self.settle()
    }

    /// Waits until every node has done everything with what the leader has applied.
    ///
    /// # Errors
    /// Where a node has stopped.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let applied = self.leader.applied()?;
        self.leader.settle(applied)?;
        self.followers.iter_mut().try_for_each(|follower| follower.settle(applied))
    }

    pub(crate) fn stop(self) {
        drop(self.followers);
        self.leader.stop();
    }
}

const fn term_of(leadership: &Leadership) -> u64 {
    match leadership {
        Leadership::Leader { term } | Leadership::Follower { term, .. } => *term,
    }
}
