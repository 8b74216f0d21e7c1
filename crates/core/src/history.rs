//! The history of a sweep as its searcher and stopper see it.

use heats_domain::TrialState;
use heats_search::{Event, Outcome, Searcher, Setting, Stopper, around, stoppers};

use crate::fact::{Fact, Forked};
use crate::refusal::Refusal;
use crate::sweep::Sweep;
use crate::trial::Trial;

/// What `fact` means to a searcher or a stopper; `sweep` has it in its journal already.
///
/// Facts about leases mean nothing to them, nor does a trial that confirms: it is no part of the search. They know the
/// others by their ordinals, which have no gaps where trials confirmed in between. A report without the objective is not an
/// event: a script may measure its validation loss less often than it reports.
pub fn event<'a>(sweep: &Sweep, fact: &'a Fact) -> Option<Event<'a>> {
    match fact {
        Fact::TrialCreated(fact) => {
            let (trial, params) = (proposed(sweep, fact.trial)?.ordinal, &fact.params);
            let Some(Forked { from, replaces }) = &fact.forked else { return Some(Event::Created { trial, params }) };
            let parent = proposed(sweep, from.trial)?.ordinal;
            let loss = last_loss(sweep, proposed(sweep, *replaces)?);
            Some(Event::Forked { trial, parent, step: from.step, loss, params })
        }
        Fact::TrialReported(fact) => {
            let trial = proposed(sweep, fact.trial)?.ordinal;
            let mut losses = sweep.losses(&fact.metrics)?;
            let loss = losses.next()?;
            Some(Event::Reported { trial, step: fact.step, loss, rest: losses.collect() })
        }
        Fact::TrialSettled(fact) => {
            let trial = proposed(sweep, fact.trial)?;
            let outcome = match fact.state() {
                TrialState::Completed => {
                    Outcome::Completed(trial.best.map_or(f64::INFINITY, |best| sweep.loss(best.value)))
                }
                TrialState::Stopped => Outcome::Stopped(last_loss(sweep, trial)),
                TrialState::Failed | TrialState::Cancelled => Outcome::Failed,
                TrialState::Infeasible => Outcome::Infeasible,
                TrialState::Paused => {
                    return Some(Event::Paused { trial: trial.ordinal, loss: last_loss(sweep, trial) });
                }
                TrialState::Waiting | TrialState::Leased | TrialState::Running => return None,
            };
            Some(Event::Ended { trial: trial.ordinal, outcome })
        }
        Fact::TrialResumed(fact) => Some(Event::Resumed { trial: proposed(sweep, fact.trial)?.ordinal }),
        Fact::TrialSpared(fact) => {
            let trial = proposed(sweep, fact.trial)?;
            Some(Event::Spared { trial: trial.ordinal, loss: last_loss(sweep, trial) })
        }
        Fact::SweepEdited(fact) => fact.trials.map(|_| Event::Limited { by_user: fact.why.is_empty() }),
        Fact::SweepSubmitted(_)
        | Fact::SweepPaused(_)
        | Fact::SweepResumed(_)
        | Fact::SweepDrained(_)
        | Fact::SweepEnded(_)
        | Fact::SweepReopened(_)
        | Fact::SweepRemoved(_)
        | Fact::PointEnqueued(_)
        | Fact::TrialLeased(_)
        | Fact::TrialStarted(_)
        | Fact::AttemptEnded(_)
        | Fact::AgentAttached(_)
        | Fact::AgentDrained(_)
        | Fact::AgentUndrained(_)
        | Fact::AgentQuarantined(_)
        | Fact::AgentReleased(_)
        | Fact::GpuQuarantined(_)
        | Fact::GpuReleased(_)
        | Fact::AttemptExcused(_)
        | Fact::ClusterRestored(_)
        | Fact::QuotaSet(_)
        | Fact::QuotaRemoved(_)
        | Fact::EnvironmentRecorded(_)
        | Fact::HardwareRecorded(_)
        | Fact::MemberEnded(_)
        | Fact::TrialRecalled(_)
        | Fact::TrialPlaced(_)
        | Fact::CheckpointSaved(_)
        | Fact::CheckpointDropped(_)
        | Fact::CheckpointErased(_)
        | Fact::ArtifactKept(_)
        | Fact::ArtifactDropped(_)
        | Fact::ArtifactNotKept(_)
        | Fact::LogsKept(_)
        | Fact::LogsDropped(_)
        | Fact::NoticeDelivered(_)
        | Fact::HookGivenUp(_)
        | Fact::NoticeRead(_)
        | Fact::Study(_)
        | Fact::TokenCreated(_)
        | Fact::TokenUsed(_)
        | Fact::TokenRevoked(_)
        | Fact::AgentJoined(_) => None,
    }
}

fn last_loss(sweep: &Sweep, trial: &Trial) -> f64 {
    trial.last_value.map_or(f64::INFINITY, |value| sweep.loss(value))
}

/// The trial, unless it confirms.
fn proposed(sweep: &Sweep, number: u32) -> Option<&Trial> {
    sweep.trial(number).filter(|trial| trial.confirms.is_none())
}

/// The seed that a trial's process gets: the same for every attempt, different for every trial.
///
/// SplitMix64's output function (Steele, Lea and Flood 2014) over the sweep's seed and the trial's number,
/// cut to 32 bits, which is what numpy and scikit-learn take.
pub const fn trial_seed(sweep_seed: u64, trial: u32) -> u64 {
    let mut z = sweep_seed.wrapping_add((trial as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 32
}

/// Has `observe` see the events of a sweep from a place in its journal on; what lies before it costs nothing.
pub fn replay_from(sweep: &Sweep, place: usize, mut observe: impl FnMut(&Event<'_>)) {
    for record in sweep.journal.iter_from(place) {
        if let Some(event) = record.cell.fact.as_ref().and_then(|fact| event(sweep, fact)) {
            observe(&event);
        }
    }
}

/// The sweep's searcher, before it has seen any of the history but what it took over from earlier sweeps. A stopper never sees
/// that: its rungs are this sweep's own.
///
/// # Errors
/// [`Refusal::Spec`] when the specification's algorithm or its parameters are not valid.
pub fn searcher(sweep: &Sweep) -> Result<Box<dyn Searcher>, Refusal> {
    let taken = sweep.submitted().map(|(fact, _)| fact.priors.as_slice()).unwrap_or_default();
    let priors = taken.iter().map(|prior| prior.learned(sweep.direction())).collect();
    around::searcher(&sweep.spec, sweep.seed, priors).map_err(|error| Refusal::Spec(error.to_string()))
}

/// The sweep's stopper with the whole history folded in; `None` for a sweep without an objective.
///
/// # Errors
/// As [`searcher`].
pub fn stopper(sweep: &Sweep) -> Result<Option<Box<dyn Stopper>>, Refusal> {
    let Some(objective) = sweep.objective() else { return Ok(None) };
    let setting = Setting { direction: objective.direction(), trials: sweep.spec.budget.trials, seed: sweep.seed };
    let mut stopper = stoppers::of_sweep(&setting, &sweep.spec).map_err(|error| Refusal::Spec(error.to_string()))?;
    replay_from(sweep, 0, |event| stopper.observe(event));
    Ok(Some(stopper))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use heats_domain::TrialState;
    use heats_search::Event;

    use super::trial_seed;
    use crate::ops::attempts::End;
    use crate::testing::{Cluster, SweepBuilder, seen};

    #[test]
    fn a_rule_remembers_the_reports_of_the_sweep_across_a_change_of_the_leader() {
        for fails_over in [false, true] {
            let rule = serde_json::json!({"algorithm": "patience", "patience": 2});
            let mut cluster = Cluster::default();
            let id = cluster.submit(SweepBuilder::minimize("loss").top("early_stop", rule));
            cluster.attach(1, 1);
            let key = cluster.dispatch()[0];
            cluster.report(key, 1, 0.5).expect("is live");
            cluster.report(key, 2, 0.6).expect("is live");
            if fails_over {
                cluster.fail_over();
            }
            assert_eq!(cluster.state(id, 0), TrialState::Running);
            cluster.report(key, 3, 0.6).expect("is live");
            assert_eq!(cluster.state(id, 0), TrialState::Stopped, "fails over: {fails_over}");
        }
    }

    #[test]
    fn the_events_from_a_place_on_are_the_rest_of_all_events() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(100));
        cluster.attach(1, 100);
        for key in cluster.dispatch() {
            cluster.complete(key, 0.5);
        }
        let sweep = cluster.sweep(id);
        let count = |place| seen(sweep, place, |_| Some(())).len();
        let all = count(0);
        assert_eq!(all, 300, "created, reported and ended");
        for place in [0, 1, 77, sweep.journal.len() - 1, sweep.journal.len(), sweep.journal.len() + 1] {
            let before = sweep.journal.iter().take(place);
            let before =
                before.filter(|r| r.cell.fact.as_ref().is_some_and(|fact| super::event(sweep, fact).is_some()));
            assert_eq!(count(place) + before.count(), all, "from {place}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_the_worst_loss() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::maximize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        for (step, value) in (1..).zip([2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]) {
            cluster.report(key, step, value).expect("is live");
        }
        cluster.finish(key, End::Exited(0));
        let losses = seen(cluster.sweep(id), 0, |event| match event {
            Event::Reported { loss, .. } => Some(*loss),
            _ => None,
        });
        assert_eq!(losses, [-2.0, f64::INFINITY, f64::INFINITY, f64::INFINITY]);
    }

    #[test]
    fn every_trial_has_a_seed_of_its_own_that_numpy_takes() {
        let seeds: BTreeSet<u64> = (0..1_000).map(|trial| trial_seed(7, trial)).collect();
        assert!(seeds.len() == 1_000 && seeds.iter().all(|seed| *seed < 1 << 32));
    }
}
