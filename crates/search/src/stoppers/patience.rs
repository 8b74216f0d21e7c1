//! Ends a trial that has stopped improving. Compares no trials with each other.
//!
//! The rule of Keras' `EarlyStopping`: a report improves when its loss is below the best one so far by more
//! than `min_delta`; after `patience` reports in a row that do not, the trial ends. (Optuna's
//! `PatientPruner` differs: it asks for the last reports to be worse, and so lets a plateau go on.)

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::plug::{self, Built, Complaint};
use crate::ranked::tidy;
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "patience",
    summary: "ends a trial after `patience` reports in a row without an improvement",
    needs_objective: true,
    several_objectives: false,
    pauses: false,
    example: r#"{"patience": 3, "min_delta": 0.01}"#,
    schema: || schemars::schema_for!(PatienceParams),
    plan: |_| None,
    build,
};

/// The parameters of `patience`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatienceParams {
    /// After how many reports in a row without an improvement a trial ends.
    pub patience: u32,
    /// By how much a report must beat the best one to count as an improvement, in the objective's own units.
    pub min_delta: f64,
    /// Reports at steps before this one count for nothing.
    pub grace: u64,
}

impl Default for PatienceParams {
    fn default() -> Self {
        Self { patience: 5, min_delta: 0.0, grace: 0 }
    }
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let params: PatienceParams = plug::read(params)?;
    let mut complaints = Vec::new();
    if params.patience == 0 {
        complaints.push(Complaint::about("patience", "`patience` must be at least 1"));
    }
    if !(params.min_delta >= 0.0 && params.min_delta.is_finite()) {
        complaints.push(Complaint::about("min_delta", "`min_delta` must be at least 0"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Box::new(Patience { params, direction: setting.direction, trials: BTreeMap::new() }))
}

struct Patience {
    params: PatienceParams,
    direction: Direction,
    trials: BTreeMap<u32, Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    best: f64,
    /// Reports since the best.
    since: u32,
}

impl Patience {
    fn after(&self, trial: u32, loss: f64) -> Progress {
        let Progress { best, since } =
            self.trials.get(&trial).copied().unwrap_or(Progress { best: f64::INFINITY, since: 0 });
        if loss < best - self.params.min_delta {
            Progress { best: loss, since: 0 }
        } else {
            // A report that is better by less than `min_delta` is no improvement, and no new mark to beat.
            Progress { best, since: since.saturating_add(1) }
        }
    }
}

impl Stopper for Patience {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. }
            | Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest: _ } => {
                if *step >= self.params.grace {
                    self.trials.insert(*trial, self.after(*trial, tidy(*loss)));
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.trials.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let loss = tidy(report.loss);
        let Progress { best, since } = self.after(report.trial, loss);
        if report.step < self.params.grace || since < self.params.patience {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: None,
            rank: None,
            peers: None,
            cutoff: Some(self.direction.value(best - self.params.min_delta)),
            winner: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Happened, verdicts};

    fn stopped_at(json: serde_json::Value, losses: &[f64]) -> Option<(u64, StopReason)> {
        let setting = Setting { direction: Direction::Maximize, trials: None, seed: 0 };
        let mut stopper = build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds");
        let events: Vec<Happened> =
            losses.iter().enumerate().map(|(i, loss)| Happened::Reported(0, i as u64 + 1, *loss)).collect();
        (1..)
            .zip(verdicts(stopper.as_mut(), &events))
            .find_map(|(step, verdict)| Some((step, verdict.reason()?.clone())))
    }

    #[test]
    fn a_trial_ends_after_that_many_reports_without_an_improvement() {
        let two = || serde_json::json!({"patience": 2});
        let (step, reason) = stopped_at(two(), &[3.0, 2.0, 2.5, 2.0]).expect("a tie is no improvement");
        assert_eq!((step, reason.to_string().as_str()), (4, "patience at step 4: -2; the cutoff is -2"));
        assert_eq!(stopped_at(two(), &[3.0, 2.0, 2.5, 1.9, 2.5, 1.8]), None, "an improvement starts the count again");
    }

    #[test]
    fn an_improvement_smaller_than_min_delta_is_none() {
        let params = || serde_json::json!({"patience": 2, "min_delta": 0.5});
        let creeping = stopped_at(params(), &[3.0, 2.8, 2.6]).map(|(step, _)| step);
        assert_eq!(creeping, Some(3));
        assert_eq!(stopped_at(params(), &[3.0, 2.8, 2.4, 2.3]), None, "small steps add up against the last mark");
    }

    #[test]
    fn what_is_no_number_never_improves_and_grace_counts_for_nothing() {
        let nan = f64::INFINITY;
        let step = |json, losses: &[f64]| stopped_at(json, losses).map(|(step, _)| step);
        assert_eq!(step(serde_json::json!({"patience": 2}), &[nan, nan, nan]), Some(2));
        assert_eq!(step(serde_json::json!({"patience": 2, "grace": 3}), &[nan, nan, nan, nan]), Some(4));
    }
}
