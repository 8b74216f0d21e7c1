//! Population based training: members that train side by side, of which the worst are given up for copies of the best.
//!
//! Jaderberg et al., "Population Based Training of Neural Networks", 2017, with the semantics and defaults of Ray Tune's
//! `PopulationBasedTraining` (2.60, asynchronous). `rule` decides who is exploited and who holds, `explore` what becomes of
//! the configuration. Who is created for it, and from which checkpoint it goes on, is the leader's business.

pub mod explore;
pub mod rule;

use heats_domain::Space;
use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::plug::{self, Complaint};

/// Its name in the sweep file, and in the reasons that its rule gives.
pub const NAME: &str = "pbt";
/// The most members: a verdict looks at all of them.
pub const POPULATION_MAX: u32 = 1_000;

/// The parameters of `pbt`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PbtParams {
    /// How many members there are. Whoever replaces one is another trial, and counts towards `budget.trials`.
    pub population: u32,
    /// After how many steps a member is compared with the others: at its first report that is so many steps behind the last
    /// comparison, or behind the checkpoint that it began with. Must be given.
    pub perturbation_interval: Option<u64>,
    /// The last step of a whole trial, which then ends by itself: nobody is replaced from there on. Must be given.
    pub max: Option<u64>,
    /// The step before which nobody is compared.
    pub burn_in_period: u64,
    /// The share of the population that is replaced, and the share that is copied. Above 0, at most 0.5.
    pub quantile_fraction: f64,
    /// How likely a parameter is drawn anew, instead of being moved from where the copied one has it.
    pub resample_probability: f64,
    /// What a number is multiplied with, one of these; the result is brought back to the parameter's bounds and steps.
    pub perturbation_factors: Vec<f64>,
    /// The parameters that are explored; the others stay as the copied member has them, for instance what the shape of a model
    /// follows from. All of the space where none is named.
    pub mutate: Vec<String>,
}

impl Default for PbtParams {
    fn default() -> Self {
        Self {
            population: 8,
            perturbation_interval: None,
            max: None,
            burn_in_period: 0,
            quantile_fraction: 0.25,
            resample_probability: 0.25,
            perturbation_factors: vec![1.2, 0.8],
            mutate: Vec::new(),
        }
    }
}

/// What the parameters come to.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// How many members there are.
    pub population: u32,
    /// How many steps lie between two comparisons of a member, at least.
    pub interval: u64,
    /// From this step on nobody is replaced.
    pub max: u64,
    /// Before this step nobody is compared.
    pub burn_in: u64,
    /// The share that is replaced.
    pub quantile: f64,
    /// How likely a parameter is drawn anew.
    pub resample: f64,
    /// What numbers are multiplied with; never empty.
    pub factors: Vec<f64>,
    /// The names of the parameters that are explored; none means all.
    pub mutate: Vec<String>,
}

/// What the parameters come to in `space`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn plan(space: &Space, params: &PlugParams) -> Result<Plan, Vec<Complaint>> {
    let PbtParams {
        population,
        perturbation_interval,
        max,
        burn_in_period,
        quantile_fraction,
        resample_probability,
        perturbation_factors,
        mutate,
    } = plug::read(params)?;
    let mut complaints = Vec::new();
    let mut must = |holds: bool, param: &str, message: String, hint: &str| {
        if !holds {
            complaints.push(Complaint::about(param, message).hint(hint));
        }
    };
    must(
        (2..=POPULATION_MAX).contains(&population),
        "population",
        format!("`population` is a number from 2 to {POPULATION_MAX}, not {population}"),
        "4 to 40 members are usual",
    );
    must(
        perturbation_interval.is_some_and(|interval| interval > 0),
        "perturbation_interval",
        "`perturbation_interval` is missing: after how many steps members are compared".to_owned(),
        "write for example a tenth of `max`",
    );
    must(
        max.is_some(),
        "max",
        "`max` is missing: the last step of a whole trial".to_owned(),
        "write the step at which the script ends by itself",
    );
    let (interval, last) = (perturbation_interval.unwrap_or(1), max.unwrap_or(u64::MAX));
    must(
        max.is_none() || perturbation_interval.is_none() || interval < last,
        "perturbation_interval",
        format!("nobody is ever compared: a trial ends at step {last}, before {interval} steps are over"),
        "make `max` larger, or `perturbation_interval` smaller",
    );
    must(
        quantile_fraction > 0.0 && quantile_fraction <= 0.5,
        "quantile_fraction",
        format!("`quantile_fraction` is above 0 and at most 0.5, not {quantile_fraction}"),
        "0.25 replaces the worst quarter by copies of the best",
    );
    must(
        (0.0..=1.0).contains(&resample_probability),
        "resample_probability",
        format!("`resample_probability` is a number from 0 to 1, not {resample_probability}"),
        "0.25 is usual",
    );
    must(
        !perturbation_factors.is_empty()
            && perturbation_factors.iter().all(|factor| factor.is_finite() && *factor > 0.0),
        "perturbation_factors",
        "`perturbation_factors` is a list of numbers above 0".to_owned(),
        "write [1.2, 0.8]",
    );
    let searched = |name: &str| space.searched().any(|parameter| parameter.name == name);
    if let Some(name) = mutate.iter().find(|name| !space.parameters.is_empty() && !searched(name)) {
        must(
            false,
            "mutate",
            format!("`{name}` is no parameter of the space that can change"),
            "name parameters of `space`, or leave `mutate` out for all of them",
        );
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Plan {
        population,
        interval,
        max: last,
        burn_in: burn_in_period,
        quantile: quantile_fraction,
        resample: resample_probability,
        factors: perturbation_factors,
        mutate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{float, parameter};

    fn complaints(json: serde_json::Value) -> Vec<String> {
        let space = Space { parameters: vec![parameter("lr", float(0.0, 1.0))], constraints: Vec::new() };
        let params = serde_json::from_value(json).expect("a map");
        let complaints = plan(&space, &params).err().unwrap_or_default();
        complaints.into_iter().map(|complaint| format!("{:?}", complaint.about)).collect()
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        let with = |key: &str, value: serde_json::Value| {
            let mut json = serde_json::json!({"perturbation_interval": 5, "max": 50});
            json[key] = value;
            complaints(json)
        };
        assert_eq!(with("population", 8.into()), [""; 0]);
        for (key, bad) in [
            ("population", serde_json::json!(1)),
            ("population", serde_json::json!(POPULATION_MAX + 1)),
            ("perturbation_interval", serde_json::json!(0)),
            ("perturbation_interval", serde_json::json!(50)),
            ("max", serde_json::Value::Null),
            ("quantile_fraction", serde_json::json!(0.51)),
            ("resample_probability", serde_json::json!(-0.1)),
            ("perturbation_factors", serde_json::json!([])),
            ("perturbation_factors", serde_json::json!([1.2, 0.0])),
            ("mutate", serde_json::json!(["width"])),
        ] {
            assert_eq!(with(key, bad), [format!("Param({key:?})")]);
        }
        assert_eq!(complaints(serde_json::json!({})).len(), 2, "both that must be given");
    }
}
