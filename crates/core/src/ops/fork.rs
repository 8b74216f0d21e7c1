//! How a member of a population is replaced: it ends, and a fork of another one takes its place.
//!
//! A trial has one configuration for ever, so the fork is a trial of its own. It goes on from the other's checkpoint and from
//! that step; from the beginning it would be something else, so it is never started without a checkpoint. Both are decided in
//! one entry with the report that was judged: no fork is made twice, and none is lost.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{AgentId, StopReason, SweepId, TrialState};
use heats_search::Fork;

use super::drain::{settled, verdict};
use crate::fact::{Fact, Forked, TrialCreated};
use crate::state::State;
use crate::sweep::Sweep;
use crate::trial::Trial;

/// How long a fork waits, in milliseconds, while no agent is attached that reaches a checkpoint which it could go on from.
pub const STRANDED_MS: u64 = 600_000;

/// The facts by which a fork takes the place of `trial`; `None` where the budget is used, or the trial that is to be copied has
/// no checkpoint of a step that it reported.
pub(super) fn replaced(sweep: &Sweep, trial: &Trial, fork: &Fork) -> Option<Vec<Fact>> {
    let Fork { parent, params, reason, instead: _ } = fork;
    let parent = sweep.of_ordinal(*parent).filter(|_| sweep.may_fork())?;
    let from = parent.reported_checkpoint()?.clone();
    let reason = StopReason { winner: Some(parent.number), ..reason.clone() };
    let created = Fact::TrialCreated(TrialCreated {
        sweep: sweep.id,
        trial: sweep.created(),
        params: params.clone(),
        saw_index: sweep.journal.last().log_index,
        enqueued: false,
        confirms: None,
        forked: Some(Forked { from, replaces: trial.number }),
    });
    Some(vec![verdict(sweep, trial.number, TrialState::Stopped, reason), created])
}

/// Forks that wait for an agent that reaches a checkpoint of theirs, with since when none has been attached. What one leader
/// knows of it another one does not: it counts anew.
#[derive(Debug, Default)]
pub struct Stranded {
    since_ms: BTreeMap<(SweepId, u32), u64>,
}

impl Stranded {
    /// Takes in what is so at `now_ms`; the facts that end those which have waited too long. `promoted` is the trial that the
    /// sweep's rule lets go on.
    pub fn look(
        &mut self,
        state: &State,
        attached: &BTreeSet<AgentId>,
        sweep: &Sweep,
        promoted: Option<u32>,
        now_ms: u64,
    ) -> Vec<Fact> {
        let may_start = sweep.waiting.iter().copied().chain(promoted).filter_map(|number| sweep.trial(number));
        let is_reached = |trial: &&Trial| {
            let reaches = |agent: &AgentId| {
                trial.resumable(|checkpoint| state.places(*agent).contains(&checkpoint.place)).is_some()
            };
            attached.iter().any(reaches)
        };
        let stranded: Vec<&Trial> =
            may_start.filter(|trial| trial.forked.is_some()).filter(|trial| !is_reached(trial)).collect();
        self.since_ms.retain(|(id, number), _| *id != sweep.id || stranded.iter().any(|trial| trial.number == *number));
        let has_waited = |trial: &&Trial| {
            let since_ms = *self.since_ms.entry((sweep.id, trial.number)).or_insert(now_ms);
            now_ms.saturating_sub(since_ms) >= STRANDED_MS
        };
        let why = "no agent that reaches a checkpoint which it could go on from was attached for ten minutes";
        let too_long = stranded.into_iter().filter(has_waited);
        too_long.map(|trial| settled(sweep, trial.number, TrialState::Failed, why)).collect()
    }

    /// The sweep has ended.
    pub fn forget(&mut self, sweep: SweepId) {
        self.since_ms.retain(|(id, _), _| *id != sweep);
    }
}
