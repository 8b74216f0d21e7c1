//! The members that a population begins with: independent uniform draws. What becomes of them is decided by `pbt::rule`.

use heats_domain::spec::PlugParams;

use super::{Entry, Population, random};
use crate::deck;
use crate::pbt::rule::Rule;
use crate::pbt::{self, NAME, PbtParams};
use crate::plug::Built;
use crate::{Problem, Searcher, Setting, Stopper};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: NAME,
    summary: "population based training: the worst go on from a checkpoint of the best, with a configuration near theirs",
    needs_objective: true,
    several_objectives: false,
    is_warm: false,
    ends: deck::ends,
    population: Some(Population { members, rule }),
    example: r#"{"population": 4, "perturbation_interval": 2, "max": 30}"#,
    schema: || schemars::schema_for!(PbtParams),
    build,
};

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    pbt::plan(&problem.space, params)?;
    (random::ENTRY.build)(problem, &PlugParams::new())
}

fn members(problem: &Problem, params: &PlugParams) -> Option<u32> {
    Some(pbt::plan(&problem.space, params).ok()?.population)
}

fn rule(setting: &Setting, problem: &Problem, params: &PlugParams) -> Built<dyn Stopper> {
    let plan = pbt::plan(&problem.space, params)?;
    Ok(Box::new(Rule::new(setting, problem.space.clone(), plan)))
}
