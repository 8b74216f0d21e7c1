//! A directory that version 1 of every format wrote still opens, and holds what it held.
//!
//! `HEATS_WRITE_GOLDEN=1 cargo test -p heats-replica --test replica golden` writes a new one, for a new format only:
//! what is there already is never written over.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{SWEEP, alone, config, entry, leading, sweep_entry, trial_entries};
use heats_replica::ReplicaConfig;

/// What the directory of format 1 amounts to, log and snapshot together.
const HASH: &str = include_str!("golden/v1/hash");

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replica/golden/v1")
}

fn small(dir: &Path) -> ReplicaConfig {
    ReplicaConfig { segment_bytes: 4 << 10, log_keep: 2, ..config(dir) }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_directory_of_format_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let replica = alone(small(dir.path())).await.unwrap();
    leading(&replica).await;
    let state = replica.state();
    assert_eq!(state.sweeps[&SWEEP].trials.len(), 4);
    assert_eq!(state.agents.len(), 2);
    // Without the place in the log, which this start has moved.
    let mut state = heats_core::State::clone(&state);
    state.applied = 0;
    assert_eq!(state.hash().to_hex().as_str(), HASH.trim());
    // Some of it came from the snapshot and some from the log.
    let status = replica.status();
    assert!(
        status
            .snapshot
            .is_some_and(|covered| covered > 5 && covered + 5 < state.sweeps[&SWEEP].journal.last().log_index),
        "{status:?}"
    );
    replica.shutdown().await;
}

#[tokio::test]
async fn a_directory_of_the_newest_format_is_written_where_there_is_none() {
    if std::env::var_os("HEATS_WRITE_GOLDEN").is_none() || golden().join("log").exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(small(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let mut entries = vec![entry(term, 1), entry(term, 2), sweep_entry(term)];
    entries.extend((0..2).flat_map(|trial| trial_entries(term, trial)));
    for entry in entries {
        replica.propose(entry).await.unwrap();
    }
    replica.snapshot().await.unwrap();
    for entry in (2..4).flat_map(|trial| trial_entries(term, trial)) {
        replica.propose(entry).await.unwrap();
    }
    let mut state = heats_core::State::clone(&replica.state());
    state.applied = 0;
    let hash = state.hash().to_hex().to_string();
    replica.shutdown().await;
    copy(&dir.path().join("log"), &golden().join("log"));
    copy(&dir.path().join("snapshots"), &golden().join("snapshots"));
    fs::copy(dir.path().join("node"), golden().join("node")).unwrap();
    fs::write(golden().join("hash"), hash + "\n").unwrap();
}
