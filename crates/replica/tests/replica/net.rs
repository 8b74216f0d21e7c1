//! Nodes in one process, over a network of memory that can be cut: what the tests of clusters share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::entry;
use bytes::Bytes;
use futures::future::select_all;
use heats_replica::{BoxFuture, Leadership, Replica, ReplicaConfig, Transport, TransportError};
use tempfile::TempDir;
use tokio::sync::watch;

/// How large a message is that carries a piece of a snapshot, where entries are smaller.
const LARGE: usize = 100_000;

/// The longest silence of a leader, beyond which others elect another.
pub const ELECTION: Duration = Duration::from_millis(1_200);
/// Far longer than anything here takes: whoever waits so long waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, which nothing announces.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Who can hear whom, and how much.
#[derive(Default)]
pub struct Net {
    nodes: Mutex<BTreeMap<u64, Replica>>,
    cut: Mutex<BTreeSet<u64>>,
    /// Every so many large messages, one is lost; none where 0.
    pub lossy: AtomicU64,
    /// Large messages are lost from when this many bytes of them have arrived; none are where 0.
    pub until: AtomicU64,
    /// How many bytes of large messages have arrived.
    pub arrived: watch::Sender<u64>,
    large: AtomicU64,
}

impl Net {
    fn loses_large(&self) -> bool {
        let (lossy, until) = (self.lossy.load(Ordering::Relaxed), self.until.load(Ordering::Relaxed));
        let unlucky = lossy > 0 && self.large.fetch_add(1, Ordering::Relaxed) % lossy == 1;
        unlucky || (until > 0 && *self.arrived.borrow() >= until)
    }
}

/// One node's way into the network.
struct Link {
    from: u64,
    net: Arc<Net>,
}

impl Transport for Link {
    fn call<'a>(
        &'a self,
        target: u64,
        address: &'a str,
        message: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, TransportError>> {
        Box::pin(async move {
            let lost = |why: &str| TransportError { target, address: address.to_owned(), why: why.to_owned() };
            let apart = |cut: &BTreeSet<u64>| cut.contains(&self.from) || cut.contains(&target);
            if apart(&self.net.cut.lock().unwrap()) {
                return Err(lost("the network is cut"));
            }
            let node = self.net.nodes.lock().unwrap().get(&target).cloned();
            let large = (message.len() > LARGE).then_some(message.len() as u64);
            if large.is_some() && self.net.loses_large() {
                return Err(lost("the message was lost"));
            }
            let answer = node.ok_or_else(|| lost("it is down"))?.receive(message).await;
            // One that is still worked on may not be kept.
            self.net.arrived.send_modify(|bytes| *bytes += large.unwrap_or(0));
            if apart(&self.net.cut.lock().unwrap()) {
                return Err(lost("the network was cut before the answer"));
            }
            Ok(answer)
        })
    }
}

pub struct Cluster {
    dir: TempDir,
    pub net: Arc<Net>,
}

impl Cluster {
    pub async fn start() -> Self {
        let cluster = Self { dir: tempfile::tempdir().unwrap(), net: Arc::default() };
        for id in 1..=3 {
            cluster.open(id).await;
        }
        let members: BTreeMap<u64, String> = (1..=3).map(|id| (id, format!("node:{id}"))).collect();
        cluster.node(1).bootstrap(members).await.unwrap();
        cluster
    }

    fn config(dir: &Path, id: u64) -> ReplicaConfig {
        ReplicaConfig {
            heartbeat_ms: 50,
            // Long, so that a machine with much else to do does not make for elections that no test has asked for.
            election_ms_min: 600,
            election_ms_max: ELECTION.as_millis() as u64,
            snapshot_every: 100,
            log_keep: 10,
            segment_bytes: 64 << 10,
            ..ReplicaConfig::new(dir.join(id.to_string()), id, format!("node:{id}"))
        }
    }

    pub async fn open(&self, id: u64) {
        let link = Arc::new(Link { from: id, net: Arc::clone(&self.net) });
        let replica = Replica::open(Self::config(self.dir.path(), id), link).await.unwrap();
        self.net.nodes.lock().unwrap().insert(id, replica);
    }

    pub async fn stop(&self, id: u64) {
        let replica = self.net.nodes.lock().unwrap().remove(&id);
        replica.unwrap().shutdown().await;
    }

    pub fn node(&self, id: u64) -> Replica {
        self.net.nodes.lock().unwrap()[&id].clone()
    }

    pub fn cut(&self, id: u64) {
        self.net.cut.lock().unwrap().insert(id);
    }

    /// How long the file of a node's newest snapshot is, in bytes.
    pub fn snapshot_length(&self, id: u64) -> u64 {
        let files = std::fs::read_dir(self.dir.path().join(format!("{id}/snapshots"))).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap()
    }

    pub fn heal(&self) {
        self.net.cut.lock().unwrap().clear();
    }

    /// Waits until a node that is not cut off leads; who, in which term.
    pub async fn leader(&self) -> (u64, Replica, u64) {
        let nodes: Vec<(u64, Replica)> = {
            let cut = self.net.cut.lock().unwrap();
            let nodes = self.net.nodes.lock().unwrap();
            nodes.iter().filter(|(id, _)| !cut.contains(id)).map(|(id, node)| (*id, node.clone())).collect()
        };
        let waits = nodes.into_iter().map(|(id, node)| {
            Box::pin(async move {
                let mut leadership = node.leadership();
                let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap().clone();
                match leads {
                    Leadership::Leader { term } => (id, node, term),
                    Leadership::Follower { .. } => unreachable!("it was waited for"),
                }
            })
        });
        select_all(waits).await.0
    }

    /// Waits until every node has applied `index` and nothing beyond it, and compares their states.
    pub async fn check_agree(&self, index: u64) {
        let nodes: Vec<Replica> = self.net.nodes.lock().unwrap().values().cloned().collect();
        let mut hashes = BTreeSet::new();
        for node in &nodes {
            let mut states = node.watch_state();
            let state = states.wait_for(|state| state.applied >= index).await.unwrap().clone();
            assert_eq!(state.applied, index);
            hashes.insert(state.hash().to_hex().to_string());
        }
        assert_eq!(hashes.len(), 1, "{} nodes", nodes.len());
    }

    pub async fn stop_all(self) {
        let ids: Vec<u64> = self.net.nodes.lock().unwrap().keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
    }
}

/// Proposes these numbers in order; the index of the last.
pub async fn propose(leader: &Replica, term: u64, numbers: std::ops::Range<u64>) -> u64 {
    let proposals: Vec<_> = numbers.map(|n| leader.propose(entry(term, n))).collect();
    let mut last = 0;
    for proposal in proposals {
        let proposed = proposal.await.unwrap();
        assert!(proposed.recorded);
        last = proposed.index;
    }
    last
}
