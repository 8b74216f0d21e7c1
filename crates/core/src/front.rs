//! The Pareto front of a sweep with several objectives: found when it is asked for, so that nothing is kept that could disagree
//! with the trials.

use heats_search::front::{first_front, hypervolume};

use crate::sweep::{Sweep, loss};
use crate::trial::Trial;

/// The volume of a longer front is not computed: it would keep a reader waiting.
pub const VOLUME_POINTS_MAX: usize = 2_000;

/// How good a front is.
#[derive(Clone, PartialEq, Debug)]
pub struct Extent {
    /// The worst value of each objective among the points of all trials, in the file's order: what the volume is measured from.
    pub worst: Vec<f64>,
    /// What the front dominates, in the product of the objectives' units; `None` for more than [`VOLUME_POINTS_MAX`] points.
    /// It only compares fronts of one sweep at one moment with each other: a trial that is worse than all moves the reference.
    pub hypervolume: Option<f64>,
}

impl Sweep {
    /// The trials that no other dominates, by the first objective; with one objective, the best alone.
    pub fn front(&self) -> Vec<&Trial> {
        if !self.has_several() {
            return self.leaderboard().take(1).collect();
        }
        let trials: Vec<&Trial> = self.ranking.iter().filter_map(|ranked| self.trial(ranked.trial)).collect();
        let points: Vec<Vec<f64>> = trials.iter().map(|trial| self.point(trial)).collect();
        let points: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        first_front(&points).into_iter().map(|place| trials[place]).collect()
    }

    /// How good `front` is; `None` where there are no points, or no several objectives.
    pub fn extent(&self, front: &[&Trial]) -> Option<Extent> {
        if !self.has_several() {
            return None;
        }
        let ranked = self.ranking.iter().filter_map(|ranked| self.trial(ranked.trial));
        let worse = |a: Vec<f64>, b: Vec<f64>| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect();
        let worst = ranked.map(|trial| self.point(trial)).reduce(worse)?;
        let points: Vec<Vec<f64>> = front.iter().map(|trial| self.point(trial)).collect();
        let points: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let hypervolume = (points.len() <= VOLUME_POINTS_MAX).then(|| hypervolume(&points, &worst));
        let values = self.objectives().iter().zip(worst).map(|(objective, loss)| objective.direction().value(loss));
        Some(Extent { worst: values.collect(), hypervolume })
    }

    /// A trial's point as losses.
    fn point(&self, trial: &Trial) -> Vec<f64> {
        self.objectives().iter().zip(&trial.point).map(|(objective, value)| loss(objective, *value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::{FailureKind, Metrics, TrialState};
    use heats_search::Event;
    use serde_json::json;

    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder, seen};
    use crate::{Op, Sweep, Trial};

    fn two() -> SweepBuilder {
        SweepBuilder::unranked().top("objective", json!([{"minimize": "loss"}, {"maximize": "speed"}]))
    }

    fn report(cluster: &mut Cluster, key: Key, step: u64, pairs: &[(&str, f64)]) {
        let metrics: Metrics = pairs.iter().copied().collect();
        cluster.op(Op::Report(key, step, metrics)).expect("is live");
    }

    fn measure(cluster: &mut Cluster, key: Key, step: u64, loss: f64, speed: f64) {
        report(cluster, key, step, &[("loss", loss), ("speed", speed)]);
    }

    fn numbers(trials: &[&Trial]) -> Vec<u32> {
        trials.iter().map(|trial| trial.number).collect()
    }

    fn points(sweep: &Sweep) -> Vec<Vec<f64>> {
        sweep.trials.iter().map(|trial| trial.point.clone()).collect()
    }

    #[test]
    fn the_front_is_what_no_other_trial_dominates_and_the_best_of_it_is_first_in_the_first_objective() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(two().trials(5));
        cluster.attach(1, 5);
        let keys = cluster.dispatch();
        assert_eq!((cluster.sweep(id).best(), cluster.sweep(id).extent(&[])), (None, None));
        for (key, (loss, speed)) in keys.iter().zip([(0.2, 10.0), (0.1, 4.0), (0.3, 9.0), (0.4, 20.0), (0.1, 5.0)]) {
            measure(&mut cluster, *key, 1, loss, speed);
        }
        let sweep = cluster.sweep(id);
        let front = sweep.front();
        assert_eq!(numbers(&front), [4, 0, 3], "trial 1 is as good as trial 4 in the first objective only");
        assert_eq!(sweep.best().map(|trial| trial.number), Some(4));
        let extent = sweep.extent(&front).expect("has points");
        assert_eq!(extent.worst, [0.4, 4.0]);
        // From (0.4, 4): 0.3 by 1, and 0.2 by 5 beyond it; trial 3 lies on the edge.
        assert!((extent.hypervolume.expect("is short") - 1.3).abs() < 1e-12, "{extent:?}");
        // What did not end well is not offered.
        cluster.finish(keys[4], End::Exited(65));
        assert_eq!(numbers(&cluster.sweep(id).front()), [1, 0, 3]);
    }

    #[test]
    fn the_point_of_a_trial_is_its_last_report_that_has_every_objective() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(two());
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        report(&mut cluster, key, 1, &[("loss", 0.1)]);
        assert_eq!((points(cluster.sweep(id)), cluster.trial(id, 0).last_value), (vec![vec![]], None));
        measure(&mut cluster, key, 2, 0.1, 5.0);
        measure(&mut cluster, key, 3, 0.3, 2.0);
        report(&mut cluster, key, 4, &[("speed", 9.0)]);
        cluster.fail_over();
        assert_eq!(points(cluster.sweep(id)), [[0.3, 2.0]], "worse than before, and yet what the model is now");
        assert_eq!(cluster.trial(id, 0).best.map(|best| (best.value, best.step)), Some((0.3, 3)));
        measure(&mut cluster, key, 5, 0.2, f64::INFINITY);
        assert_eq!((points(cluster.sweep(id)), cluster.sweep(id).best()), (vec![vec![]], None), "it has gone astray");
        measure(&mut cluster, key, 6, 0.2, 7.0);
        assert_eq!(numbers(&cluster.sweep(id).front()), [0]);
    }

    #[test]
    fn searchers_and_rules_see_every_loss_of_the_reports_that_have_all() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(two());
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        report(&mut cluster, key, 1, &[("speed", 0.1)]);
        measure(&mut cluster, key, 2, 0.5, 5.0);
        measure(&mut cluster, key, 3, 0.5, f64::NAN);
        let seen: Vec<(u64, f64, Vec<f64>)> = seen(cluster.sweep(id), 0, |event| match event {
            Event::Reported { trial: _, step, loss, rest } => Some((*step, *loss, rest.clone())),
            _ => None,
        });
        assert_eq!(seen, [(2, 0.5, vec![-5.0]), (3, 0.5, vec![f64::INFINITY])]);
    }

    #[test]
    fn a_trial_that_never_reports_all_objectives_at_once_fails() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(two());
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        report(&mut cluster, key, 1, &[("loss", 0.1)]);
        report(&mut cluster, key, 2, &[("speed", 0.1)]);
        cluster.finish(key, End::Exited(0));
        let failure = cluster.trial(id, 0).attempts[0].end.and_then(|end| end.failure);
        assert_eq!((cluster.state(id, 0), failure), (TrialState::Failed, Some(FailureKind::NoMetric)));
    }

    #[test]
    fn one_report_has_to_reach_every_target() {
        let mut cluster = Cluster::default();
        let objective =
            json!([{"minimize": "loss", "stop_at": 0.2}, {"minimize": "size"}, {"maximize": "speed", "stop_at": 5}]);
        let id = cluster.submit(SweepBuilder::unranked().top("objective", objective));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        for (step, (loss, speed)) in (1..).zip([(0.1, 4.0), (0.3, 6.0), (0.2, f64::INFINITY)]) {
            report(&mut cluster, key, step, &[("loss", loss), ("size", 1.0), ("speed", speed)]);
        }
        report(&mut cluster, key, 4, &[("loss", 0.1), ("speed", 6.0)]);
        assert_eq!(cluster.state(id, 0), TrialState::Running);
        report(&mut cluster, key, 5, &[("loss", 0.1), ("size", 1e9), ("speed", 6.0)]);
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        cluster.finish(key, End::Stopped);
        let why = "trial 0 reported loss = 0.1, which reaches stop_at 0.2, and speed = 6, which reaches stop_at 5";
        assert_eq!(cluster.ending(id), Some(("finished", why)));
        let verdict = cluster.sweep(id).verdict(cluster.trial(id, 0)).expect("a verdict");
        assert_eq!((verdict.step, verdict.value, verdict.cutoff), (5, 0.1, Some(0.2)));
    }

    #[test]
    fn asha_judges_by_all_objectives() {
        let mut cluster = Cluster::default();
        let rule = json!({"algorithm": "asha", "max": 9, "eta": 2});
        let id = cluster.submit(two().trials(4).top("early_stop", rule));
        cluster.attach(1, 4);
        let keys = cluster.dispatch();
        for (key, (loss, speed)) in keys.iter().zip([(0.2, 10.0), (0.1, 4.0), (0.3, 9.0), (0.4, 20.0)]) {
            measure(&mut cluster, *key, 1, loss, speed);
            if key.trial == 1 {
                cluster.fail_over();
            }
        }
        let stopped = cluster.sweep(id).trials.iter().filter(|trial| trial.state == TrialState::Stopped);
        assert_eq!(stopped.map(|trial| trial.number).collect::<Vec<_>>(), [2], "the one that another dominates");
    }
}
