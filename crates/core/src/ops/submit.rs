//! Submitting and removing sweeps.

use heats_domain::{SweepId, SweepSpec};

use super::{Decision, sweep};
use crate::fact::{Fact, SweepRemoved, SweepSubmitted};
use crate::refusal::Refusal;
use crate::state::State;

/// The largest specification, base directory or provenance that the log takes, in bytes.
pub const TEXT_MAX: usize = 1 << 20;

/// A sweep to be made. The specification was checked at the edge.
#[derive(Clone, PartialEq, Debug)]
pub struct Submit {
    /// The new sweep's id, minted at the edge.
    pub sweep: SweepId,
    /// The client's request.
    pub request: u64,
    /// What to run.
    pub spec: SweepSpec,
    /// The name, in place of the specification's.
    pub name: Option<String>,
    /// The seed, where the specification gives none: drawn at the edge.
    pub seed: u64,
    /// The folder of the sweep file.
    pub base_dir: String,
    /// JSON: who submitted it, from where, fingerprints.
    pub provenance: String,
}

/// The reply to a [`Submit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submitted {
    /// The sweep.
    pub sweep: SweepId,
    /// Its name.
    pub name: String,
    /// The same request had made it before.
    pub existed: bool,
}

impl Submit {
    /// Makes the sweep, once per request.
    pub fn decide(self, state: &State) -> Decision<Submitted> {
        if let Some(existing) = state.by_request(self.request) {
            let reply = Submitted { sweep: existing.id, name: existing.name.clone(), existed: true };
            return Ok((Vec::new(), reply));
        }
        if state.sweeps.contains_key(&self.sweep) {
            return Err(Refusal::IdTaken(self.sweep));
        }
        // An unnamed sweep is called by the end of its id, which is the part that differs.
        let name = self.name.or_else(|| self.spec.name.clone()).unwrap_or_else(|| {
            let id = self.sweep.to_string();
            format!("sweep-{}", &id[id.len() - 5..])
        });
        if let Some(other) = state.find(&name).filter(|other| !other.is_ended() && other.name == name) {
            return Err(Refusal::NameTaken { name, sweep: other.id });
        }
        let spec = serde_json::to_string(&self.spec).map_err(|error| Refusal::Spec(error.to_string()))?;
        for (what, text) in
            [("the specification", &spec), ("the base directory", &self.base_dir), ("the provenance", &self.provenance)]
        {
            if text.len() > TEXT_MAX {
                return Err(Refusal::TooLarge { what, bytes: text.len(), limit: TEXT_MAX });
            }
        }
        let reply = Submitted { sweep: self.sweep, name: name.clone(), existed: false };
        let fact = SweepSubmitted {
            sweep: self.sweep,
            name,
            spec,
            seed: self.spec.search.seed.unwrap_or(self.seed),
            request: self.request,
            base_dir: self.base_dir,
            provenance: self.provenance,
        };
        Ok((vec![Fact::SweepSubmitted(fact)], reply))
    }
}

/// Forgets a sweep that has ended.
pub fn remove(state: &State, id: SweepId) -> Decision<()> {
    let sweep = sweep(state, id)?;
    if !sweep.is_ended() {
        return Err(Refusal::NotEnded(sweep.name.clone()));
    }
    Ok((vec![Fact::SweepRemoved(SweepRemoved { sweep: id })], ()))
}
