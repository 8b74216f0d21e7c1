//! The agents that may be given something, with what is free on each.

use std::collections::BTreeMap;

use heats_domain::spec::Resources;
use heats_domain::{AgentId, Grant, Machine, Params, SweepId};

use super::fit::{self, Free, Suited};
use crate::fact::AgentAttached;
use crate::sweep::Sweep;

/// An agent that may be given something.
#[derive(Clone, Debug)]
struct Site {
    attached: AgentAttached,
    free: Free,
    /// What conditions say about it, by the sweep and the place of the variant: computing one costs far more than comparing
    /// what is free.
    suited: BTreeMap<(SweepId, usize), Option<Suited>>,
}

/// The agents that may be given something.
#[derive(Clone, Debug, Default)]
pub struct Places {
    sites: BTreeMap<AgentId, Site>,
}

/// From which agent on a sweep's variants look for a place: while places only fill up, where one did not fit it need not look
/// again.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    from: BTreeMap<(SweepId, usize), AgentId>,
}

impl Places {
    /// The agent may be given something from now on, or it has come back with another inventory.
    pub fn open(&mut self, attached: AgentAttached, free: Free) {
        self.sites.insert(attached.agent, Site { attached, free, suited: BTreeMap::new() });
    }

    /// The agent is given nothing any more.
    pub fn close(&mut self, agent: AgentId) {
        self.sites.remove(&agent);
    }

    /// What is free of the agent has changed.
    pub fn set(&mut self, agent: AgentId, free: impl FnOnce() -> Free) {
        if let Some(site) = self.sites.get_mut(&agent) {
            site.free = free();
        }
    }

    /// The sweep asks for nothing any more.
    pub fn forget(&mut self, sweep: SweepId) {
        for site in self.sites.values_mut() {
            site.suited.retain(|(id, _), _| *id != sweep);
        }
    }

    /// The agents.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> {
        self.sites.keys().copied()
    }

    /// Whether there is room for what every trial of a sweep needs that has neither variants nor conditions.
    pub fn have_room_for(&self, need: &Resources) -> bool {
        self.sites.values().any(|site| fit::grant(need, &site.attached.inventory, &site.free, None).is_some())
    }

    /// Where a trial of the sweep gets what: its first variant for which there is a place, of those that are for `params`; of
    /// all of them where `params` are not known yet.
    ///
    /// Whole devices are taken where the first agent has them, shares where the least is left of the device.
    pub fn find(&mut self, sweep: &Sweep, params: Option<&Params>, cursors: &mut Cursors) -> Option<(AgentId, Grant)> {
        let variants = sweep.spec.variants().iter().enumerate();
        let mut for_it = variants.filter(|(_, need)| params.is_none_or(|params| need.is_for(params)));
        for_it.find_map(|(variant, need)| self.find_variant((sweep.id, variant), need, cursors))
    }

    fn find_variant(
        &mut self,
        variant: (SweepId, usize),
        need: &Resources,
        cursors: &mut Cursors,
    ) -> Option<(AgentId, Grant)> {
        let from = cursors.from.entry(variant).or_insert(AgentId { bits: 0 });
        let mut fitting = self.sites.range_mut(*from..).filter_map(|(agent, site)| {
            let Site { attached, free, suited } = site;
            let machine = Machine { name: &attached.name, inventory: &attached.inventory };
            let suited = match &need.require {
                Some(_) => suited.entry(variant).or_insert_with(|| Suited::of(need, machine)).as_ref(),
                None => None,
            };
            let grant = fit::grant(need, &attached.inventory, free, suited)?;
            let left = attached.inventory.gpus.iter().zip(&free.parts);
            let left = left.filter(|(gpu, _)| grant.gpus.contains(&gpu.index)).map(|(_, left)| *left).min();
            Some((*agent, grant, left))
        });
        if need.shares_a_gpu() {
            let found = fitting.min_by_key(|(agent, _, left)| (*left, *agent));
            return found.map(|(agent, grant, _)| (agent, grant));
        }
        let found = fitting.next().map(|(agent, grant, _)| (agent, grant));
        // Beyond the last one, where it fits nowhere.
        *from = found.as_ref().map_or(AgentId { bits: u64::MAX }, |(agent, _)| *agent);
        found
    }
}
