//! Agents that attach, and agents that are not heard of any more.

use std::collections::BTreeSet;

use heats_domain::resources::Rendezvous;
use heats_domain::{AgentId, Inventory};

use super::Decision;
use super::attempts::{Key, lose};
use crate::fact::{AgentAttached, Fact};
use crate::refusal::Refusal;
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
    /// Whether it can start anything now: its disk may be full.
    pub able: bool,
    /// Which of its GPUs must not be leased now, by index.
    pub unusable: BTreeSet<u32>,
    /// The cluster that `holding` is of: see [`State::lineage`].
    pub lineage: u64,
    /// The storages of checkpoints that it reaches.
    pub places: Vec<String>,
}

/// What an agent is told about its attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// Held by the agent, but not its own any more: to be ended without a word.
    pub kill: Vec<Key>,
    /// Its own, but the trial is over, or another member of the attempt has failed: to be ended, and the end reported.
    pub stop: Vec<Key>,
    /// Leased to it, but it never got the message: to be started.
    pub run: Vec<Key>,
}

impl Attach {
    /// Sorts the attempts that the agent holds from those that it should hold. Those of another cluster may have the same
    /// names and be others: an agent that comes from there has to end them first.
    pub fn decide(self, state: &State, now_ms: u64) -> Decision<Attached> {
        let Self { agent, name, mut inventory, version, holding, able: _, unusable: _, lineage, places } = self;
        if lineage != state.lineage() {
            return Err(Refusal::OtherLineage { lineage: state.lineage() });
        }
        // A GPU that is listed twice is still one GPU.
        inventory.gpus.sort_by_key(|gpu| gpu.index);
        inventory.gpus.dedup_by_key(|gpu| gpu.index);
        inventory.rendezvous = inventory.rendezvous.filter(Rendezvous::is_sound);
        let fact = AgentAttached { agent, name, inventory, version, places };
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
            let started = trial.has_begun(lease.rank);
            match (holding.contains(&key), trial.is_being_ended()) {
                (true, true) => reply.stop.push(key),
                (true, false) => {}
                // It never arrived, or the agent lost its disk: either way no process of it is left.
                (false, true) => {
                    facts.extend(lose(state, sweep, trial, agent, now_ms, "the agent does not know the attempt"))
                }
                (false, false) if started => {
                    facts.extend(lose(state, sweep, trial, agent, now_ms, "the agent came back without the attempt"));
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
        .filter_map(|(&(id, number), _)| {
            let sweep = state.sweeps.get(&id)?;
            Some(lose(state, sweep, sweep.trial(number)?, agent, now_ms, &detail))
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, TrialState};

    use super::Attached;
    use crate::Op;
    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder, attach};

    #[test]
    fn an_agent_that_attaches_learns_what_becomes_of_each_attempt() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(4));
        cluster.attach(1, 4);
        let keys = cluster.dispatch();
        for key in &keys[..3] {
            cluster.start(*key);
        }
        cluster.op(Op::CancelTrial(id, 1)).expect("is there");
        cluster.leading.detach(AgentId { bits: 1 });
        let foreign = Key { sweep: id, trial: 0, attempt: 9 };
        let attached = cluster.attach_holding(1, 4, &[keys[0], keys[1], foreign]);
        let expected = Attached { kill: vec![foreign], stop: vec![keys[1]], run: vec![keys[3]] };
        assert_eq!(attached, expected, "kept, stopped, lost, never arrived");
        assert_eq!((cluster.state(id, 0), cluster.state(id, 2)), (TrialState::Running, TrialState::Waiting));
        assert_eq!(cluster.trial(id, 2).retries_used, 0);
        assert_eq!(cluster.dispatch(), [Key { attempt: 2, ..keys[2] }]);
    }

    #[test]
    fn an_attempt_that_reported_is_not_run_again_though_its_start_was_lost() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.report(key, 1, 0.5).expect("is live");
        assert_eq!(cluster.attach(1, 1), Attached::default());
        assert_eq!(cluster.state(id, 0), TrialState::Waiting);
    }

    #[test]
    fn a_cancelled_trial_that_the_agent_forgot_gives_its_place_back() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        cluster.dispatch();
        cluster.op(Op::CancelTrial(id, 0)).expect("is there");
        assert_eq!(cluster.attach(1, 1), Attached::default());
        assert_eq!(cluster.ending(id).map(|(ending, _)| ending), Some("finished"));
    }

    #[test]
    fn a_silent_agent_loses_every_lease_and_gets_nothing_more() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(2));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.start(keys[0]);
        cluster.now_ms += 30_000;
        cluster.op(Op::Expire(AgentId { bits: 1 }, 30_000)).expect("expires");
        assert_eq!([0, 1].map(|n| cluster.state(id, n)), [TrialState::Waiting; 2]);
        let ran = |n| cluster.trial(id, n).attempts[0].end.map(|end| end.ran_ms);
        assert_eq!((ran(0), ran(1)), (Some(30_000), Some(0)), "only what was started ran");
        assert_eq!(
            cluster.sweep(id).detail(cluster.trial(id, 0)),
            "agent `agt_0000000000001` was not heard of for 30.0 s"
        );
        assert_eq!(cluster.dispatch(), []);
        assert_eq!(cluster.attach_holding(1, 2, &keys).kill, keys);
        let again: Vec<Key> = keys.into_iter().map(|key| Key { attempt: 2, ..key }).collect();
        assert_eq!(cluster.dispatch(), again);
    }

    #[test]
    fn a_detached_agent_keeps_its_leases_and_gets_nothing_more() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.leading.detach(AgentId { bits: 1 });
        cluster.complete(key, 0.5);
        assert_eq!((cluster.state(id, 0), cluster.dispatch()), (TrialState::Completed, vec![]));
        cluster.attach(1, 1);
        assert_eq!(cluster.dispatch().len(), 1);
    }

    #[test]
    fn a_new_leader_keeps_every_lease_and_waits_for_the_agents() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.start(keys[0]);
        cluster.start(keys[1]);
        cluster.fail_over();
        assert_eq!(cluster.dispatch(), []);
        assert_eq!(cluster.attach_holding(1, 2, &keys), Attached::default());
        assert_eq!(cluster.dispatch(), [], "both places are taken");
        cluster.complete(keys[0], 0.5);
        assert_eq!(cluster.dispatch().len(), 1);
        assert_eq!(cluster.sweep(id).created(), 3);
    }

    #[test]
    fn an_agent_that_attaches_unchanged_records_nothing() {
        let mut cluster = Cluster::default();
        cluster.attach(1, 2);
        cluster.attach(1, 2);
        assert_eq!(cluster.entries.len(), 1);
        cluster.attach(1, 3);
        assert_eq!(cluster.entries.len(), 2);
    }

    #[test]
    fn an_agent_that_comes_back_smaller_gets_nothing_until_enough_has_ended() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 3);
        let keys = cluster.dispatch();
        cluster.now_ms += 1;
        cluster.attach_holding(1, 1, &keys);
        for key in &keys[..2] {
            assert_eq!(cluster.dispatch(), []);
            cluster.complete(*key, 0.5);
        }
        assert_eq!(cluster.dispatch(), []);
        cluster.finish(keys[2], End::Lost);
        assert_eq!(cluster.dispatch().len(), 1);
    }

    #[test]
    fn a_gpu_that_is_listed_twice_is_one_gpu() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").set("resources", "gpus", 1));
        let mut twice = attach(1, 4, 1);
        twice.inventory.gpus.extend(attach(1, 4, 1).inventory.gpus);
        cluster.op(Op::Attach(twice)).expect("attaches");
        assert_eq!(cluster.dispatch().len(), 1);
    }
}
