//! Which bundle holds the logs of which attempts: what the facts about them mean. The bytes are beside the log, as the code of
//! sweeps is; a bundle belongs to one sweep, and goes with it.

use std::sync::Arc;

use heats_domain::AgentId;
use imbl::OrdMap;

use crate::fact::{Fact, LogsDropped, LogsKept, Record};
use crate::state::State;
use crate::sweep::Sweep;

/// A bundle of logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// The index of the log entry that named it.
    pub log_index: u64,
    /// Its size, in bytes.
    pub length: u64,
    /// Whether an attempt whose logs are in it had failed by then.
    pub failed: bool,
    /// Why it is not kept any longer, where it is not.
    pub dropped: Option<String>,
}

/// The logs of one sweep that coordinators have taken over from its agents.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Every bundle that ever was, by its name.
    pub bundles: OrdMap<Arc<str>, Bundle>,
    /// Where those of an attempt are, by the trial, the attempt's number, and the agent: an attempt may span machines.
    pub attempts: OrdMap<(u32, u32, AgentId), Arc<str>>,
    /// The sizes of those that are kept, in the order in which they go: see [`Logs::first_to_go`].
    by_worth: OrdMap<(bool, u64, Arc<str>), u64>,
    bytes: u64,
}

impl Logs {
    /// The bundle with the logs of what an agent ran of an attempt, whether or not it is still kept; `None` while only the agent
    /// has them.
    pub fn of(&self, trial: u32, attempt: u32, agent: AgentId) -> Option<(&str, &Bundle)> {
        let name = self.attempts.get(&(trial, attempt, agent))?;
        Some((name, self.bundles.get(name)?))
    }

    /// All that are kept together, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bundles that are kept, each with its size: first those without a failed attempt, and of either kind the oldest first.
    pub fn first_to_go(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.by_worth.iter().map(|((_, _, name), length)| (name, *length))
    }

    /// The bundles that are kept.
    pub fn kept(&self) -> impl Iterator<Item = (&Arc<str>, &Bundle)> {
        self.bundles.iter().filter(|(_, bundle)| bundle.dropped.is_none())
    }
}

/// The kept bundles of all sweeps, the oldest first: what has to go where there is no room for another.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    by_age: OrdMap<(u64, heats_domain::SweepId, Arc<str>), u64>,
    bytes: u64,
}

impl Shelf {
    /// All of them together, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bundles, each with its sweep and its size, the oldest first.
    pub fn oldest(&self) -> impl Iterator<Item = (heats_domain::SweepId, &Arc<str>, u64)> {
        self.by_age.iter().map(|((_, sweep, name), length)| (*sweep, name, *length))
    }

    fn take(&mut self, sweep: heats_domain::SweepId, name: &Arc<str>, bundle: &Bundle) {
        if self.by_age.remove(&(bundle.log_index, sweep, Arc::clone(name))).is_some() {
            self.bytes -= bundle.length;
        }
    }

    /// Everything of a sweep that is removed.
    pub(crate) fn forget(&mut self, sweep: &Sweep) {
        sweep.logs.kept().for_each(|(name, bundle)| self.take(sweep.id, name, bundle));
    }
}

impl Sweep {
    pub(crate) fn logs_kept(&mut self, fact: &LogsKept, log_index: u64) -> Result<(), &'static str> {
        let name: Arc<str> = fact.bundle.as_str().into();
        let mut failed = false;
        for logged in &fact.attempts {
            let trial = self.trial(logged.trial).ok_or("there is no such trial")?;
            let place = (logged.attempt as usize).wrapping_sub(1);
            let attempt = trial.attempts.get(place).ok_or("there is no such attempt")?;
            if !attempt.has_ended_on(fact.agent) {
                return Err("the attempt has not ended, or is another agent's");
            }
            failed |= attempt.has_failed();
            if self.logs.attempts.insert((logged.trial, logged.attempt, fact.agent), Arc::clone(&name)).is_some() {
                return Err("the attempt's logs are in another bundle");
            }
        }
        let bundle = Bundle { log_index, length: fact.length, failed, dropped: None };
        if self.logs.bundles.insert(Arc::clone(&name), bundle).is_some() {
            return Err("the bundle of logs is there already");
        }
        self.logs.by_worth.insert((failed, log_index, name), fact.length);
        self.logs.bytes += fact.length;
        Ok(())
    }

    pub(crate) fn logs_dropped(&mut self, fact: &LogsDropped) -> Result<(), &'static str> {
        let Logs { bundles, by_worth, bytes, attempts: _ } = &mut self.logs;
        let bundle = bundles.get_mut(fact.bundle.as_str()).ok_or("there is no such bundle of logs")?;
        if bundle.dropped.replace(fact.why.clone()).is_some() {
            return Err("the bundle of logs was dropped before");
        }
        by_worth.remove(&(bundle.failed, bundle.log_index, fact.bundle.as_str().into()));
        *bytes -= bundle.length;
        Ok(())
    }
}

impl State {
    /// Folds in what a fact about logs means beyond its sweep, which has it already.
    pub(crate) fn shelve(&mut self, fact: &Fact, record: &Record) {
        let (id, name) = match fact {
            Fact::LogsKept(fact) => (fact.sweep, fact.bundle.as_str()),
            Fact::LogsDropped(fact) => (fact.sweep, fact.bundle.as_str()),
            _ => return,
        };
        let Some((name, bundle)) = self.sweeps.get(&id).and_then(|sweep| sweep.logs.bundles.get_key_value(name)) else {
            return;
        };
        if bundle.dropped.is_some() {
            self.shelf.take(id, name, bundle);
        } else {
            self.shelf.by_age.insert((record.log_index, id, Arc::clone(name)), bundle.length);
            self.shelf.bytes += bundle.length;
        }
    }
}
