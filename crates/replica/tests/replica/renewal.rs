//! When a node renews its snapshot.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{config, entry, leading};
use heats_replica::{Alone, Disk, Ground, RealDisk, Replica, ReplicaConfig, StorageError, Work};
use tokio::sync::mpsc;

/// A disk that says which snapshots are begun and which are done, and which has the first one wait until it may be done.
struct Watched {
    begun: mpsc::UnboundedSender<PathBuf>,
    done: mpsc::UnboundedSender<PathBuf>,
    /// Closed where nothing is to wait.
    may_end: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Watched {
    fn is_snapshot(path: &Path) -> bool {
        path.parent().is_some_and(|dir| dir.ends_with("snapshots"))
    }
}

impl Disk for Watched {
    fn create(&self, path: &Path) -> Result<File, StorageError> {
        if Self::is_snapshot(path) {
            // Nobody may be curious any more.
            let _ = self.begun.send(path.to_owned());
            let _ = self.may_end.lock().unwrap().recv();
        }
        RealDisk.create(path)
    }

    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        RealDisk.write(file, path, offset, bytes)
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        RealDisk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        RealDisk.rename(from, to)?;
        if Self::is_snapshot(to) {
            let _ = self.done.send(to.to_owned());
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        RealDisk.sync_dir(dir)
    }
}

/// A node that runs alone, and renews its snapshot after so many bytes.
struct House {
    replica: Replica,
    term: u64,
    begun: mpsc::UnboundedReceiver<PathBuf>,
    done: mpsc::UnboundedReceiver<PathBuf>,
    may_end: Option<std::sync::mpsc::Sender<()>>,
}

async fn house(dir: &Path, snapshot_bytes: u64) -> House {
    let (begun_tx, begun) = mpsc::unbounded_channel();
    let (done_tx, done) = mpsc::unbounded_channel();
    let (may_end, gate) = std::sync::mpsc::channel();
    let disk = Arc::new(Watched { begun: begun_tx, done: done_tx, may_end: Mutex::new(gate) });
    let config = ReplicaConfig { snapshot_bytes, ..config(dir) };
    let replica = Replica::open_on(config, Arc::new(Alone), Ground { disk, work: Work::Threads }).await.unwrap();
    replica.bootstrap_single().await.unwrap();
    let term = leading(&replica).await;
    House { replica, term, begun, done, may_end: Some(may_end) }
}

impl House {
    /// Has no snapshot wait any more.
    fn let_end(&mut self) {
        self.may_end = None;
    }

    /// Has entries with these numbers recorded.
    async fn record(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.replica.propose(entry(self.term, number)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_falls_due_while_another_is_made_is_made_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path(), 4 << 10).await;
    house.record(0..200).await;
    house.begun.recv().await.unwrap();
    // As much again, and more: that is due now, and cannot be begun.
    house.record(200..600).await;
    house.let_end();
    let first = house.done.recv().await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(60), house.done.recv()).await;
    let second = second.expect("a second snapshot is made although nothing is recorded any more").unwrap();
    assert!(second > first, "{} after {}", second.display(), first.display());
    house.replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longer_it_is_the_more_rarely_it_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path(), 1 << 10).await;
    house.let_end();
    house.record(0..3_000).await;
    house.replica.shutdown().await;
    let (mut count, length) = (0, snapshot_length(dir.path()));
    while house.begun.try_recv().is_ok() {
        count += 1;
    }
    // Each covers half as much again as the one before; by the kilobyte there would be more than a hundred.
    assert!(length > 100 << 10, "{length} bytes");
    assert!((5..25).contains(&count), "{count} snapshots");
}

/// The length of the newest snapshot in a node's directory.
fn snapshot_length(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("snapshots")).unwrap().map(|file| file.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|e| e == "snapshot")).max().unwrap();
    newest.metadata().unwrap().len()
}
