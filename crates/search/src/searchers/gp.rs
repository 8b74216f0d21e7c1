//! Bayesian optimization by a Gaussian process over completed trials.
//!
//! As Optuna 5's `GPSampler`: Matérn 5/2 with a length scale per parameter, its priors, log expected improvement, learning
//! from completed trials only. On purpose different: a trial that still runs counts as expected to come out at the model's
//! mean (Ginsbourger et al., "Kriging is well-suited to parallelize optimization", 2010), where Optuna integrates over it;
//! losses worse than the median are drawn together; parameters with a `when` are modelled too; and of many trials not
//! all are kept: see `gp/ladder.rs`.

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::gp::searcher::Modelled;
use crate::plug::{self, Built};
use crate::{Problem, Searcher, deck};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "gp",
    summary: "a Gaussian process over completed trials: for few, costly trials in up to about 20 dimensions",
    needs_objective: true,
    several_objectives: false,
    is_warm: true,
    ends: deck::ends,
    population: None,
    example: r#"{"n_startup_trials": 5}"#,
    schema: || schemars::schema_for!(GpParams),
    build,
};

/// The parameters of `gp`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GpParams {
    /// How many trials must have completed before anything is learned: until then configurations are drawn at random.
    pub n_startup_trials: u32,
}

impl Default for GpParams {
    fn default() -> Self {
        Self { n_startup_trials: 10 }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: GpParams = plug::read(params)?;
    Ok(Box::new(Modelled::new(problem, &[], params.n_startup_trials, 0.0)))
}
