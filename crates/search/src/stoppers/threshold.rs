//! Ends a trial whose objective leaves given bounds, or is no number. Compares no trials with each other.
//!
//! As Optuna's `ThresholdPruner`, with `grace` for its `n_warmup_steps`.

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
    name: "threshold",
    summary: "ends a trial whose objective is below `lower`, above `upper`, or no number",
    needs_objective: true,
    schema: || schemars::schema_for!(ThresholdParams),
    build,
};

/// The parameters of `threshold`; at least one bound is given.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdParams {
    /// The smallest value that is tolerated, in the objective's own units.
    pub lower: Option<f64>,
    /// The largest value that is tolerated, in the objective's own units.
    pub upper: Option<f64>,
    /// Reports at steps before this one are not judged.
    pub grace: u64,
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let params: ThresholdParams = plug::read(params)?;
    match (params.lower, params.upper) {
        (None, None) => {
            let complaint = Complaint::overall("`threshold` needs a bound");
            Err(vec![complaint.hint("give `lower`, `upper` or both, in the objective's own units")])
        }
        (Some(lower), Some(upper)) if lower >= upper => {
            Err(vec![Complaint::about("lower", format!("`lower`, {lower}, is not below `upper`, {upper}"))])
        }
        (Some(_), _) | (_, Some(_)) => Ok(Box::new(Threshold { params, direction: setting.direction })),
    }
}

struct Threshold {
    params: ThresholdParams,
    direction: Direction,
}

impl Stopper for Threshold {
    fn observe(&mut self, _: &Event<'_>) {}

    fn judge(&self, report: Judged) -> Verdict {
        let ThresholdParams { lower, upper, grace } = self.params;
        let loss = tidy(report.loss);
        let value = self.direction.value(loss);
        let no_number = loss == f64::INFINITY;
        let cutoff = match (lower, upper) {
            _ if report.step < grace => return Verdict::Continue,
            (Some(lower), _) if value < lower => Some(lower),
            (_, Some(upper)) if value > upper => Some(upper),
            // On the side of a maximized NaN, or of a minimized one, there may be no bound.
            _ if no_number => None,
            (Some(_) | None, Some(_) | None) => return Verdict::Continue,
        };
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value,
            rung: None,
            rank: None,
            peers: None,
            cutoff,
        })
    }
}
