//! What stands around a sweep's searcher and answers some questions in its place. Each is a searcher itself, around another.

pub mod again;
pub mod enough;
pub mod plateau;
pub mod regret;

use enough::Rule;
use heats_domain::SweepSpec;

use crate::plug::PlugError;
use crate::{Prior, Problem, Searcher, build_searcher};

/// The searcher of a sweep with all that its file puts around it, before it has seen any event.
///
/// # Errors
/// As [`build_searcher`].
pub fn searcher(spec: &SweepSpec, seed: u64, priors: Vec<Prior>) -> Result<Box<dyn Searcher>, PlugError> {
    let problem = Problem { priors, ..Problem::of(spec, seed) };
    let mut searcher = build_searcher(&problem, &spec.search.algorithm, &spec.search.params)?;
    if !problem.priors.is_empty() {
        searcher = Box::new(again::Again::new(searcher, &problem.priors));
    }
    let plateau = spec.budget.plateau.clone().map(|rule| Box::new(plateau::Plateau::new(rule)) as Box<dyn Rule>);
    let regret =
        spec.budget.regret.map(|most| Box::new(regret::Regret::new(most, &problem.space, seed)) as Box<dyn Rule>);
    let rules: Vec<Box<dyn Rule>> = plateau.into_iter().chain(regret).collect();
    if !rules.is_empty() {
        searcher = Box::new(enough::Enough::new(searcher, rules));
    }
    Ok(searcher)
}
