//! The operations: each turns the state, the time and a request into facts and a reply, or refuses.
//!
//! Pure: none changes the state. The leader's turn (`leading`) records what they return.

pub mod agent_drain;
pub mod agents;
pub mod artifacts;
pub mod attempts;
pub mod checkpoints;
pub mod control;
pub mod drain;
pub mod fork;
mod gangs;
pub mod learn;
pub mod logs;
pub mod notices;
pub mod quarantine;
pub mod quotas;
pub mod restore;
pub mod retries;
pub mod start;
pub mod submit;
pub mod tokens;

use crate::fact::{AgentAttached, Fact};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Sweep;
use heats_domain::{AgentId, SweepId};

/// What an operation decided: the facts in order, and what the caller is told once they are durable.
pub type Decision<R> = Result<(Vec<Fact>, R), Refusal>;

/// The sweep, or the refusal that says that there is none.
pub(crate) fn sweep(state: &State, id: SweepId) -> Result<&Sweep, Refusal> {
    state.sweeps.get(&id).map(AsRef::as_ref).ok_or_else(|| Refusal::NoSuchSweep(id.to_string()))
}

/// The agent's last attachment, or the refusal that says that it never attached.
pub(crate) fn agent(state: &State, id: AgentId) -> Result<&AgentAttached, Refusal> {
    state.agent(id).ok_or_else(|| Refusal::NoSuchAgent(id.to_string()))
}

/// The sweep, unless it has ended.
pub(crate) fn live_sweep(state: &State, id: SweepId) -> Result<&Sweep, Refusal> {
    let sweep = sweep(state, id)?;
    if sweep.is_ended() { Err(Refusal::Ended(sweep.name.clone())) } else { Ok(sweep) }
}
