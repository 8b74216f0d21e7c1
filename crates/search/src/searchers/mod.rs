//! The searchers' registry. A new one is its file and one line in [`ALL`].

pub mod auto;
pub mod bohb;
pub mod cmaes;
pub mod gp;
pub mod grid;
pub mod nsga2;
pub mod pbt;
pub mod random;
pub mod sobol;
pub mod tpe;

use heats_domain::spec::PlugParams;
use heats_domain::{Space, SweepSpec};

use crate::plug::{Built, PlugError};
use crate::{Problem, Searcher, Setting, Stopper};

/// One searcher as the registry knows it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in the sweep file.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Whether it learns from losses, and so makes no sense without an objective.
    pub needs_objective: bool,
    /// Whether it knows what to do with several objectives; one that does not is refused for them.
    pub several_objectives: bool,
    /// Whether it learns from what earlier sweeps found out, see [`Problem::priors`].
    pub is_warm: bool,
    /// Whether it runs out of configurations in a space, so that no budget of trials is needed.
    pub ends: fn(&Space) -> bool,
    /// For one that trains a population: its trials are the members, and what replaces them.
    pub population: Option<Population>,
    /// Parameters that a first user might give, in JSON; the conformance suite runs with them.
    pub example: &'static str,
    /// The JSON schema of its parameters.
    pub schema: fn() -> schemars::Schema,
    /// Makes one; everything that is wrong with the parameters, or with the space for this searcher, at once.
    pub build: fn(&Problem, &PlugParams) -> Built<dyn Searcher>,
}

/// What a searcher that trains a population has beside its suggestions, which are the members that it begins with.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// How many members there are; `None` where the parameters are not valid.
    pub members: fn(&Problem, &PlugParams) -> Option<u32>,
    /// Makes the rule that decides who is replaced by whom: it is the sweep's stopper.
    pub rule: fn(&Setting, &Problem, &PlugParams) -> Built<dyn Stopper>,
}

/// Every searcher, in the order in which they are listed to users.
pub const ALL: &[Entry] = &[
    auto::ENTRY,
    random::ENTRY,
    grid::ENTRY,
    sobol::ENTRY,
    tpe::ENTRY,
    gp::ENTRY,
    cmaes::ENTRY,
    bohb::ENTRY,
    nsga2::ENTRY,
    pbt::ENTRY,
];

/// The searcher called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// How many members the population of a sweep has; `None` for a sweep that trains none.
pub fn members(spec: &SweepSpec) -> Option<u32> {
    let population = find(&spec.search.algorithm)?.population?;
    (population.members)(&Problem::of(spec, 0), &spec.search.params)
}

/// Makes the searcher called `algorithm`.
///
/// # Errors
/// An unknown name, unknown or unreadable parameters, or a space that it cannot search.
pub fn build_searcher(problem: &Problem, algorithm: &str, params: &PlugParams) -> Result<Box<dyn Searcher>, PlugError> {
    let Some(entry) = find(algorithm) else {
        let known: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
        return Err(PlugError::unknown_algorithm("searcher", algorithm, &known));
    };
    (entry.build)(problem, params).map_err(|complaints| PlugError { algorithm: algorithm.to_owned(), complaints })
}
