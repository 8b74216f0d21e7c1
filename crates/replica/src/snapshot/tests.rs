//! What a power cut leaves of snapshots: the one that was there, or the one that was on its way.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use heats_core::fact::AgentAttached;
use heats_core::{Entry, Fact, State};
use heats_domain::{AgentId, Inventory};

use crate::codec;
use crate::disk::{Disk, PowerDisk, RealDisk};
use crate::error::StorageError;
use crate::ground::{Ground, Work};
use crate::pb;
use crate::snapshot::{self, SnapshotStore};
use crate::types::{SnapshotMeta, StoredMembership};

fn on(disk: impl Disk) -> Ground {
    Ground { disk: Arc::new(disk), work: Work::Inline }
}

/// A state after `entries` entries, of several sectors.
fn state(entries: u64) -> (SnapshotMeta, State) {
    let mut state = State::default();
    for index in 1..=entries {
        let fact = Fact::AgentAttached(AgentAttached {
            agent: AgentId { bits: index },
            name: "a".repeat(1_500),
            inventory: Inventory::default(),
            version: "1".to_owned(),
            places: Vec::new(),
        });
        let entry = Entry { term: 1, number: 0, after: 0, at_ms: index, facts: vec![fact.into()] };
        assert_eq!(state.apply(index, 1, entry), Ok(true));
    }
    let last = codec::to_log_id(pb::LogId { term: 1, index: entries });
    (SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::default() }, state)
}

/// What a store does that has a snapshot of one entry, to have one of two.
type Renew = fn(&SnapshotStore) -> Result<(), StorageError>;

fn build(store: &SnapshotStore) -> Result<(), StorageError> {
    let (meta, state) = state(2);
    store.build(&meta, &state).map(drop)
}

/// It is sent by a peer, in two pieces.
fn receive(store: &SnapshotStore) -> Result<(), StorageError> {
    let dir = tempfile::tempdir().unwrap();
    let (meta, state) = state(2);
    let sent = SnapshotStore::empty(dir.path(), on(RealDisk)).build(&meta, &state)?;
    let bytes = fs::read(sent.path).unwrap();
    let part = store.incoming(&bytes[bytes.len() - 32..], bytes.len() as u64);
    let (first, rest) = bytes.split_at(700);
    assert_eq!(store.extend(&part, 0, first)?, 700);
    assert_eq!(store.extend(&part, 700, rest)?, bytes.len() as u64);
    let file = Arc::new(fs::File::open(&part).unwrap());
    store.keep(&meta, &snapshot::SnapshotFile { file, path: part, read: None })
}

/// The number of entries of the snapshot that is found in `dir`.
fn found(dir: &Path) -> u64 {
    let (_, loaded, bad) = SnapshotStore::open(dir, on(RealDisk)).unwrap();
    assert!(bad.is_empty(), "{bad:?}");
    loaded.expect("one is there").state.applied
}

/// The power goes at each moment of `renew`, and leaves any part of what was not durable.
fn check_survives_power_cuts(renew: Renew) {
    let mut chance = 7_u64;
    for operations in 0.. {
        let mut ended = false;
        for quarter in [0, 1, 2, 3, 4].into_iter().cycle().take(40) {
            let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let disk = Arc::new(PowerDisk::default());
            let (store, _, _) =
                SnapshotStore::open(dir.path(), Ground { disk: Arc::<PowerDisk>::clone(&disk), work: Work::Inline })
                    .unwrap();
            let (meta, before) = state(1);
            store.build(&meta, &before).unwrap();
            disk.cut_after(Some((dir.path(), operations)));
            let renewed = renew(&store);
            disk.cut(dir.path(), image.path(), || {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (chance >> 33) % 4 < quarter
            })
            .unwrap();
            let found = found(image.path());
            assert!(found == 2 || found == 1 && renewed.is_err(), "{found} after {operations}: {renewed:?}");
            ended = !disk.is_out();
        }
        if ended {
            assert!(operations >= 5, "there is little that the power could go in: {operations}");
            return;
        }
    }
}

#[test]
fn a_power_cut_while_one_is_written_leaves_it_or_the_one_before() {
    check_survives_power_cuts(build);
}

#[test]
fn a_power_cut_while_one_is_received_leaves_it_or_the_one_before() {
    check_survives_power_cuts(receive);
}
