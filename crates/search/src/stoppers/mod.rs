//! The stoppers' registry. A new one is its file and one line in [`ALL`].

pub mod asha;
pub mod asha_promotion;
pub mod audit;
pub mod climb;
pub mod hyperband;
pub mod hyperband_sync;
pub mod ladder;
pub mod median;
pub mod none;
pub mod pasha;
pub mod patience;
pub mod shuffle;
pub mod threshold;
pub mod wilcoxon;

use heats_domain::SweepSpec;
use heats_domain::spec::{EarlyStop, PlugParams};

use crate::plug::{Built, PlugError};
use crate::stoppers::ladder::Plan;
use crate::{Problem, Setting, Stopper, searchers};

/// One stopper as the registry knows it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in the sweep file, and in the reasons that it gives.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Whether it looks at losses, and so makes no sense without an objective.
    pub needs_objective: bool,
    /// Whether it knows what to do with several objectives; one that does not is refused for them.
    pub several_objectives: bool,
    /// Whether it has trials hold at rungs, instead of ending them there.
    pub pauses: bool,
    /// Parameters that a first user might give, in JSON; the conformance suite runs with them.
    pub example: &'static str,
    /// The JSON schema of its parameters.
    pub schema: fn() -> schemars::Schema,
    /// The ladders of a rule with rungs; `None` for one that looks at every report alike, and where the parameters are not
    /// valid.
    pub plan: fn(&PlugParams) -> Option<Plan>,
    /// Makes one; everything that is wrong with the parameters at once.
    pub build: fn(&Setting, &PlugParams) -> Built<dyn Stopper>,
}

/// Every stopper, in the order in which they are listed to users.
pub const ALL: &[Entry] = &[
    none::ENTRY,
    asha::ENTRY,
    asha_promotion::ENTRY,
    hyperband::ENTRY,
    hyperband_sync::ENTRY,
    pasha::ENTRY,
    median::ENTRY,
    threshold::ENTRY,
    patience::ENTRY,
    wilcoxon::ENTRY,
];

/// The stopper called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// See [`Entry::pauses`]; no rule that is not known does.
pub fn pauses(name: &str) -> bool {
    find(name).is_some_and(|entry| entry.pauses)
}

/// See [`Entry::plan`]; `None` for a rule that is not known.
pub fn plan(rule: &EarlyStop) -> Option<Plan> {
    (find(&rule.algorithm)?.plan)(&rule.params)
}

/// The steps at which a rule decides who goes on, ascending; none where it looks at every report alike.
pub fn rungs(rule: &EarlyStop) -> Vec<u64> {
    plan(rule).map_or_else(Vec::new, |plan| plan.steps)
}

/// Makes the stopper called `algorithm`.
///
/// # Errors
/// An unknown name, or unknown or unreadable parameters, or parameters that make no sense together.
pub fn build_stopper(setting: &Setting, algorithm: &str, params: &PlugParams) -> Result<Box<dyn Stopper>, PlugError> {
    let Some(entry) = find(algorithm) else {
        let known: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
        return Err(PlugError::unknown_algorithm("stopper", algorithm, &known));
    };
    (entry.build)(setting, params).map_err(|complaints| PlugError { algorithm: algorithm.to_owned(), complaints })
}

/// Makes the stopper of a sweep: with its control group where it has one, and for a population the rule that replaces its
/// members.
///
/// # Errors
/// As [`build_stopper`].
pub fn of_sweep(setting: &Setting, spec: &SweepSpec) -> Result<Box<dyn Stopper>, PlugError> {
    let search = &spec.search;
    if let Some(population) = searchers::find(&search.algorithm).and_then(|entry| entry.population) {
        return (population.rule)(setting, &Problem::of(spec, setting.seed), &search.params)
            .map_err(|complaints| PlugError { algorithm: search.algorithm.clone(), complaints });
    }
    let EarlyStop { algorithm, resource: _, audit, params } = &spec.early_stop;
    let rule = build_stopper(setting, algorithm, params)?;
    Ok(match *audit {
        Some(share) => Box::new(audit::Audited::new(rule, share, setting.seed)),
        None => rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Direction;

    #[test]
    fn an_unknown_stopper_is_refused_with_the_nearest_name() {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 0 };
        let error = build_stopper(&setting, "ahsa", &PlugParams::new()).err().expect("is refused");
        assert_eq!(error.to_string(), "cannot use `ahsa`: there is no stopper called `ahsa` (did you mean `asha`?)");
    }
}
