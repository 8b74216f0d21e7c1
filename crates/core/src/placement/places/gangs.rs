//! Places for trials that span machines: all of them at the same moment, or none. Nothing is held while the rest is waited for, so
//! two such trials never wait for each other.
//!
//! One that has waited long has as many agents kept free for it as it needs: otherwise trials that need one machine would take
//! each place as it becomes free. Only the leader's memory knows that; the next one begins to count anew.

use std::collections::BTreeSet;

use heats_domain::spec::Resources;
use heats_domain::{AgentId, Grant, SweepId};
use imbl::OrdMap;

use super::super::fit::{self, Free};
use super::super::preempt;
use super::{Found, Places, Reservation, Searched, Site, Wish};
use crate::fact::LeasedMember;
use crate::state::State;
use crate::sweep::Sweep;

/// What an agent has for a variant, and how much is left of the device that is shared the most.
type Offer = (AgentId, Grant, Option<u32>);

impl Places {
    /// Where a trial gets its places that takes `need` of each of several agents. Those on which it has not failed go before
    /// others, then those that reach its checkpoint; it waits for neither. Where it is bound to a storage, rank 0 reaches that.
    pub(super) fn find_gang(
        &mut self,
        state: &State,
        variant: (SweepId, usize),
        priority: u32,
        need: &Resources,
        wish: &Wish<'_>,
        bound_to: Option<&str>,
    ) -> Option<Found> {
        // Where nothing has grown since there were too few, there are too few.
        if self.searched.get(&variant).is_some_and(|searched| self.grown.range(searched.at + 1..).next().is_none()) {
            return None;
        }
        let agents: Vec<AgentId> = self.sites.keys().copied().collect();
        let mut offers: Vec<Offer> =
            agents.into_iter().filter_map(|agent| self.offer(agent, variant, priority, need)).collect();
        if offers.len() < need.nodes as usize {
            self.searched.insert(variant, Searched { from: AgentId { bits: u64::MAX }, at: self.growths });
            return None;
        }
        self.searched.remove(&variant);
        let is_away = |agent, from: Option<&str>| from.is_some_and(|home| !self.reaches(agent, home));
        offers.sort_by_key(|&(agent, _, left)| {
            (is_away(agent, bound_to), wish.avoids(agent), is_away(agent, wish.home), left, agent)
        });
        offers.truncate(need.nodes as usize);
        meeting(state, offers, variant.1 as u32, |agent| !is_away(agent, bound_to))
    }

    /// Whether a sweep of this priority may be given something of the agent although it may be kept free for another.
    pub fn admits(&self, agent: AgentId, sweep: SweepId, priority: u32) -> bool {
        self.reserved.get(&agent).is_none_or(|kept| kept.sweep == sweep || kept.priority < priority)
    }

    /// The agents that are kept free for the sweep.
    pub fn kept_free_for(&self, sweep: SweepId) -> Vec<AgentId> {
        self.reserved.iter().filter(|(_, kept)| kept.sweep == sweep).map(|(agent, _)| *agent).collect()
    }

    /// Whether as many agents are kept free for the sweep as a variant of it takes, and all of them could do.
    pub fn is_kept_free(&mut self, sweep: SweepId, (variant, need): (usize, &Resources)) -> bool {
        let reserved = self.kept_free_for(sweep);
        let could = |agent: AgentId| self.could_do(agent, (sweep, variant), need);
        reserved.len() == need.nodes as usize && reserved.into_iter().all(could)
    }

    /// Whether the agent is open, and would have room for what a variant needs if nothing else were there.
    fn could_do(&mut self, agent: AgentId, variant: (SweepId, usize), need: &Resources) -> bool {
        let suited = self.suited(agent, variant, need);
        let Some(Site { attached, .. }) = self.sites.get(&agent) else { return false };
        let mut whole = Free::whole(&attached.inventory);
        whole.leave_out(&attached.inventory, self.unusable(agent));
        fit::grant(need, &attached.inventory, &whole, suited.as_ref()).is_some()
    }

    /// Keeps as many agents free for the sweep as a variant of it takes: those that have room, then those on which lower priorities
    /// can lose their places, then those that run the fewest trials. Whether there are as many that could ever do.
    pub fn keep_free(&mut self, state: &State, sweep: &Sweep, (variant, need): (usize, &Resources)) -> bool {
        self.release(sweep.id);
        let mut agents: Vec<AgentId> = self.agents().collect();
        agents.retain(|agent| self.admits(*agent, sweep.id, sweep.priority));
        agents.retain(|agent| self.could_do(*agent, (sweep.id, variant), need));
        let mut candidates = Vec::new();
        for agent in agents {
            let has_room = self.has_room(agent, (sweep.id, variant), need);
            let made = preempt::on_agent(state, self, sweep, (variant, need), agent, u32::MAX);
            let leases = state.leases.get(&agent).map_or(0, OrdMap::len);
            candidates.push((!has_room, made.is_none(), made.map(|(cost, _)| cost), leases, agent));
        }
        candidates.sort();
        let chosen = candidates.into_iter().map(|(.., agent)| agent).take(need.nodes as usize);
        let chosen: BTreeSet<AgentId> = chosen.collect();
        let is_whole = chosen.len() == need.nodes as usize;
        if is_whole {
            let kept = Reservation { sweep: sweep.id, priority: sweep.priority };
            self.reserved.extend(chosen.into_iter().map(|agent| (agent, kept)));
        }
        is_whole
    }

    /// Whether the agent has room now for what a variant needs.
    pub fn has_room(&mut self, agent: AgentId, variant: (SweepId, usize), need: &Resources) -> bool {
        let suited = self.suited(agent, variant, need);
        let site = self.sites.get(&agent);
        site.is_some_and(|site| fit::grant(need, &site.attached.inventory, &site.free, suited.as_ref()).is_some())
    }

    /// Nothing is kept free for the sweep any more.
    pub fn release(&mut self, sweep: SweepId) {
        for agent in self.kept_free_for(sweep) {
            self.reserved.remove(&agent);
            // Others, which found nothing there, look again.
            self.grow(agent);
        }
    }

    /// Nothing is kept free any more for sweeps for which `is_waiting` is not true.
    pub fn release_but_for(&mut self, is_waiting: impl Fn(SweepId) -> bool) {
        let over: BTreeSet<SweepId> =
            self.reserved.values().map(|kept| kept.sweep).filter(|id| !is_waiting(*id)).collect();
        over.into_iter().for_each(|sweep| self.release(sweep));
    }
}

/// The members in the order of their ranks: the first is one that `may_lead`, that the others reach, and that has a port for them to
/// meet at.
fn meeting(state: &State, mut offers: Vec<Offer>, variant: u32, may_lead: impl Fn(AgentId) -> bool) -> Option<Found> {
    let is_local = |(agent, ..): &Offer| {
        let attached = state.agent(*agent);
        attached.and_then(|attached| attached.inventory.rendezvous.as_ref()).is_none_or(|own| own.is_local())
    };
    let all_local = offers.iter().all(is_local);
    let is_reached = |offer: &Offer| all_local || !is_local(offer);
    let mut leads = offers.iter().enumerate().filter(|(_, offer)| may_lead(offer.0) && is_reached(offer));
    let (place, port) = leads.find_map(|(place, (agent, ..))| Some((place, free_port(state, *agent)?)))?;
    let (agent, grant, _) = offers.remove(place);
    let members = offers.into_iter().map(|(agent, grant, _)| LeasedMember { agent, grant }).collect();
    Some(Found { agent, grant, variant, members, port })
}

/// A port of the agent that no attempt holds which is led from the same machine. Not always the lowest: one that somebody else
/// has on that machine is not tried twice in a row.
fn free_port(state: &State, agent: AgentId) -> Option<u32> {
    let rendezvous = |agent| state.agent(agent).and_then(|attached| attached.inventory.rendezvous.as_ref());
    let own = rendezvous(agent)?;
    let there = state.leases.iter().filter(|(other, _)| rendezvous(**other).is_some_and(|r| r.address == own.address));
    let leading = there.flat_map(|(_, held)| held).filter(|(_, lease)| lease.rank == 0);
    let port = |(sweep, trial): &(SweepId, u32)| {
        let (_, attempt) = state.sweeps.get(sweep)?.trial(*trial)?.live()?;
        Some(attempt.gang.as_ref()?.port)
    };
    let taken: BTreeSet<u32> = leading.filter_map(|(trial, _)| port(trial)).collect();
    let from = state.applied.checked_rem(u64::from(own.ports))? as u32;
    let mut ports = (0..own.ports).map(|next| own.first_port + (from + next) % own.ports);
    ports.find(|port| !taken.contains(port))
}
