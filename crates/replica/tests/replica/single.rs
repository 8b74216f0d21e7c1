//! One node alone: what the single-machine mode runs.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{alone, config, entry, leading};
use heats_replica::{Alone, Failure, Leadership, OpenError, ProposeError, Replica};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let mut last = 0;
    for n in 0..100 {
        let proposed = replica.propose(entry(term, n)).await.unwrap();
        assert!(proposed.recorded && proposed.index > last);
        last = proposed.index;
    }
    let hash = replica.state().hash();
    assert_eq!(replica.state().agents.len(), 100);
    replica.shutdown().await;

    let replica = alone(config(dir.path())).await.unwrap();
    assert!(leading(&replica).await > term);
    let state = replica.state();
    assert_eq!(state.agents.len(), 100);
    // The new term's first entry moved the state's place in the log, and nothing else.
    let mut same = heats_core::State::clone(&state);
    same.applied = last;
    assert_eq!(same.hash(), hash);
    replica.shutdown().await;
}

#[tokio::test]
async fn an_entry_that_was_decided_in_another_term_records_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    assert!(!replica.propose(entry(term - 1, 1)).await.unwrap().recorded);
    assert!(replica.state().agents.is_empty());
    replica.shutdown().await;
}

#[tokio::test]
async fn entries_are_logged_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let proposals: Vec<_> = (0..2_000).map(|n| replica.propose(entry(term, n))).collect();
    let mut last = 0;
    // Awaited backwards: the order of the calls decides, not that of the awaits.
    for proposal in proposals.into_iter().rev() {
        let index = proposal.await.unwrap().index;
        assert!(last == 0 || index == last - 1, "{index} after {last}");
        last = index;
    }
    replica.shutdown().await;
}

#[tokio::test]
async fn proposals_in_flight_together_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let before = replica.status().log_flushes;
    let proposals: Vec<_> = (0..1_000).map(|n| replica.propose(entry(term, n))).collect();
    for proposal in proposals {
        proposal.await.unwrap();
    }
    let syncs = replica.status().log_flushes - before;
    assert!(syncs < 100, "{syncs} syncs for 1000 proposals");
    replica.shutdown().await;
}

#[tokio::test]
async fn a_confirmed_leader_has_applied_what_was_proposed() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let index = replica.propose(entry(term, 1)).await.unwrap().index;
    assert!(replica.confirm_leadership().await.unwrap() >= index);
    replica.shutdown().await;
}

#[tokio::test]
async fn a_node_without_a_cluster_refuses_proposals() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(config(dir.path()), Arc::new(Alone)).await.unwrap();
    let refused = replica.propose(entry(1, 1)).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: None });
    replica.shutdown().await;
}

#[tokio::test]
async fn a_node_that_was_shut_down_answers_that_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    replica.clone().shutdown().await;
    assert_eq!(replica.propose(entry(term, 1)).await.unwrap_err(), ProposeError::Stopped);
    assert!(replica.failed().borrow().is_none());
}

#[tokio::test]
async fn a_second_node_on_the_directory_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = alone(config(dir.path())).await.unwrap();
    match Replica::open(config(dir.path()), Arc::new(Alone)).await {
        Err(OpenError::Locked { holder, .. }) => assert!(holder.contains(&std::process::id().to_string()), "{holder}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    first.shutdown().await;
}

#[tokio::test]
async fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    alone(config(dir.path())).await.unwrap().shutdown().await;
    let mut other = config(dir.path());
    other.node_id = 2;
    let refused = Replica::open(other, Arc::new(Alone)).await.map(|_| ());
    assert!(matches!(refused, Err(OpenError::OtherNode { found: 1, expected: 2, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_node_whose_log_is_gone_does_not_start_with_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    alone(config(dir.path())).await.unwrap().shutdown().await;
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let refused = Replica::open(config(dir.path()), Arc::new(Alone)).await.map(|_| ());
    assert!(matches!(refused, Err(OpenError::LogMissing { node: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_restart_after_a_snapshot_reads_little_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.snapshot_every, config.log_keep) = (500, 50);
    let replica = alone(config.clone()).await.unwrap();
    let term = leading(&replica).await;
    for batch in 0..20 {
        let proposals: Vec<_> = (0..100).map(|n| replica.propose(entry(term, batch * 100 + n))).collect();
        for proposal in proposals {
            proposal.await.unwrap();
        }
    }
    let covered = replica.snapshot().await.unwrap();
    let hash_before = replica.state().hash();
    let applied = replica.state().applied;
    assert_eq!(covered, applied);
    // Purging follows the snapshot; the next entry gives it the occasion.
    replica.propose(entry(term, 5_000)).await.unwrap();
    replica.shutdown().await;
    let files = std::fs::read_dir(dir.path().join("log")).unwrap().count();
    assert!(files <= 2, "{files} files of the log are left");

    let replica = alone(config).await.unwrap();
    leading(&replica).await;
    let status = replica.status();
    assert!(status.purged.unwrap() >= covered - 50, "{status:?}");
    assert_eq!(status.snapshot, Some(covered));
    let state = replica.state();
    assert_eq!(state.agents.len(), 2_001);
    let mut same = heats_core::State::clone(&state);
    same.agents.remove(&heats_domain::AgentId { bits: 5_000 });
    same.applied = applied;
    assert_eq!(same.hash(), hash_before);
    replica.shutdown().await;
}

#[tokio::test]
async fn a_node_that_idled_for_long_still_leads() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.heartbeat_ms, config.election_ms_min, config.election_ms_max) = (10, 20, 30);
    let replica = alone(config).await.unwrap();
    let term = leading(&replica).await;
    // Many times as long as a leader with peers may go without hearing from them.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(replica.propose(entry(term, 1)).await.unwrap().recorded);
    replica.confirm_leadership().await.unwrap();
    assert_eq!(*replica.leadership().borrow(), Leadership::Leader { term });
    replica.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_is_taken_once_the_log_is_large() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.snapshot_bytes = 20_000;
    let replica = alone(config).await.unwrap();
    let term = leading(&replica).await;
    let mut n = 0;
    while replica.status().snapshot.is_none() {
        replica.propose(entry(term, n)).await.unwrap();
        n += 1;
        assert!(n < 10_000, "no snapshot after {n} entries");
    }
    assert!(n > 200, "a snapshot after only {n} entries");
    replica.shutdown().await;
}

/// Takes a snapshot, spoils it while the node is down, and tries to open.
async fn reopen_with_a_spoilt_snapshot(log_keep: u64) -> Result<usize, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.log_keep = log_keep;
    let replica = alone(config.clone()).await.unwrap();
    let term = leading(&replica).await;
    for n in 0..50 {
        replica.propose(entry(term, n)).await.unwrap();
    }
    replica.snapshot().await.unwrap();
    let mut n = 50;
    while log_keep < 50 && replica.status().purged.is_none() {
        replica.propose(entry(term, n)).await.unwrap();
        n += 1;
    }
    replica.shutdown().await;
    let path = std::fs::read_dir(dir.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();

    let replica = alone(config).await?;
    leading(&replica).await;
    let agents = replica.state().agents.len();
    replica.shutdown().await;
    Ok(agents)
}

#[tokio::test]
async fn a_damaged_snapshot_does_no_harm_while_the_log_goes_back_to_its_beginning() {
    assert_eq!(reopen_with_a_spoilt_snapshot(1_000).await.unwrap(), 50);
}

#[tokio::test]
async fn a_damaged_snapshot_that_the_log_relies_on_stops_the_node() {
    let refused = reopen_with_a_spoilt_snapshot(0).await.unwrap_err();
    assert!(matches!(refused, OpenError::SnapshotMissing { .. }), "{refused}");
    assert!(refused.to_string().contains("is damaged at byte"), "{refused}");
}

#[tokio::test]
async fn an_entry_that_contradicts_the_state_stops_the_node_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    // No such sweep.
    let bad = crate::common::trial_entries(term, 0).remove(0);
    assert_eq!(replica.propose(bad).await.unwrap_err(), ProposeError::Stopped);
    let mut failed = replica.failed();
    let failure = failed.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(failure, Some(Failure::Apply(_))), "{failure:?}");
    replica.shutdown().await;
}
