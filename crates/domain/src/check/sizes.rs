//! How many of anything there may be: beyond what any sweep has, and below what makes the other rules slow.

use crate::SweepSpec;
use crate::document::{Fault, Path};
use crate::spec::ParameterSpec;

const PARAMETERS: usize = 1_000;
const CONSTRAINTS: usize = 1_000;
const CHOICES: usize = 10_000;
const POINTS: usize = 10_000;
const DATA: usize = 1_000;
const ARGUMENTS: usize = 10_000;

/// Lists that are too long.
pub fn check(spec: &SweepSpec) -> Vec<Fault> {
    let choices = spec.space.parameters.iter().filter_map(|(name, spec)| match spec {
        ParameterSpec::Choice(choice) => {
            Some((Path::from("space").key(name).key("choice"), choice.choice.len(), CHOICES, "values of a choice"))
        }
        ParameterSpec::Float(_) | ParameterSpec::Int(_) | ParameterSpec::Const(_) => None,
    });
    let sections = [
        ("space", spec.space.parameters.len(), PARAMETERS, "parameters"),
        ("constraints", spec.constraints.len(), CONSTRAINTS, "constraints"),
        ("search.enqueue", spec.search.enqueue.len(), POINTS, "enqueued configurations"),
        ("data", spec.data.len(), DATA, "named data"),
        ("command", spec.command.len(), ARGUMENTS, "arguments"),
    ];
    let sections = sections.into_iter().map(|(at, count, most, what)| (Path::from(at), count, most, what));
    sections
        .chain(choices)
        .filter(|(_, count, most, _)| count > most)
        .map(|(at, count, most, what)| Fault::new(at, format!("{count} {what} are more than {most}")).at_key())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_beyond_its_limit_is_refused_before_the_slow_rules() {
        let space: serde_json::Map<String, serde_json::Value> =
            (0..=PARAMETERS).map(|i| (format!("p{i}"), serde_json::json!({"int": [5, 1]}))).collect();
        let spec = serde_json::json!({"command": ["true"], "space": space});
        let spec: SweepSpec = serde_json::from_value(spec).expect("is a sweep");
        let faults = crate::check::check(&spec);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].message, "1001 parameters are more than 1000");
    }
}
