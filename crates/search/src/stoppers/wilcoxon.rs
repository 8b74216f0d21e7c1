//! Ends a trial that is probably worse than the best one, fold by fold: for cross-validation, and for sweeps over many
//! problem instances. A step is a fold or an instance, and its loss that fold's own, not a running average.
//!
//! The rule of Optuna's `WilcoxonPruner`: the trial's losses and those of the best trial, over the steps that both
//! reported, go through Wilcoxon's signed-rank test (Biometrics Bulletin 1945), one-sided, with zero differences split
//! between both sides; a p-value below `p_threshold` ends the trial, unless its mean so far is no worse than the mean
//! of the best. The best trial is the completed one with the best mean of its reports, the first of equals. The p-value
//! is computed as `scipy.stats.wilcoxon` does by default (see [`p_value`]).
//!
//! On purpose different from Optuna: a loss that is not a number is the worst of all and ties with its like, where
//! Optuna never ends a trial that reported one, nor any trial once the best has one; and the best trial is found by its
//! reports, where Optuna goes by the value that the trial returned. A reason shows the two means, not the p-value.
//! Keeps the losses of the trials that are under way.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::parzen::normal;
use crate::plug::{self, Built, Complaint};
use crate::ranked::tidy;
use crate::{Event, Judged, Outcome, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "wilcoxon",
    summary: "for folds: ends a trial that a signed-rank test finds worse than the best one on the folds of both",
    needs_objective: true,
    several_objectives: false,
    pauses: false,
    example: r#"{"p_threshold": 0.1}"#,
    schema: || schemars::schema_for!(WilcoxonParams),
    plan: |_| None,
    build,
};

/// The parameters of `wilcoxon`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WilcoxonParams {
    /// How improbable luck must be before a trial is stopped; larger stops more. Each report is a test of its own, so
    /// that over many folds more good trials are stopped than this.
    pub p_threshold: f64,
    /// How many steps the trial and the best one must share before it is judged; at least 2 whatever is given.
    pub n_startup_steps: u32,
}

impl Default for WilcoxonParams {
    fn default() -> Self {
        Self { p_threshold: 0.1, n_startup_steps: 2 }
    }
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let params: WilcoxonParams = plug::read(params)?;
    if !(params.p_threshold > 0.0 && params.p_threshold <= 1.0) {
        let message = format!("`p_threshold` must be above 0 and at most 1, and it is {}", params.p_threshold);
        return Err(vec![Complaint::about("p_threshold", message).hint("0.1 is usual")]);
    }
    Ok(Box::new(Wilcoxon { params, direction: setting.direction, running: BTreeMap::new(), best: None }))
}

struct Wilcoxon {
    params: WilcoxonParams,
    direction: Direction,
    running: BTreeMap<u32, Folds>,
    best: Option<Folds>,
}

/// The losses of one trial, by step.
#[derive(Clone, Debug, Default)]
struct Folds(BTreeMap<u64, f64>);

impl Folds {
    fn put(&mut self, step: u64, loss: f64) {
        self.0.insert(step, tidy(loss));
    }

    fn mean(&self) -> f64 {
        tidy(self.0.values().sum::<f64>() / self.0.len() as f64)
    }

    /// By how much each loss is worse than that of `best` at the same step.
    fn differences(&self, best: &Self) -> Vec<f64> {
        let shared = self.0.iter().filter_map(|(step, loss)| Some((*loss, *best.0.get(step)?)));
        // Equal infinities have no difference that could be computed.
        shared.map(|(loss, best)| if loss == best { 0.0 } else { loss - best }).collect()
    }
}

impl Stopper for Wilcoxon {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. }
            | Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest: _ } => {
                self.running.entry(*trial).or_default().put(*step, *loss);
            }
            Event::Ended { trial, outcome } => {
                let Some(folds) = self.running.remove(trial) else { return };
                let completed = match outcome {
                    Outcome::Completed(_) => true,
                    Outcome::Stopped(_) | Outcome::Failed | Outcome::Infeasible => false,
                };
                if completed && self.best.as_ref().is_none_or(|best| folds.mean() < best.mean()) {
                    self.best = Some(folds);
                }
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let Some(best) = &self.best else { return Verdict::Continue };
        let mut own = self.running.get(&report.trial).cloned().unwrap_or_default();
        own.put(report.step, report.loss);
        let (mean, cutoff) = (own.mean(), best.mean());
        let differences = own.differences(best);
        let startup = self.params.n_startup_steps.max(2) as usize;
        if differences.len() < startup || mean <= cutoff || p_value(&differences) >= self.params.p_threshold {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(mean),
            rung: None,
            rank: None,
            peers: None,
            cutoff: Some(self.direction.value(cutoff)),
            winner: None,
        })
    }
}

/// Up to this many differences, the p-value is exact. The limit is `scipy`'s, as the next one is.
const EXACT: usize = 13;
/// Up to this many it is, where no two are alike and none is zero. Otherwise it is approximate.
const EXACT_WITHOUT_TIES: usize = 50;

/// Wilcoxon's signed-rank test: the probability that positive differences rank this high, or higher, by chance alone.
///
/// As `scipy.stats.wilcoxon` with `alternative="greater"`, `zero_method="zsplit"` and its default method: exact, over
/// all signs that the differences may have, or by the normal approximation without a correction for continuity.
pub fn p_value(differences: &[f64]) -> f64 {
    let mut sorted = differences.to_vec();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Ranks are doubled throughout, so that the mean rank of a tie is whole.
    let (mut ranks, mut positive, mut split, mut ties) = (Vec::new(), 0, 0, 0);
    let mut below = 0;
    for alike in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let n = alike.len();
        let rank = 2 * below + n + 1;
        below += n;
        ties += n * n * n - n;
        if alike[0] == 0.0 {
            split = n * rank / 2;
        } else {
            positive += rank * alike.iter().filter(|difference| **difference > 0.0).count();
            ranks.extend(alike.iter().map(|_| rank));
        }
    }
    let n = sorted.len();
    if n <= EXACT || n <= EXACT_WITHOUT_TIES && ties == 0 && ranks.len() == n {
        return at_least(positive, &ranks);
    }
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let deviation = ((n * (n + 1.0) * (2.0 * n + 1.0) - ties as f64 / 2.0) / 24.0).sqrt();
    let z = ((positive + split) as f64 / 2.0 - mean) / deviation;
    normal::cdf(-z)
}

/// The probability that those of `ranks` for which a coin shows heads add up to `sum` or more.
fn at_least(sum: usize, ranks: &[usize]) -> f64 {
    let mut probabilities = vec![0.0; ranks.iter().sum::<usize>() + 1];
    probabilities[0] = 1.0;
    for rank in ranks {
        for total in (0..probabilities.len()).rev() {
            let with = total.checked_sub(*rank).map_or(0.0, |without| probabilities[without]);
            probabilities[total] = (probabilities[total] + with) / 2.0;
        }
    }
    probabilities[sum..].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Happened, verdicts};

    /// What becomes of trial 9 after a sweep of which the complete `trials` are given, one loss for each step from 1.
    fn judged(json: serde_json::Value, trials: &[&[f64]], own: &[f64]) -> Vec<String> {
        judged_after(Outcome::Completed(0.0), json, trials, own)
    }

    /// The same after trials that ended in another way.
    fn judged_after(outcome: Outcome, json: serde_json::Value, trials: &[&[f64]], own: &[f64]) -> Vec<String> {
        let setting = Setting { direction: Direction::Maximize, trials: None, seed: 0 };
        let mut rule = build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds");
        let reports = |trial: u32, losses: &[f64]| -> Vec<Happened> {
            (1..).zip(losses).map(|(step, loss)| Happened::Reported(trial, step, *loss)).collect()
        };
        for (trial, losses) in (0..).zip(trials) {
            verdicts(rule.as_mut(), &reports(trial, losses));
            rule.observe(&Event::Ended { trial, outcome });
        }
        let own = verdicts(rule.as_mut(), &reports(9, own));
        own.iter().map(|verdict| verdict.reason().map_or_else(|| "on".to_owned(), ToString::to_string)).collect()
    }

    #[test]
    fn four_folds_that_are_all_worse_are_one_chance_in_sixteen() {
        let best: &[f64] = &[1.0, 2.0, 3.0, 4.0];
        let worse = [1.1, 2.2, 3.3, 4.4];
        let of = |json| judged(json, &[best], &worse);
        let stop = "wilcoxon at step 4: -2.75; the cutoff is -2.5";
        assert_eq!(of(serde_json::json!({})), ["on", "on", "on", stop], "one in eight is above 0.1");
        assert_eq!(of(serde_json::json!({"p_threshold": 0.0625})), ["on"; 4], "a tie is not below");
        assert_eq!(of(serde_json::json!({"n_startup_steps": 5})), ["on"; 4]);
        let eager = judged(serde_json::json!({"p_threshold": 1.0, "n_startup_steps": 0}), &[best], &[9.0, 9.0]);
        assert_eq!(eager, ["on", "wilcoxon at step 2: -9; the cutoff is -2.5"], "one fold is never enough");
    }

    #[test]
    fn a_trial_whose_mean_is_no_worse_goes_on_whatever_the_test_says() {
        // The fifth fold is a hard one, and the trial has not come to it.
        let of = |hard| judged(serde_json::json!({}), &[&[1.0, 1.0, 1.0, 1.0, hard]], &[2.0; 4]);
        assert_eq!(of(6.0), ["on"; 4], "the mean of the best is 2 as well");
        assert_eq!(of(5.0)[3], "wilcoxon at step 4: -2; the cutoff is -1.8");
    }

    #[test]
    fn the_best_trial_is_the_complete_one_with_the_best_mean() {
        let own = [2.0, 2.1, 2.2, 2.3];
        let (good, bad): (&[f64], &[f64]) = (&[1.0, 1.0, 1.0, 1.0], &[3.0, 3.0, 3.0, 3.0]);
        for trials in [[good, bad], [bad, good]] {
            assert_eq!(judged(serde_json::json!({}), &trials, &own)[3], "wilcoxon at step 4: -2.15; the cutoff is -1");
        }
        assert_eq!(judged(serde_json::json!({}), &[bad], &own), ["on"; 4]);
        assert_eq!(judged(serde_json::json!({}), &[], &own), ["on"; 4]);
        for outcome in [Outcome::Stopped(1.0), Outcome::Failed, Outcome::Infeasible] {
            assert_eq!(judged_after(outcome, serde_json::json!({}), &[good], &own), ["on"; 4]);
        }
        // Two with the same mean, of which the trial is worse than one on every fold: the first of them counts.
        let (uneven, even): (&[f64], &[f64]) = (&[1.0, 1.0, 1.0, 9.0], &[3.0, 3.0, 3.0, 3.0]);
        let last = |trials: [&[f64]; 2]| judged(serde_json::json!({}), &trials, &[2.0, 2.0, 2.0, 10.0]).remove(3);
        assert_eq!(last([uneven, even]), "wilcoxon at step 4: -4; the cutoff is -3");
        assert_eq!(last([even, uneven]), "on");
    }

    #[test]
    fn only_steps_of_both_are_tested() {
        let best: &[f64] = &[1.0, 1.0, 1.0];
        let verdicts = judged(serde_json::json!({}), &[best], &[2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(verdicts, ["on"; 5], "three steps are too few, whatever comes after them");
    }

    #[test]
    fn what_is_no_number_is_worst_of_all_and_ties_with_its_like() {
        let inf = f64::INFINITY;
        let best: &[f64] = &[1.0, 1.0, 1.0, 1.0];
        let lost = judged(serde_json::json!({}), &[best], &[f64::NAN, 1.1, 1.2, inf]);
        assert_eq!(lost[3], "wilcoxon at step 4: -inf; the cutoff is -1");
        // The mean is worst, and yet three folds are better.
        assert_eq!(judged(serde_json::json!({}), &[best], &[inf, 0.1, 0.2, 0.3]), ["on"; 4]);
        assert_eq!(
            judged(serde_json::json!({}), &[&[inf; 4]], &[inf; 4]),
            ["on"; 4],
            "nothing is worse than a best of no numbers"
        );
        assert_eq!(
            judged(serde_json::json!({}), &[&[-inf; 4]], &[1.0; 4])[3],
            "wilcoxon at step 4: -1; the cutoff is inf"
        );
        assert_eq!(judged(serde_json::json!({}), &[&[-inf; 4]], &[-inf; 4]), ["on"; 4]);
        let best: &[f64] = &[-inf, 1.0, 1.0, 1.0, 1.0];
        let tied = judged(serde_json::json!({}), &[best], &[-inf, inf, 2.0, 2.0, 2.0]);
        assert_eq!(tied[4], "wilcoxon at step 5: -inf; the cutoff is inf", "one fold ties, and four are worse");
    }

    #[test]
    fn p_values_of_few_folds_are_those_counted_by_hand() {
        assert_eq!(p_value(&[]), 1.0);
        assert_eq!(p_value(&[0.0, 0.0]), 1.0);
        assert_eq!(p_value(&[1.0, 2.0]), 0.25);
        // Of the eight ways, 3 + 2 and 3 + 2 + 1 reach 5.
        assert_eq!(p_value(&[-0.1, 0.2, 0.3]), 0.25);
        // The ranks are 1.5, 1.5 and 3: 4.5 or 6 in three ways of eight.
        assert_eq!(p_value(&[-0.1, 0.1, 0.3]), 0.375);
        // Zero takes the first rank and no side: of two differences, both must be positive.
        assert_eq!(p_value(&[0.0, 0.2, 0.3]), 0.25);
    }

    #[test]
    fn a_threshold_that_nothing_or_everything_is_below_is_refused() {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 0 };
        let refused = |json: serde_json::Value| build(&setting, &serde_json::from_value(json).expect("a map")).is_err();
        assert!(refused(serde_json::json!({"p_threshold": 0.0})));
        assert!(refused(serde_json::json!({"p_threshold": 1.5})));
        assert!(!refused(serde_json::json!({"p_threshold": 1.0})));
    }
}
