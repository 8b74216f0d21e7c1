//! How a sweep comes to its end: what makes it drain, and when it has ended.

use heats_domain::{StopReason, TrialState};

use crate::fact::{Ending, Fact, SweepDrained, SweepEnded, TrialSettled};
use crate::sweep::{Status, Sweep};
use crate::trial::Trial;

/// What becomes of the trials that hold a lease when a sweep drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running<'a> {
    /// They run to their end.
    Finish,
    /// They are stopped by this rule: `stop_at`, `wall`, `gpu_hours`.
    Stop(&'a str),
    /// They are cancelled.
    Cancel,
}

/// The facts that make `sweep` create nothing more and end once nothing runs.
pub fn drain(sweep: &Sweep, ending: Ending, why: String, running: Running<'_>) -> Vec<Fact> {
    let mut facts = vec![Fact::SweepDrained(SweepDrained { sweep: sweep.id, ending: ending.into(), why: why.clone() })];
    let waiting = sweep.waiting.iter().filter_map(|&n| sweep.trial(n));
    facts.extend(waiting.map(|trial| cancelled(sweep, trial, &why)));
    let live = sweep.live.iter().filter_map(|&n| sweep.trial(n)).filter(|t| !t.state.is_terminal());
    match running {
        Running::Finish => {}
        Running::Stop(rule) => facts.extend(live.map(|trial| stopped(sweep, trial, rule))),
        Running::Cancel => facts.extend(live.map(|trial| cancelled(sweep, trial, &why))),
    }
    facts
}

/// The fact that cancels a trial.
pub fn cancelled(sweep: &Sweep, trial: &Trial, why: &str) -> Fact {
    settled(sweep, trial.number, TrialState::Cancelled, why)
}

/// A trial settles for a reason that is not a verdict.
pub(crate) fn settled(sweep: &Sweep, trial: u32, state: TrialState, why: &str) -> Fact {
    let (state, why) = (state.into(), why.to_owned());
    Fact::TrialSettled(TrialSettled { sweep: sweep.id, trial, state, reason: None, retry_used: false, why })
}

fn stopped(sweep: &Sweep, trial: &Trial, rule: &str) -> Fact {
    let reason = StopReason {
        rule: rule.to_owned(),
        step: trial.last_step.unwrap_or(0),
        value: trial.last_value.unwrap_or(f64::NAN),
        rung: None,
        rank: None,
        peers: None,
        cutoff: None,
    };
    verdict(sweep, trial.number, reason)
}

/// The fact that a rule stopped a trial.
pub(crate) fn verdict(sweep: &Sweep, trial: u32, reason: StopReason) -> Fact {
    Fact::TrialSettled(TrialSettled {
        sweep: sweep.id,
        trial,
        state: TrialState::Stopped.into(),
        reason: Some(reason),
        retry_used: false,
        why: String::new(),
    })
}

/// The next facts that follow from where the sweep stands: that it failed too often, or that it has ended.
pub fn settle(sweep: &Sweep) -> Vec<Fact> {
    let ended = |ending: Ending, why: &str| {
        vec![Fact::SweepEnded(SweepEnded { sweep: sweep.id, ending: ending.into(), why: why.to_owned() })]
    };
    let idle = sweep.live.is_empty() && sweep.counts.terminal() == sweep.created();
    match &sweep.status {
        Status::Ended { .. } => Vec::new(),
        Status::Draining(ending, why) if idle => ended(*ending, why),
        Status::Draining(..) => Vec::new(),
        Status::Running | Status::Paused => {
            let failed = sweep.counts.of(TrialState::Failed);
            if let Some(max) = sweep.spec.budget.max_failures.filter(|&max| max > 0 && failed >= max) {
                return drain(
                    sweep,
                    Ending::Failed,
                    format!("{failed} trials failed; max_failures is {max}"),
                    Running::Cancel,
                );
            }
            if !idle || sweep.may_create() {
                return Vec::new();
            }
            if sweep.limit_why.is_empty() {
                ended(Ending::Finished, &format!("all {} trials of its budget ended", sweep.created()))
            } else {
                ended(Ending::Finished, &sweep.limit_why)
            }
        }
    }
}

/// The facts that follow from the time: limits of wall time and GPU-hours.
pub fn limits(sweep: &Sweep, now_ms: u64) -> Vec<Fact> {
    if !matches!(sweep.status, Status::Running | Status::Paused) {
        return Vec::new();
    }
    let budget = &sweep.spec.budget;
    if let Some(wall) = budget.wall {
        let since = sweep.submitted().map_or(now_ms, |(_, at_ms)| at_ms);
        if now_ms.saturating_sub(since) >= wall.ms {
            return drain(sweep, Ending::Stopped, format!("its wall time of {wall} is over"), Running::Stop("wall"));
        }
    }
    if let Some(hours) = budget.gpu_hours {
        let live = sweep.live.iter().filter_map(|&n| sweep.trial(n)?.live()).map(|(_, attempt)| {
            let since = attempt.started_ms.unwrap_or(now_ms);
            now_ms.saturating_sub(since) * attempt.grant.gpus.len() as u64
        });
        let used_ms = sweep.ledger.gpu_ms + live.sum::<u64>();
        if used_ms as f64 >= hours * 3_600_000.0 {
            return drain(
                sweep,
                Ending::Stopped,
                format!("its {hours} GPU-hours are used"),
                Running::Stop("gpu_hours"),
            );
        }
    }
    Vec::new()
}
