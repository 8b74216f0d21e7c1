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
    several_objectives: false,
    pauses: false,
    example: r#"{"lower": -2.0, "upper": 2.0}"#,
    schema: || schemars::schema_for!(ThresholdParams),
    plan: |_| None,
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

    fn judge(&self, report: Judged<'_>) -> Verdict {
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
            winner: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(json: serde_json::Value, direction: Direction, step: u64, value: f64) -> Option<String> {
        let setting = Setting { direction, trials: None, seed: 0 };
        let stopper = build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds");
        let verdict = stopper.judge(Judged { trial: 0, step, loss: direction.loss(value), rest: &[] });
        verdict.reason().map(ToString::to_string)
    }

    #[test]
    fn bounds_are_in_the_objectives_own_units_and_belong_to_what_is_tolerated() {
        let bounds = || serde_json::json!({"lower": 0.2, "upper": 0.8, "grace": 3});
        for direction in [Direction::Minimize, Direction::Maximize] {
            let at = |step, value| judge(bounds(), direction, step, value);
            assert_eq!(at(3, 0.1).as_deref(), Some("threshold at step 3: 0.1; the cutoff is 0.2"));
            assert_eq!(at(3, 0.9).as_deref(), Some("threshold at step 3: 0.9; the cutoff is 0.8"));
            assert_eq!((at(3, 0.2), at(3, 0.8), at(2, 0.9)), (None, None, None));
        }
    }

    #[test]
    fn what_is_no_number_stops_whatever_the_bounds() {
        let lower = || serde_json::json!({"lower": 0.0});
        assert_eq!(judge(lower(), Direction::Minimize, 1, f64::NAN).as_deref(), Some("threshold at step 1: inf"));
        assert_eq!(
            judge(lower(), Direction::Maximize, 1, f64::NAN).as_deref(),
            Some("threshold at step 1: -inf; the cutoff is 0")
        );
    }

    #[test]
    fn a_threshold_without_a_bound_or_with_bounds_crossed_is_refused() {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 0 };
        let refused = |json: serde_json::Value| build(&setting, &serde_json::from_value(json).expect("a map")).is_err();
        assert!(refused(serde_json::json!({})));
        assert!(refused(serde_json::json!({"lower": 1.0, "upper": 1.0})));
        assert!(!refused(serde_json::json!({"upper": 1.0})));
    }
}
