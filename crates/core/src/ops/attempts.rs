//! What agents say about the attempts that they hold: started, reported, finished.

use heats_domain::spec::ExitMeaning;
use heats_domain::{FailureKind, Metrics, SweepId, TrialState};
use heats_search::{Judged, Stopper, Verdict};

use super::drain::{self, Running, settled, verdict};
use super::{Decision, sweep};
use crate::fact::{AttemptEnded, Ending, Fact, TrialReported, TrialSettled, TrialStarted};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::{Status, Sweep};
use crate::trial::Trial;

/// The most metrics in one report.
pub const METRICS_MAX: usize = 64;
/// The longest name of a metric, in bytes.
pub const METRIC_NAME_MAX: usize = 128;
/// The longest detail of an end that is kept, in bytes.
pub const DETAIL_MAX: usize = 4_096;
/// How often a trial is tried again, in all, for reasons that are not its own (a lost node, exit code 75).
pub const REQUEUES_MAX: u32 = 20;

/// Names an attempt: the fencing token of all that an agent says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The sweep.
    pub sweep: SweepId,
    /// The trial.
    pub trial: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// How a process ended, as the agent saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was killed for its memory.
    OutOfMemory,
    /// It ran longer than `run.timeout`.
    TimedOut,
    /// It could not be started.
    StartFailed,
    /// Nothing is known about its end.
    Lost,
    /// It was ended because the coordinator or the agent's operator said so.
    Stopped,
    /// It said that its configuration cannot be run.
    Infeasible,
}

/// The end of an attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct Finish {
    /// Whose.
    pub key: Key,
    /// How.
    pub end: End,
    /// Wall time of the process, in milliseconds.
    pub ran_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident memory, in bytes.
    pub max_rss: u64,
    /// For people.
    pub detail: String,
}

/// The trial whose live attempt is `key`'s.
fn fenced(state: &State, key: Key) -> Result<(&Sweep, &Trial), Refusal> {
    let stale = || Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt };
    let sweep = sweep(state, key.sweep).map_err(|_| stale())?;
    let trial = sweep.trial(key.trial).ok_or_else(stale)?;
    match trial.live() {
        Some((attempt, _)) if attempt == key.attempt => Ok((sweep, trial)),
        _ => Err(stale()),
    }
}

/// The process was started.
pub fn start(state: &State, key: Key, environment: String) -> Decision<()> {
    let (_, trial) = fenced(state, key)?;
    let started = trial.live().is_some_and(|(_, attempt)| attempt.started_ms.is_some());
    let Key { sweep, trial, attempt } = key;
    let fact = Fact::TrialStarted(TrialStarted { sweep, trial, attempt, environment: clip(environment) });
    Ok((if started { Vec::new() } else { vec![fact] }, ()))
}

/// A report: recorded once per step and judged by the sweep's stopper. A step that the trial has reached
/// before, and a report of a trial that is being ended, change nothing and are acknowledged.
pub fn report(state: &State, stopper: Option<&dyn Stopper>, key: Key, step: u64, metrics: Metrics) -> Decision<()> {
    let (sweep, trial) = fenced(state, key)?;
    if metrics.list.len() > METRICS_MAX || metrics.list.iter().any(|m| m.name.len() > METRIC_NAME_MAX) {
        return Err(Refusal::ReportTooLarge { limit: METRICS_MAX, name_limit: METRIC_NAME_MAX });
    }
    if trial.state.is_terminal() || trial.last_step.is_some_and(|last| step <= last) {
        return Ok((Vec::new(), ()));
    }
    let value = sweep.objective().and_then(|objective| metrics.get(objective.metric()));
    let mut facts = vec![Fact::TrialReported(TrialReported {
        sweep: key.sweep,
        trial: key.trial,
        attempt: key.attempt,
        step,
        metrics,
    })];
    if let (Some(value), Some(objective)) = (value, sweep.objective()) {
        let direction = objective.direction();
        let draining = matches!(sweep.status, Status::Draining(..));
        if let Some(target) =
            objective.stop_at.filter(|&target| !draining && direction.loss(value) <= direction.loss(target))
        {
            let why = format!(
                "trial {} reported {} = {value}, which reaches stop_at {target}",
                key.trial,
                objective.metric()
            );
            facts.extend(drain::drain(sweep, Ending::Finished, why, Running::Stop("stop_at")));
        } else if let Some(stopper) = stopper {
            let judged = Judged { trial: key.trial, step, loss: direction.loss(value) };
            if let Verdict::Stop(reason) = stopper.judge(judged) {
                facts.push(verdict(sweep, key.trial, reason));
            }
        }
    }
    Ok((facts, ()))
}

/// The attempt is over; what that means for the trial is decided here. A repeated end changes nothing.
pub fn finish(state: &State, finish: Finish) -> Decision<()> {
    let key = finish.key;
    let (sweep, trial) = match fenced(state, key) {
        Ok(found) => found,
        // The end was recorded before its acknowledgement was lost, or the lease went to somebody else.
        Err(Refusal::Stale { .. }) => return Ok((Vec::new(), ())),
        Err(refusal) => return Err(refusal),
    };
    let meaning = meaning(sweep, trial, finish.end);
    let ended = Fact::AttemptEnded(AttemptEnded {
        sweep: key.sweep,
        trial: key.trial,
        attempt: key.attempt,
        failure: meaning.failure().filter(|_| !trial.state.is_terminal()).map(i32::from),
        ran_ms: finish.ran_ms,
        cpu_ms: finish.cpu_ms,
        max_rss: finish.max_rss,
        detail: clip(finish.detail),
    });
    let mut facts = vec![ended];
    // A trial that was stopped or cancelled stays so, whatever its process made of it.
    if !trial.state.is_terminal() {
        facts.push(settle(sweep, trial, meaning));
    }
    Ok((facts, ()))
}

/// The agent was not heard of, or came back without the attempt: the lease is over.
pub fn lose(sweep: &Sweep, trial: &Trial, attempt: u32, now_ms: u64, detail: &str) -> Vec<Fact> {
    let ran_ms = trial.live().and_then(|(_, a)| a.started_ms).map_or(0, |since| now_ms.saturating_sub(since));
    let failure = (!trial.state.is_terminal()).then_some(FailureKind::NodeLost.into());
    let mut facts = vec![Fact::AttemptEnded(AttemptEnded {
        sweep: sweep.id,
        trial: trial.number,
        attempt,
        failure,
        ran_ms,
        cpu_ms: 0,
        max_rss: 0,
        detail: detail.to_owned(),
    })];
    if !trial.state.is_terminal() {
        facts.push(settle(sweep, trial, Meaning::Failed(FailureKind::NodeLost)));
    }
    facts
}

/// What an end means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Completed,
    Infeasible,
    /// The script asked to be run again.
    Requeue(FailureKind),
    /// The script asked not to be run again.
    Final(FailureKind),
    Failed(FailureKind),
}

impl Meaning {
    const fn failure(self) -> Option<FailureKind> {
        match self {
            Self::Completed | Self::Infeasible => None,
            Self::Requeue(kind) | Self::Final(kind) | Self::Failed(kind) => Some(kind),
        }
    }
}

fn meaning(sweep: &Sweep, trial: &Trial, end: End) -> Meaning {
    match end {
        End::Exited(code) => match (sweep.spec.run.exit_codes.get(&code.to_string()), code) {
            (Some(ExitMeaning::Retry), _) | (None, 75) => Meaning::Requeue(FailureKind::Exit),
            (Some(ExitMeaning::Infeasible), _) | (None, 65) => Meaning::Infeasible,
            (Some(ExitMeaning::Fail), _) => Meaning::Final(FailureKind::Exit),
            // The same script would leave its metric out again.
            (None, 0) if sweep.objective().is_some() && !has_objective(sweep, trial) => {
                Meaning::Final(FailureKind::NoMetric)
            }
            (None, 0) => Meaning::Completed,
            (None, _) => Meaning::Failed(FailureKind::Exit),
        },
        End::Signaled(_) => Meaning::Failed(FailureKind::Signal),
        End::OutOfMemory => Meaning::Failed(FailureKind::OutOfMemory),
        End::TimedOut => Meaning::Failed(FailureKind::Timeout),
        End::StartFailed => Meaning::Failed(FailureKind::StartFailed),
        End::Lost | End::Stopped => Meaning::Failed(FailureKind::NodeLost),
        End::Infeasible => Meaning::Infeasible,
    }
}

/// Whether the trial reported its objective in any report, NaN included.
fn has_objective(sweep: &Sweep, trial: &Trial) -> bool {
    trial.last_value.is_some()
        || sweep.objective().is_none_or(|objective| {
            sweep.records(trial).any(|record| match record.cell.fact.as_ref() {
                Some(Fact::TrialReported(fact)) => fact.metrics.get(objective.metric()).is_some(),
                _ => false,
            })
        })
}

fn settle(sweep: &Sweep, trial: &Trial, meaning: Meaning) -> Fact {
    let draining = matches!(sweep.status, Status::Draining(..));
    // Every attempt beyond the first is a retry of its own or a requeue.
    let requeues = trial.attempt().saturating_sub(1).saturating_sub(trial.retries_used);
    let (state, retry_used) = match meaning {
        Meaning::Completed => (TrialState::Completed, false),
        Meaning::Infeasible => (TrialState::Infeasible, false),
        Meaning::Final(_) => (TrialState::Failed, false),
        Meaning::Requeue(_) | Meaning::Failed(FailureKind::NodeLost | FailureKind::Preempted) => {
            match (draining, requeues) {
                (true, _) => (TrialState::Cancelled, false),
                (false, REQUEUES_MAX..) => (TrialState::Failed, false),
                (false, _) => (TrialState::Waiting, false),
            }
        }
        Meaning::Failed(_) => {
            if !draining && trial.retries_used < sweep.spec.run.retries {
                (TrialState::Waiting, true)
            } else {
                (TrialState::Failed, false)
            }
        }
    };
    match settled(sweep, trial.number, state, "") {
        Fact::TrialSettled(fact) => Fact::TrialSettled(TrialSettled { retry_used, ..fact }),
        other => other,
    }
}

/// At most [`DETAIL_MAX`] bytes of `text`, its end kept: the last lines say the most.
fn clip(text: String) -> String {
    if text.len() <= DETAIL_MAX {
        return text;
    }
    let mut from = text.len() - DETAIL_MAX;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}
