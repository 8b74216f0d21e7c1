//! What users do to sweeps that run: pause, resume, stop, cancel, edit, enqueue, retry.

use heats_domain::{Params, SweepId, TrialState};

use super::drain::{Running, cancelled, drain, settled};
use super::{Decision, live_sweep, sweep};
use crate::fact::{Ending, Fact, PointEnqueued, SweepEdited, SweepPaused, SweepReopened, SweepResumed};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Status;

/// The most points that may wait in a sweep's queue.
pub const QUEUE_MAX: usize = 10_000;

/// What to do with a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Lease nothing more; running trials go on.
    Pause,
    /// Lease again.
    Resume,
    /// Create nothing more, let running trials finish, then end.
    Stop,
    /// End running trials now.
    Cancel,
}

/// Carries out `verb`; one that changes nothing is not an error.
pub fn control(state: &State, id: SweepId, verb: Verb) -> Decision<()> {
    let sweep = live_sweep(state, id)?;
    let facts = match (verb, &sweep.status) {
        (Verb::Pause, Status::Running) => vec![Fact::SweepPaused(SweepPaused { sweep: id })],
        (Verb::Resume, Status::Paused) => vec![Fact::SweepResumed(SweepResumed { sweep: id })],
        (Verb::Pause | Verb::Resume, _) => Vec::new(),
        (Verb::Stop, Status::Draining(..)) => Vec::new(),
        (Verb::Stop, _) => drain(sweep, Ending::Stopped, "a user stopped it".into(), Running::Finish),
        (Verb::Cancel, Status::Draining(Ending::Cancelled, _)) => Vec::new(),
        (Verb::Cancel, _) => drain(sweep, Ending::Cancelled, "a user cancelled it".into(), Running::Cancel),
    };
    Ok((facts, ()))
}

/// Cancels one trial.
pub fn cancel_trial(state: &State, id: SweepId, number: u32) -> Decision<()> {
    let sweep = live_sweep(state, id)?;
    let no_trial = || Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number };
    let trial = sweep.trial(number).ok_or_else(no_trial)?;
    let facts =
        if trial.state.is_terminal() { Vec::new() } else { vec![cancelled(sweep, trial, "a user cancelled it")] };
    Ok((facts, ()))
}

/// New limits; `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edit {
    /// The number of trials.
    pub trials: Option<u32>,
    /// Or a change of it.
    pub more_trials: Option<i64>,
    /// The number of trials at once.
    pub parallel: Option<u32>,
}

/// Changes the limits of a sweep; a sweep that finished goes on when its budget grows.
pub fn edit(state: &State, id: SweepId, edit: Edit) -> Decision<()> {
    let sweep = sweep(state, id)?;
    let base = i64::from(sweep.trials_max.unwrap_or_else(|| sweep.created()));
    let changed = edit.more_trials.map(|more| base.saturating_add(more).clamp(0, i64::from(u32::MAX)) as u32);
    let trials = edit.trials.or(changed);
    if let Some(asked) = trials.filter(|&asked| asked < sweep.created()) {
        return Err(Refusal::BelowCreated { name: sweep.name.clone(), created: sweep.created(), asked });
    }
    let mut facts = vec![Fact::SweepEdited(SweepEdited {
        sweep: id,
        trials,
        parallel: edit.parallel.filter(|&p| p > 0),
        why: String::new(),
    })];
    match &sweep.status {
        Status::Running | Status::Paused => {}
        Status::Ended { ending: Ending::Finished, .. } if trials.is_some_and(|t| t > sweep.created()) => {
            facts.push(Fact::SweepReopened(SweepReopened { sweep: id }));
        }
        Status::Draining(..) | Status::Ended { .. } => return Err(Refusal::Ended(sweep.name.clone())),
    }
    Ok((facts, ()))
}

/// Puts a point at the end of the sweep's queue; replies how many wait then.
pub fn enqueue(state: &State, id: SweepId, params: Params) -> Decision<u32> {
    let sweep = live_sweep(state, id)?;
    if let Status::Draining(..) = sweep.status {
        return Err(Refusal::Ended(sweep.name.clone()));
    }
    sweep.space.check_partial(&params)?;
    if sweep.queue.len() >= QUEUE_MAX {
        return Err(Refusal::QueueFull(QUEUE_MAX));
    }
    let after = sweep.created() as usize + sweep.queue.len() + 1;
    if let Some(max) = sweep.trials_max.filter(|&max| after > max as usize) {
        return Err(Refusal::BudgetUsed { name: sweep.name.clone(), max });
    }
    let waiting = sweep.queue.len() as u32 + 1;
    Ok((vec![Fact::PointEnqueued(PointEnqueued { sweep: id, params })], waiting))
}

/// Has failed trials tried again, all of them or those named; replies which.
pub fn retry(state: &State, id: SweepId, numbers: &[u32]) -> Decision<Vec<u32>> {
    let sweep = sweep(state, id)?;
    if let Status::Draining(..) = sweep.status {
        return Err(Refusal::Ended(sweep.name.clone()));
    }
    for &number in numbers {
        if sweep.trial(number).is_none() {
            return Err(Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
        }
    }
    let chosen: Vec<u32> = sweep
        .trials
        .iter()
        .filter(|t| t.state == TrialState::Failed && t.live().is_none())
        .filter(|t| numbers.is_empty() || numbers.contains(&t.number))
        .map(|t| t.number)
        .collect();
    if chosen.is_empty() {
        return Err(Refusal::NothingFailed(sweep.name.clone()));
    }
    let mut facts = Vec::new();
    if sweep.is_ended() {
        facts.push(Fact::SweepReopened(SweepReopened { sweep: id }));
    }
    facts.extend(chosen.iter().map(|&n| settled(sweep, n, TrialState::Waiting, "a user asked for it again")));
    Ok((facts, chosen))
}
