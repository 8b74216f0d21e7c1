//! Brings the checkpoints and artifacts of one attempt to a storage while its script trains on, the latest checkpoint first: one
//! that is overtaken before its turn comes is not kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heats_domain::Checkpoint;
use heats_wire::v1::from_agent::Message;
use tokio::sync::watch;

use crate::artifacts::{self, Artifacts};
use crate::checkpoints::{self, Found};
use crate::context::Context;
use crate::held::Held;
use crate::storage::{Storage, StorageError};
use crate::watcher::Changes;

/// How long the end of an attempt waits for its last checkpoint and its artifacts.
const LAST_WAIT: Duration = Duration::from_secs(600);
/// How soon a storage that failed is asked again: first, and at the latest.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LAST: Duration = Duration::from_secs(60);

/// Keeps the checkpoints and artifacts of an attempt.
#[derive(Debug)]
pub struct Keeper<'a> {
    context: &'a Context,
    held: &'a Arc<Held>,
    folder: &'a Path,
    /// The checkpoint that the attempt began with.
    began_with: Option<PathBuf>,
    /// The step of the last one that was dealt with.
    dealt_with: Option<u64>,
    artifacts: Artifacts,
    /// Whether something could not be kept.
    lost: bool,
}

impl<'a> Keeper<'a> {
    /// A keeper of what is in `folder`, beside what the attempt began with.
    pub fn new(context: &'a Context, held: &'a Arc<Held>, folder: &'a Path, began_with: Option<PathBuf>) -> Self {
        let artifacts = Artifacts::new(artifacts::folder(folder));
        Self { context, held, folder, began_with, dealt_with: None, artifacts, lost: false }
    }

    /// Keeps what comes until `ended` is true and there is no more; whether all of it is kept. What is not within ten minutes
    /// of the end is given up.
    pub async fn run(mut self, changes: Changes, ended: watch::Receiver<bool>) -> bool {
        let mut end = ended.clone();
        let too_late = async {
            // The sender is gone only where the attempt is given up: then this is dropped too.
            let _given_up = end.wait_for(|ended| *ended).await.is_err();
            tokio::time::sleep(LAST_WAIT).await;
        };
        tokio::select! {
            () = self.keep_all(changes, ended) => !self.lost,
            () = too_late => {
                tracing::error!(attempt = %self.held.key, "what an attempt made last could not be kept in time");
                false
            }
        }
    }

    async fn keep_all(&mut self, mut changes: Changes, mut ended: watch::Receiver<bool>) {
        let mut again = AGAIN_FIRST;
        loop {
            let last = *ended.borrow_and_update();
            match self.keep_next().await {
                Ok(true) => again = AGAIN_FIRST,
                Ok(false) if last => return,
                Ok(false) => {
                    tokio::select! {
                        _change = changes.wait() => {}
                        _given_up = ended.changed() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(attempt = %self.held.key, %error, "what a trial made is not kept yet");
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(AGAIN_LAST);
                }
            }
        }
    }

    /// Keeps a checkpoint or an artifact; whether there may be more.
    async fn keep_next(&mut self) -> Result<bool, StorageError> {
        Ok(self.keep_latest().await? || self.keep_artifact().await?)
    }

    /// Keeps the next artifact; whether there may be another one.
    async fn keep_artifact(&mut self) -> Result<bool, StorageError> {
        let Some(next) = self.artifacts.next() else { return Ok(false) };
        let stores = &self.context.stores;
        // The semaphore is never closed.
        let _turn = stores.turns.acquire().await;
        let kept = match next.copy().await {
            Ok(copy) => put(stores.newest(), self.held.key.object(0, next.name.clone()), copy.path().to_owned()).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(artifact) => self.context.outbox.send(self.held, Message::Artifact(artifact)).await,
            // The script has removed it meanwhile.
            Err(error) if error.is_missing() && !next.path.exists() => return Ok(true),
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                tracing::error!(attempt = %self.held.key, artifact = next.name, %error, "an artifact cannot be kept");
                self.lost = true;
            }
        }
        self.artifacts.done(next);
        Ok(true)
    }

    /// Keeps the latest checkpoint; whether there may be another one.
    async fn keep_latest(&mut self) -> Result<bool, StorageError> {
        let stores = &self.context.stores;
        let latest =
            |keeper: &Self| checkpoints::latest(keeper.folder, keeper.dealt_with, keeper.began_with.as_deref());
        if latest(self).is_none() {
            return Ok(false);
        }
        // The semaphore is never closed.
        let _turn = stores.turns.acquire().await;
        // Others may have come while it waited for its turn.
        let Some(Found { step, path }) = latest(self) else { return Ok(false) };
        match put(stores.newest(), self.held.key.object(step, String::new()), path.clone()).await {
            Ok(checkpoint) => {
                self.dealt_with = Some(step);
                self.context.outbox.send(self.held, Message::Checkpoint(checkpoint)).await;
            }
            // The script has removed it meanwhile.
            Err(error) if error.is_missing() && !path.exists() => {}
            Err(error) if error.may_pass() => return Err(error),
            // It will not be any better the next time.
            Err(error) => {
                tracing::error!(attempt = %self.held.key, step, %error, "a checkpoint cannot be kept");
                (self.dealt_with, self.lost) = (Some(step), true);
            }
        }
        Ok(true)
    }
}

/// Puts an object where it is kept. Where nobody waits for that any more, nobody will hear of it: it is removed.
async fn put(storage: Arc<dyn Storage>, named: Checkpoint, path: PathBuf) -> Result<Checkpoint, StorageError> {
    /// Says that nobody waits any more.
    struct Waiting(Arc<AtomicBool>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    let is_awaited = Arc::new(AtomicBool::new(true));
    let _waiting = Waiting(is_awaited.clone());
    let from = path.clone();
    let putting = tokio::task::spawn_blocking(move || {
        let made = storage.put(named, &from)?;
        if !is_awaited.load(Ordering::Acquire) {
            storage.delete(&made)?;
        }
        Ok(made)
    });
    putting.await.unwrap_or_else(|error| Err(StorageError::io(&path, "written")(std::io::Error::other(error))))
}
