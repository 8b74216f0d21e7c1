//! A node of the cluster, as the rest of the process sees it: propose, watch, read, snapshot.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use heats_core::{Entry, State};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, ForwardToLeader, InitializeError, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use openraft::{BasicNode, Config, Raft, ReadPolicy, SnapshotPolicy};
use prost::Message;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::catalogue::{self, Catalogue};
use crate::config::ReplicaConfig;
use crate::disk::{Disk, RealDisk};
use crate::error::{BootstrapError, Failure, OpenError, ProposeError, SnapshotError, StorageError};
use crate::ground::{Ground, Work};
use crate::lock::DirLock;
use crate::log::{Log, LogSettings};
use crate::machine::{Applied, Machine};
use crate::network::{Network, Transport};
use crate::receiver::Receiver;
use crate::rounds::Rounds;
use crate::snapshot::{Loaded, SnapshotStore};
use crate::types::{Answer, Payload, Types};
use crate::watcher::{Due, Watcher};

/// How long a node that is shut down waits for its catalogue, which can be made anew.
const CATALOGUE_CLOSE: Duration = Duration::from_secs(5);

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This node does, in this term, and its state holds everything that was committed before.
    Leader {
        /// The term.
        term: u64,
    },
    /// Another node does, or none, or this one does not have its state together yet.
    Follower {
        /// Who leads, as far as this node knows: its id and address.
        leader: Option<(u64, String)>,
        /// The latest term that this node knows of.
        term: u64,
    },
}

/// A proposal that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its place in the log.
    pub index: u64,
    /// Its facts were recorded: it was logged in the term that it was decided in.
    pub recorded: bool,
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// The latest term that it knows of.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The voters of the cluster.
    pub voters: Vec<u64>,
    /// The index of the last entry in its log.
    pub last_log: Option<u64>,
    /// The index of the last entry that it applied.
    pub applied: Option<u64>,
    /// The last entry that its snapshot covers.
    pub snapshot: Option<u64>,
    /// The last entry that its log no longer holds.
    pub purged: Option<u64>,
    /// How often its log was made durable since it opened.
    pub log_flushes: u64,
}

/// A node of the cluster. Clones share it; it runs until [`Replica::shutdown`], not until the last is dropped.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    node: u64,
    address: String,
    election_ms_max: u64,
    raft: Raft<Types, Machine>,
    log: Log,
    applied: watch::Receiver<Applied>,
    states: watch::Receiver<Arc<State>>,
    leadership: watch::Receiver<Leadership>,
    failure: watch::Receiver<Option<Failure>>,
    catalogue: Catalogue,
    proposals: mpsc::UnboundedSender<Proposal>,
    receiver: Receiver,
    rounds: Arc<Rounds>,
    lock: Mutex<Option<DirLock>>,
}

struct Proposal {
    payload: Payload,
    answer: oneshot::Sender<ClientWriteResult<Types>>,
}

impl Replica {
    /// Opens the directory and starts the node. It takes part in its cluster at once if it has one;
    /// otherwise it waits for [`Replica::bootstrap`] or for a leader that adds it.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is repaired that a crash cannot have caused.
    pub async fn open(config: ReplicaConfig, transport: Arc<dyn Transport>) -> Result<Self, OpenError> {
        Self::open_on(config, transport, Ground::real()).await
    }

    /// As [`Replica::open`], on another ground.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn open_on(
        config: ReplicaConfig,
        transport: Arc<dyn Transport>,
        ground: Ground,
    ) -> Result<Self, OpenError> {
        let engine = engine_config(&config)?;
        let (failure, failed) = watch::channel(None);
        let (applied_tx, applied) = watch::channel(Applied { last: None, state: Arc::default() });
        let grown = Arc::new(AtomicU64::new(0));

        let settings = config.clone();
        let log_failure = failure.clone();
        let work = ground.work;
        // Openraft counts in histograms whose tables, of some 25 MB, are filled at the first use: meanwhile the disk works.
        let tables = work.run(|| drop(base2histogram::Histogram::<()>::new()));
        let opened = work.run(move || open_dir(&settings, ground, log_failure));
        let (_filled, opened) = tokio::join!(tables, opened);
        let opened = opened.map_err(|error| OpenError::Start { why: error.to_string() })??;
        let OpenedDir { lock, log, store, loaded } = opened;

        let machine = Machine::new(store.clone(), loaded, applied_tx, failure.clone(), Arc::clone(&grown), work);
        let network = Network { node: config.node_id, transport, work };
        let raft = Raft::new(config.node_id, Arc::new(engine), network, log.clone(), machine).await;
        let raft = match raft {
            Ok(raft) => raft,
            Err(error) => {
                log.close().await;
                // What the state machine said is the cause; the engine only says that it stopped.
                let why = failed.borrow().as_ref().map_or_else(|| error.to_string(), Failure::to_string);
                return Err(OpenError::Start { why });
            }
        };

        let stopped = |error: openraft::error::Fatal<Types>| OpenError::Start { why: error.to_string() };
        let voters = raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>());
        if voters.await.map_err(stopped)? == [config.node_id] {
            // Nobody else could object, so there is nothing to wait for.
            raft.trigger().elect(false).await.map_err(stopped)?;
        }

        let (leadership_tx, leadership) = watch::channel(Leadership::Follower { leader: None, term: 0 });
        let watcher = Watcher {
            node: config.node_id,
            raft: raft.clone(),
            applied: applied.clone(),
            leadership: leadership_tx,
            failure,
            due: Due { grown, store: store.clone(), bytes: config.snapshot_bytes, entries: config.snapshot_every },
            patience: Duration::from_millis(config.election_ms_max * 2),
        };
        tokio::spawn(watcher.run());
        let states = publish_states(applied.clone());
        let catalogue = match work {
            Work::Threads => catalogue::open(config.dir.join("catalogue"), states.clone()),
            Work::Inline => Catalogue::none(),
        };
        let (proposals, queue) = mpsc::unbounded_channel();
        tokio::spawn(hand_over(raft.clone(), queue));
        let receiver = Receiver { node: config.node_id, raft: raft.clone(), store, work, incoming: Mutex::new(()) };
        let replica = Self {
            shared: Arc::new(Shared {
                node: config.node_id,
                address: config.address,
                election_ms_max: config.election_ms_max,
                raft,
                log,
                applied,
                states,
                leadership,
                failure: failed,
                catalogue,
                proposals,
                receiver,
                rounds: Arc::default(),
                lock: Mutex::new(Some(lock)),
            }),
        };
        Ok(replica)
    }

    /// Makes a cluster of this node alone, unless it belongs to one already.
    ///
    /// # Errors
    /// See [`BootstrapError`].
    pub async fn bootstrap_single(&self) -> Result<(), BootstrapError> {
        let address = self.shared.address.clone();
        self.bootstrap(BTreeMap::from([(self.shared.node, address)])).await
    }

    /// Makes a cluster of these nodes (ids and addresses), unless this one belongs to one already. One of
    /// them does it, or all do it with the same list.
    ///
    /// # Errors
    /// See [`BootstrapError`].
    pub async fn bootstrap(&self, members: BTreeMap<u64, String>) -> Result<(), BootstrapError> {
        let members: BTreeMap<u64, BasicNode> =
            members.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        match self.shared.raft.initialize(members).await {
            // Not allowed: there is a vote or an entry, so it was made before.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                Err(BootstrapError::Members { why: error.to_string() })
            }
            Err(RaftError::Fatal(error)) => Err(BootstrapError::Stopped { why: error.to_string() }),
        }
    }

    /// The latest state that was applied here.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.shared.applied.borrow().state)
    }

    /// The states as they are applied; a slow watcher misses some.
    pub fn watch_state(&self) -> watch::Receiver<Arc<State>> {
        self.shared.states.clone()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// Why the node stopped itself, once it did: the process must end then.
    pub fn failed(&self) -> watch::Receiver<Option<Failure>> {
        self.shared.failure.clone()
    }

    /// Proposes an entry. It is in line when this returns, so that entries are logged in the order of the
    /// calls; the future resolves once the entry is durable, committed and applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]; whether the entry was recorded is then not known.
    pub fn propose(&self, entry: Entry) -> impl Future<Output = Result<Proposed, ProposeError>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let payload = Payload(entry.encode_to_vec().into());
        // Where the queue is closed the answer's sender is dropped, which is the answer.
        let _ = self.shared.proposals.send(Proposal { payload, answer });
        async move {
            let written = answered.await.map_err(|_| ProposeError::Stopped)?;
            match written {
                Ok(written) => Ok(Proposed { index: written.log_id.index, recorded: written.data.recorded }),
                Err(ClientWriteError::ForwardToLeader(to) | ClientWriteError::LogEntryDiscarded(to)) => {
                    Err(not_leader(to))
                }
                // Only asked for by membership changes and conditional writes.
                Err(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
                    Err(ProposeError::NotLeader { leader: None })
                }
            }
        }
    }

    /// Confirms with a majority that this node leads, and waits until everything that was committed before
    /// the call is applied here: a read of [`Replica::state`] is linearizable then. Returns the index that
    /// the state has reached. Calls that come together are confirmed together.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn confirm_leadership(&self) -> Result<u64, ProposeError> {
        let (raft, patience) = (self.shared.raft.clone(), self.patience() * 2);
        self.shared.rounds.join(confirmed(raft, patience)).await
    }

    /// Takes a snapshot and waits for it; returns the last entry that it covers.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn snapshot(&self) -> Result<u64, SnapshotError> {
        let applied = self.shared.applied.borrow().last.ok_or(SnapshotError::Empty)?;
        let mut metrics = self.shared.raft.metrics();
        let covered = |metrics: &openraft::RaftMetrics<Types>| metrics.snapshot.filter(|id| *id >= applied);
        let mut newest = metrics.borrow_watched().snapshot;
        if let Some(covered) = covered(&metrics.borrow_watched()) {
            return Ok(covered.index);
        }
        let trigger = || async { self.shared.raft.trigger().snapshot().await.map_err(|_| SnapshotError::Stopped) };
        trigger().await?;
        loop {
            metrics.changed().await.map_err(|_| SnapshotError::Stopped)?;
            let now = metrics.borrow_watched().clone();
            if let Some(covered) = covered(&now) {
                return Ok(covered.index);
            }
            // One that was on its way already covers less, and the engine forgot the wish for another meanwhile.
            if now.snapshot != newest {
                newest = now.snapshot;
                trigger().await?;
            }
            if now.running_state.is_err() {
                return Err(SnapshotError::Stopped);
            }
        }
    }

    /// Events, by key.
    pub fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    /// Hands the lead to another voter; it has happened when [`Replica::leadership`] says so.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn transfer_leader(&self, to: u64) -> Result<(), ProposeError> {
        self.shared.raft.trigger().transfer_leader(to).await.map_err(|_| ProposeError::Stopped)
    }

    pub(crate) fn snapshots(&self) -> &SnapshotStore {
        &self.shared.receiver.store
    }

    pub(crate) fn raft(&self) -> &Raft<Types, Machine> {
        &self.shared.raft
    }

    /// How long a member may be silent before it counts as not answering.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.shared.election_ms_max)
    }

    /// Answers a request that a peer's [`Transport`] carried here.
    pub async fn receive(&self, message: Bytes) -> Bytes {
        self.shared.receiver.receive(message).await
    }

    /// The last entry that this node knows to be committed; its state may not have it yet.
    pub fn committed(&self) -> u64 {
        self.shared.raft.metrics().borrow_watched().cluster_committed.map_or(0, |id| id.index)
    }

    /// Where the node stands.
    pub fn status(&self) -> Status {
        let metrics = self.shared.raft.metrics().borrow_watched().clone();
        Status {
            node: self.shared.node,
            term: metrics.current_term,
            leader: metrics.current_leader,
            voters: metrics.membership_config.voter_ids().collect(),
            last_log: self.shared.log.last().map(|id| id.index),
            applied: self.shared.applied.borrow().last.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: self.shared.log.purged().map(|id| id.index),
            log_flushes: self.shared.log.flushes(),
        }
    }

    /// Stops the node: what is in flight is answered with an error, what is durable stays, and the
    /// directory is free for another process.
    pub async fn shutdown(self) {
        if let Err(error) = self.shared.raft.shutdown().await {
            tracing::warn!(node_id = self.shared.node, %error, "the engine did not stop cleanly");
        }
        self.shared.log.close().await;
        self.shared.catalogue.close(CATALOGUE_CLOSE).await;
        self.shared.lock.lock().await.take();
    }
}

/// Asks a majority whether this node leads, and waits for what was committed before to be applied; the index of that.
async fn confirmed(raft: Raft<Types, Machine>, patience: Duration) -> Result<u64, ProposeError> {
    // A leader that lost its majority would wait until it notices.
    let Ok(confirmed) = tokio::time::timeout(patience, raft.ensure_linearizable(ReadPolicy::ReadIndex)).await else {
        return Err(ProposeError::NotLeader { leader: None });
    };
    match confirmed {
        Ok(read) => Ok(read.log_id().index),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => Err(not_leader(to)),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(ProposeError::NotLeader { leader: None })
        }
        Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
    }
}

pub(crate) fn not_leader(to: ForwardToLeader<Types>) -> ProposeError {
    let address = to.leader_node.map(|node| node.addr).unwrap_or_default();
    ProposeError::NotLeader { leader: to.leader_id.map(|id| (id, address)) }
}

/// Hands proposals to the engine in order. The engine takes what waits in its queue as one batch.
async fn hand_over(raft: Raft<Types, Machine>, mut queue: mpsc::UnboundedReceiver<Proposal>) {
    while let Some(Proposal { payload, answer }) = queue.recv().await {
        if raft.client_write_ff(payload, Some(Answer(answer))).await.is_err() {
            // Stopped: dropping the queue answers whoever waits.
            return;
        }
    }
}

/// The states alone, for those who need not know the log's ids.
fn publish_states(mut applied: watch::Receiver<Applied>) -> watch::Receiver<Arc<State>> {
    let (states, watched) = watch::channel(Arc::clone(&applied.borrow_and_update().state));
    tokio::spawn(async move {
        while applied.changed().await.is_ok() {
            states.send_replace(Arc::clone(&applied.borrow_and_update().state));
        }
    });
    watched
}

struct OpenedDir {
    lock: DirLock,
    log: Log,
    store: SnapshotStore,
    loaded: Option<Loaded>,
}

fn open_dir(
    config: &ReplicaConfig,
    ground: Ground,
    failure: watch::Sender<Option<Failure>>,
) -> Result<OpenedDir, OpenError> {
    let dir = config.dir.as_path();
    let (log_dir, snapshot_dir) = (dir.join("log"), dir.join("snapshots"));
    for dir in [dir, &log_dir, &snapshot_dir] {
        std::fs::create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        RealDisk.sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    }
    let lock = DirLock::take(dir)?;
    let known = read_node(dir)?;
    if let Some(found) = known.filter(|found| *found != config.node_id) {
        return Err(OpenError::OtherNode { dir: dir.to_owned(), found, expected: config.node_id });
    }
    let (store, loaded, bad) = SnapshotStore::open(&snapshot_dir, ground.clone())?;
    let had_log = known.is_some() || loaded.is_some() || !bad.is_empty();
    if had_log && !Log::exists(&log_dir, ground.disk.as_ref())? {
        return Err(OpenError::LogMissing { dir: dir.to_owned(), node: config.node_id });
    }
    let settings = LogSettings { dir: log_dir, node: config.node_id, segment_bytes: config.segment_bytes };
    let log = Log::open(settings, ground, failure)?;
    if known.is_none() {
        write_node(dir, config.node_id)?;
    }
    let covered = loaded.as_ref().and_then(|loaded| loaded.meta.last_log_id).map(|id| id.index);
    if let Some(purged) = log.purged().map(|id| id.index).filter(|purged| covered < Some(*purged)) {
        let detail = bad.iter().map(|error| format!(" ({error})")).collect();
        return Err(OpenError::SnapshotMissing { dir: dir.to_owned(), purged, detail });
    }
    for error in bad {
        tracing::warn!(node_id = config.node_id, %error, "a snapshot does not read; the log covers what it held");
    }
    Ok(OpenedDir { lock, log, store, loaded })
}

/// Whose directory it is, where it is anybody's.
fn read_node(dir: &Path) -> Result<Option<u64>, StorageError> {
    let path = dir.join("node");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(node) => Ok(Some(node)),
            Err(_) => Err(StorageError::damaged(&path, 0, "it does not hold a node id")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", &path, error)),
    }
}

/// Written after the log was made: from now on a directory without a log is one that lost it.
pub(crate) fn write_node(dir: &Path, node: u64) -> Result<(), StorageError> {
    let (path, aside) = (dir.join("node"), dir.join("node.new"));
    std::fs::write(&aside, format!("{node}\n"))
        .and_then(|()| std::fs::File::open(&aside)?.sync_all())
        .and_then(|()| std::fs::rename(&aside, &path))
        .map_err(|e| StorageError::io("write", &path, e))?;
    RealDisk.sync_dir(dir)
}

fn engine_config(config: &ReplicaConfig) -> Result<Config, OpenError> {
    let engine = Config {
        cluster_name: "heats".to_owned(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: config.election_ms_min,
        election_timeout_max: config.election_ms_max,
        enable_pre_vote: Some(true),
        // A process that starts again leads in a new term, if it does: what a term's leader knew is in the
        // memory of one process, and the term's first entry shows when the state is complete.
        enable_leader_restore: Some(false),
        // The watcher asks for them.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.log_keep,
        // A follower that is further behind than the log reaches gets the snapshot anyway.
        replication_lag_threshold: config.snapshot_every.saturating_mul(2).max(5_000),
        ..Config::default()
    };
    engine.validate().map_err(|error| OpenError::Config { why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Fault, FaultyDisk};
    use crate::network::Alone;

    async fn leading(replica: &Replica) -> u64 {
        let mut leadership = replica.leadership();
        let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap();
        match *leads {
            Leadership::Leader { term } => term,
            Leadership::Follower { .. } => unreachable!("it was waited for"),
        }
    }

    /// A node whose disk fails stops with that reason, and everything that it acknowledged is there when it
    /// is started again on a disk that works.
    async fn check_stops_on(fault: Fault, reason: &str) {
        let dir = tempfile::tempdir().unwrap();
        let config = ReplicaConfig { segment_bytes: 4 << 10, ..ReplicaConfig::new(dir.path(), 1, "test:1") };
        let ground = Ground { disk: Arc::new(FaultyDisk::new(fault, 20)), work: Work::Threads };
        let replica = Replica::open_on(config.clone(), Arc::new(Alone), ground).await.unwrap();
        replica.bootstrap_single().await.unwrap();
        let term = leading(&replica).await;
        let mut acknowledged = 0;
        let refused = loop {
            let entry = Entry { term, number: 0, after: 0, at_ms: acknowledged, facts: Vec::new() };
            match replica.propose(entry).await {
                Ok(proposed) => acknowledged = proposed.index,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "the fault never happened");
        };
        assert_eq!(refused, ProposeError::Stopped);
        let mut failed = replica.failed();
        let failure = failed.wait_for(Option::is_some).await.unwrap().as_ref().map(Failure::to_string);
        assert!(failure.as_deref().is_some_and(|failure| failure.contains(reason)), "{failure:?}");
        replica.shutdown().await;

        let replica = Replica::open(config, Arc::new(Alone)).await.unwrap();
        leading(&replica).await;
        assert!(replica.state().applied >= acknowledged);
        replica.shutdown().await;
    }

    #[tokio::test]
    async fn a_failed_sync_stops_the_node_by_name() {
        check_stops_on(Fault::Sync, "cannot sync").await;
    }

    #[tokio::test]
    async fn a_full_disk_stops_the_node_by_name_and_loses_nothing() {
        check_stops_on(Fault::Full, "the disk is full").await;
    }
}
