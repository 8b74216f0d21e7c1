//! The agents that may be given something, with what is free on each.

mod gangs;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use heats_domain::spec::Resources;
use heats_domain::{AgentId, Grant, Machine, Params, SweepId};

use super::fit::{self, Free, Suited};
use super::usage::Amounts;
use crate::fact::{AgentAttached, LeasedMember};
use crate::health::Part;
use crate::ops::retries;
use crate::state::State;
use crate::sweep::Sweep;

/// An agent that may be given something.
#[derive(Clone, Debug)]
struct Site {
    attached: AgentAttached,
    free: Free,
    /// The least priority that a sweep must have to be given something.
    least: u32,
    /// Its place in the order in which agents' room has grown.
    grown: u64,
    /// What conditions say about it, by the sweep and the place of the variant: computing one costs far more than comparing
    /// what is free.
    suited: BTreeMap<(SweepId, usize), Option<Suited>>,
}

/// What a trial wants of a place beside what its sweep asks for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wish<'a> {
    /// Its configuration, where that is known: not every variant may be for it.
    pub params: Option<Cow<'a, Params>>,
    /// The storage that has the checkpoint which it would go on from.
    pub home: Option<&'a str>,
    /// The agents on which it has failed.
    pub failed_on: BTreeSet<AgentId>,
    /// It would rather wait than go there again.
    pub is_patient: bool,
    /// The variant that it ran out of memory with.
    pub outgrown: Option<u32>,
}

impl Wish<'_> {
    /// Whether it may be granted the variant at `place`.
    pub fn allows(&self, sweep: &Sweep, place: usize, need: &Resources) -> bool {
        let is_roomy = self.outgrown.is_none_or(|outgrown| retries::is_roomier(sweep, place as u32, outgrown));
        is_roomy && self.params.as_deref().is_none_or(|params| need.is_for(params))
    }

    pub(super) fn avoids(&self, agent: AgentId) -> bool {
        self.failed_on.contains(&agent)
    }
}

/// A place that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// On which agent; where it takes several, that of rank 0.
    pub agent: AgentId,
    /// What is granted of it.
    pub grant: Grant,
    /// The place, in the sweep's `resources`, of the variant that this is.
    pub variant: u32,
    /// The other members, by rank from 1.
    pub members: Vec<LeasedMember>,
    /// The port of `agent` at which they meet; 0 where there are none.
    pub port: u32,
}

impl Found {
    /// A place on a single machine.
    pub const fn alone(agent: AgentId, grant: Grant, variant: u32) -> Self {
        Self { agent, grant, variant, members: Vec::new(), port: 0 }
    }
}

impl Site {
    fn reaches(&self, home: &str) -> bool {
        self.attached.places.iter().any(|place| place == home)
    }

    fn suited(&mut self, variant: (SweepId, usize), need: &Resources) -> Option<&Suited> {
        need.require.as_ref()?;
        let Self { attached, suited, .. } = self;
        let machine = Machine { name: &attached.name, inventory: &attached.inventory };
        suited.entry(variant).or_insert_with(|| Suited::of(need, machine)).as_ref()
    }
}

/// Where a trial may run, and what it gets there.
#[derive(Clone, PartialEq, Debug)]
pub struct Spot {
    /// On which agent; where it takes several, that of rank 0.
    pub agent: AgentId,
    /// What it gets of it.
    pub grant: Grant,
    /// The other members, by rank from 1.
    pub members: Vec<LeasedMember>,
    /// The port of `agent` at which they meet; 0 where there are none.
    pub port: u32,
}

impl Spot {
    /// One on a single machine.
    pub const fn alone(agent: AgentId, grant: Grant) -> Self {
        Self { agent, grant, members: Vec::new(), port: 0 }
    }
}

/// The agents that may be given something.
#[derive(Clone, Debug, Default)]
pub struct Places {
    sites: BTreeMap<AgentId, Site>,
    /// The agents in the order in which their room has grown, and how often that was.
    grown: BTreeMap<u64, AgentId>,
    growths: u64,
    searched: BTreeMap<(SweepId, usize), Searched>,
    /// The GPUs of agents, by index, that must not be leased now: by their own word, or because they are quarantined.
    unusable: BTreeMap<AgentId, BTreeSet<u32>>,
    /// The agents that are kept free for a trial that spans machines.
    reserved: BTreeMap<AgentId, Reservation>,
}

/// For whom an agent is kept free: nobody else of its priority, or a lower one, is given anything there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reservation {
    sweep: SweepId,
    priority: u32,
}

/// Where a sweep's variant was looked for a place: on no agent before `from` is one, but for those whose room has grown after
/// `at`. So that a sweep that waits costs nothing until somewhere a place becomes free.
#[derive(Clone, Copy, Debug)]
struct Searched {
    from: AgentId,
    at: u64,
}

impl Places {
    /// The agent may be given something from now on, or it has come back with another inventory.
    pub fn open(&mut self, attached: AgentAttached, mut free: Free, least: u32) {
        let agent = attached.agent;
        free.leave_out(&attached.inventory, self.unusable(agent));
        self.close(agent);
        self.sites.insert(agent, Site { attached, free, least, grown: 0, suited: BTreeMap::new() });
        self.grow(agent);
    }

    /// More of the agent can be given than before.
    fn grow(&mut self, agent: AgentId) {
        let Some(site) = self.sites.get_mut(&agent) else { return };
        self.growths += 1;
        self.grown.remove(&site.grown);
        site.grown = self.growths;
        self.grown.insert(self.growths, agent);
    }

    /// The agent is given nothing any more.
    pub fn close(&mut self, agent: AgentId) {
        if let Some(site) = self.sites.remove(&agent) {
            self.grown.remove(&site.grown);
        }
    }

    /// What is free of the agent has changed.
    pub fn set(&mut self, agent: AgentId, now: impl FnOnce() -> (Free, u32)) {
        let Self { sites, unusable, .. } = self;
        let Some(site) = sites.get_mut(&agent) else { return };
        let (mut free, least) = now();
        if let Some(unusable) = unusable.get(&agent) {
            free.leave_out(&site.attached.inventory, unusable);
        }
        let has_grown = !free.is_within(&site.free) || least < site.least;
        (site.free, site.least) = (free, least);
        if has_grown {
            self.grow(agent);
        }
    }

    /// Other GPUs of the agent than before must not be leased: what is free of it has to be said anew.
    pub fn set_unusable(&mut self, agent: AgentId, gpus: BTreeSet<u32>) {
        self.unusable.insert(agent, gpus);
    }

    /// The GPUs of the agent, by index, that must not be leased now.
    pub fn unusable(&self, agent: AgentId) -> &BTreeSet<u32> {
        static NONE: BTreeSet<u32> = BTreeSet::new();
        self.unusable.get(&agent).unwrap_or(&NONE)
    }

    /// What the sweep may be given has changed: it looks everywhere again.
    pub fn search_again(&mut self, sweep: SweepId) {
        leave_out(&mut self.searched, sweep);
    }

    /// The sweep asks for nothing any more.
    pub fn forget(&mut self, sweep: SweepId) {
        self.sites.values_mut().for_each(|site| leave_out(&mut site.suited, sweep));
        self.search_again(sweep);
    }

    /// How often there has come to be more room: where there was no place for somebody, there is none before that is more.
    pub const fn growths(&self) -> u64 {
        self.growths
    }

    /// Whether the agent may be given something.
    pub fn has(&self, agent: AgentId) -> bool {
        self.sites.contains_key(&agent)
    }

    /// The agents.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> {
        self.sites.keys().copied()
    }

    /// What they have, all in all.
    pub fn amounts(&self) -> Amounts {
        let mut all = Amounts::default();
        self.sites.values().for_each(|site| all.add(Amounts::of_inventory(&site.attached.inventory)));
        all
    }

    /// What the condition of a sweep's variant says about the agent.
    pub fn suited(&mut self, agent: AgentId, variant: (SweepId, usize), need: &Resources) -> Option<Suited> {
        self.sites.get_mut(&agent).and_then(|site| site.suited(variant, need).cloned())
    }

    /// Whether there is room for what every trial of the sweep needs, which has neither variants nor conditions.
    pub fn have_room_for(&self, sweep: &Sweep, need: &Resources) -> bool {
        let mut open = self.sites.iter().filter(|(agent, _)| self.admits(**agent, sweep.id, sweep.priority));
        open.any(|(_, site)| fit::grant(need, &site.attached.inventory, &site.free, None).is_some())
    }

    /// Where a trial of the sweep gets what: its first variant for which there is a place, of those that it may have. Not more
    /// than `room` hundredths of GPUs.
    ///
    /// An agent on which the trial has not failed goes before others, then one that reaches its checkpoint. Whole devices are
    /// taken where the first agent has them, shares where the least is left of the device.
    pub fn find(&mut self, state: &State, sweep: &Sweep, wish: &Wish<'_>, room: u64) -> Option<Found> {
        let variants = sweep.spec.variants().iter().enumerate();
        let mut allowed =
            variants.filter(|(place, need)| need.gpu_parts_in_all() <= room && wish.allows(sweep, *place, need));
        allowed.find_map(|(place, need)| {
            let (variant, priority) = ((sweep.id, place), sweep.priority);
            if need.spans_machines() {
                return self.find_gang(state, variant, priority, need, wish, None);
            }
            let (agent, grant) = self.find_variant(variant, priority, need)?;
            let found = |(agent, grant)| Found::alone(agent, grant, place as u32);
            if wish.avoids(agent) {
                let elsewhere = self.find_among(variant, priority, need, |agent, _| !wish.avoids(agent));
                // It waits a while for another agent, and no longer: it might wait for ever.
                let waits = elsewhere.is_none()
                    && wish.is_patient
                    && self.could_take(sweep, wish, |part| !wish.avoids(part.agent));
                return elsewhere.or_else(|| (!waits).then_some((agent, grant))).map(found);
            }
            // No trial waits for an agent that reaches its checkpoint: it might wait for ever.
            let better = wish.home.filter(|home| !self.reaches(agent, home));
            let at_home = better.and_then(|home| {
                self.find_among(variant, priority, need, |agent, site| site.reaches(home) && !wish.avoids(agent))
            });
            Some(found(at_home.unwrap_or((agent, grant))))
        })
    }

    /// Whether those of the agents that `may` could run such a trial of the sweep, on those of their GPUs that `may`, if nothing of
    /// them were taken.
    pub fn could_take(&mut self, sweep: &Sweep, wish: &Wish<'_>, may: impl Fn(Part) -> bool) -> bool {
        let mut variants =
            sweep.spec.variants().iter().enumerate().filter(|(place, need)| wish.allows(sweep, *place, need));
        variants.any(|(place, need)| {
            let open = self.sites.iter_mut().filter(|(agent, _)| may(Part::machine(**agent)));
            let could = open.filter_map(|(agent, site)| {
                let mut whole = Free::whole(&site.attached.inventory);
                let indices = site.attached.inventory.gpus.iter().map(|gpu| gpu.index);
                let others: BTreeSet<u32> = indices.filter(|index| !may(Part::gpu(*agent, *index))).collect();
                whole.leave_out(&site.attached.inventory, &others);
                let suited = site.suited((sweep.id, place), need).cloned();
                fit::grant(need, &site.attached.inventory, &whole, suited.as_ref())
            });
            could.take(need.nodes as usize).count() == need.nodes as usize
        })
    }

    /// The same on an agent that reaches the storage `home`, and on no other.
    pub fn find_at(&mut self, home: &str, state: &State, sweep: &Sweep, wish: &Wish<'_>, room: u64) -> Option<Found> {
        let variants = sweep.spec.variants().iter().enumerate();
        let mut allowed =
            variants.filter(|(place, need)| need.gpu_parts_in_all() <= room && wish.allows(sweep, *place, need));
        allowed.find_map(|(place, need)| {
            let (variant, priority) = ((sweep.id, place), sweep.priority);
            if need.spans_machines() {
                return self.find_gang(state, variant, priority, need, wish, Some(home));
            }
            let unfailed =
                self.find_among(variant, priority, need, |agent, site| site.reaches(home) && !wish.avoids(agent));
            let found = unfailed.or_else(|| self.find_among(variant, priority, need, |_, site| site.reaches(home)));
            found.map(|(agent, grant)| Found::alone(agent, grant, place as u32))
        })
    }

    fn reaches(&self, agent: AgentId, home: &str) -> bool {
        self.sites.get(&agent).is_some_and(|site| site.reaches(home))
    }

    /// The first of the agents that `may`.
    fn find_among(
        &mut self,
        variant: (SweepId, usize),
        priority: u32,
        need: &Resources,
        may: impl Fn(AgentId, &Site) -> bool,
    ) -> Option<(AgentId, Grant)> {
        let among = self.sites.iter().filter(|(agent, site)| may(**agent, site)).map(|(agent, _)| *agent);
        let mut offers =
            among.collect::<Vec<_>>().into_iter().filter_map(|agent| self.offer(agent, variant, priority, need));
        offers.next().map(|(agent, grant, _)| (agent, grant))
    }

    fn find_variant(&mut self, variant: (SweepId, usize), priority: u32, need: &Resources) -> Option<(AgentId, Grant)> {
        let Searched { from, at } =
            self.searched.get(&variant).copied().unwrap_or(Searched { from: AgentId { bits: 0 }, at: 0 });
        let grown = self.grown.range(at + 1..).map(|(_, agent)| *agent).filter(|agent| *agent < from);
        let grown: BTreeSet<AgentId> = grown.collect();
        let rest = self.sites.range(from..).map(|(agent, _)| *agent);
        let mut agents = grown.into_iter().chain(rest.collect::<Vec<_>>());
        let found = if need.shares_a_gpu() {
            let fitting = agents.filter_map(|agent| self.offer(agent, variant, priority, need));
            fitting.min_by_key(|(agent, _, left)| (*left, *agent))
        } else {
            agents.find_map(|agent| self.offer(agent, variant, priority, need))
        };
        let from = match &found {
            None => AgentId { bits: u64::MAX },
            // Others may fit as well, before it and behind it.
            Some(_) if need.shares_a_gpu() => AgentId { bits: 0 },
            Some((agent, ..)) => *agent,
        };
        self.searched.insert(variant, Searched { from, at: self.growths });
        found.map(|(agent, grant, _)| (agent, grant))
    }

    /// What the agent has for a variant, and how much is left of the device that is shared the most.
    fn offer(
        &mut self,
        agent: AgentId,
        variant: (SweepId, usize),
        priority: u32,
        need: &Resources,
    ) -> Option<(AgentId, Grant, Option<u32>)> {
        if !self.admits(agent, variant.0, priority) {
            return None;
        }
        let site = self.sites.get_mut(&agent).filter(|site| site.least <= priority)?;
        // Borrowed one by one: what conditions say is kept beside them.
        site.suited(variant, need);
        let Site { attached, free, suited, .. } = site;
        let suited = suited.get(&variant).and_then(Option::as_ref);
        let grant = fit::grant(need, &attached.inventory, free, suited)?;
        let left = attached.inventory.gpus.iter().zip(&free.parts);
        let left = left.filter(|(gpu, _)| grant.gpus.contains(&gpu.index)).map(|(_, left)| *left).min();
        Some((agent, grant, left))
    }
}

/// Removes what is kept for the variants of a sweep. Others may keep a lot: it is not looked at.
fn leave_out<T>(kept: &mut BTreeMap<(SweepId, usize), T>, sweep: SweepId) {
    while let Some((variant, _)) = kept.range((sweep, 0)..=(sweep, usize::MAX)).next() {
        let variant = *variant;
        kept.remove(&variant);
    }
}
