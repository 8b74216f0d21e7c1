//! Asynchronous successive halving, the stopping form: at each rung, a trial that is not among the best
//! `1/eta` of those that came there before it ends.
//!
//! The rule is that of Ray Tune's `ASHAScheduler` (Li et al., "A System for Massively Parallel
//! Hyperparameter Tuning", MLSys 2020): the cutoff is the `1/eta` quantile of the losses that are at the
//! rung **already**, interpolated linearly; a loss strictly worse ends the trial; the first to come goes on.
//! On purpose different from Ray: a rung that a report jumped over stays empty for that trial, where Ray
//! fills it with a later report's value; the bracket follows from the seed; and a loss that is not a number
//! counts as the worst of its rung instead of being left out. Never pauses a trial, and never ends one that
//! reached `max`: that one completes by itself.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use rand::RngExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::plug::{self, Built, Complaint};
use crate::ranked::{Ranked, tidy};
use crate::rng::{Purpose, stream};
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "asha",
    summary: "asynchronous successive halving: at rungs min, min*eta, min*eta^2, ... only the best 1/eta go on",
    needs_objective: true,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(AshaParams),
    build,
};

/// More rungs than this make no sense, and mean that `eta` is a slip.
const RUNGS_MAX: usize = 1000;

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
    let params: AshaParams = plug::read(params)?;
    let ladder = ladder(&params)?;
    let brackets = params.brackets as usize;
    if brackets > 1 && params.max.is_none() {
        return Err(vec![Complaint::about("brackets", "several brackets need a `max`").hint("add `max`")]);
    }
    if brackets > ladder.len() {
        let message = format!("{brackets} brackets need as many rungs, and there are {}", ladder.len());
        return Err(vec![Complaint::about("brackets", message).hint("at most as many brackets as rungs below `max`")]);
    }
    let brackets: Vec<Bracket> = (0..brackets)
        .map(|s| Bracket { rungs: ladder[s..].iter().map(|at| Rung { at: *at, losses: Ranked::default() }).collect() })
        .collect();
    Ok(Box::new(Asha {
        eta: params.eta,
        max: params.max.unwrap_or(u64::MAX),
        brackets,
        passed: BTreeMap::new(),
        direction: setting.direction,
        seed: setting.seed,
    }))
}

/// The steps of the longest ladder's rungs, ascending.
fn ladder(params: &AshaParams) -> Result<Vec<u64>, Vec<Complaint>> {
    let AshaParams { min, max, eta, brackets } = *params;
    let mut complaints = Vec::new();
    if min == 0 {
        complaints.push(Complaint::about("min", "`min` must be at least 1").hint("steps of 0 times `eta` never grow"));
    }
    if !(eta > 1.0 && eta.is_finite()) {
        let message = format!("`eta` must be above 1, and it is {eta}");
        complaints.push(Complaint::about("eta", message).hint("3 or 4 is usual"));
    }
    if brackets == 0 {
        complaints.push(Complaint::about("brackets", "`brackets` must be at least 1"));
    }
    if let Some(max) = max.filter(|max| *max <= min) {
        let message = format!("no rung lies below `max`: {max} cannot be reached from `min`, {min}");
        complaints.push(Complaint::about("max", message).hint("`max` is the last step that a whole trial reports"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let end = max.unwrap_or(u64::MAX) as f64;
    let mut rungs: Vec<u64> = Vec::new();
    let mut at = min as f64;
    while at < end {
        // A power that rounding lifted above its integer belongs to that integer.
        let step = if (at - at.round()).abs() < 1e-9 * at { at.round() } else { at.ceil() } as u64;
        if step as f64 >= end {
            break;
        }
        if rungs.last() != Some(&step) {
            rungs.push(step);
        }
        if rungs.len() > RUNGS_MAX {
            let message = format!("`eta` of {eta} makes more than {RUNGS_MAX} rungs");
            return Err(vec![Complaint::about("eta", message).hint("3 or 4 is usual")]);
        }
        at = (at * eta).max(at + f64::EPSILON * at);
    }
    Ok(rungs)
}

struct Asha {
    eta: f64,
    max: u64,
    brackets: Vec<Bracket>,
    /// For each trial that is under way, how many rungs of its ladder it has passed or jumped over.
    passed: BTreeMap<u32, usize>,
    direction: Direction,
    seed: u64,
}

struct Bracket {
    rungs: Vec<Rung>,
}

struct Rung {
    at: u64,
    losses: Ranked,
}

impl Asha {
    /// The ladder of `trial`: drawn by the softmax of the ladders' lengths, once and for all.
    fn bracket(&self, trial: u32) -> usize {
        let longest = self.brackets.iter().map(|b| b.rungs.len()).max().unwrap_or(0);
        let weight = |b: &Bracket| (b.rungs.len() as f64 - longest as f64).exp();
        if self.brackets.len() < 2 {
            return 0;
        }
        let total: f64 = self.brackets.iter().map(weight).sum();
        let mut left = total * stream(self.seed, trial, Purpose::Bracket).random::<f64>();
        for (place, bracket) in self.brackets.iter().enumerate() {
            left -= weight(bracket);
            if left < 0.0 {
                return place;
            }
        }
        self.brackets.len() - 1
    }

    /// The ladder and the rung that a report at `step` reaches for the first time, where it reaches one.
    fn reached(&self, trial: u32, step: u64) -> Option<(usize, usize)> {
        if step >= self.max {
            return None;
        }
        let bracket = self.bracket(trial);
        let rungs = &self.brackets[bracket].rungs;
        let highest = rungs.partition_point(|rung| rung.at <= step).checked_sub(1)?;
        let passed = self.passed.get(&trial).copied().unwrap_or(0);
        (highest >= passed).then_some((bracket, highest))
    }
}

impl Stopper for Asha {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. } => {}
            Event::Reported { trial, step, loss } => {
                if let Some((bracket, rung)) = self.reached(*trial, *step) {
                    self.brackets[bracket].rungs[rung].losses.insert(*loss);
                    self.passed.insert(*trial, rung + 1);
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.passed.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged) -> Verdict {
        let loss = tidy(report.loss);
        let Some((bracket, rung)) = self.reached(report.trial, report.step) else {
            return Verdict::Continue;
        };
        let Rung { at, losses } = &self.brackets[bracket].rungs[rung];
        // The quantile 1/eta from the best, written as a division so that whole positions stay whole.
        let Some(cutoff) = losses.len().checked_sub(1).and_then(|last| losses.at(last as f64 / self.eta)) else {
            return Verdict::Continue;
        };
        if loss <= cutoff {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: Some(*at),
            rank: Some(losses.below(loss) as u64 + 1),
            peers: Some(losses.len() as u64 + 1),
            cutoff: Some(self.direction.value(cutoff)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Happened, curves, verdicts};

    fn asha(json: serde_json::Value, direction: Direction) -> Box<dyn Stopper> {
        let setting = Setting { direction, trials: None, seed: 5 };
        build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    /// Folds reports of (trial, step, loss), and shows each verdict in a line of its own.
    fn trace(stopper: &mut dyn Stopper, reports: &[(u32, u64, f64)]) -> Vec<String> {
        let events: Vec<Happened> = reports.iter().map(|(t, s, l)| Happened::Reported(*t, *s, *l)).collect();
        verdicts(stopper, &events)
            .into_iter()
            .map(|verdict| match verdict {
                Verdict::Continue => "on".to_owned(),
                Verdict::Stop(reason) => reason.to_string(),
            })
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
    fn rungs_are_whole_steps_below_max() {
        let of = |json: serde_json::Value| ladder(&serde_json::from_value(json).expect("reads")).expect("has rungs");
        assert_eq!(of(serde_json::json!({"min": 1, "max": 27, "eta": 3})), [1, 3, 9]);
        assert_eq!(of(serde_json::json!({"min": 1, "max": 28, "eta": 3})), [1, 3, 9, 27]);
        assert_eq!(of(serde_json::json!({"min": 5, "max": 100, "eta": 4})), [5, 20, 80]);
        assert_eq!(of(serde_json::json!({"min": 1, "max": 10, "eta": 1.5})), [1, 2, 3, 4, 6, 8]);
        assert_eq!(of(serde_json::json!({"min": 1, "max": 2, "eta": 4})), [1]);
        let endless = of(serde_json::json!({"min": 1, "eta": 10}));
        assert_eq!((endless.len(), endless[19]), (20, 10_000_000_000_000_000_000));
    }

    #[test]
    fn brackets_start_at_later_rungs_and_longer_ladders_get_more_trials() {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        let params: AshaParams = serde_json::from_value(serde_json::json!({"max": 27, "brackets": 3})).expect("reads");
        let bracket = |rungs: &[u64]| Bracket {
            rungs: rungs.iter().map(|at| Rung { at: *at, losses: Ranked::default() }).collect(),
        };
        let asha = Asha {
            eta: params.eta,
            max: 27,
            brackets: vec![bracket(&[1, 3, 9]), bracket(&[3, 9]), bracket(&[9])],
            passed: BTreeMap::new(),
            direction: setting.direction,
            seed: setting.seed,
        };
        let mut counts = [0; 3];
        (0..10_000).for_each(|trial| counts[asha.bracket(trial)] += 1);
        // e^3, e^2 and e^1 over their sum: 0.665, 0.245, 0.090.
        assert!((6500..6800).contains(&counts[0]) && (2300..2600).contains(&counts[1]), "{counts:?}");
        let late = (0..).find(|trial| asha.bracket(*trial) == 2).expect("some trial");
        assert_eq!((asha.reached(late, 8), asha.reached(late, 9)), (None, Some((2, 0))));
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
                    let report = Judged { trial, step: *step, loss };
                    let stopped = asha.judge(report) != Verdict::Continue;
                    assert_eq!(stopped, restated.stops(trial, *step, loss), "seed {seed}, {report:?}");
                    asha.observe(&Event::Reported { trial, step: *step, loss });
                    decisions += 1;
                    stops += u32::from(stopped);
                }
            }
        }
        assert!(decisions > 5000 && stops > 300, "{stops} of {decisions}");
    }
}
