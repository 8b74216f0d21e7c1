//! Ends a trial that has stopped improving. Compares no trials with each other.
//!
//! The rule of Keras' `EarlyStopping`: a report improves when its loss is below the best one so far by more
//! than `min_delta`; after `patience` reports in a row that do not, the trial ends. (Optuna's
//! `PatientPruner` differs: it asks for the last reports to be worse, and so lets a plateau go on.)

use std::collections::HashMap;

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
    schema: || schemars::schema_for!(PatienceParams),
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
    Ok(Box::new(Patience { params, direction: setting.direction, trials: HashMap::new() }))
}

struct Patience {
    params: PatienceParams,
    direction: Direction,
    trials: HashMap<u32, Progress>,
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
            Event::Created { .. } => {}
            Event::Reported { trial, step, loss } => {
                if *step >= self.params.grace {
                    self.trials.insert(*trial, self.after(*trial, tidy(*loss)));
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.trials.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged) -> Verdict {
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
        })
    }
}
