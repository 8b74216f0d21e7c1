//! The catalogue: what it answers, and that losing it loses nothing.

use std::fs;
use std::path::Path;

use crate::common::{SWEEP, alone, config, entry, leading, sweep_entry, trial_entries};
use heats_core::fact::{Ending, SweepEnded, SweepRemoved};
use heats_core::{Entry, Fact, Record};
use heats_replica::Replica;

/// Proposes in order and waits for all.
async fn propose(replica: &Replica, entries: Vec<Entry>) {
    let proposals: Vec<_> = entries.into_iter().map(|entry| replica.propose(entry)).collect();
    for proposal in proposals {
        assert!(proposal.await.unwrap().recorded);
    }
}

/// A sweep with `trials` finished trials.
async fn filled(replica: &Replica, trials: u32) {
    let term = leading(replica).await;
    propose(replica, vec![entry(term, 1), sweep_entry(term)]).await;
    for trial in 0..trials {
        propose(replica, trial_entries(term, trial)).await;
    }
}

/// Waits until the catalogue holds what the state holds, and compares them.
async fn check_agrees(replica: &Replica) {
    let state = replica.state();
    replica.catalogue().applied().wait_for(|applied| *applied >= state.applied).await.unwrap();
    let records: Vec<Record> = state.sweeps[&SWEEP].journal.iter().map(|record| record.as_ref().clone()).collect();
    assert!(replica.catalogue().events(SWEEP, 0, usize::MAX).unwrap() == records);
}

#[tokio::test]
async fn events_come_in_log_order_from_an_index_and_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    // Some pages.
    filled(&replica, 60).await;
    check_agrees(&replica).await;
    let all = replica.catalogue().events(SWEEP, 0, usize::MAX).unwrap();
    for from in 0..=all.last().unwrap().log_index + 1 {
        let later: Vec<_> = all.iter().filter(|record| record.log_index >= from).cloned().collect();
        assert!(replica.catalogue().events(SWEEP, from, usize::MAX).unwrap() == later, "from {from} on");
        let some = &later[..later.len().min(4)];
        assert!(replica.catalogue().events(SWEEP, from, 4).unwrap() == some, "four from {from} on");
    }
    replica.shutdown().await;
}

#[tokio::test]
async fn an_orderly_restart_keeps_it_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    filled(&replica, 3).await;
    replica.shutdown().await;
    assert!(dir.path().join("catalogue.clean").exists());

    let replica = alone(config(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    propose(&replica, trial_entries(term, 3)).await;
    check_agrees(&replica).await;
    replica.shutdown().await;
}

/// Whatever happens to its files while the node is down, the node opens and the catalogue is whole again.
async fn check_survives(spoil: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    filled(&replica, 20).await;
    replica.snapshot().await.unwrap();
    replica.shutdown().await;
    spoil(dir.path());
    let replica = alone(config(dir.path())).await.unwrap();
    leading(&replica).await;
    check_agrees(&replica).await;
    replica.shutdown().await;
}

#[tokio::test]
async fn deleted_it_is_made_anew() {
    check_survives(|dir| fs::remove_dir_all(dir.join("catalogue")).unwrap()).await;
}

#[tokio::test]
async fn not_closed_it_is_made_anew() {
    check_survives(|dir| fs::remove_file(dir.join("catalogue.clean")).unwrap()).await;
}

#[tokio::test]
async fn with_its_files_overwritten_it_is_made_anew() {
    check_survives(|dir| {
        let path = dir.join("catalogue/db");
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(path, vec![0xa5; length]).unwrap();
    })
    .await;
}

#[tokio::test]
async fn with_its_files_cut_short_it_is_made_anew() {
    check_survives(|dir| {
        let file = fs::OpenOptions::new().write(true).open(dir.join("catalogue/db")).unwrap();
        file.set_len(100).unwrap();
    })
    .await;
}

#[tokio::test]
async fn in_the_layout_of_an_earlier_version_it_is_made_anew() {
    check_survives(|dir| {
        let mark = fs::read_to_string(dir.join("catalogue.clean")).unwrap();
        let applied = mark.strip_prefix("3 ").expect("the layout");
        fs::write(dir.join("catalogue.clean"), format!("2 {applied}")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn ahead_of_the_state_it_is_made_anew() {
    check_survives(|dir| {
        // Only the mark says so; that it does not match what is inside is reason enough.
        fs::write(dir.join("catalogue.clean"), "3 1000000\n").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_removed_sweep_leaves_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(config(dir.path())).await.unwrap();
    filled(&replica, 2).await;
    check_agrees(&replica).await;
    let term = leading(&replica).await;
    let over = [
        Fact::SweepEnded(SweepEnded { sweep: SWEEP, ending: Ending::Finished.into(), why: String::new() }),
        Fact::SweepRemoved(SweepRemoved { sweep: SWEEP }),
    ];
    propose(
        &replica,
        over.map(|fact| Entry { term, number: 0, after: 0, at_ms: 5_000, facts: vec![fact.into()] }).into(),
    )
    .await;
    let applied = replica.state().applied;
    replica.catalogue().applied().wait_for(|index| *index >= applied).await.unwrap();
    assert!(replica.catalogue().events(SWEEP, 0, usize::MAX).unwrap().is_empty());
    replica.shutdown().await;
}
