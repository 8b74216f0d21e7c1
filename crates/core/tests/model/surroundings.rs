//! What attempts run in, by the rules: what an agent says of an environment is known for as long as a sweep names it, and where
//! nobody has said more than its name, that is all that is known.

use std::collections::BTreeSet;

use heats_core::ops::attempts::Key;
use heats_core::ops::start::Start;
use heats_core::{Fact, State, Sweep};
use heats_domain::{Digest, Environment, Package};

use crate::oracle::Oracle;

/// What is known of an environment: its version, and whether its packages are.
pub type RanIn = (u8, bool);

fn line(version: u8) -> String {
    format!("cpython 3.{version}")
}

fn environment((version, whole): RanIn) -> Environment {
    let package = Package { name: "numpy".into(), version: version.to_string(), origin: String::new() };
    let packages = if whole { vec![package] } else { Vec::new() };
    Environment { summary: line(version), packages, ..Environment::default() }
}

/// What an agent says of an attempt that began in `version`: that alone, or all of it.
pub fn start(key: Key, (version, tells): RanIn) -> Start {
    let whole = environment((version, true));
    let name = Some(Digest::of_environment(&whole));
    // An attempt is warm or says why not, as its environment has it.
    let (warm, cold) = (version == 1, line(version));
    Start { key, rank: 0, environment: line(version), name, found: tells.then_some(whole), warm, cold }
}

impl Oracle {
    fn ran_in(&self) -> impl Iterator<Item = RanIn> {
        let trials = self.sweeps.values().flat_map(|sweep| sweep.trials.values());
        let members = trials.flat_map(|trial| &trial.attempts).flat_map(|attempt| &attempt.members);
        members.filter_map(|member| member.ran_in)
    }

    /// What will be known of an attempt that begins in `version`, of which its agent tells all or not.
    pub fn known(&self, (version, tells): RanIn) -> RanIn {
        (version, tells || self.ran_in().any(|known| known == (version, true)))
    }
}

/// Every attempt names what it ran in, and nothing else is kept.
pub fn compare(oracle: &Oracle, state: &State, after: &str) {
    for (id, expected) in &oracle.sweeps {
        let sweep: &Sweep = &state.sweeps[&heats_domain::SweepId { bits: *id }];
        for (number, expected) in &expected.trials {
            let trial = sweep.trial(*number).expect("is there");
            let started = sweep.records(trial).filter_map(|record| match record.cell.fact.as_ref()? {
                Fact::TrialStarted(fact) => Some(fact.clone()),
                _ => None,
            });
            for fact in started {
                let attempt = &expected.attempts[fact.attempt as usize - 1];
                let ran_in = attempt.members[fact.rank as usize].ran_in.expect("was started");
                let named = state.environment(fact.environment_name.expect("names one"));
                assert_eq!(named, Some(&environment(ran_in)), "trial {number} of {id} after {after}");
                let machine = state.hardware(fact.hardware_name.expect("names one"));
                assert!(machine.is_some_and(|machine| machine.cpus > 0), "trial {number} of {id} after {after}");
            }
        }
    }
    let kept = state.surroundings.records().filter_map(|record| match record.cell.fact.as_ref()? {
        Fact::EnvironmentRecorded(fact) => Some(fact.environment.clone()),
        _ => None,
    });
    let expected: BTreeSet<RanIn> = oracle.ran_in().collect();
    assert_eq!(kept.count(), expected.len(), "no other environments are kept after {after}");
}
