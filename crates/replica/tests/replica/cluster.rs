//! Three nodes that agree, whatever becomes of one of them.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use heats_replica::{Leadership, ProposeError};

use crate::common::entry;
use crate::net::{Cluster, propose};

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

/// A cluster of which one node, the first number, is cut off and so far behind that it needs the leader's snapshot of some
/// megabytes, which travels in pieces. The second is the leader's number, the third the last entry.
async fn one_needs_the_snapshot() -> (Cluster, u64, u64, u64) {
    let cluster = Cluster::start().await;
    let (id, leader, term) = cluster.leader().await;
    let behind = 1 + id % 3;
    cluster.cut(behind);
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
    leader.snapshot().await.unwrap();
    let mut next = 400;
    // The log is purged at the next occasion.
    while leader.status().purged.is_none_or(|purged| purged < 300) {
        propose(&leader, term, next..next + 1).await;
        next += 1;
    }
    // Those may be enough for another snapshot to be due. This one covers them all: none takes its place on the way.
    let last = leader.snapshot().await.unwrap();
    cluster.net.arrived.send_replace(0);
    (cluster, behind, id, last)
}

/// Every byte of the snapshot arrived, and hardly any twice.
fn check_arrived_once(cluster: &Cluster, length: u64) {
    let arrived = *cluster.net.arrived.borrow();
    assert!(arrived > length / 2 && arrived < length + length / 8, "{arrived} bytes arrived of {length}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_far_behind_gets_the_snapshot_even_where_pieces_are_lost() {
    let (cluster, behind, leader, last) = one_needs_the_snapshot().await;
    let (length, covered) = (cluster.snapshot_length(leader), cluster.node(leader).status().snapshot);
    cluster.net.lossy.store(3, Ordering::Relaxed);
    cluster.heal();
    cluster.check_agree(last).await;
    check_arrived_once(&cluster, length);
    let status = cluster.node(behind).status();
    assert!(status.snapshot >= covered, "{status:?}");

    // And it is on its disk as well.
    cluster.stop(behind).await;
    cluster.open(behind).await;
    cluster.check_agree(last).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_goes_on_where_it_was_after_its_receiver_has_started_again() {
    let (cluster, behind, leader, last) = one_needs_the_snapshot().await;
    let length = cluster.snapshot_length(leader);
    cluster.net.until.store(length / 2, Ordering::Relaxed);
    cluster.heal();
    let mut arrived = cluster.net.arrived.subscribe();
    arrived.wait_for(|arrived| *arrived >= length / 2).await.unwrap();
    cluster.stop(behind).await;
    cluster.net.until.store(0, Ordering::Relaxed);
    cluster.open(behind).await;
    cluster.check_agree(last).await;
    check_arrived_once(&cluster, length);
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
