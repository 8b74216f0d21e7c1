//! What trials ran in: every environment and every machine once, by the name of its content, as long as a sweep names it.
//!
//! What a sweep was submitted as (its code, its data, its seed) is in the fact that made it; a trial's parameters are in the
//! fact that made the trial.

use std::sync::Arc;

use heats_domain::{Digest, Environment, Inventory};
use imbl::{OrdMap, OrdSet};

use crate::fact::{Fact, Record, TrialStarted};
use crate::state::State;
use crate::sweep::Sweep;

/// What attempts at trials ran in, by name.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    environments: OrdMap<Digest, Arc<Record>>,
    hardware: OrdMap<Digest, Arc<Record>>,
}

impl Surroundings {
    /// The records of all, in the order of their names.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.environments.values().chain(self.hardware.values())
    }
}

/// The names of what the attempts of one sweep ran in.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Environments.
    pub environments: OrdSet<Digest>,
    /// Machines.
    pub hardware: OrdSet<Digest>,
}

impl Named {
    pub(crate) fn started(&mut self, fact: &TrialStarted) {
        self.environments.extend(fact.environment_name);
        self.hardware.extend(fact.hardware_name);
    }
}

impl State {
    /// The environment of this name.
    pub fn environment(&self, name: Digest) -> Option<&Environment> {
        match self.surroundings.environments.get(&name)?.cell.fact.as_ref()? {
            Fact::EnvironmentRecorded(fact) => Some(&fact.environment),
            _ => None,
        }
    }

    /// The machine of this name.
    pub fn hardware(&self, name: Digest) -> Option<&Inventory> {
        match self.surroundings.hardware.get(&name)?.cell.fact.as_ref()? {
            Fact::HardwareRecorded(fact) => Some(&fact.hardware),
            _ => None,
        }
    }

    /// Keeps what a trial is about to name.
    pub(crate) fn keep_surroundings(&mut self, fact: &Fact, record: &Arc<Record>) {
        match fact {
            Fact::EnvironmentRecorded(fact) => {
                self.surroundings.environments.insert(fact.name, Arc::clone(record));
            }
            Fact::HardwareRecorded(fact) => {
                self.surroundings.hardware.insert(fact.name, Arc::clone(record));
            }
            _ => {}
        }
    }

    /// Whether what an attempt names is there (invariant P1).
    pub(crate) fn knows(&self, fact: &TrialStarted) -> bool {
        fact.environment_name.is_none_or(|name| self.environment(name).is_some())
            && fact.hardware_name.is_none_or(|name| self.hardware(name).is_some())
    }

    /// Forgets what `removed`, which is gone already, was the only sweep to name.
    pub(crate) fn forget_surroundings(&mut self, removed: &Sweep) {
        let Named { environments, hardware } = &removed.named;
        let is_named = |of: fn(&Named) -> &OrdSet<Digest>, name: &Digest| {
            self.sweeps.values().any(|sweep| of(&sweep.named).contains(name))
        };
        let gone: Vec<Digest> =
            environments.iter().filter(|name| !is_named(|n| &n.environments, name)).copied().collect();
        let lost: Vec<Digest> = hardware.iter().filter(|name| !is_named(|n| &n.hardware, name)).copied().collect();
        for name in gone {
            self.surroundings.environments.remove(&name);
        }
        for name in lost {
            self.surroundings.hardware.remove(&name);
        }
    }
}
