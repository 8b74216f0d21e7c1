//! openraft's own suite for stores, run on ours.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::ground::{Ground, Work};
use crate::log::{Log, LogSettings};
use crate::machine::{Applied, Machine};
use crate::snapshot::SnapshotStore;
use crate::types::Types;

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), openraft::StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (failure, _) = watch::channel(None);
        let settings = LogSettings { dir: dir.path().to_owned(), node: 0, segment_bytes: 8 << 10 };
        let log = Log::open(settings, Ground::real(), failure.clone()).unwrap();
        let (store, _, _) = SnapshotStore::open(dir.path(), Ground::real()).unwrap();
        let (applied, _) = watch::channel(Applied { last: None, state: Arc::default() });
        let machine = Machine::new(store, None, applied, failure, Arc::new(AtomicU64::new(0)), Work::Threads);
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_store_passes_the_engines_own_suite() {
    Suite::test_all(Builder).await.unwrap();
}
