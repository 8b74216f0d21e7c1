//! Three nodes in one process, over a network of memory that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::entry;
use bytes::Bytes;
use futures::future::select_all;
use heats_replica::{BoxFuture, Leadership, ProposeError, Replica, ReplicaConfig, Transport, TransportError};
use tempfile::TempDir;

/// Who can hear whom.
#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<u64, Replica>>,
    cut: Mutex<BTreeSet<u64>>,
    /// Every so many messages that carry much, one is lost; none where 0.
    lossy: AtomicU64,
    large: AtomicU64,
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
            let lossy = self.net.lossy.load(Ordering::Relaxed);
            if message.len() > 500_000 && lossy > 0 && self.net.large.fetch_add(1, Ordering::Relaxed) % lossy == 1 {
                return Err(lost("the message was lost"));
            }
            let node = self.net.nodes.lock().unwrap().get(&target).cloned();
            let answer = node.ok_or_else(|| lost("it is down"))?.receive(message).await;
            if apart(&self.net.cut.lock().unwrap()) {
                return Err(lost("the network was cut before the answer"));
            }
            Ok(answer)
        })
    }
}

struct Cluster {
    dir: TempDir,
    net: Arc<Net>,
}

impl Cluster {
    async fn start() -> Self {
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
            election_ms_min: 200,
            election_ms_max: 400,
            snapshot_every: 100,
            log_keep: 10,
            segment_bytes: 64 << 10,
            ..ReplicaConfig::new(dir.join(id.to_string()), id, format!("node:{id}"))
        }
    }

    async fn open(&self, id: u64) {
        let link = Arc::new(Link { from: id, net: Arc::clone(&self.net) });
        let replica = Replica::open(Self::config(self.dir.path(), id), link).await.unwrap();
        self.net.nodes.lock().unwrap().insert(id, replica);
    }

    async fn stop(&self, id: u64) {
        let replica = self.net.nodes.lock().unwrap().remove(&id);
        replica.unwrap().shutdown().await;
    }

    fn node(&self, id: u64) -> Replica {
        self.net.nodes.lock().unwrap()[&id].clone()
    }

    fn cut(&self, id: u64) {
        self.net.cut.lock().unwrap().insert(id);
    }

    fn heal(&self) {
        self.net.cut.lock().unwrap().clear();
    }

    /// Waits until a node that is not cut off leads; who, in which term.
    async fn leader(&self) -> (u64, Replica, u64) {
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
    async fn check_agree(&self, index: u64) {
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

    async fn stop_all(self) {
        let ids: Vec<u64> = self.net.nodes.lock().unwrap().keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
    }
}

/// Proposes these numbers in order; the index of the last.
async fn propose(leader: &Replica, term: u64, numbers: std::ops::Range<u64>) -> u64 {
    let proposals: Vec<_> = numbers.map(|n| leader.propose(entry(term, n))).collect();
    let mut last = 0;
    for proposal in proposals {
        let proposed = proposal.await.unwrap();
        assert!(proposed.recorded);
        last = proposed.index;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_apply_the_same() {
    let cluster = Cluster::start().await;
    let (id, leader, term) = cluster.leader().await;
    let last = propose(&leader, term, 0..500).await;
    cluster.check_agree(last).await;
    let follower = cluster.node(1 + id % 3);
    match follower.propose(entry(term, 1)).await {
        Err(ProposeError::NotLeader { leader: Some((at, address)) }) => {
            assert_eq!((at, address), (id, format!("node:{id}")));
        }
        other => panic!("{other:?}"),
    }
    assert!(leader.confirm_leadership().await.unwrap() >= last);
    assert!(follower.confirm_leadership().await.is_err());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_gone_is_followed_by_one_that_knows_everything() {
    let cluster = Cluster::start().await;
    let (first, leader, term) = cluster.leader().await;
    propose(&leader, term, 0..50).await;
    drop(leader);
    cluster.stop(first).await;

    let (second, leader, later) = cluster.leader().await;
    assert!(second != first && later > term);
    // Announced only now, and complete at once.
    assert_eq!(leader.state().agents.len(), 50);
    let last = propose(&leader, later, 50..80).await;

    cluster.open(first).await;
    cluster.check_agree(last).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_its_entries_give_way() {
    let cluster = Cluster::start().await;
    let (first, old, term) = cluster.leader().await;
    propose(&old, term, 0..10).await;
    cluster.cut(first);
    let lost = tokio::spawn(old.propose(entry(term, 1_000)));
    let (_, new, later) = cluster.leader().await;
    let last = propose(&new, later, 10..30).await;
    cluster.heal();

    assert!(matches!(lost.await.unwrap(), Err(ProposeError::NotLeader { .. })));
    cluster.check_agree(last).await;
    assert_eq!(old.state().agents.len(), 30);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_far_behind_gets_the_snapshot_even_where_pieces_are_lost() {
    let cluster = Cluster::start().await;
    let (id, leader, term) = cluster.leader().await;
    let behind = 1 + id % 3;
    cluster.cut(behind);
    // Some megabytes, so that the snapshot travels in pieces.
    let proposals: Vec<_> = (0..400)
        .map(|n| {
            let mut entry = entry(term, n);
            if let Some(heats_core::Fact::AgentAttached(fact)) = &mut entry.facts[0].fact {
                fact.name = format!("{n}").repeat(4_000);
            }
            leader.propose(entry)
        })
        .collect();
    for proposal in proposals {
        assert!(proposal.await.unwrap().recorded);
    }
    let covered = leader.snapshot().await.unwrap();
    let (mut last, mut next) = (covered, 400);
    // The log is purged at the next occasion.
    while leader.status().purged.is_none_or(|purged| purged < 300) {
        last = propose(&leader, term, next..next + 1).await;
        next += 1;
    }

    cluster.net.lossy.store(3, Ordering::Relaxed);
    cluster.heal();
    cluster.check_agree(last).await;
    assert!(cluster.net.large.load(Ordering::Relaxed) > 3);
    let status = cluster.node(behind).status();
    assert!(status.snapshot.unwrap() >= covered, "{status:?}");

    // And it is on its disk as well.
    cluster.stop(behind).await;
    cluster.open(behind).await;
    cluster.check_agree(last).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_handed_over_on_request() {
    let cluster = Cluster::start().await;
    let (id, leader, term) = cluster.leader().await;
    let last = propose(&leader, term, 0..10).await;
    let to = 1 + id % 3;
    let heir = cluster.node(to);
    heir.watch_state().wait_for(|state| state.applied >= last).await.unwrap();
    leader.transfer_leader(to).await.unwrap();
    let mut leadership = heir.leadership();
    leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_at_once_come_back_with_everything() {
    let cluster = Cluster::start().await;
    let (_, leader, term) = cluster.leader().await;
    propose(&leader, term, 0..250).await;
    drop(leader);
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.open(id).await;
    }
    let (_, leader, later) = cluster.leader().await;
    assert_eq!(leader.state().agents.len(), 250);
    let last = propose(&leader, later, 250..260).await;
    cluster.check_agree(last).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_decode_or_is_meant_for_another_is_refused() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let node = cluster.node(1);
    let refused = String::from_utf8_lossy(&node.receive(Bytes::from_static(&[0xff; 40])).await).into_owned();
    assert!(refused.contains("does not decode"), "{refused}");
    // Field 2, varint: the node that is meant.
    let refused = String::from_utf8_lossy(&node.receive(Bytes::from_static(&[0x10, 9])).await).into_owned();
    assert!(refused.contains("this is node 1, not node 9"), "{refused}");
    assert!(node.failed().borrow().is_none());
    cluster.stop_all().await;
}
