//! The part of the leader's turn that gives places out, and takes them away for whoever has waited long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heats_domain::{AgentId, Grant, Params, SweepId};

use super::{Leading, TurnError};
use crate::dispatch::{self, Next, Offer, Place, Seat, Suggestions};
use crate::fact::{Ending, Fact, QuotaScope, SweepEdited, TrialRecalled};
use crate::ops::drain::{self, Running};
use crate::placement::line::QueueKey;
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
    /// Its project or its user has what it may have.
    Refused,
    /// There is none: the sweep has no configuration to offer now, or what it has waits for a certain agent.
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
        self.catch_up();
        let Self { places, line, draft, usage, now_ms, .. } = self;
        let has_room = |sweep: &Arc<Sweep>| quota::room(draft, usage, sweep, *now_ms).is_ok();
        places.release_but_for(|id| line.has(id) && draft.sweeps.get(&id).is_some_and(has_room));
        let aside = self.give(suggestions)?;
        self.line.note_waits(self.now_ms);
        // They are asked again in the next turn.
        self.changed.extend(aside);
        self.reserve()?;
        self.recall()
    }

    /// Has what is kept of the sweeps follow what was recorded.
    pub(super) fn catch_up(&mut self) {
        for id in std::mem::take(&mut self.changed) {
            let Some(sweep) = self.draft.sweeps.get(&id).filter(|_| self.active.contains(&id)) else {
                self.line.leave(id);
                self.roster.remove(id);
                continue;
            };
            self.roster.put(sweep);
            match self.asks(sweep) {
                Some((is_apart, is_brisk)) => self.line.put(sweep, is_apart, is_brisk),
                None => self.line.leave(id),
            }
        }
    }

    /// Whether the sweep stands apart in the line, and whether its trials may be leased ahead; `None` where it asks for nothing.
    pub(super) fn asks(&self, sweep: &Sweep) -> Option<(bool, bool)> {
        let promotion = self.promotion(sweep);
        if !dispatch::is_hungry(sweep, promotion.is_some()) {
            return None;
        }
        let is_apart = dispatch::stands_apart(sweep, promotion);
        // One that failed is not leased ahead: it may want another agent.
        let is_brisk = dispatch::brisk(sweep).is_some() && (!is_apart || !dispatch::stands_apart(sweep, None));
        Some((is_apart, is_brisk))
    }

    /// Gives places until nobody in line can have one; the sweeps that could, and had no trial for it.
    fn give(&mut self, suggestions: &mut dyn Suggestions) -> Result<BTreeSet<SweepId>, TurnError> {
        let (mut aside, mut in_vain) = (BTreeSet::new(), BTreeSet::new());
        let mut queues = self.open_queues();
        if queues.is_empty() {
            return Ok(aside);
        }
        // There may be many queues. Only a new lease changes who comes first: without one, they are asked as they stand.
        let (all, mut is_in_order) = (self.places.amounts(), false);
        loop {
            if !is_in_order {
                self.order(all).bring_first(&mut queues);
            }
            let Some(queue) = queues.pop() else { break };
            let Some((_, id)) = self.line.front(&queue) else { continue };
            let keeps = !self.places.kept_free_for(id).is_empty();
            let placed = self.place(id, suggestions)?;
            self.catch_up();
            match placed {
                // What was kept free for a trial that has found its places is there for everybody who found none.
                Placed::Somewhere if keeps && self.places.kept_free_for(id).is_empty() => {
                    in_vain.clear();
                    queues = self.open_queues();
                    is_in_order = false;
                    continue;
                }
                Placed::Somewhere => {
                    is_in_order = false;
                    let now = self.line.queue_of(id).filter(|now| **now != queue);
                    let is_new = |now: &&QueueKey| !in_vain.contains(*now) && !queues.contains(*now);
                    queues.extend(
                        now.filter(is_new).filter(|now| self.line.is_open(now, self.places.growths())).cloned(),
                    );
                    queues.push(queue);
                    continue;
                }
                Placed::Not => {
                    self.line.leave(id);
                    aside.insert(id);
                    if self.line.front(&queue).is_none() {
                        continue;
                    }
                    queues.push(queue);
                    is_in_order = false;
                    continue;
                }
                // Whoever fits nowhere now, or has what it may have, leaves the rest to the others.
                Placed::Nowhere => self.line.close(&queue, self.closed_at(&queue, id)),
                Placed::Refused => self.line.refuse(&queue),
            }
            in_vain.insert(queue);
            if !is_in_order {
                self.order(all).line_up(&mut queues);
                is_in_order = true;
            }
        }
        Ok(aside)
    }

    /// The queues of sweeps for which there may be a place.
    fn open_queues(&self) -> Vec<QueueKey> {
        let growths = self.places.growths();
        self.line.queues().filter(|queue| self.line.is_open(queue, growths)).cloned().collect()
    }

    /// How often the places have grown, where a sweep of the queue that finds none now finds none before there is more room.
    fn closed_at(&self, queue: &QueueKey, id: SweepId) -> Option<u64> {
        let quota = |scope, name| self.draft.quota(scope, name).is_some();
        let is_limited = quota(QuotaScope::Project, &queue.project) || quota(QuotaScope::User, &queue.user);
        // A trial that failed goes back to where it did so after a while.
        let is_patient =
            |sweep: &Sweep| Next::there(sweep, self.promotion(sweep)).iter().any(|next| next.is_particular(sweep));
        let follows_from_room = !is_limited && !self.sweep(id).is_some_and(is_patient);
        follows_from_room.then(|| self.places.growths())
    }

    pub(super) fn sweep(&self, id: SweepId) -> Option<&Sweep> {
        self.draft.sweeps.get(&id).map(Arc::as_ref)
    }

    const fn order(&self, all: Amounts) -> Order<'_> {
        Order { state: &self.draft, usage: &self.usage, all, line: &self.line }
    }

    /// Gives a place to the next trial of a sweep.
    fn place(&mut self, id: SweepId, suggestions: &mut dyn Suggestions) -> Result<Placed, TurnError> {
        let Some(sweep) = self.draft.sweeps.get(&id) else { return Ok(Placed::Not) };
        let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { return Ok(Placed::Refused) };
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

    /// Keeps agents free for the trials that span machines and have waited long, and takes places of lower priorities there.
    fn reserve(&mut self) -> Result<(), TurnError> {
        let mut recalled = 0;
        let Some(since_ms) = self.now_ms.checked_sub(self.preempt_after_ms) else { return Ok(()) };
        for (_, _, id) in self.line.have_waited_apart(since_ms) {
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
            self.line.wait_anew(id, self.now_ms);
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
        // Nothing is taken from the same priority.
        let Some(lowest) = self.roster.lowest_running() else { return Ok(()) };
        let Some(since_ms) = self.now_ms.checked_sub(self.preempt_after_ms) else { return Ok(()) };
        let waiting = self.line.have_waited(lowest, since_ms);
        let mut made = if waiting.is_empty() { BTreeMap::new() } else { preempt::being_made(&self.draft) };
        let (mut recalled, mut in_vain) = (0, BTreeSet::new());
        for id in waiting {
            if recalled >= preempt::RECALLS_MAX {
                break;
            }
            let Some((sweep, queue)) = self.draft.sweeps.get(&id).zip(self.line.queue_of(id).cloned()) else {
                continue;
            };
            let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { continue };
            // See `reserve`.
            if !self.places.kept_free_for(id).is_empty() {
                continue;
            }
            if *made.entry(id).or_default() >= dispatch::wants(sweep) {
                continue;
            }
            // Where nothing could be taken for one of a queue, there is nothing for the others.
            if in_vain.contains(&queue) {
                self.line.wait_anew(id, self.now_ms);
                continue;
            }
            let first = Next::there(sweep, self.promotion(sweep)).into_iter().next();
            let wish = first.as_ref().map(|next| next.wish(sweep, self.now_ms)).unwrap_or_default();
            let recalls = preempt::recalls(&self.draft, &mut self.places, sweep, &wish, room);
            if recalls.is_empty() {
                in_vain.insert(queue);
                self.line.wait_anew(id, self.now_ms);
                continue;
            }
            in_vain.clear();
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
        self.catch_up();
        let mut aside = BTreeSet::new();
        // Of a queue, the first speaks for all: they ask for the same.
        let is_full = |queue: &&QueueKey| {
            let first = self.line.brisk_front(queue).and_then(|(_, id)| self.sweep(id));
            first
                .is_some_and(|sweep| dispatch::brisk(sweep).is_some_and(|need| !self.places.have_room_for(sweep, need)))
        };
        let queues: Vec<QueueKey> = self.line.brisk_queues().filter(is_full).cloned().collect();
        let agents: Vec<AgentId> = if queues.is_empty() { Vec::new() } else { self.places.agents().collect() };
        let all = self.places.amounts();
        for agent in agents {
            while let Some((id, grant)) = self.next_ahead(&queues, agent, all) {
                let found = Found::alone(agent, grant, 0);
                let may_go_on = self.lease(id, Seat { found, place: Place::Ahead }, suggestions)?;
                self.catch_up();
                if !may_go_on {
                    self.line.leave(id);
                    aside.insert(id);
                }
            }
        }
        // They are asked again in the next turn.
        self.changed.extend(aside);
        Ok(())
    }

    /// Which sweep of `queues` leases a trial ahead at `agent` next, where the agent may have another one.
    fn next_ahead(&self, queues: &[QueueKey], agent: AgentId, all: Amounts) -> Option<(SweepId, Grant)> {
        let held = self.draft.leases.get(&agent)?;
        let ahead = held.values().filter(|lease| lease.ahead).count();
        if ahead * 2 >= held.len() {
            return None;
        }
        let whole = &self.draft.agent(agent)?.inventory;
        let (free, least) = (Free::whole(whole), self.draft.least_priority(agent));
        let may_have = |queue| {
            let rank = self.line.brisk_front(queue)?;
            let sweep = self.sweep(rank.1)?;
            let room = quota::room(&self.draft, &self.usage, sweep, self.now_ms);
            let may_be_there = sweep.priority >= least && self.places.admits(agent, sweep.id, sweep.priority);
            let grant = placement::grant(dispatch::brisk(sweep)?, whole, &free, None)?;
            (may_be_there && room.is_ok()).then_some((queue, rank, grant))
        };
        let ((_, id), grant) = self.order(all).first(queues.iter().filter_map(may_have))?;
        Some((id, grant))
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
