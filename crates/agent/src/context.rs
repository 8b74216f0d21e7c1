//! What the tasks of one agent share: where things are, which attempts are held, how to reach the stream.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use heats_domain::AgentId;
use heats_wire::v1;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::attempt::AttemptDir;
use crate::cgroup::{Group, Isolation};
use crate::code::Codes;
use crate::disk::Disk;
use crate::env::Environments;
use crate::folders::Folders;
use crate::forkserver::ForkServer;
use crate::gpus::Gpus;
use crate::held::{Held, Outbox};
use crate::journal::Journal;
use crate::key::Key;
use crate::paths::Paths;
use crate::slots::Slots;
use crate::storage::Stores;
use crate::supervisor::{self, Origin};
use crate::watcher::Watcher;

/// How many attempts that are over keep their folder, for `heats logs`.
pub const KEPT: usize = 2_000;

/// The agent's insides.
#[derive(Debug)]
pub struct Context {
    /// Where things are.
    pub paths: Paths,
    /// The Python package's folder.
    pub python: PathBuf,
    /// The program `heats`.
    pub heats_bin: Option<PathBuf>,
    /// What attempts are supervised by.
    pub shims: Arc<ForkServer>,
    /// The machine's GPUs.
    pub gpus: Arc<Gpus>,
    /// How attempts are kept apart.
    pub isolation: Arc<Isolation>,
    /// The agent's id: what the names of its control groups begin with.
    pub id: AgentId,
    /// The processors that trials run on.
    pub slots: Slots,
    /// The disk that all of it is on.
    pub disk: Disk,
    /// What trials write into.
    pub folders: Arc<Folders>,
    /// Where checkpoints are kept.
    pub stores: Arc<Stores>,
    /// Where messages wait for the stream.
    pub outbox: Outbox,
    /// What was started.
    pub journal: Journal,
    /// Who writes.
    pub watcher: Watcher,
    /// What trials run in.
    pub environments: Environments,
    /// And their code.
    pub codes: Codes,
    /// The attempts.
    pub attempts: Mutex<Attempts>,
    /// How many of them it holds.
    pub holding: watch::Sender<usize>,
}

/// The attempts of an agent: those that it holds, and those that are over and keep their folder.
#[derive(Debug, Default)]
pub struct Attempts {
    held: BTreeMap<Key, Arc<Held>>,
    kept: VecDeque<Key>,
    tasks: JoinSet<()>,
}

/// What a coordinator must know at once, of all that an agent says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Whether nothing can begin.
    unable: bool,
    /// Which GPUs must not be leased.
    gpus: Vec<v1::UnusableGpu>,
}

impl Standing {
    /// That which `condition` tells.
    pub fn told(condition: &v1::Condition) -> Self {
        Self { unable: !condition.unable.is_empty(), gpus: condition.gpus.clone() }
    }
}

impl Context {
    /// What a coordinator is told of the agent beside what it holds.
    pub fn condition(&self) -> v1::Condition {
        v1::Condition { gpus: self.gpus.unusable(), ..self.disk.condition() }
    }

    /// What of it must be told at once.
    pub fn standing(&self) -> Standing {
        Standing { unable: self.disk.is_full(), gpus: self.gpus.unusable() }
    }

    /// The control group of an attempt, where it gets one.
    pub fn group(&self, key: Key) -> Option<Group> {
        self.isolation.group(&format!("{}.{key}", self.id))
    }

    /// Supervises an attempt from now on. One that the agent holds already is left alone; of one that is over, the end is told
    /// again.
    pub fn take(self: &Arc<Self>, key: Key, origin: Origin) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.held.contains_key(&key) {
            return;
        }
        let origin = match attempts.kept.iter().position(|kept| *kept == key) {
            None => origin,
            // Whoever took its end did not keep it. It is not run again: what became of it is told again.
            Some(place) => {
                tracing::warn!(attempt = %key, "told to run an attempt that is over");
                attempts.kept.remove(place);
                Origin::Left(self.slots.seize(0))
            }
        };
        let held = Arc::new(Held::new(key, AttemptDir::at(self.paths.attempt(key))));
        attempts.held.insert(key, held.clone());
        self.holding.send_replace(attempts.held.len());
        while attempts.tasks.try_join_next().is_some() {}
        attempts.tasks.spawn(supervisor::supervise(self.clone(), held, origin));
    }

    /// Every attempt that the agent holds.
    pub fn held(&self) -> Vec<Arc<Held>> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.held.values().cloned().collect()
    }

    /// The attempt `key`, where the agent holds it.
    pub fn find(&self, key: Key) -> Option<Arc<Held>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).held.get(&key).cloned()
    }

    /// Stops supervising without a word to the trials: they run on.
    pub fn let_go(&self) {
        // First: a slot that is given back now is none that somebody may start in.
        self.slots.close();
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).tasks.abort_all();
    }

    /// Waits for the end of every attempt, and removes what is left of all: of those that were kept as well.
    pub async fn forget(&self) {
        let attempts = || self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tasks = std::mem::take(&mut attempts().tasks);
        while tasks.join_next().await.is_some() {}
        let kept = std::mem::take(&mut attempts().kept);
        let paths = self.paths.clone();
        let removed = tokio::task::spawn_blocking(move || {
            kept.into_iter().for_each(|key| Old { key }.remove(&paths));
        });
        // It panics nowhere.
        let _removed = removed.await;
    }

    /// The attempts in `over` are over, the oldest first: the last of them keep their folders. What is returned
    /// is to be removed.
    pub fn keep(&self, over: impl IntoIterator<Item = Key>) -> Vec<Old> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.kept.extend(over);
        let excess = attempts.kept.len().saturating_sub(KEPT);
        attempts.kept.drain(..excess).map(|key| Old { key }).collect()
    }

    /// A coordinator has the attempt's end, or gave the trial to somebody else: nothing is left to do about it.
    pub async fn over(&self, held: &Held) {
        let key = held.key;
        self.journal.over(key);
        {
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.held.remove(&key);
            self.holding.send_replace(attempts.held.len());
        }
        let old = self.keep([key]);
        if old.is_empty() {
            return;
        }
        let paths = self.paths.clone();
        let tidied = tokio::task::spawn_blocking(move || old.into_iter().for_each(|old| old.remove(&paths)));
        // It panics nowhere, and what is not tidied now is tidied after a restart.
        let _tidied_later = tidied.await;
    }
}

/// An attempt whose folder is not kept any longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Old {
    key: Key,
}

impl Old {
    /// Removes the attempt's folder, those of its checkpoints that could not be kept, and the folder for outputs where the trial
    /// left none.
    pub fn remove(self, paths: &Paths) {
        let remove = |folder: PathBuf| match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(folder = %folder.display(), %error, "an old folder cannot be removed");
            }
            Ok(()) | Err(_) => {}
        };
        remove(paths.attempt(self.key));
        // Only an empty folder can be removed this way.
        let _used = std::fs::remove_dir(paths.output(self.key));
        remove(paths.checkpoints(self.key));
    }
}
