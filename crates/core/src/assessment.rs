//! Whether a sweep's early stopping is right: what became of those that it would have ended, and how much its rungs know.
//!
//! Computed when somebody asks, from what is recorded; nothing is decided by it.

use heats_domain::TrialState;
use heats_search::stoppers;

use crate::statistics::{median, spearman, wilson};
use crate::sweep::Sweep;
use crate::trial::Trial;

/// A rung whose values correlate less than this with the final ones ends good trials too often: at 0.5, for normal values, the
/// best of 27 trials is not among the best third at the rung one time in four.
pub const TELLING: f64 = 0.5;
/// With fewer trials than this nothing is advised: of ten that have nothing to do with each other, one in twenty still
/// correlates above 0.56.
pub const TRIALS_MIN: u32 = 10;

/// What is known about a sweep's early stopping.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Assessment {
    /// What became of the control group, where there is one.
    pub control: Option<Control>,
    /// What each rung tells, the lowest first; empty for a rule without rungs, and before three trials have passed one.
    pub rungs: Vec<Rung>,
    /// The first rung tells little.
    pub hasty: bool,
    /// Where it does: the lowest rung from which on all tell enough, where there is one. `early_stop.min` should be it.
    pub patient: Option<u64>,
}

/// The trials that were spared (`early_stop.audit`), and what became of them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Control {
    /// How many were spared.
    pub spared: u32,
    /// How many of them ran to their end.
    pub ended: u32,
    /// How many other trials did: the rule let them.
    pub peers: u32,
    /// How many of `ended` became better than the median of these; `None` without a peer or without one that ended.
    pub above_median: Option<Share>,
    /// How many of `ended` became better than every trial that was not spared; `None` as above.
    pub best: Option<Share>,
}

/// A count out of others, with the 95 % interval of the share by Wilson's score.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// How many.
    pub count: u32,
    /// The least that the share may be.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Share {
    fn of(count: u32, all: u32) -> Self {
        let (low, high) = wilson(count, all);
        Self { count, low, high }
    }
}

/// How well the values at a rung order those trials that ran to their end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rung {
    /// The step.
    pub at: u64,
    /// How many trials reported there and ran to their end: three at least.
    pub trials: u32,
    /// Spearman's rank correlation of the losses there and the final ones, over these trials only. Those that were stopped
    /// have no final value; without a control group the correlation is that of survivors, which is lower than that of all.
    pub correlation: f64,
}

impl Assessment {
    /// What the records of `sweep` say. Walks over every report of the trials that ran to their end.
    pub fn of(sweep: &Sweep) -> Self {
        let rungs = rungs(sweep);
        let known = |rung: &&Rung| rung.trials >= TRIALS_MIN;
        let tells = |rung: &Rung| rung.correlation >= TELLING;
        let hasty = rungs.first().filter(known).is_some_and(|first| !tells(first));
        let telling = rungs.iter().rev().filter(known).take_while(|rung| tells(rung)).last();
        let patient = telling.filter(|_| hasty).map(|rung| rung.at);
        let control = sweep.spec.early_stop.audit.map(|_| control(sweep));
        Self { control, rungs, hasty, patient }
    }
}

/// The trials that were proposed and ran to their end.
fn whole(sweep: &Sweep) -> impl Iterator<Item = &Trial> {
    let proposed = sweep.trials.iter().map(AsRef::as_ref).filter(|trial: &&Trial| trial.confirms.is_none());
    proposed.filter(|trial| trial.state == TrialState::Completed)
}

/// A trial's final value as a loss: the best that it reported, by which it is ranked.
fn loss(sweep: &Sweep, trial: &Trial) -> f64 {
    trial.best.map_or(f64::INFINITY, |best| sweep.loss(best.value))
}

fn control(sweep: &Sweep) -> Control {
    let spared = sweep.trials.iter().filter(|trial| trial.spared).count() as u32;
    let (ended, peers): (Vec<&Trial>, Vec<&Trial>) = whole(sweep).partition(|trial| trial.spared);
    let losses: Vec<f64> = peers.iter().map(|trial| loss(sweep, trial)).collect();
    let others = sweep.ranking.iter().find(|ranked| sweep.trial(ranked.trial).is_some_and(|trial| !trial.spared));
    let below = |bound: f64| {
        let count = ended.iter().filter(|trial| loss(sweep, trial) < bound).count() as u32;
        (!ended.is_empty()).then(|| Share::of(count, ended.len() as u32))
    };
    Control {
        spared,
        ended: ended.len() as u32,
        peers: peers.len() as u32,
        above_median: median(losses).and_then(below),
        best: others.filter(|_| !peers.is_empty()).and_then(|ranked| below(ranked.loss)),
    }
}

fn rungs(sweep: &Sweep) -> Vec<Rung> {
    // Of several objectives none orders the trials.
    let steps = if sweep.has_several() { Vec::new() } else { stoppers::rungs(&sweep.spec.early_stop) };
    let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); steps.len()];
    for trial in whole(sweep) {
        let last = loss(sweep, trial);
        for (place, here) in at_rungs(sweep, trial, &steps) {
            pairs[place].push((here, last));
        }
    }
    let told = steps.into_iter().zip(pairs).filter(|(_, pairs)| pairs.len() >= 3);
    told.filter_map(|(at, pairs)| Some(Rung { at, trials: pairs.len() as u32, correlation: spearman(&pairs)? }))
        .collect()
}

/// The places of the rungs that a trial came to, each with the loss that was reported there. A rung that a report jumped over
/// stays empty, as for the rules.
fn at_rungs(sweep: &Sweep, trial: &Trial, steps: &[u64]) -> Vec<(usize, f64)> {
    let Some(metric) = sweep.objective().map(|objective| objective.metric()) else { return Vec::new() };
    let (mut reached, mut passed) = (Vec::new(), 0);
    for (report, _) in (0..trial.series.len()).filter_map(|place| sweep.report(trial, place)) {
        let above = steps.partition_point(|step| *step <= report.step);
        if above > passed
            && let Some(value) = report.metrics.get(metric)
        {
            reached.push((above - 1, sweep.loss(value)));
            passed = above;
        }
        if passed == steps.len() {
            break;
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use heats_domain::{SweepId, TrialState};
    use serde_json::json;

    use super::Assessment;
    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder};

    /// Runs all trials of a sweep side by side: `curves[n]` is what trial `n` reports at steps 1, 2, ... Those that are
    /// stopped end there.
    fn run(cluster: &mut Cluster, builder: SweepBuilder, curves: &[Vec<f64>]) -> SweepId {
        let id = cluster.submit(builder.trials(curves.len() as u32));
        cluster.attach(1, curves.len() as u32);
        let keys: Vec<Key> = cluster.dispatch();
        for (key, curve) in keys.into_iter().zip(curves) {
            for (step, loss) in (1..).zip(curve) {
                cluster.report(key, step, *loss).expect("is live");
            }
            cluster.finish(key, End::Exited(0));
        }
        id
    }

    fn threshold(audit: f64) -> SweepBuilder {
        let rule = json!({"algorithm": "threshold", "upper": 1.0, "audit": audit});
        SweepBuilder::minimize("loss").top("early_stop", rule)
    }

    #[test]
    fn a_spared_trial_runs_on_and_remembers_why_it_would_have_been_stopped() {
        for fails_over in [false, true] {
            let mut cluster = Cluster::default();
            let id = cluster.submit(threshold(0.999_999).trials(1));
            cluster.attach(1, 1);
            let key = cluster.dispatch()[0];
            cluster.report(key, 1, 2.0).expect("is live");
            assert_eq!((cluster.state(id, 0), cluster.trial(id, 0).spared), (TrialState::Running, true));
            if fails_over {
                cluster.fail_over();
            }
            cluster.report(key, 2, 3.0).expect("is live");
            cluster.report(key, 3, 0.5).expect("is live");
            let reason = cluster.sweep(id).spared(cluster.trial(id, 0)).expect("has one");
            assert_eq!((reason.rule.as_str(), reason.step, reason.value), ("threshold", 1, 2.0));
            cluster.finish(key, End::Exited(0));
            assert_eq!(cluster.state(id, 0), TrialState::Completed);
            assert_eq!(cluster.sweep(id).best().map(|trial| trial.number), Some(0));
            let spared = cluster.entries.iter().flat_map(|entry| &entry.facts);
            let spared = spared.filter(|cell| cell.fact.as_ref().is_some_and(|fact| fact.name() == "trial_spared"));
            assert_eq!(spared.count(), 1, "fails over: {fails_over}");
        }
    }

    #[test]
    fn the_control_group_is_compared_with_those_that_the_rule_let_run() {
        let mut cluster = Cluster::default();
        // Half of the doomed are drawn; trials that begin above 1 are doomed.
        let mut curves = vec![vec![0.2], vec![0.4], vec![0.6]];
        curves.extend((0..40).map(|n| vec![2.0, if n % 2 == 0 { 0.3 } else { 0.1 }, 0.9]));
        let id = run(&mut cluster, threshold(0.5), &curves);
        let sweep = cluster.sweep(id);
        let control = Assessment::of(sweep).control.expect("is audited");
        let spared: Vec<u32> = (3..43).filter(|n| cluster.trial(id, *n).spared).collect();
        let stopped = (3..43).filter(|n| cluster.state(id, *n) == TrialState::Stopped).count();
        assert!(spared.len() > 10 && stopped > 10 && spared.len() + stopped == 40, "{spared:?}");
        assert_eq!((control.spared, control.ended, control.peers), (spared.len() as u32, spared.len() as u32, 3));
        // The median of those that ran is 0.4, and the best of all others 0.2.
        assert_eq!(control.above_median.map(|share| share.count), Some(control.ended));
        let odd = spared.iter().filter(|n| **n % 2 == 0).count() as u32;
        assert_eq!(control.best.map(|share| share.count), Some(odd));
    }

    #[test]
    fn without_a_trial_that_ran_to_its_end_there_is_nothing_to_compare_with() {
        let mut cluster = Cluster::default();
        let id = run(&mut cluster, threshold(0.5), &vec![vec![2.0, 0.5]; 8]);
        let control = Assessment::of(cluster.sweep(id)).control.expect("is audited");
        assert!(control.ended > 0 && control.peers == 0);
        assert_eq!((control.above_median, control.best), (None, None));
        let plain = run(&mut cluster, SweepBuilder::minimize("loss"), &[vec![0.5]]);
        assert_eq!(Assessment::of(cluster.sweep(plain)), Assessment::default());
    }

    /// Twelve trials that all go on, each better than those before: at rung 1 in an order that tells nothing, at 2 half of it.
    fn rungs(first: [f64; 12], second: [f64; 12]) -> Assessment {
        // Nobody is stopped: each report at a rung is the best there so far.
        let rule = json!({"algorithm": "asha", "min": 1, "max": 5, "eta": 2, "audit": 0.999_999});
        let mut cluster = Cluster::default();
        let curves: Vec<Vec<f64>> = first
            .into_iter()
            .zip(second)
            .enumerate()
            .map(|(n, (first, second))| vec![100.0 + first, 50.0 + second, 40.0, 30.0 + n as f64, 20.0 + n as f64])
            .collect();
        let id = run(&mut cluster, SweepBuilder::minimize("loss").top("early_stop", rule), &curves);
        Assessment::of(cluster.sweep(id))
    }

    const SORTED: [f64; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];
    const MIXED: [f64; 12] = [6.0, 1.0, 9.0, 4.0, 11.0, 0.0, 7.0, 2.0, 10.0, 3.0, 8.0, 5.0];

    #[test]
    fn a_first_rung_that_tells_little_asks_for_a_longer_grace_period() {
        let told = rungs(MIXED, SORTED);
        assert_eq!(
            told.rungs.iter().map(|rung| (rung.at, rung.trials)).collect::<Vec<_>>(),
            [(1, 12), (2, 12), (4, 12)]
        );
        assert!(told.rungs[0].correlation < 0.2 && told.rungs[1].correlation > 0.999, "{told:?}");
        assert_eq!((told.hasty, told.patient), (true, Some(2)));
        let told = rungs(SORTED, MIXED);
        assert_eq!((told.hasty, told.patient), (false, None), "a later rung asks for nothing");
        let told = rungs(MIXED, MIXED);
        assert_eq!((told.hasty, told.patient), (true, Some(4)));
    }
}
