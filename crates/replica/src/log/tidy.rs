//! Clears away what a purge leaves, beside the writer: to remove files and to free as many entries as lie between two
//! snapshots takes longer than a commit may wait.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;

use crate::error::{Failure, StorageError};
use crate::ground::{self, Ground, Work};
use crate::machine::fail;
use crate::types::LogEntry;

/// See the module.
pub(crate) struct Tidy {
    dir: PathBuf,
    ground: Ground,
    failure: watch::Sender<Option<Failure>>,
    /// The thread of the last purge; a purge comes once for every snapshot.
    last: Option<JoinHandle<()>>,
}

impl Tidy {
    pub(crate) const fn new(dir: PathBuf, ground: Ground, failure: watch::Sender<Option<Failure>>) -> Self {
        Self { dir, ground, failure, last: None }
    }

    /// Removes `files`, oldest first, after those of earlier calls, and frees `entries`. Where a file cannot be removed the
    /// node stops, though nothing is lost.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn clear(&mut self, files: Vec<PathBuf>, entries: VecDeque<LogEntry>) -> Result<(), StorageError> {
        let (dir, failure, before) = (self.dir.clone(), self.failure.clone(), self.last.take());
        let ground = self.ground.clone();
        let clear = move || {
            drop(entries);
            wait_for(before);
            if let Err(error) = remove(&ground, &dir, &files) {
                fail(&failure, Failure::Log(Arc::new(error)));
            }
        };
        match self.ground.work {
            Work::Threads => {
                let thread = ground::aside(clear).map_err(|e| StorageError::io("start a thread for", &self.dir, e))?;
                self.last = Some(thread);
            }
            Work::Inline => clear(),
        }
        Ok(())
    }

    /// Waits until everything is cleared away.
    pub(crate) fn finish(&mut self) {
        wait_for(self.last.take());
    }
}

fn wait_for(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic in it was printed, and leaves files that the next start purges again.
        let _ = thread.join();
    }
}

/// Each removal is durable before the next, so that no crash brings an older file back alone.
fn remove(ground: &Ground, dir: &Path, files: &[PathBuf]) -> Result<(), StorageError> {
    for path in files {
        let begun = Instant::now();
        ground.disk.remove(path)?;
        ground.disk.sync_dir(dir)?;
        ground.work.rest(begun);
    }
    Ok(())
}
