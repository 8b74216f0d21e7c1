//! Hyperband, asynchronously: ladders of successive halving that begin at different steps, with the trials spread over
//! all of them, so that a configuration which shows its worth late has its chance too.
//!
//! Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018: of `B` ladders,
//! ladder `i` begins at `min * eta^i`, and gets trials in proportion to `ceil(B * eta^s / (s + 1))`, `s = B - 1 - i`.
//! These are Hyperband's own numbers of configurations, and the shares of Optuna's `HyperbandPruner`. At a rung the
//! rule is that of `asha`, that is, of Ray Tune's `AsyncHyperBandScheduler`; each ladder's rungs are its own.
//!
//! On purpose different from Hyperband: nobody waits at a rung for the others. From Ray: the shares. From Optuna: the
//! rule at a rung; a trial's ladder follows from the sweep's seed and its number, not from a study's name; and the
//! ladders are counted in whole powers of `eta`, where a rounded logarithm loses one (243 is 3^5). What `asha` does
//! about ties, jumps and losses that are no numbers holds here too.

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use super::ladder::{self, Halving, Plan};
use crate::plug::{self, Built, Complaint};
use crate::{Setting, Stopper};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "hyperband",
    summary: "asha on several ladders beside each other, from one that halves early to one that hardly halves at all",
    needs_objective: true,
    several_objectives: false,
    pauses: false,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(HyperbandParams),
    plan: |params| plan(params).ok(),
    build,
};

/// The parameters of `hyperband`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HyperbandParams {
    /// The step of the first rung of the first ladder: no trial is stopped before it.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Must be given.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
    /// How many ladders trials are divided over: ladder `s` has its first rung at `min * eta^s`. Without it, as many as
    /// there are powers of `eta` from `min` to `max`, which is Hyperband's number.
    pub brackets: Option<u32>,
}

impl Default for HyperbandParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0, brackets: None }
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
    let HyperbandParams { min, max, eta, brackets } = plug::read(params)?;
    lay_out(ENTRY.name, min, max, eta, brackets)
}

/// Hyperband's ladders for the rule of this name, with Hyperband's numbers of trials on them as shares.
///
/// # Errors
/// Everything that keeps the parameters of these names from making ladders.
pub fn lay_out(
    rule: &str,
    min: u64,
    max: Option<u64>,
    eta: f64,
    brackets: Option<u32>,
) -> Result<Plan, Vec<Complaint>> {
    let Some(last) = max else {
        let complaint = Complaint::about("max", format!("`{rule}` needs a `max`, which its ladders follow from"));
        return Err(vec![complaint.hint("add `max`, the last step that a whole trial reports")]);
    };
    let steps = ladder::steps(min, max, eta)?;
    // A power that is `max` itself is no rung, and still makes a ladder: one on which nobody is stopped.
    let powers = ladder::steps(min, Some(last.saturating_add(1)), eta)?.len();
    let brackets = brackets.map_or(powers, |brackets| brackets as usize);
    if brackets == 0 {
        return Err(vec![Complaint::about("brackets", "`brackets` must be at least 1")]);
    }
    if brackets > steps.len() + 1 {
        let message = format!("{brackets} brackets are more than the {} rungs and one without any", steps.len());
        return Err(vec![Complaint::about("brackets", message).hint("leave `brackets` out to get Hyperband's number")]);
    }
    Ok(Plan { shares: shares(brackets, eta), steps, eta, max })
}

/// How many trials climb each of the ladders, in proportion; the first ladder is the longest.
fn shares(brackets: usize, eta: f64) -> Vec<f64> {
    // A product for each power: whole for a whole `eta`, and the same on every machine.
    let mut power = 1.0;
    let mut shares = Vec::new();
    for s in 0..brackets {
        shares.push((brackets as f64 * power / (s + 1) as f64).ceil());
        power *= eta;
    }
    shares.reverse();
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    use heats_domain::Direction;

    use crate::{About, Event, Judged, Verdict};

    fn planned(json: serde_json::Value) -> Result<Plan, Vec<Complaint>> {
        plan(&serde_json::from_value(json).expect("a map"))
    }

    #[test]
    fn there_are_as_many_ladders_as_powers_and_early_halving_gets_the_most_trials() {
        let of = |json| planned(json).map(|plan| (plan.steps, plan.shares)).expect("is sound");
        // The table of Hyperband's paper: n is 81, 34, 15, 8, 5 for max 81 and eta 3.
        let table = (vec![1, 3, 9, 27], vec![81.0, 34.0, 15.0, 8.0, 5.0]);
        assert_eq!(of(serde_json::json!({"max": 81})), table);
        assert_eq!(of(serde_json::json!({"max": 243})).1.len(), 6, "3^5 is six powers");
        assert_eq!(of(serde_json::json!({"max": 242})).1.len(), 5);
        assert_eq!(of(serde_json::json!({"max": 82})).1.len(), 5);
        assert_eq!(of(serde_json::json!({"min": 2, "max": 32, "eta": 4, "brackets": 2})), (vec![2, 8], vec![4.0, 2.0]));
    }

    #[test]
    fn what_makes_no_ladders_is_refused() {
        let refused = |json| planned(json).expect_err("is refused").remove(0).about;
        let about = |name: &str| About::Param(name.to_owned());
        assert_eq!(refused(serde_json::json!({})), about("max"));
        assert_eq!(refused(serde_json::json!({"min": 9, "max": 9})), about("max"));
        assert_eq!(refused(serde_json::json!({"max": 9, "brackets": 0})), about("brackets"));
        assert_eq!(refused(serde_json::json!({"max": 9, "brackets": 4})), about("brackets"));
        assert!(planned(serde_json::json!({"max": 9, "brackets": 3})).is_ok());
        assert!(planned(serde_json::json!({"max": u64::MAX})).is_ok());
    }

    #[test]
    fn trials_are_held_against_those_of_their_own_ladder_only() {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        let params = serde_json::from_value(serde_json::json!({"max": 9})).expect("a map");
        let mut rule = build(&setting, &params).expect("builds");
        for trial in 0..1000 {
            rule.observe(&Event::Reported { trial, step: 1, loss: 0.0, rest: Vec::new() });
            rule.observe(&Event::Reported { trial, step: 3, loss: 0.0, rest: Vec::new() });
        }
        let mut stopped = [0; 3];
        for trial in 1000..2000 {
            let judge = |step| rule.judge(Judged { trial, step, loss: 1.0, rest: &[] });
            let at = |verdict| if let Verdict::Stop(reason) = verdict { reason.rung } else { None };
            match (at(judge(1)), at(judge(3)), at(judge(8))) {
                (Some(1), Some(3), Some(3)) => stopped[0] += 1,
                (None, Some(3), Some(3)) => stopped[1] += 1,
                (None, None, None) => stopped[2] += 1,
                rungs => panic!("{rungs:?}"),
            }
        }
        // 9, 5 and 3 of 17.
        assert!((480..580).contains(&stopped[0]) && (240..350).contains(&stopped[1]), "{stopped:?}");
    }
}
