//! Asynchronous successive halving, the promoting form: trials hold at each rung, and only those that are promoted go on.
//!
//! No trial goes on by luck because few came before it, as the first at a rung does in `asha`; the price is that trials
//! end and begin again. See `climb` for the rule and its source.

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use super::climb::Climb;
use super::ladder::{self, Plan};
use crate::plug::{self, Built, Complaint};
use crate::{Event, Judged, Promotion, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "asha_promotion",
    summary: "successive halving by promotion: trials hold at each rung, and the best 1/eta of those there go on",
    needs_objective: true,
    several_objectives: false,
    pauses: true,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(PromotionParams),
    plan: |params| plan(params).ok(),
    build,
};

/// The parameters of `asha_promotion`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromotionParams {
    /// The step of the first rung, where every trial holds for the first time.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Without it they have no end.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
}

impl Default for PromotionParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0 }
    }
}

/// What the parameters come to.
///
/// # Errors
/// Everything that is wrong with them.
pub fn plan(params: &PlugParams) -> Result<Plan, Vec<Complaint>> {
    let PromotionParams { min, max, eta } = plug::read(params)?;
    Ok(Plan { steps: ladder::steps(min, max, eta)?, eta, max, shares: vec![1.0] })
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let Plan { steps, eta, max, .. } = plan(params)?;
    Ok(Box::new(Promoting(Climb::new(ENTRY.name, setting.direction, eta, &steps, max))))
}

struct Promoting(Climb);

impl Stopper for Promoting {
    fn observe(&mut self, event: &Event<'_>) {
        self.0.observe(event);
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        self.0.judge(report)
    }

    fn promotion(&self, _more: bool) -> Option<Promotion> {
        self.0.promotion()
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Direction;

    use super::*;

    fn rule(direction: Direction) -> Box<dyn Stopper> {
        let setting = Setting { direction, trials: None, seed: 5 };
        let params = serde_json::from_value(serde_json::json!({"min": 1, "max": 27, "eta": 3})).expect("a map");
        build(&setting, &params).expect("builds")
    }

    /// The trial reports, and holds where it is told to; whether it goes on.
    fn report(rule: &mut dyn Stopper, trial: u32, step: u64, loss: f64) -> bool {
        let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
        rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        let holds = matches!(verdict, Verdict::Pause(_));
        if holds {
            rule.observe(&Event::Paused { trial, loss });
        }
        !holds
    }

    fn promoted(rule: &mut dyn Stopper) -> Option<u32> {
        let Promotion { trial, .. } = rule.promotion(true)?;
        rule.observe(&Event::Resumed { trial });
        Some(trial)
    }

    #[test]
    fn one_in_eta_goes_on_from_a_rung_the_best_first() {
        let mut rule = rule(Direction::Minimize);
        let losses = [0.3, 0.4, 0.6, 0.5, 0.7];
        let goes_on: Vec<bool> = (0..).zip(losses).map(|(trial, loss)| report(rule.as_mut(), trial, 1, loss)).collect();
        assert_eq!(goes_on, [false; 5], "nobody was among the best third when it came");
        assert_eq!(promoted(rule.as_mut()), Some(0), "the best of five");
        assert_eq!(promoted(rule.as_mut()), None, "a third of five is one");
        assert!(!report(rule.as_mut(), 5, 1, 0.8));
        assert_eq!(promoted(rule.as_mut()), Some(1), "the second of six");
        assert!(!report(rule.as_mut(), 6, 1, 0.45), "of seven, two are enough");
    }

    #[test]
    fn a_trial_that_may_go_on_when_it_comes_does_not_hold() {
        let mut rule = rule(Direction::Minimize);
        assert!(!report(rule.as_mut(), 0, 1, 0.5));
        assert!(!report(rule.as_mut(), 1, 1, 0.5));
        assert!(report(rule.as_mut(), 2, 1, 0.4), "the best of three");
        assert_eq!(promoted(rule.as_mut()), None, "it has the one place");
        assert!(report(rule.as_mut(), 2, 2, 0.4), "there is no rung");
        assert!(!report(rule.as_mut(), 2, 3, 0.4), "the next rung");
    }

    #[test]
    fn the_highest_rung_is_looked_at_first_and_a_jump_counts_there() {
        let mut rule = rule(Direction::Minimize);
        for trial in 0..6 {
            report(rule.as_mut(), trial, 1, 0.9 - 0.001 * f64::from(trial % 2));
        }
        for trial in 10..13 {
            report(rule.as_mut(), trial, 5, 0.5 + 0.1 * f64::from(trial - 10));
        }
        let reason = rule.promotion(true).expect("one of three").reason;
        assert_eq!(reason.to_string(), "asha_promotion at step 3: 0.5 ranks 1 of 3 at rung 3; the cutoff is 0.5");
        assert_eq!(promoted(rule.as_mut()), Some(10));
        assert!(promoted(rule.as_mut()).is_some_and(|trial| trial < 6), "then the lower one");
    }

    #[test]
    fn a_trial_that_ended_while_it_held_is_not_promoted_and_keeps_its_rank() {
        let mut rule = rule(Direction::Maximize);
        for (trial, loss) in [(0, -0.5), (1, -0.6), (2, -0.4)] {
            report(rule.as_mut(), trial, 1, loss);
        }
        rule.observe(&Event::Ended { trial: 1, outcome: crate::Outcome::Failed });
        assert_eq!(promoted(rule.as_mut()), None);
    }

    #[test]
    fn nobody_holds_from_max_on() {
        let mut rule = rule(Direction::Minimize);
        assert_eq!([26, 27, 28].map(|step| report(rule.as_mut(), step as u32, step, 0.5)), [false, true, true]);
    }
}
