//! Why a sweep's trials have no place: each condition, and how many agents fail it. The conditions are those by which places
//! are given, see [`super::failing`].

use std::collections::BTreeMap;

use heats_domain::spec::Resources;
use heats_domain::{AgentId, Machine, Params};

use super::fit::{Condition, Free, Suited, failing};
use crate::state::State;
use crate::sweep::Sweep;

/// What one variant of a sweep's resources asks for, against the agents.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Its place in the list of variants.
    pub variant: usize,
    /// How many agents a trial takes.
    pub nodes: u32,
    /// How many agents fail each condition, whatever is free of them: they will never do.
    pub never: BTreeMap<Condition, u32>,
    /// How many agents that would do fail each condition now, because others hold what it needs.
    pub taken: BTreeMap<Condition, u32>,
    /// How many agents would do, if nothing of them were taken.
    pub would: u32,
    /// How many do now.
    pub do_now: u32,
}

/// How the variants of a sweep stand that are for `params`, or all of them, against `agents`.
pub fn explain(state: &State, sweep: &Sweep, params: Option<&Params>, agents: &[AgentId]) -> Vec<Standing> {
    let variants = sweep.spec.variants().iter().enumerate();
    let variants = variants.filter(|(_, need)| params.is_none_or(|params| need.is_for(params)));
    variants.map(|(variant, need)| standing(state, variant, need, agents)).collect()
}

/// Whether no agent that was ever attached could run any trial of the sweep, or too few where a trial takes several. Where
/// there is none, nobody can say.
pub fn fits_nowhere(state: &State, sweep: &Sweep) -> bool {
    let agents: Vec<AgentId> = state.agents.keys().copied().collect();
    !agents.is_empty() && explain(state, sweep, None, &agents).iter().all(|standing| standing.would < standing.nodes)
}

fn standing(state: &State, variant: usize, need: &Resources, agents: &[AgentId]) -> Standing {
    let mut standing =
        Standing { variant, nodes: need.nodes, never: BTreeMap::new(), taken: BTreeMap::new(), would: 0, do_now: 0 };
    for agent in agents {
        let Some(attached) = state.agent(*agent) else { continue };
        let inventory = &attached.inventory;
        let suited = Suited::of(need, Machine { name: &attached.name, inventory });
        let fails = |free: &Free| failing(need, inventory, free, suited.as_ref());
        let (never, now) = (fails(&Free::whole(inventory)), fails(&state.free(*agent)));
        if never.is_empty() {
            standing.would += 1;
            standing.do_now += u32::from(now.is_empty());
            now.into_iter().for_each(|condition| *standing.taken.entry(condition).or_default() += 1);
        } else {
            never.into_iter().for_each(|condition| *standing.never.entry(condition).or_default() += 1);
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, SweepBuilder};

    #[test]
    fn each_condition_is_told_with_how_many_agents_fail_it() {
        let mut cluster = Cluster::default();
        for (agent, cpus) in [(1, 1), (2, 2), (3, 8), (4, 8)] {
            cluster.attach(agent, cpus);
        }
        let id = cluster.submit(SweepBuilder::minimize("loss").set("resources", "cpus", 8));
        let agents: Vec<AgentId> = (1..=4).map(|bits| AgentId { bits }).collect();
        let explained = |cluster: &Cluster| explain(&cluster.applied, cluster.sweep(id), None, &agents).remove(0);
        let before = explained(&cluster);
        assert_eq!(
            (before.never, before.taken, before.would, before.do_now),
            ([(Condition::Cpus, 2)].into(), [].into(), 2, 2)
        );
        assert_eq!(cluster.dispatch().len(), 2);
        let after = explained(&cluster);
        assert_eq!((after.taken, after.would, after.do_now), ([(Condition::Cpus, 2)].into(), 2, 0));
        assert!(!fits_nowhere(&cluster.applied, cluster.sweep(id)));
        let large = cluster.submit(SweepBuilder::minimize("loss").set("resources", "cpus", 9));
        assert!(fits_nowhere(&cluster.applied, cluster.sweep(large)));
    }
}
