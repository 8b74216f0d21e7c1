//! Brings the checkpoints and artifacts of one attempt to a storage while its script trains on, the latest checkpoint first: one
//! that is overtaken before its turn comes is not kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heats_domain::units::Bytes;
use heats_domain::{ARTIFACT_WHY_MAX, ARTIFACTS_MAX, NotKept, Object};
use heats_wire::v1::from_agent::Message;
use tokio::sync::watch;

use crate::artifacts::{self, ArtifactFile, Artifacts, Next};
use crate::attempt::Record;
use crate::checkpoints::{self, Found};
use crate::context::Context;
use crate::held::Held;
use crate::keeping::{OnItsWay, Progress};
use crate::storage::{Storage, StorageError, size};
use crate::watcher::Changes;

/// How long the end of an attempt waits for its last checkpoint and its artifacts.
pub const LAST_WAIT: Duration = Duration::from_secs(600);
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
    /// A keeper of what the attempt makes, beside what it began with.
    pub fn new(context: &'a Context, held: &'a Arc<Held>, record: &'a Record) -> Self {
        let folder = record.checkpoints.as_path();
        let artifacts = Artifacts::new(artifacts::folder(folder), record.keeps.clone(), held.dir.left_out());
        Self { context, held, folder, began_with: record.began_with.clone(), dealt_with: None, artifacts, lost: false }
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
        let held = self.held;
        let all_kept = tokio::select! {
            () = self.keep_all(changes, ended) => !self.lost,
            () = too_late => {
                tracing::error!(attempt = %self.held.key, "what an attempt made last could not be kept in time");
                let late: Vec<ArtifactFile> = self.artifacts.pending().take(ARTIFACTS_MAX).collect();
                for file in late {
                    self.leave_out(&file, "its storage did not take it in time".to_owned(), 0).await;
                }
                false
            }
        };
        held.brings(None);
        all_kept
    }

    async fn keep_all(&mut self, mut changes: Changes, mut ended: watch::Receiver<bool>) {
        let mut again = AGAIN_FIRST;
        loop {
            let last = *ended.borrow_and_update();
            match self.keep_next(last).await {
                Ok(true) => again = AGAIN_FIRST,
                Ok(false) if last => return,
                Ok(false) => {
                    self.held.brings(None);
                    tokio::select! {
                        _change = changes.wait() => {}
                        _given_up = ended.changed() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(attempt = %self.held.key, %error, "what a trial made is not kept yet");
                    self.held.is_held_up(&error.to_string());
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(AGAIN_LAST);
                }
            }
        }
    }

    /// Says what is about to be kept, and how often its bytes pass until then; what is returned counts them.
    fn brings(&self, named: &Object, passes: u64) -> Arc<Progress> {
        let progress = Arc::new(Progress::of(passes));
        self.held.brings(Some(OnItsWay::new(named, progress.clone())));
        progress
    }

    /// Keeps a checkpoint or an artifact; whether there may be more.
    async fn keep_next(&mut self, last: bool) -> Result<bool, StorageError> {
        Ok(self.keep_latest().await? || self.keep_artifact(last).await?)
    }

    /// Keeps the next artifact, or says that it is not kept; whether there may be another one.
    async fn keep_artifact(&mut self, last: bool) -> Result<bool, StorageError> {
        let next = match self.artifacts.next(last) {
            None => return Ok(false),
            Some(Next::LeaveOut(file, limit)) => {
                self.leave_out(&file, limit.to_string(), limit.bytes()).await;
                return Ok(true);
            }
            Some(Next::Keep(file)) => file,
        };
        let (stores, named) = (&self.context.stores, self.held.key.object(0, next.name.clone()));
        // It is copied before its storage gets it.
        let progress = self.brings(&named, stores.newest().passes() + 1);
        progress.size(next.bytes());
        // The semaphore is never closed.
        let _turn = stores.turns.acquire().await;
        let kept = match next.copy(progress.clone()).await {
            Ok(copy) => put(stores.newest(), named, copy.path().to_owned(), progress).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(object) => {
                self.context.outbox.send(self.held, Message::Artifact(object.into_artifact())).await;
                self.artifacts.keep(next);
            }
            // The script has removed it meanwhile.
            Err(error) if error.is_missing() && !next.path.exists() => return Ok(true),
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                tracing::error!(attempt = %self.held.key, artifact = next.name, %error, "an artifact cannot be kept");
                self.lost = true;
                self.artifacts.give_up(&next);
                self.leave_out(&next, error.to_string(), 0).await;
            }
        }
        Ok(true)
    }

    /// Says that a file is not kept, where people look: in the trial's own log, and with the trial.
    async fn leave_out(&mut self, file: &ArtifactFile, mut why: String, limit: u64) {
        let Some(left_out) = self.artifacts.leave_out(file) else { return };
        why.truncate(why.floor_char_boundary(ARTIFACT_WHY_MAX));
        let (name, bytes) = (file.name.clone(), file.bytes());
        let line = format!(
            "`{name}` ({}) is not kept: {why}; what is written to $HEATS_OUTPUT_DIR stays on this machine",
            Bytes { count: bytes }.rounded()
        );
        // The coordinator is told all the same, and a later agent says it again.
        if let Err(error) = self.held.dir.note(&line).and_then(|()| self.held.dir.write_left_out(left_out)) {
            tracing::warn!(attempt = %self.held.key, %error, "a trial's log does not say what is not kept");
        }
        let (trial, attempt) = (self.held.key.trial, self.held.key.attempt);
        let said = NotKept { sweep: trial.sweep, trial: trial.number, attempt, name, bytes, why, limit };
        self.context.outbox.send(self.held, Message::NotKept(said)).await;
    }

    /// Keeps the latest checkpoint; whether there may be another one.
    async fn keep_latest(&mut self) -> Result<bool, StorageError> {
        let stores = &self.context.stores;
        let latest =
            |keeper: &Self| checkpoints::latest(keeper.folder, keeper.dealt_with, keeper.began_with.as_deref());
        let Some(Found { step, path: _ }) = latest(self) else { return Ok(false) };
        self.brings(&self.held.key.object(step, String::new()), stores.newest().passes());
        // The semaphore is never closed.
        let _turn = stores.turns.acquire().await;
        // Others may have come while it waited for its turn.
        let Some(Found { step, path }) = latest(self) else { return Ok(false) };
        let named = self.held.key.object(step, String::new());
        let progress = self.brings(&named, stores.newest().passes());
        match put(stores.newest(), named, path.clone(), progress).await {
            Ok(object) => {
                self.dealt_with = Some(step);
                self.context.outbox.send(self.held, Message::Checkpoint(object.into_checkpoint())).await;
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
async fn put(
    storage: Arc<dyn Storage>,
    named: Object,
    path: PathBuf,
    progress: Arc<Progress>,
) -> Result<Object, StorageError> {
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
        progress.size(size(&from));
        let made = storage.put(named, &from, &progress)?;
        if !is_awaited.load(Ordering::Acquire) {
            storage.delete(&made)?;
        }
        Ok(made)
    });
    putting.await.unwrap_or_else(|error| Err(StorageError::io(&path, "written")(std::io::Error::other(error))))
}
