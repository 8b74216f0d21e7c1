//! The median rule: a trial whose best loss so far is worse than the median of the others' averages ends.
//!
//! The rule of Google Vizier (Golovin et al., KDD 2017) in the form of Ray Tune's `MedianStoppingRule`: at a
//! step, the best loss of the trial so far is held against the median of the running averages, from `grace`
//! to that step, of every other trial that reported **at that step**, whether it still runs or not. On
//! purpose different from Ray: steps, not seconds; a trial that reached the step without a report at it does
//! not count; a loss that is no number is left out of its trial's average, where Ray leaves out the trial, and
//! one that never had a number counts as the worst; and the last report of a trial that ended counts once, where
//! Ray counts it again for the end. The best loss so far is that of all reports, also those before `grace`.
//! Keeps one number for each report, in order: meant for steps that are epochs, not mini-batches.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::plug::{self, Built, Complaint};
use crate::ranked::{Ranked, tidy};
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "median",
    summary: "the median rule: the best loss so far must reach the median of the others' running averages",
    needs_objective: true,
    several_objectives: false,
    pauses: false,
    example: r#"{"grace": 2, "min_samples": 3}"#,
    schema: || schemars::schema_for!(MedianParams),
    plan: |_| None,
    build,
};

/// The parameters of `median`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MedianParams {
    /// The first step that is judged: reports before it are not averaged, and only count for the best so far.
    pub grace: u64,
    /// How many other trials must have reported at a step before a trial is judged at it.
    pub min_samples: u32,
}

impl Default for MedianParams {
    fn default() -> Self {
        Self { grace: 1, min_samples: 3 }
    }
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let params: MedianParams = plug::read(params)?;
    if params.min_samples == 0 {
        return Err(vec![Complaint::about("min_samples", "`min_samples` must be at least 1")]);
    }
    Ok(Box::new(Median { params, direction: setting.direction, running: BTreeMap::new(), steps: BTreeMap::new() }))
}

struct Median {
    params: MedianParams,
    direction: Direction,
    running: BTreeMap<u32, Curve>,
    /// The running averages of all trials that reported at a step.
    steps: BTreeMap<u64, Ranked>,
}

/// What counts of one trial's reports.
#[derive(Clone, Copy, Debug)]
struct Curve {
    /// Of all its reports.
    best: f64,
    /// Of the losses from `grace` on that are numbers.
    sum: f64,
    count: u32,
}

impl Curve {
    const EMPTY: Self = Self { best: f64::INFINITY, sum: 0.0, count: 0 };

    fn average_in(&mut self, loss: f64) {
        if loss < f64::INFINITY {
            self.sum += loss;
            self.count += 1;
        }
    }

    fn average(self) -> f64 {
        if self.count == 0 { f64::INFINITY } else { self.sum / f64::from(self.count) }
    }
}

impl Stopper for Median {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. }
            | Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest: _ } => {
                let curve = self.running.entry(*trial).or_insert(Curve::EMPTY);
                let loss = tidy(*loss);
                curve.best = curve.best.min(loss);
                if *step >= self.params.grace {
                    curve.average_in(loss);
                    self.steps.entry(*step).or_default().insert(curve.average());
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.running.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let Some(others) = self.steps.get(&report.step) else { return Verdict::Continue };
        if report.step < self.params.grace || others.len() < self.params.min_samples as usize {
            return Verdict::Continue;
        }
        let best = self.running.get(&report.trial).copied().unwrap_or(Curve::EMPTY).best.min(tidy(report.loss));
        let Some(median) = others.median().filter(|median| best > *median) else { return Verdict::Continue };
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(best),
            rung: None,
            rank: Some(others.below(best) as u64 + 1),
            peers: Some(others.len() as u64 + 1),
            cutoff: Some(self.direction.value(median)),
            winner: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Happened, curves, verdicts};

    fn median(json: serde_json::Value) -> Box<dyn Stopper> {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    fn trace(stopper: &mut dyn Stopper, reports: &[(u32, u64, f64)]) -> Vec<String> {
        let events: Vec<Happened> = reports.iter().map(|(t, s, l)| Happened::Reported(*t, *s, *l)).collect();
        verdicts(stopper, &events)
            .into_iter()
            .map(|verdict| verdict.reason().map_or_else(|| "on".to_owned(), ToString::to_string))
            .collect()
    }

    #[test]
    fn median_stop_waits_for_three_peers() {
        let reports = [(0, 1, 1.0), (1, 1, 2.0), (2, 1, 9.0), (3, 1, 2.0), (4, 1, 2.5)];
        assert_eq!(
            trace(median(serde_json::json!({})).as_mut(), &reports),
            // The fourth ties with the median of 1 2 9; the fifth is above that of 1 2 2 9.
            ["on", "on", "on", "on", "median at step 1: 2.5 ranks 4 of 5; the cutoff is 2"]
        );
    }

    #[test]
    fn the_best_so_far_is_held_against_the_running_averages() {
        let reports = [
            (0, 1, 4.0),
            (0, 2, 2.0),
            (1, 1, 6.0),
            (1, 2, 2.0),
            (2, 1, 3.5),
            // The averages at step 2 are 3 and 4: its best, from step 1, is at their median.
            (2, 2, 8.0),
            (3, 1, 3.6),
            // 3, 4 and 5.75: below.
            (3, 2, 9.0),
        ];
        let mut rule = median(serde_json::json!({"min_samples": 2}));
        assert!(trace(rule.as_mut(), &reports).iter().all(|verdict| verdict == "on"));
        assert_eq!(trace(rule.as_mut(), &[(4, 2, 7.0)]), ["median at step 2: 7 ranks 5 of 5; the cutoff is 4.875"]);
    }

    #[test]
    fn reports_before_the_grace_step_are_not_averaged_and_count_for_the_best() {
        let reports = [(0, 1, -50.0), (0, 2, 4.0), (1, 1, 99.0), (1, 2, 5.0), (2, 1, 4.5), (2, 2, 9.0), (2, 3, 9.0)];
        let mut rule = median(serde_json::json!({"grace": 2, "min_samples": 1}));
        let mut expected = ["on"; 7];
        expected[3] = "median at step 2: 5 ranks 2 of 2; the cutoff is 4";
        assert_eq!(trace(rule.as_mut(), &reports), expected);
    }

    #[test]
    fn a_loss_that_is_no_number_is_left_out_of_an_average_but_not_of_the_ranking() {
        let inf = f64::INFINITY;
        let reports = [(0, 1, 1.0), (0, 2, inf), (1, 1, inf), (1, 2, inf), (2, 2, 1.0), (3, 2, inf)];
        assert_eq!(
            trace(median(serde_json::json!({"min_samples": 2})).as_mut(), &reports),
            // At step 2: averages 1 and inf; then 1, 1 and inf.
            ["on", "on", "on", "on", "on", "median at step 2: inf ranks 3 of 4; the cutoff is 1"]
        );
    }

    #[test]
    fn decisions_are_those_of_a_plain_scan() {
        let (mut decisions, mut stops) = (0, 0);
        for seed in 0..4 {
            let mut rule = median(serde_json::json!({"grace": 2}));
            let mut reports: BTreeMap<u32, Vec<(u64, f64)>> = BTreeMap::new();
            for happened in curves(60, seed) {
                if let Happened::Reported(trial, step, loss) = happened {
                    let stopped = rule.judge(Judged { trial, step, loss, rest: &[] }) != Verdict::Continue;
                    let counts = |own: &[(u64, f64)]| -> Vec<f64> {
                        own.iter().filter(|(s, l)| (2..=step).contains(s) && l.is_finite()).map(|(_, l)| *l).collect()
                    };
                    let mut averages: Vec<f64> = reports
                        .iter()
                        .filter(|(other, own)| **other != trial && own.iter().any(|(s, _)| *s == step))
                        .map(|(_, own)| counts(own))
                        .map(|l| if l.is_empty() { f64::INFINITY } else { l.iter().sum::<f64>() / l.len() as f64 })
                        .collect();
                    averages.sort_by(f64::total_cmp);
                    reports.entry(trial).or_default().push((step, loss));
                    let best = reports[&trial].iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
                    let n = averages.len();
                    let expected =
                        step >= 2 && n >= 3 && best > (averages[(n - 1) / 2] + averages[n / 2]) / 2.0 + 1e-12;
                    assert_eq!(stopped, expected, "seed {seed}, trial {trial} at {step}");
                    rule.observe(&happened.event());
                    decisions += 1;
                    stops += u32::from(stopped);
                }
            }
        }
        assert!(decisions > 1500 && stops > 100, "{stops} of {decisions}");
    }
}
