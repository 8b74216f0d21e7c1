//! What becomes of a trial once an attempt at it has ended: whether it is tried again, by the kind of the failure. What users
//! are told about it is in `docs/failures.md`.

use std::sync::Arc;

use heats_domain::{AgentId, FailureKind, Params, TrialState};

use super::drain::settled;
use crate::fact::{Fact, TrialSettled};
use crate::health::{Part, is_own};
use crate::state::State;
use crate::sweep::{Status, Sweep};
use crate::trial::{Attempt, Trial};

/// How often a trial is tried again, in all, for reasons that are not its own (a lost node, a machine that is at fault, exit
/// code 75).
pub const REQUEUES_MAX: u32 = 20;

/// A configuration is at fault once it has failed on so many machines on which others of its sweep ended well.
const MACHINES_MIN: usize = 2;

/// What an end means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    Completed,
    Infeasible,
    /// The script asked to be run again, or its machine is at fault.
    Requeue(FailureKind),
    /// The script asked not to be run again.
    Final(FailureKind),
    Failed(FailureKind),
}

impl Meaning {
    pub(crate) const fn failure(self) -> Option<FailureKind> {
        match self {
            Self::Completed | Self::Infeasible => None,
            Self::Requeue(kind) | Self::Final(kind) | Self::Failed(kind) => Some(kind),
        }
    }

    /// What it means where the machine is at fault.
    pub(crate) const fn excused(self) -> Self {
        match self {
            Self::Completed | Self::Infeasible => self,
            Self::Requeue(kind) | Self::Final(kind) | Self::Failed(kind) => Self::Requeue(kind),
        }
    }
}

/// Where `trial` stands after its last attempt has ended so. That the attempt has ended may be recorded already, or not yet.
pub(crate) fn settle(state: &State, sweep: &Sweep, trial: &Trial, meaning: Meaning) -> Fact {
    let draining = matches!(sweep.status, Status::Draining(..));
    let (state, retry_used, why) = match meaning {
        Meaning::Completed => (TrialState::Completed, false, String::new()),
        Meaning::Infeasible => (TrialState::Infeasible, false, String::new()),
        Meaning::Final(_) => (TrialState::Failed, false, String::new()),
        Meaning::Failed(FailureKind::Preempted) if !draining => (TrialState::Waiting, false, String::new()),
        Meaning::Requeue(_) | Meaning::Failed(FailureKind::NodeLost | FailureKind::Preempted) => {
            match (draining, requeues(trial)) {
                (true, _) => (TrialState::Cancelled, false, String::new()),
                (false, REQUEUES_MAX..) => (TrialState::Failed, false, String::new()),
                (false, _) => (TrialState::Waiting, false, String::new()),
            }
        }
        Meaning::Failed(_) if draining => (TrialState::Failed, false, String::new()),
        Meaning::Failed(FailureKind::OutOfMemory) if moves_on(sweep, trial) => {
            (TrialState::Waiting, false, String::new())
        }
        Meaning::Failed(kind) if has_retry(sweep, trial, kind) => (TrialState::Waiting, true, String::new()),
        Meaning::Failed(kind) => match at_fault(state, sweep, trial, kind) {
            Some(why) => (TrialState::Infeasible, false, why),
            None => (TrialState::Failed, false, String::new()),
        },
    };
    match settled(sweep, trial.number, state, &why) {
        Fact::TrialSettled(fact) => Fact::TrialSettled(TrialSettled { retry_used, ..fact }),
        other => other,
    }
}

/// How often the trial was tried again for reasons that are not its own: every attempt beyond the first is that or a retry.
/// Those that were given back are counted by nobody: an operator may drain one agent after the other.
fn requeues(trial: &Trial) -> u32 {
    // The last is the one that ends now, whether or not that is recorded.
    let before = trial.attempts.len().saturating_sub(1);
    let counts = |attempt: &&Arc<Attempt>| attempt.end.is_some_and(|end| end.failure != Some(FailureKind::Preempted));
    let ended = trial.attempts.iter().take(before).filter(counts).count() as u32;
    ended.saturating_sub(trial.retries_used)
}

/// Whether the trial has a retry left for a failure of this kind. Kinds without a number of their own share `run.retries`.
pub(super) fn has_retry(sweep: &Sweep, trial: &Trial, kind: FailureKind) -> bool {
    let retry = &sweep.spec.run.retry;
    let own = |kind: Option<FailureKind>| kind.filter(|kind| retry.of(*kind).is_some());
    let retried = trial.attempts.iter().filter_map(|attempt| attempt.end).filter(|end| end.retried);
    let used = retried.filter(|end| own(end.failure) == own(Some(kind))).count() as u32;
    used < retry.of(kind).unwrap_or(sweep.spec.run.retries)
}

/// Whether the trial, which runs out of memory, is tried with another variant.
fn moves_on(sweep: &Sweep, trial: &Trial) -> bool {
    let last = trial.attempts.last().filter(|_| sweep.spec.run.retry.tries_variants());
    last.zip(sweep.params(trial)).is_some_and(|(last, params)| has_roomier(sweep, &params, last.variant))
}

fn has_roomier(sweep: &Sweep, params: &Params, than: u32) -> bool {
    let mut variants = (0..).zip(sweep.spec.variants());
    variants.any(|(place, need)| need.is_for(params) && is_roomier(sweep, place, than))
}

/// Whether a trial that ran out of memory with the variant `than` is tried with the one at `place`: it stands later, as whoever
/// wrote the file wants them tried, and asks for no less memory.
pub(crate) fn is_roomier(sweep: &Sweep, place: u32, than: u32) -> bool {
    let variants = sweep.spec.variants();
    let needs = variants.get(place as usize).zip(variants.get(than as usize));
    place > than && needs.is_some_and(|(need, other)| need.asks_for_no_less_memory_than(other))
}

/// The last variant that the trial ran out of memory with while there are roomier ones: it is not granted others than those.
pub(crate) fn outgrown(sweep: &Sweep, trial: &Trial) -> Option<u32> {
    let params = sweep.params(trial).filter(|_| sweep.spec.run.retry.tries_variants())?;
    let ran_out = |attempt: &&Arc<Attempt>| {
        attempt.end.is_some_and(|end| end.failure == Some(FailureKind::OutOfMemory) && !end.excused)
    };
    let variants = trial.attempts.iter().rev().filter(ran_out).map(|attempt| attempt.variant);
    variants.into_iter().find(|variant| has_roomier(sweep, &params, *variant))
}

/// The agents on which an attempt at the trial failed, where it was the process's own failure or its machine's.
pub(crate) fn failed_on(trial: &Trial) -> impl Iterator<Item = AgentId> + '_ {
    let failed = |attempt: &&Arc<Attempt>| attempt.end.and_then(|end| end.failure).is_some_and(is_own);
    trial.attempts.iter().filter(failed).filter_map(|attempt| attempt.failed_on())
}

/// Why the configuration is at fault and neither its sweep nor a machine, where that is so: it failed on several machines that
/// are not suspected, nor the GPUs that it had there, and on which others of its sweep ended well.
fn at_fault(state: &State, sweep: &Sweep, trial: &Trial, kind: FailureKind) -> Option<String> {
    // A fresh run has a configuration that ran before.
    if trial.confirms.is_some() || !is_own(kind) {
        return None;
    }
    let ends_well =
        |agent: &AgentId| sweep.tallies.get(&Part::machine(*agent)).is_some_and(|tally| tally.ended_well > 0);
    // Of a gang, no machine is known to be at fault.
    let failed = |attempt: &&Arc<Attempt>| attempt.end.and_then(|end| end.failure).is_some_and(is_own);
    let last = trial.attempts.last();
    let is_trusted = |attempt: &&Arc<Attempt>| attempt.parts().all(|part| state.quarantine(part).is_none());
    let attempts = trial.attempts.iter().filter(failed).chain(last).filter(is_trusted);
    let mut agents: Vec<AgentId> = attempts.filter_map(|attempt| attempt.only_agent()).collect();
    agents.sort_unstable();
    agents.dedup();
    agents.retain(ends_well);
    if agents.len() < MACHINES_MIN {
        return None;
    }
    let name =
        |agent: &AgentId| state.agent(*agent).map_or_else(|| agent.to_string(), |attached| attached.name.clone());
    let names: Vec<String> = agents.iter().map(name).collect();
    Some(format!("its configuration failed on {}, where other trials of the sweep ended well", names.join(" and ")))
}
