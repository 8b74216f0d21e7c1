//! The median rule: a trial whose best loss so far is worse than the median of the others' averages ends.
//!
//! The rule of Google Vizier (Golovin et al., KDD 2017) in the form of Ray Tune's `MedianStoppingRule`: at a
//! step, the best loss of the trial so far is held against the median of the running averages, from `grace`
//! to that step, of every other trial that reported **at that step**, whether it still runs or not. On
//! purpose different from Ray: steps, not seconds; a trial that reached the step without a report at it does
//! not count; and one that never had a number counts as the worst instead of being left out.
//! Keeps one number for each report, in order: meant for steps that are epochs, not mini-batches.

use std::collections::{BTreeMap, HashMap};

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
    schema: || schemars::schema_for!(MedianParams),
    build,
};

/// The parameters of `median`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MedianParams {
    /// The first step that counts: reports before it are neither judged nor averaged.
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
    Ok(Box::new(Median { params, direction: setting.direction, running: HashMap::new(), steps: BTreeMap::new() }))
}

struct Median {
    params: MedianParams,
    direction: Direction,
    running: HashMap<u32, Curve>,
    /// The running averages of all trials that reported at a step.
    steps: BTreeMap<u64, Ranked>,
}

/// What counts of one trial's reports.
#[derive(Clone, Copy, Debug)]
struct Curve {
    best: f64,
    /// Of the losses that are numbers.
    sum: f64,
    count: u32,
}

impl Curve {
    const EMPTY: Self = Self { best: f64::INFINITY, sum: 0.0, count: 0 };

    fn with(self, loss: f64) -> Self {
        if loss == f64::INFINITY {
            return self;
        }
        Self { best: self.best.min(loss), sum: self.sum + loss, count: self.count + 1 }
    }

    fn average(self) -> f64 {
        if self.count == 0 { f64::INFINITY } else { self.sum / f64::from(self.count) }
    }
}

impl Stopper for Median {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. } => {}
            Event::Reported { trial, step, loss } => {
                if *step >= self.params.grace {
                    let curve = self.running.entry(*trial).or_insert(Curve::EMPTY);
                    *curve = curve.with(tidy(*loss));
                    self.steps.entry(*step).or_default().insert(curve.average());
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.running.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged) -> Verdict {
        let Some(others) = self.steps.get(&report.step) else { return Verdict::Continue };
        if report.step < self.params.grace || others.len() < self.params.min_samples as usize {
            return Verdict::Continue;
        }
        let best = self.running.get(&report.trial).copied().unwrap_or(Curve::EMPTY).with(tidy(report.loss)).best;
        let Some(median) = others.median().filter(|median| best > *median) else { return Verdict::Continue };
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(best),
            rung: None,
            rank: Some(others.below(best) as u64 + 1),
            peers: Some(others.len() as u64 + 1),
            cutoff: Some(self.direction.value(median)),
        })
    }
}
