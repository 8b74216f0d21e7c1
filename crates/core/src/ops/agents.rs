//! Agents that attach, and agents that are not heard of any more.

use std::collections::BTreeSet;

use heats_domain::{AgentId, Inventory};

use super::Decision;
use super::attempts::{Key, lose};
use crate::fact::{AgentAttached, Fact};
use crate::state::State;

/// An agent that attaches.
#[derive(Clone, PartialEq, Debug)]
pub struct Attach {
    /// Who.
    pub agent: AgentId,
    /// The machine's name.
    pub name: String,
    /// What it offers.
    pub inventory: Inventory,
    /// The version of Heats that it runs.
    pub version: String,
    /// Every attempt that it holds.
    pub holding: BTreeSet<Key>,
}

/// What an agent is told about its attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// Held by the agent, but not its own any more: to be ended without a word.
    pub kill: Vec<Key>,
    /// Its own, but the trial is terminal: to be ended, and the end reported.
    pub stop: Vec<Key>,
    /// Leased to it, but it never got the message: to be started.
    pub run: Vec<Key>,
}

impl Attach {
    /// Sorts the attempts that the agent holds from those that it should hold.
    pub fn decide(self, state: &State, now_ms: u64) -> Decision<Attached> {
        let Self { agent, name, inventory, version, holding } = self;
        let fact = AgentAttached { agent, name, inventory, version };
        let mut facts = Vec::new();
        if state.agent(agent) != Some(&fact) {
            facts.push(Fact::AgentAttached(fact));
        }
        let mut reply = Attached::default();
        let mut leased = BTreeSet::new();
        for (&(id, number), lease) in state.leases.get(&agent).into_iter().flatten() {
            let key = Key { sweep: id, trial: number, attempt: lease.attempt };
            leased.insert(key);
            let Some(sweep) = state.sweeps.get(&id) else { continue };
            let Some(trial) = sweep.trial(number) else { continue };
            let started = trial.live().is_some_and(|(_, attempt)| attempt.started_ms.is_some());
            match (holding.contains(&key), trial.state.is_terminal()) {
                (true, true) => reply.stop.push(key),
                (true, false) => {}
                // It never arrived, or the agent lost its disk: either way no process of it is left.
                (false, true) => {
                    facts.extend(lose(sweep, trial, lease.attempt, now_ms, "the agent does not know the attempt"))
                }
                (false, false) if started => {
                    facts.extend(lose(sweep, trial, lease.attempt, now_ms, "the agent came back without the attempt"));
                }
                (false, false) => reply.run.push(key),
            }
        }
        reply.kill = holding.difference(&leased).copied().collect();
        Ok((facts, reply))
    }
}

/// Ends every lease of an agent that was silent for longer than a lease lasts.
pub fn expire(state: &State, agent: AgentId, now_ms: u64, silent_ms: u64) -> Vec<Fact> {
    let detail = format!("agent `{agent}` was not heard of for {:.1} s", silent_ms as f64 / 1_000.0);
    let leases = state.leases.get(&agent).into_iter().flatten();
    leases
        .filter_map(|(&(id, number), lease)| {
            let sweep = state.sweeps.get(&id)?;
            Some(lose(sweep, sweep.trial(number)?, lease.attempt, now_ms, &detail))
        })
        .flatten()
        .collect()
}
