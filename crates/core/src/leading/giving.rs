//! The part of the leader's turn that gives places out, and takes them away for whoever has waited long.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heats_domain::{AgentId, Grant, Params, SweepId};

use super::{Leading, TurnError};
use crate::dispatch::{self, Next, Offer, Place, Seat, Suggestions};
use crate::fact::{Ending, Fact, SweepEdited, TrialRecalled};
use crate::ops::drain::{self, Running};
use crate::placement::order::Order;
use crate::placement::usage::Amounts;
use crate::placement::{self, Found, Free, Wish, preempt, quota};
use crate::sweep::Sweep;

/// What became of a sweep's next trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placed {
    /// It has a place, and the sweep may have another one.
    Somewhere,
    /// It fits nowhere now.
    Nowhere,
    /// There is none, or the sweep may not have a place.
    Not,
}

/// A place that is free.
const fn seat(found: Found) -> Seat {
    Seat { found, place: Place::Free }
}

impl Leading {
    /// Gives the free places of the attached agents to the sweeps that can use them.
    ///
    /// # Errors
    /// See [`TurnError`].
    pub fn dispatch(&mut self, suggestions: &mut dyn Suggestions) -> Result<(), TurnError> {
        self.probe();
        let hungry: BTreeSet<SweepId> = self.active().filter(|s| self.is_hungry(s)).map(|s| s.id).collect();
        let has_room = |sweep: &Sweep| quota::room(&self.draft, &self.usage, sweep, self.now_ms).is_ok();
        let may_wait = |id| hungry.contains(&id) && self.draft.sweeps.get(&id).is_some_and(|sweep| has_room(sweep));
        self.places.release_but_for(may_wait);
        let mut unplaced: BTreeSet<SweepId> = BTreeSet::new();
        let all = self.places.amounts();
        // Thousands of sweeps may wait. Only a new lease changes who comes first: without one, they are asked as they stand in line.
        let (mut line, mut is_in_order) = (hungry.into_iter().collect::<Vec<_>>(), false);
        loop {
            if !is_in_order {
                self.order(all).bring_first(&mut line);
            }
            let Some(id) = line.pop() else { break };
            let had = self.place(id, suggestions)?;
            if had == Placed::Somewhere {
                is_in_order = false;
                if self.sweep(id).is_some_and(|sweep| self.is_hungry(sweep)) {
                    line.push(id);
                }
                continue;
            }
            // A sweep that fits nowhere now, or has what it may have, leaves the rest to the others.
            if had == Placed::Nowhere {
                unplaced.insert(id);
            }
            if !is_in_order {
                self.order(all).line_up(&mut line);
                is_in_order = true;
            }
        }
        self.without_place.retain(|id, _| unplaced.contains(id));
        for id in unplaced {
            self.without_place.entry(id).or_insert(self.now_ms);
        }
        self.reserve()?;
        self.recall()
    }

    pub(super) fn sweep(&self, id: SweepId) -> Option<&Sweep> {
        self.draft.sweeps.get(&id).map(Arc::as_ref)
    }

    const fn order(&self, all: Amounts) -> Order<'_> {
        Order { state: &self.draft, usage: &self.usage, all }
    }

    /// Gives a place to the next trial of a sweep.
    fn place(&mut self, id: SweepId, suggestions: &mut dyn Suggestions) -> Result<Placed, TurnError> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Ok(Placed::Not) };
        let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { return Ok(Placed::Not) };
        let there = Next::there(sweep, self.promotion(sweep));
        if dispatch::depends_on_trial(sweep) || there.iter().any(|next| next.is_particular(sweep)) {
            return self.place_each(id, room, suggestions);
        }
        // The trial that is next goes where its checkpoint is, if there is a place.
        let wish = Wish { home: there.first().and_then(|next| next.home(sweep)), ..Wish::default() };
        let Some(found) = self.places.find(&self.draft, sweep, &wish, room) else { return Ok(Placed::Nowhere) };
        let may_go_on = self.lease(id, seat(found), suggestions)?;
        Ok(if may_go_on { Placed::Somewhere } else { Placed::Not })
    }

    /// The sweeps that have waited long for a place, the highest priority and the longest wait first.
    fn have_waited(&self) -> BTreeSet<(Reverse<u32>, u64, SweepId)> {
        let since = |(id, since_ms): (&SweepId, &u64)| {
            let has_waited = self.now_ms.saturating_sub(*since_ms) >= self.preempt_after_ms;
            let sweep = self.sweep(*id).filter(|_| has_waited)?;
            Some((Reverse(sweep.priority), *since_ms, *id))
        };
        self.without_place.iter().filter_map(since).collect()
    }

    /// Keeps agents free for the trials that span machines and have waited long, and takes places of lower priorities there.
    fn reserve(&mut self) -> Result<(), TurnError> {
        let mut recalled = 0;
        for (_, _, id) in self.have_waited() {
            let recalls = self.keep_free(id);
            if recalled < preempt::RECALLS_MAX {
                recalled += recalls.len();
                self.record_all(recalls.into_iter().map(Fact::TrialRecalled).collect())?;
            }
        }
        Ok(())
    }

    /// Keeps agents free for the sweep where each of its next trial's variants spans machines; what is to be taken away there.
    fn keep_free(&mut self, id: SweepId) -> Vec<TrialRecalled> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Vec::new() };
        let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { return Vec::new() };
        let first = Next::there(sweep, self.promotion(sweep)).into_iter().next();
        let wish = first.as_ref().map(|next| next.wish(sweep, self.now_ms)).unwrap_or_default();
        let needs = sweep.spec.variants().iter().enumerate();
        let needs: Vec<_> = needs.filter(|(place, need)| wish.allows(sweep, *place, need)).collect();
        let places = &mut self.places;
        // One that can do with one machine takes that.
        if !needs.iter().all(|(_, need)| need.spans_machines()) {
            places.release(id);
            return Vec::new();
        }
        let allowed: Vec<_> = needs.into_iter().filter(|(_, need)| need.gpu_parts_in_all() <= room).collect();
        let kept = allowed.iter().find(|kept| places.is_kept_free(id, **kept));
        let kept = kept.or_else(|| allowed.iter().find(|kept| places.keep_free(&self.draft, sweep, **kept)));
        let Some(&kept) = kept else {
            // There are too few that could ever do: others may come, but not in every turn.
            self.without_place.insert(id, self.now_ms);
            return Vec::new();
        };
        let mut recalls = BTreeMap::new();
        for agent in places.kept_free_for(id) {
            if !places.has_room(agent, (id, kept.0), kept.1) {
                let made = preempt::on_agent(&self.draft, places, sweep, kept, agent, u32::MAX);
                let made = made.into_iter().flat_map(|(_, recalls)| recalls);
                recalls.extend(made.map(|recall| ((recall.sweep, recall.trial), recall)));
            }
        }
        recalls.into_values().collect()
    }

    /// Takes places of lower priorities for sweeps that have waited long for one, the highest priority and the longest wait
    /// first.
    fn recall(&mut self) -> Result<(), TurnError> {
        let waiting = self.have_waited();
        let mut made = if waiting.is_empty() { BTreeMap::new() } else { preempt::being_made(&self.draft) };
        let mut recalled = 0;
        for (Reverse(priority), _, id) in waiting {
            let lower = self.active().any(|sweep| sweep.priority < priority && !sweep.live.is_empty());
            let Some(sweep) = self.draft.sweeps.get(&id).filter(|_| lower) else { continue };
            let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { continue };
            // See `reserve`.
            if !self.places.kept_free_for(id).is_empty() {
                continue;
            }
            if recalled >= preempt::RECALLS_MAX || *made.entry(id).or_default() >= dispatch::wants(sweep) {
                continue;
            }
            let first = Next::there(sweep, self.promotion(sweep)).into_iter().next();
            let wish = first.as_ref().map(|next| next.wish(sweep, self.now_ms)).unwrap_or_default();
            let recalls = preempt::recalls(&self.draft, &mut self.places, sweep, &wish, room);
            if recalls.is_empty() {
                self.without_place.insert(id, self.now_ms);
                continue;
            }
            recalled += recalls.len();
            self.record_all(recalls.into_iter().map(Fact::TrialRecalled).collect())?;
        }
        Ok(())
    }

    /// Gives a place to a trial of a sweep whose trials do not all want the same: to the first of those that are there which
    /// fits somewhere. Else the next one is created, and waits where it fits nowhere.
    fn place_each(&mut self, id: SweepId, room: u64, suggestions: &mut dyn Suggestions) -> Result<Placed, TurnError> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Ok(Placed::Not) };
        let there = Next::there(sweep, self.promotion(sweep));
        let is_bound = there.iter().any(|next| next.bound_to(sweep).is_some());
        for next in there {
            let wish = next.wish(sweep, self.now_ms);
            let found = match next.bound_to(sweep) {
                Some(homes) => homes.iter().find_map(|home| self.places.find_at(home, &self.draft, sweep, &wish, room)),
                None => self.places.find(&self.draft, sweep, &wish, room),
            };
            if let Some(found) = found {
                let storages = self.draft.places(found.agent);
                let facts = next.facts(sweep, Some(seat(found)), storages);
                self.record_all(facts)?;
                return Ok(Placed::Somewhere);
            }
        }
        // With all places taken, it is better proposed late.
        let has_place = self.places.find(&self.draft, sweep, &Wish::default(), room).is_some();
        if !dispatch::may_propose(sweep) || !has_place {
            // Other agents' places are of no use to who waits for a certain one.
            return Ok(if is_bound && has_place { Placed::Not } else { Placed::Nowhere });
        }
        let next = match Next::new(sweep, suggestions) {
            Ok(next) => next,
            Err(offer) => {
                let may_go_on = self.without_offer(id, offer)?;
                return Ok(if may_go_on { Placed::Somewhere } else { Placed::Not });
            }
        };
        let found = self.places.find(&self.draft, sweep, &next.wish(sweep, self.now_ms), room);
        let has_variant = |params: &Params| sweep.spec.variants().iter().any(|need| need.is_for(params));
        let stranded = next.params(sweep).is_some_and(|params| !has_variant(&params));
        let number = sweep.created();
        let mut facts = next.facts(sweep, found.map(seat), &[]);
        if stranded {
            facts.push(dispatch::without_variant(sweep, number));
        }
        self.record_all(facts)?;
        Ok(Placed::Somewhere)
    }

    /// Leases trials of sweeps whose trials are short ahead of their places, one for each attempt that runs at
    /// an agent, so that a place that becomes free need not wait for this leader. To be called after
    /// [`Leading::dispatch`]: only what fits nowhere now is leased so.
    ///
    /// # Errors
    /// See [`TurnError`].
    pub fn dispatch_ahead(&mut self, suggestions: &mut dyn Suggestions) -> Result<(), TurnError> {
        let brisk = |sweep: &Arc<Sweep>| {
            // One that failed is not leased ahead: it may want another agent.
            let is_plain = || !Next::there(sweep, None).iter().any(|next| next.is_particular(sweep));
            let need = dispatch::brisk(sweep).filter(|_| self.is_hungry(sweep) && is_plain());
            need.is_some_and(|need| !self.places.have_room_for(sweep, need))
        };
        let mut sweeps: Vec<SweepId> = self.active().filter(|s| brisk(s)).map(|s| s.id).collect();
        let agents: Vec<AgentId> = if sweeps.is_empty() { Vec::new() } else { self.places.agents().collect() };
        for agent in agents {
            while let Some((id, grant)) = self.next_ahead(&sweeps, agent) {
                let found = Found::alone(agent, grant, 0);
                if !self.lease(id, Seat { found, place: Place::Ahead }, suggestions)? {
                    sweeps.retain(|&other| other != id);
                }
            }
        }
        Ok(())
    }

    /// Which of `sweeps` leases a trial ahead at `agent` next, where the agent may have another one.
    fn next_ahead(&self, sweeps: &[SweepId], agent: AgentId) -> Option<(SweepId, Grant)> {
        let held = self.draft.leases.get(&agent)?;
        let ahead = held.values().filter(|lease| lease.ahead).count();
        if ahead * 2 >= held.len() {
            return None;
        }
        let whole = &self.draft.agent(agent)?.inventory;
        let (free, least) = (Free::whole(whole), self.draft.least_priority(agent));
        let grant = |sweep: &Sweep| placement::grant(dispatch::brisk(sweep)?, whole, &free, None);
        let may_have = |sweep: &&Sweep| {
            let room = quota::room(&self.draft, &self.usage, sweep, self.now_ms);
            let may_be_there = sweep.priority >= least && self.places.admits(agent, sweep.id, sweep.priority);
            self.is_hungry(sweep) && may_be_there && room.is_ok() && grant(sweep).is_some()
        };
        let id =
            self.order(self.places.amounts()).first(sweeps.iter().filter_map(|id| self.sweep(*id)).filter(may_have))?;
        Some((id, grant(self.sweep(id)?)?))
    }

    /// Leases the next trial of a sweep; whether the sweep may have another one.
    fn lease(&mut self, id: SweepId, seat: Seat, suggestions: &mut dyn Suggestions) -> Result<bool, TurnError> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Ok(false) };
        let storages = self.draft.places(seat.found.agent);
        match Next::of(sweep, storages, self.promotion(sweep), suggestions) {
            Ok(next) => {
                let facts = next.facts(sweep, Some(seat), storages);
                self.record_all(facts)?;
                Ok(true)
            }
            Err(offer) => self.without_offer(id, offer),
        }
    }

    /// What follows from it that a sweep has no configuration to offer; whether it may have another one.
    fn without_offer(&mut self, id: SweepId, offer: Offer) -> Result<bool, TurnError> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Ok(false) };
        match offer {
            Offer::Exhausted => {
                let proposed = sweep.proposed;
                let why = format!("every configuration of the space was tried, {proposed} in all");
                self.propose_no_more(id, proposed, why)
            }
            Offer::Enough { why } => {
                let proposed = sweep.proposed;
                self.propose_no_more(id, proposed, why)
            }
            // A point that a user asked for, and that no configuration can hold, is that trial's own end.
            Offer::Infeasible { .. } if !sweep.queue.is_empty() => {
                self.record_all(dispatch::reject(sweep))?;
                Ok(true)
            }
            Offer::Infeasible { draws } => {
                let why = format!("no configuration that satisfies the constraints was found in {draws} draws");
                let facts = drain::drain(sweep, Ending::Failed, why, Running::Finish);
                self.record_all(facts)?;
                Ok(false)
            }
            Offer::Later | Offer::Ready { .. } => Ok(false),
        }
    }

    /// The sweep's budget ends with the trials that were proposed; so it gets no other one.
    fn propose_no_more(&mut self, sweep: SweepId, proposed: u32, why: String) -> Result<bool, TurnError> {
        let trials = Some(proposed);
        self.record_all(vec![Fact::SweepEdited(SweepEdited { sweep, trials, parallel: None, why, priority: None })])?;
        Ok(false)
    }
}
