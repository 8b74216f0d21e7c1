//! A recorded sweep under other settings: its own trials stand in for the training, each reporting what it reported,
//! after as long.
//!
//! Makes nothing up. A trial of which the record says no more, because it was stopped, ends where its record ends;
//! how many would have gone on is counted. Nothing is searched either: trial `n` is the recorded trial `n`.

use std::collections::BTreeMap;

use heats_core::ops::attempts::End;
use heats_core::{Fact, Sweep};
use heats_domain::resources::{GPU_PARTS, Gpu};
use heats_domain::spec::{IntSpec, Needs, Objectives, ParameterSpec, Resources, Search, SpaceSpec};
use heats_domain::{FailureKind, Inventory, Metrics, StopReason, SweepSpec, TrialState};

use crate::{Running, SimConfig, SimError, SimReport, Step, Workload, simulate};

/// A trial of the record.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    state: TrialState,
    /// What its attempts did, the first first. Of all but the last it is known why they failed.
    attempts: Vec<Attempt>,
}

/// An attempt of the record.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempt {
    reports: Vec<Timed>,
    rest_ms: u64,
    failure: Option<FailureKind>,
}

/// A report of the record.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// When it was recorded.
    pub at_ms: u64,
    /// The step.
    pub step: u64,
    /// What was measured.
    pub metrics: Metrics,
}

/// A report, and how long its step took.
#[derive(Clone, PartialEq, Debug)]
struct Timed {
    took_ms: u64,
    step: u64,
    metrics: Metrics,
}

impl Attempt {
    /// An attempt whose process ran from `started_ms` to `ended_ms`; with a failure where it failed. What is recorded
    /// later was reported by then.
    pub fn new(started_ms: u64, reports: Vec<Report>, ended_ms: u64, failure: Option<FailureKind>) -> Self {
        let times: Vec<u64> = reports.iter().map(|report| report.at_ms.min(ended_ms)).collect();
        let rest_ms = ended_ms.saturating_sub(times.last().copied().unwrap_or(started_ms));
        let timed = |(Report { step, metrics, .. }, took_ms)| Timed { took_ms, step, metrics };
        let reports = reports.into_iter().zip(paces(started_ms, &times)).map(timed).collect();
        Self { reports, rest_ms, failure }
    }
}

/// How long each step took that was reported at one of `times`, which do not fall. Reports of one moment came in one
/// message: they share the time since the moment before evenly.
fn paces(started_ms: u64, times: &[u64]) -> Vec<u64> {
    let mut since = started_ms;
    let mut paces = Vec::with_capacity(times.len());
    for message in times.chunk_by(|one, next| one == next) {
        let at_ms = message.first().copied().unwrap_or(since).max(since);
        let (took, count) = (at_ms - since, message.len() as u64);
        // Whole milliseconds that add up to all of it.
        paces.extend((1..=count).map(|n| took * n / count - took * (n - 1) / count));
        since = at_ms;
    }
    paces
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The sweep in virtual time. Its trials have the numbers of the record's; their configurations are there.
    pub report: SimReport,
    /// When the best value was reported, in virtual milliseconds.
    pub found_ms: Option<u64>,
    /// The trials that were stopped, in the order in which they were.
    pub stops: Vec<Stop>,
    /// The trials that would have gone on past the end of their record.
    pub beyond: Vec<u32>,
}

/// A trial was stopped.
#[derive(Clone, PartialEq, Debug)]
pub struct Stop {
    /// Which.
    pub trial: u32,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// Why.
    pub reason: StopReason,
}

/// Runs `trials` again in virtual time, on so many agents of one place each, with everything of `spec` but its space
/// and its searcher. No more trials are created than were recorded, and no leaders are confirmed.
///
/// # Errors
/// As [`simulate`].
pub fn replay(spec: &SweepSpec, seed: u64, trials: &[Recorded], agents: u32) -> Result<Replayed, SimError> {
    let spec = dealt(spec, seed, trials.len());
    let inventory = spec.variants().first().map(place).unwrap_or_default();
    let config = SimConfig { agents, inventory, ..SimConfig::default() };
    let report = simulate(&spec, &mut Tape { trials, resumed: BTreeMap::new() }, config)?;
    let (found_ms, stops) = (found_ms(&report.sweep), stops(&report.sweep));
    // It came to an end of its own that is not the recorded one.
    let goes_on = |now: TrialState, then: TrialState| {
        matches!(now, TrialState::Completed | TrialState::Infeasible) && now != then
    };
    let both = report.sweep.trials.iter().zip(trials);
    let beyond = both.filter(|(now, then)| goes_on(now.state, then.state)).map(|(now, _)| now.number).collect();
    Ok(Replayed { report, found_ms, stops, beyond })
}

/// The sweep with a space that counts the recorded trials, and the searcher that deals them in order.
fn dealt(spec: &SweepSpec, seed: u64, recorded: usize) -> SweepSpec {
    let mut spec = spec.clone();
    let count = u32::try_from(recorded).unwrap_or(u32::MAX);
    let last = i64::from(count) - 1;
    let number = IntSpec { int: [0, last.max(0)], log: false, step: None, when: None };
    spec.space = SpaceSpec { parameters: vec![("recorded".to_owned(), ParameterSpec::Int(number))] };
    spec.constraints = Vec::new();
    spec.search = Search { algorithm: "grid".to_owned(), seed: Some(seed), ..Search::default() };
    spec.budget.trials = Some(spec.budget.trials.map_or(count, |trials| trials.min(count)));
    // Each agent is made for what a trial takes of it; of other machines nothing is asked. Its GPUs count for the budget.
    let gpus = spec.variants().first().map_or(0.0, |need| need.gpus);
    spec.resources = Needs::One(Resources { gpus, ..Resources::default() });
    // What the rule says is what is asked, of every trial.
    spec.early_stop.audit = None;
    // Of other leaders than the recorded ones there are no fresh runs.
    if let Some(Objectives::One(objective)) = &mut spec.objective {
        objective.confirm = None;
    }
    spec
}

/// What one trial takes, and so what an agent has.
fn place(resources: &Resources) -> Inventory {
    let gpus = (0..resources.gpu_parts().div_ceil(GPU_PARTS)).map(|index| Gpu { index, ..Gpu::default() }).collect();
    Inventory { cpus: resources.cpus, gpus, ..Inventory::default() }
}

fn found_ms(sweep: &Sweep) -> Option<u64> {
    let trial = sweep.best()?;
    let step = trial.best?.step;
    let mut reports = (0..trial.series.len()).filter_map(|place| sweep.report(trial, place));
    reports.find_map(|(report, at_ms)| (report.step == step).then_some(at_ms))
}

fn stops(sweep: &Sweep) -> Vec<Stop> {
    let settled = sweep.journal.iter().filter_map(|record| {
        let Fact::TrialSettled(fact) = record.cell.fact.as_ref()? else { return None };
        (fact.state() == TrialState::Stopped).then_some(())?;
        Some(Stop { trial: fact.trial, at_ms: record.at_ms, reason: fact.reason.clone()? })
    });
    settled.collect()
}

/// The record as a workload.
struct Tape<'a> {
    trials: &'a [Recorded],
    /// How many of a trial's attempts go on where the one before them paused.
    resumed: BTreeMap<u32, u32>,
}

impl Tape<'_> {
    /// Which of the recorded attempts the process stands for, from 0.
    fn place(&self, running: &Running<'_>) -> usize {
        let resumed = self.resumed.get(&running.trial).copied().unwrap_or(0);
        running.attempt.saturating_sub(1).saturating_sub(resumed) as usize
    }
}

impl Workload for Tape<'_> {
    fn step(&mut self, running: &Running<'_>, step: u64) -> Step {
        let Some(recorded) = self.trials.get(running.trial as usize) else { return unknown() };
        let number = self.place(running);
        let Some(attempt) = recorded.attempts.get(number) else { return recorded.stands() };
        let place = usize::try_from(step.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(Timed { took_ms, step, metrics }) = attempt.reports.get(place) {
            return Step::Trained { at: *step, took_ms: *took_ms, metrics: metrics.clone() };
        }
        let is_last = number + 1 == recorded.attempts.len();
        match (attempt.failure, is_last, recorded.state) {
            (Some(kind), _, _) => Step::Ended { after_ms: attempt.rest_ms, end: end(kind) },
            (None, true, TrialState::Completed) => Step::Ended { after_ms: attempt.rest_ms, end: End::Exited(0) },
            (None, true, TrialState::Infeasible) => Step::Ended { after_ms: attempt.rest_ms, end: End::Infeasible },
            (None, _, _) => recorded.stands(),
        }
    }

    fn resume(&mut self, running: &Running<'_>, reported: u64) -> u64 {
        *self.resumed.entry(running.trial).or_default() += 1;
        let recorded = self.trials.get(running.trial as usize);
        let attempt = recorded.and_then(|recorded| recorded.attempts.get(self.place(running)));
        attempt.map_or(0, |attempt| attempt.reports.partition_point(|report| report.step <= reported) as u64)
    }
}

impl Recorded {
    /// A trial that stood in `state` at last, and the attempts at it, the first first. One that did not fail and was
    /// followed by another was paused in between: the two are one here, with no pause.
    pub fn new(state: TrialState, attempts: impl IntoIterator<Item = Attempt>) -> Self {
        let mut whole: Vec<Attempt> = Vec::new();
        for attempt in attempts {
            match whole.last_mut().filter(|last| last.failure.is_none()) {
                Some(last) => {
                    last.reports.extend(attempt.reports);
                    (last.rest_ms, last.failure) = (attempt.rest_ms, attempt.failure);
                }
                None => whole.push(attempt),
            }
        }
        Self { state, attempts: whole }
    }

    /// The trial ends as it stands: nothing is recorded of what it would do next.
    fn stands(&self) -> Step {
        let mut reports = self.attempts.iter().flat_map(|attempt| &attempt.reports);
        if reports.any(|report| !report.metrics.list.is_empty()) { Step::Done } else { unknown() }
    }
}

/// Nothing at all is known about the trial: the one end that says nothing about its configuration, and costs nothing.
const fn unknown() -> Step {
    Step::Ended { after_ms: 0, end: End::Infeasible }
}

/// An end that means this failure.
const fn end(kind: FailureKind) -> End {
    match kind {
        FailureKind::Exit => End::Exited(1),
        // SIGKILL; which one it was makes no difference.
        FailureKind::Signal => End::Signaled(9),
        FailureKind::OutOfMemory => End::OutOfMemory,
        FailureKind::Timeout => End::TimedOut,
        FailureKind::NoMetric => End::Exited(0),
        FailureKind::NodeLost => End::Lost,
        FailureKind::Preempted => End::Preempted,
        FailureKind::StartFailed => End::StartFailed,
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Metrics;

    use super::{Attempt, Report, paces};

    #[test]
    fn what_was_recorded_after_the_end_was_reported_by_then() {
        let attempt =
            |at_ms| Attempt::new(100, vec![Report { at_ms, step: 1, metrics: Metrics::default() }], 150, None);
        assert_eq!(attempt(170), attempt(150));
        assert_ne!(attempt(140), attempt(150));
    }

    #[test]
    fn reports_of_one_message_share_its_time_and_none_of_it_is_lost() {
        assert_eq!(paces(100, &[110, 130, 160]), [10, 20, 30]);
        assert_eq!(paces(100, &[200, 200, 200, 210]), [33, 33, 34, 10]);
        assert_eq!(paces(100, &[90, 120]), [0, 20], "a clock that went back");
        assert_eq!(paces(100, &[]), [0; 0]);
    }
}
