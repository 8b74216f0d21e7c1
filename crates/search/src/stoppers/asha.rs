//! Asynchronous successive halving, the stopping form: at each rung, a trial that is not among the best
//! `1/eta` of those that came there before it ends.
//!
//! The rule is that of Ray Tune's `ASHAScheduler` (Li et al., "A System for Massively Parallel
//! Hyperparameter Tuning", MLSys 2020): the cutoff is the `1/eta` quantile of the losses that are at the
//! rung **already**, interpolated linearly; a loss strictly worse ends the trial; the first to come goes on.
//! On purpose different from Ray: a rung that a report jumped over stays empty for that trial, where Ray
//! fills it with a later report's value; the bracket follows from the seed; a loss that is not a number
//! counts as the worst of its rung instead of being left out; and a loss that ties with the one which the
//! quantile falls on goes on, where with an `eta` of 3 rounding puts Ray's cutoff a hair above it. Never pauses
//! a trial, and never ends one that reached `max`: that one completes by itself.
//!
//! With several objectives (Schmucker et al., "Multi-objective Asynchronous Successive Halving", 2021) the order at a rung is that
//! of the fronts, and within a front that of NSGA-II's crowding distance, in place of the paper's epsilon-net: its ends go on, and
//! who has most room. A trial goes on where it is among the best `1/eta`, itself counted, and at least the first is. Each verdict
//! sorts the rung, which for two objectives takes `n log n` steps.

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use super::ladder::{self, Halving, Plan};
use crate::plug::{self, Built, Complaint};
use crate::{Setting, Stopper};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "asha",
    summary: "asynchronous successive halving: at rungs min, min*eta, min*eta^2, ... only the best 1/eta go on",
    needs_objective: true,
    several_objectives: true,
    pauses: false,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(AshaParams),
    plan: |params| plan(params).ok(),
    build,
};

/// The parameters of `asha`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AshaParams {
    /// The step of the first rung: no trial is stopped before it.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Without it they have no end.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
    /// How many ladders trials are divided over: ladder `s` has its first rung at `min * eta^s`.
    /// Longer ladders get more trials (as in Ray, by the softmax of their lengths).
    pub brackets: u32,
}

impl Default for AshaParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0, brackets: 1 }
    }
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    Ok(Box::new(Halving::new(ENTRY.name, plan(params)?, setting)))
}

/// What the parameters come to.
///
/// # Errors
/// Everything that is wrong with them.
pub fn plan(params: &PlugParams) -> Result<Plan, Vec<Complaint>> {
    let AshaParams { min, max, eta, brackets } = plug::read(params)?;
    let steps = ladder::steps(min, max, eta);
    if brackets == 0 {
        let mut complaints = steps.err().unwrap_or_default();
        complaints.push(Complaint::about("brackets", "`brackets` must be at least 1"));
        return Err(complaints);
    }
    let steps = steps?;
    if brackets > 1 && max.is_none() {
        return Err(vec![Complaint::about("brackets", "several brackets need a `max`").hint("add `max`")]);
    }
    if brackets as usize > steps.len() {
        let message = format!("{brackets} brackets need as many rungs, and there are {}", steps.len());
        return Err(vec![Complaint::about("brackets", message).hint("at most as many brackets as rungs below `max`")]);
    }
    // The softmax of the ladders' lengths: each ladder is shorter than the one before it by one rung.
    let shares = (0..brackets).map(|s| (-f64::from(s)).exp()).collect();
    Ok(Plan { steps, eta, max, shares })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use heats_domain::Direction;

    use super::*;
    use crate::conformance::{Happened, curves, verdicts};
    use crate::{Event, Judged, Verdict};

    fn asha(json: serde_json::Value, direction: Direction) -> Box<dyn Stopper> {
        let setting = Setting { direction, trials: None, seed: 5 };
        build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    /// Folds reports of (trial, step, loss), and shows each verdict in a line of its own.
    fn trace(stopper: &mut dyn Stopper, reports: &[(u32, u64, f64)]) -> Vec<String> {
        let events: Vec<Happened> = reports.iter().map(|(t, s, l)| Happened::Reported(*t, *s, *l)).collect();
        verdicts(stopper, &events)
            .into_iter()
            .map(|verdict| verdict.reason().map_or_else(|| "on".to_owned(), ToString::to_string))
            .collect()
    }

    #[test]
    fn the_first_at_a_rung_goes_on_and_later_ones_must_reach_the_quantile() {
        let mut asha = asha(serde_json::json!({"min": 1, "max": 9, "eta": 3}), Direction::Minimize);
        let reports = [
            (0, 1, 0.9),
            // A tie is not worse.
            (1, 1, 0.9),
            (2, 1, 0.5),
            // There are 0.5 0.9 0.9, and the quantile lies two thirds of the way to the second.
            (3, 1, 0.75),
            // There are 0.5 0.75 0.9 0.9, and the second is the quantile.
            (4, 1, 0.8),
            // There are 0.5 0.75 0.8 0.9 0.9: a third of the way from the second to the third.
            (5, 1, 0.775),
            // A loss worse than all.
            (6, 1, 2.0),
        ];
        assert_eq!(
            trace(asha.as_mut(), &reports),
            [
                "on",
                "on",
                "on",
                "on",
                "asha at step 1: 0.8 ranks 3 of 5 at rung 1; the cutoff is 0.75",
                "asha at step 1: 0.775 ranks 3 of 6 at rung 1; the cutoff is 0.7666666666666667",
                "asha at step 1: 2 ranks 7 of 7 at rung 1; the cutoff is 0.7666666666666667",
            ]
        );
    }

    #[test]
    fn maximized_values_are_shown_as_they_were_reported() {
        let mut asha = asha(serde_json::json!({"max": 9}), Direction::Maximize);
        let reports = [(0, 1, -0.9), (1, 1, -0.6)];
        assert_eq!(trace(asha.as_mut(), &reports)[1], "asha at step 1: 0.6 ranks 2 of 2 at rung 1; the cutoff is 0.9");
    }

    #[test]
    fn a_trial_is_judged_once_at_each_rung_and_never_from_max_on() {
        let mut asha = asha(serde_json::json!({"min": 2, "max": 18, "eta": 3}), Direction::Minimize);
        let reports = [
            (0, 2, 0.0),
            (0, 6, 0.0),
            (0, 18, 0.0),
            // Below the first rung.
            (1, 1, 9.0),
            (1, 2, 0.0),
            // Between two rungs.
            (1, 3, 9.0),
            (1, 5, 9.0),
            (1, 6, 0.0),
            (1, 17, 9.0),
            (1, 18, 9.0),
            (1, 19, 9.0),
            // The first report is the last one of a whole trial: rung 6 is behind it.
            (2, 18, 9.0),
        ];
        assert!(trace(asha.as_mut(), &reports).iter().all(|verdict| verdict == "on"));
    }

    #[test]
    fn a_jump_is_judged_at_the_highest_rung_and_leaves_the_others_empty() {
        let mut asha = asha(serde_json::json!({"min": 1, "max": 27, "eta": 3}), Direction::Minimize);
        let reports = [
            (0, 9, 1.0),
            // The first to come to rung 3, and to rung 9 the second.
            (1, 3, 5.0),
            (1, 10, 5.0),
            // Back below: nothing is left to judge, and rung 3 has one loss only.
            (0, 11, 9.0),
            (2, 4, 5.0),
        ];
        assert_eq!(
            trace(asha.as_mut(), &reports),
            ["on", "on", "asha at step 10: 5 ranks 2 of 2 at rung 9; the cutoff is 1", "on", "on"]
        );
    }

    #[test]
    fn what_is_no_number_ranks_worst_and_ties_with_its_like() {
        let mut asha = asha(serde_json::json!({"max": 9}), Direction::Minimize);
        let inf = f64::INFINITY;
        let reports = [(0, 1, inf), (1, 1, inf), (2, 1, 3.0), (3, 1, inf), (4, 1, 3.0), (5, 1, 3.0), (6, 1, f64::NAN)];
        assert_eq!(
            trace(asha.as_mut(), &reports),
            [
                "on",
                "on",
                "on",
                // There are 3 inf inf: between a number and infinity lies infinity.
                "on",
                "on",
                "on",
                // There are 3 3 3 inf inf inf.
                "asha at step 1: inf ranks 4 of 7 at rung 1; the cutoff is 3",
            ]
        );
    }

    #[test]
    fn longer_ladders_get_more_trials() {
        let plan = plan(&serde_json::from_value(serde_json::json!({"max": 27, "brackets": 3})).expect("a map"));
        let Plan { steps, eta, max, shares } = plan.expect("is sound");
        assert_eq!((steps, eta, max), (vec![1, 3, 9], 3.0, Some(27)));
        // e^3, e^2 and e^1 over their sum.
        let total: f64 = shares.iter().sum();
        let parts: Vec<f64> = shares.iter().map(|share| (share / total * 1000.0).round()).collect();
        assert_eq!(parts, [665.0, 245.0, 90.0]);
    }

    #[test]
    fn of_several_objectives_those_go_on_that_are_on_the_first_fronts_with_most_room() {
        let mut asha = asha(serde_json::json!({"min": 1, "max": 9, "eta": 2}), Direction::Maximize);
        let inf = f64::INFINITY;
        let reports = [
            // The first to come.
            (0, [5.0, 5.0]),
            // Each as good as the other.
            (1, [0.0, 10.0]),
            // The other end of the front.
            (2, [10.0, 0.0]),
            // Dominated by the first trial, and the last of four.
            (3, [6.0, 6.0]),
            // Inside of the front, with the least room of all four there.
            (4, [2.0, 7.0]),
            // What has a loss that is no number comes last, however good the other.
            (5, [-9.0, inf]),
            // Better than all.
            (6, [-1.0, -1.0]),
            // An end of what is now the second front.
            (7, [-0.5, 11.0]),
        ];
        let events: Vec<Happened> =
            reports.iter().map(|(trial, losses)| Happened::Measured(*trial, 1, losses.to_vec())).collect();
        let verdicts: Vec<String> = verdicts(asha.as_mut(), &events)
            .iter()
            .map(|verdict| verdict.reason().map_or_else(|| "on".to_owned(), ToString::to_string))
            .collect();
        assert_eq!(
            verdicts,
            [
                "on",
                "on",
                "on",
                "asha at step 1: -6 ranks 4 of 4 at rung 1",
                "asha at step 1: -2 ranks 4 of 5 at rung 1",
                "asha at step 1: 9 ranks 6 of 6 at rung 1",
                "on",
                "on",
            ]
        );
    }

    /// Ray's rule as its `AsyncHyperBandScheduler` computes it: `numpy.nanpercentile` of maximized scores.
    struct Restated {
        rungs: Vec<(u64, BTreeMap<u32, f64>)>,
    }

    impl Restated {
        fn stops(&mut self, trial: u32, step: u64, loss: f64) -> bool {
            let score = -loss;
            if step >= 27 {
                return false;
            }
            for (milestone, recorded) in &mut self.rungs {
                if step < *milestone || recorded.contains_key(&trial) {
                    continue;
                }
                let mut scores: Vec<f64> = recorded.values().copied().collect();
                scores.sort_by(f64::total_cmp);
                let position = (1.0 - 1.0 / 3.0) * scores.len().saturating_sub(1) as f64;
                let (k, share) = (position.floor() as usize, position.fract());
                let cutoff = scores.get(k).map(|low| low + (scores.get(k + 1).unwrap_or(low) - low) * share);
                recorded.insert(trial, score);
                return cutoff.is_some_and(|cutoff| score < cutoff - 1e-12);
            }
            false
        }
    }

    #[test]
    fn decisions_are_those_of_the_rule_restated() {
        let (mut decisions, mut stops) = (0, 0);
        for seed in 0..8 {
            let mut asha = asha(serde_json::json!({"min": 1, "max": 27, "eta": 3}), Direction::Maximize);
            let mut restated = Restated { rungs: [9, 3, 1].map(|at| (at, BTreeMap::new())).into() };
            let mut steps = BTreeMap::new();
            for happened in curves(80, seed) {
                if let Happened::Reported(trial, _, loss) = happened {
                    // Every step once, as Ray's trials report, and numbers only.
                    let step = steps.entry(trial).and_modify(|step| *step += 1).or_insert(1);
                    let loss = if loss.is_finite() { loss } else { 5.0 };
                    let report = Judged { trial, step: *step, loss, rest: &[] };
                    let stopped = asha.judge(report) != Verdict::Continue;
                    assert_eq!(stopped, restated.stops(trial, *step, loss), "seed {seed}, {report:?}");
                    asha.observe(&Event::Reported { trial, step: *step, loss, rest: Vec::new() });
                    decisions += 1;
                    stops += u32::from(stopped);
                }
            }
        }
        assert!(decisions > 5000 && stops > 300, "{stops} of {decisions}");
    }
}
