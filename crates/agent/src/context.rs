//! What the tasks of one agent share: where things are, which attempts are held, how to reach the stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use heats_domain::{AgentId, SweepId};
use heats_wire::v1;
use tokio::sync::{Notify, watch};
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
use crate::reach::Reach;
use crate::slots::Slots;
use crate::storage::Stores;
use crate::supervisor::{self, Origin};
use crate::warm::Templates;
use crate::watcher::Watcher;

/// How many attempts that are over keep their folder.
pub const KEPT: usize = 2_000;
/// As many while coordinators have not taken over their logs.
const KEPT_MAX: usize = 2 * KEPT;
/// Of so many ends people are told what they wait for.
const KEEPING_MAX: usize = 64;

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
    /// What warm ones are forked from.
    pub templates: Arc<Templates>,
    /// And their code.
    pub codes: Codes,
    /// The way to coordinators beside the stream.
    pub reach: Arc<Reach>,
    /// How much of each log is kept, in bytes.
    pub log_limit: u64,
    /// The attempts.
    pub attempts: Mutex<Attempts>,
    /// How many of them it holds.
    pub holding: watch::Sender<usize>,
    /// Told whenever one is over.
    pub ended: Notify,
}

/// The attempts of an agent: those that it holds, and those that are over and keep their folder.
#[derive(Debug, Default)]
pub struct Attempts {
    held: BTreeMap<Key, Arc<Held>>,
    kept: VecDeque<Key>,
    /// Those of them whose logs coordinators have taken over.
    handed_over: BTreeSet<Key>,
    tasks: JoinSet<()>,
}

impl Attempts {
    /// None yet; of those that will be kept, coordinators have the logs of these.
    pub fn new(handed_over: BTreeSet<Key>) -> Self {
        Self { handed_over, ..Self::default() }
    }
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
        let keeping = self.held().iter().filter_map(|held| held.waits_for()).take(KEEPING_MAX).collect();
        v1::Condition { gpus: self.gpus.unusable(), keeping, ..self.disk.condition() }
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
                attempts.handed_over.remove(&key);
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
        attempts().handed_over.clear();
        let paths = self.paths.clone();
        let removed = tokio::task::spawn_blocking(move || {
            kept.into_iter().for_each(|key| Old { key }.remove(&paths));
        });
        // It panics nowhere.
        let _removed = removed.await;
    }

    /// The attempts in `over` are over, the oldest first: the last of them keep their folders, and so do for a while those whose
    /// logs nobody else has. What is returned is to be removed.
    pub fn keep(&self, over: impl IntoIterator<Item = Key>) -> Vec<Old> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.kept.extend(over);
        let mut old = Vec::new();
        while attempts.kept.len() > KEPT
            && let Some(&key) = attempts.kept.front()
            && (attempts.handed_over.contains(&key) || attempts.kept.len() > KEPT_MAX)
        {
            attempts.kept.pop_front();
            attempts.handed_over.remove(&key);
            old.push(Old { key });
        }
        old
    }

    /// The attempts of one sweep whose logs coordinators have not taken over, the oldest first, and `count` at most.
    pub fn to_hand_over(&self, count: usize) -> Option<(SweepId, Vec<Key>)> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = attempts.kept.iter().filter(|key| !attempts.handed_over.contains(key)).peekable();
        let sweep = left.peek()?.trial.sweep;
        Some((sweep, left.filter(|key| key.trial.sweep == sweep).take(count).copied().collect()))
    }

    /// Coordinators have the logs of these. What is returned is all that is kept and that they have.
    pub fn handed_over(&self, keys: &[Key]) -> BTreeSet<Key> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: BTreeSet<Key> = attempts.kept.iter().copied().collect();
        attempts.handed_over.extend(keys);
        attempts.handed_over.retain(|key| kept.contains(key));
        attempts.handed_over.clone()
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
        self.ended.notify_one();
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
        let rank = AttemptDir::at(paths.attempt(self.key)).record().map_or(0, |record| record.rank);
        remove(paths.attempt(self.key));
        // Only an empty folder can be removed this way.
        let _used = std::fs::remove_dir(paths.output(self.key, rank));
        remove(paths.checkpoints(self.key));
    }
}
