//! A backup becomes the first node of a new cluster, or is refused by name.

use std::path::Path;
use std::sync::Arc;

use heats_core::ops::restore::begin_anew;
use heats_replica::{Alone, BackupError, FirstNode, Replica, ReplicaConfig, Summary, examine, restore};

use crate::common::{SWEEP, alone, config, entry, leading, sweep_entry, trial_entries};

/// A node with two trials that ended and one that runs, and the file of its backup.
async fn backed_up(dir: &Path) -> Replica {
    let replica = alone(config(&dir.join("old"))).await.unwrap();
    let term = leading(&replica).await;
    let mut entries = vec![entry(term, 1), sweep_entry(term)];
    entries.extend((0..2).flat_map(|trial| trial_entries(term, trial)));
    entries.extend(trial_entries(term, 2).into_iter().take(2));
    for entry in entries {
        replica.propose(entry).await.unwrap();
    }
    let backup = replica.backup().await.unwrap();
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < backup.length {
        bytes.extend(backup.read(bytes.len() as u64, 100).unwrap());
    }
    std::fs::write(dir.join("file"), bytes).unwrap();
    replica
}

fn first(node: Option<u64>) -> FirstNode {
    FirstNode { node, address: "new:1".to_owned() }
}

#[tokio::test]
async fn a_restored_node_leads_a_cluster_of_its_own_with_everything_that_ended() {
    let dir = tempfile::tempdir().unwrap();
    let old = backed_up(dir.path()).await;
    let (file, new) = (dir.path().join("file"), dir.path().join("new"));
    let state = old.state();
    let bytes = std::fs::metadata(&file).unwrap().len();
    let members = vec![(1, "test:1".to_owned())];
    let at_ms = state.at_ms;
    let summary = Summary {
        index: state.applied,
        at_ms,
        bytes,
        sweeps: 1,
        trials: 3,
        live: 1,
        members,
        code: Default::default(),
    };
    assert_eq!(examine(&file).unwrap(), summary);
    assert_eq!(restore(&file, &new, &first(None)).unwrap(), 2);

    // Opened with the old number, it is another's.
    let open = |node_id, name: &str| {
        Replica::open(ReplicaConfig { node_id, ..config(&dir.path().join(name)) }, Arc::new(Alone))
    };
    assert!(open(1, "new").await.is_err_and(|error| error.to_string().contains("belongs to node 2")));
    let mut lineage = 0;
    for restart in 0..2 {
        let replica = open(2, "new").await.unwrap();
        assert!(leading(&replica).await > 1 << 20, "no term of the old cluster comes near");
        let restored = replica.state();
        lineage = restored.lineage();
        assert_ne!(lineage, 0);
        if restart == 0 {
            // Its own first entry records nothing.
            let mut expected = begin_anew((*state).clone(), 1 << 20, lineage).unwrap();
            expected.applied = restored.applied;
            assert_eq!(restored.hash(), expected.hash());
        }
        let trials = &restored.sweeps[&SWEEP].trials;
        assert!((0..2).all(|number| trials[number] == state.sweeps[&SWEEP].trials[number]));
        assert!(trials[2].live().is_none());
        assert_eq!(replica.members().iter().map(|member| member.address.as_str()).collect::<Vec<_>>(), ["new:1"]);
        let term = leading(&replica).await;
        assert!(replica.propose(entry(term, 9)).await.unwrap().recorded);
        replica.shutdown().await;
    }
    // A second restore is a second cluster.
    restore(&file, &dir.path().join("other"), &first(Some(7))).unwrap();
    let other = open(7, "other").await.unwrap();
    assert_ne!(other.state().lineage(), lineage);
    other.shutdown().await;
    old.shutdown().await;
}

#[tokio::test]
async fn what_is_not_a_whole_backup_is_refused_by_name_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    backed_up(dir.path()).await.shutdown().await;
    let (file, new) = (dir.path().join("file"), dir.path().join("new"));
    let whole = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        let file = dir.path().join("spoilt");
        std::fs::write(&file, bytes).unwrap();
        let error = examine(&file).unwrap_err();
        assert_eq!(restore(&file, &new, &first(None)).unwrap_err().to_string(), error.to_string());
        assert!(!new.exists() && !dir.path().join("new.restoring").exists());
        error
    };
    for length in (0..whole.len()).step_by(7) {
        assert!(matches!(refused(&whole[..length]), BackupError::Damaged { .. }), "cut at {length}");
    }
    for place in (0..whole.len()).step_by(11) {
        let mut spoilt = whole.clone();
        spoilt[place] ^= 4;
        assert!(matches!(refused(&spoilt), BackupError::Damaged { .. } | BackupError::Format { .. }), "byte {place}");
    }
    let mut newer = whole.clone();
    newer[8] = 9;
    assert!(refused(&newer).to_string().contains("of format 9, this version reads up to 2"));
    assert!(refused(&[whole.as_slice(), b"x"].concat()).to_string().contains("something follows its end"));

    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("mine"), "").unwrap();
    assert!(matches!(restore(&file, &new, &first(None)), Err(BackupError::NotEmpty { .. })));
    std::fs::remove_file(new.join("mine")).unwrap();
    assert!(matches!(restore(&file, &new, &first(Some(1))), Err(BackupError::WasMember { node: 1, free: 2 })));
    std::fs::create_dir(dir.path().join("new.restoring")).unwrap();
    assert!(matches!(restore(&file, &new, &first(None)), Err(BackupError::Unfinished { .. })));
    std::fs::remove_dir(dir.path().join("new.restoring")).unwrap();
    assert_eq!(restore(&file, &new, &first(None)).unwrap(), 2, "an empty directory will do");
}
