//! A directory that any version of the formats wrote still opens, and holds what it held.
//!
//! `HEATS_WRITE_GOLDEN=1 cargo test -p heats-replica --test replica golden` writes a new one, for a new format only:
//! what is there already is never written over.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{SWEEP, alone, config, entry, leading, sweep_entry, trial_entries};
use heats_replica::ReplicaConfig;

/// The formats: the trials of the directory's sweep, and what it amounts to, log and snapshot together.
const FORMATS: [(&str, usize, &str); 2] =
    [("v1", 4, include_str!("golden/v1/hash")), ("v2", 8, include_str!("golden/v2/hash"))];
/// The newest one. Its snapshot holds pages of records, as builds with assertions pack them.
const NEWEST: &str = "v2";

fn golden(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replica/golden").join(format)
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
async fn a_directory_of_any_format_opens() {
    for (format, trials, hash) in FORMATS {
        check_opens(format, trials, hash).await;
    }
}

async fn check_opens(format: &str, trials: usize, hash: &str) {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(format), dir.path());
    let replica = alone(small(dir.path())).await.unwrap();
    leading(&replica).await;
    let state = replica.state();
    assert_eq!(state.sweeps[&SWEEP].trials.len(), trials, "{format}");
    assert_eq!(state.agents.len(), 2);
    // Without the place in the log, which this start has moved.
    let mut state = heats_core::State::clone(&state);
    state.applied = 0;
    assert_eq!(state.hash().to_hex().as_str(), hash.trim(), "{format}");
    // Some of it came from the snapshot and some from the log.
    let status = replica.status();
    assert!(
        status
            .snapshot
            .is_some_and(|covered| covered > 5 && covered + 5 < state.sweeps[&SWEEP].journal.last().log_index),
        "{format}: {status:?}"
    );
    replica.shutdown().await;
}

#[tokio::test]
async fn a_directory_of_the_newest_format_is_written_where_there_is_none() {
    if std::env::var_os("HEATS_WRITE_GOLDEN").is_none() || golden(NEWEST).join("log").exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let replica = alone(small(dir.path())).await.unwrap();
    let term = leading(&replica).await;
    let mut entries = vec![entry(term, 1), entry(term, 2), sweep_entry(term)];
    entries.extend((0..6).flat_map(|trial| trial_entries(term, trial)));
    for entry in entries {
        replica.propose(entry).await.unwrap();
    }
    replica.snapshot().await.unwrap();
    for entry in (6..8).flat_map(|trial| trial_entries(term, trial)) {
        replica.propose(entry).await.unwrap();
    }
    let mut state = heats_core::State::clone(&replica.state());
    state.applied = 0;
    let hash = state.hash().to_hex().to_string();
    replica.shutdown().await;
    copy(&dir.path().join("log"), &golden(NEWEST).join("log"));
    copy(&dir.path().join("snapshots"), &golden(NEWEST).join("snapshots"));
    fs::copy(dir.path().join("node"), golden(NEWEST).join("node")).unwrap();
    fs::write(golden(NEWEST).join("hash"), hash + "\n").unwrap();
}
