//! The part of the oracle that gives places out.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::Ending;
use heats_core::ops::attempts::Key;
use heats_domain::TrialState;

use crate::oracle::{Ask, Attempt, Oracle, Sweep, Trial, ask};

/// What the leader remembers of sweeps whose trials span machines, and wait for places.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Since when each waits.
    since: BTreeMap<u64, u64>,
    /// Which agents are kept free for which.
    kept: BTreeMap<u64, u64>,
}

impl Queue {
    fn forget(&mut self, sweep: u64) {
        self.since.remove(&sweep);
        self.kept.retain(|_, other| *other != sweep);
    }
}

impl Oracle {
    /// The GPUs that an agent has left for a trial of the sweep, where it has room for one.
    fn room(&self, sweep: &Sweep, id: u64) -> Option<BTreeSet<u32>> {
        let held = self.held(id);
        let member = |key: &Key| {
            let trial = &self.sweeps[&key.sweep.bits].trials[&key.trial];
            trial.member(self.rank(id, *key).expect("is held"))
        };
        let taken: BTreeSet<u32> = held.iter().filter_map(member).flat_map(|m| m.gpus.iter().copied()).collect();
        let (agent, gpus) = (&self.agents[&id], sweep.kind.gpus as usize);
        let free: Vec<u32> = self.open_gpus(id).difference(&taken).copied().collect();
        let fits = held.len() < agent.cpus as usize && free.len() >= gpus;
        fits.then(|| free.into_iter().take(gpus).collect())
    }

    /// The lowest agents that may be given something and have room, and the GPUs that each gives. A trial that failed goes to
    /// one on which it has not, and for a minute to no other one as long as there is any that could run it. One that spans
    /// machines has all of them at once, and does not wait for others.
    fn places(&self, id: u64, trial: Option<&Trial>) -> Option<Vec<(u64, BTreeSet<u32>)>> {
        let sweep = &self.sweeps[&id];
        let admits = |agent: &u64| self.is_open(*agent) && self.queue.kept.get(agent).is_none_or(|kept| *kept == id);
        let open = self.agents.keys().copied().filter(admits);
        let mut offers: Vec<(u64, BTreeSet<u32>)> =
            open.filter_map(|agent| Some((agent, self.room(sweep, agent)?))).collect();
        let avoided = trial.map(Trial::failed_on).unwrap_or_default();
        offers.sort_by_key(|(agent, _)| (avoided.contains(agent), *agent));
        offers.truncate(sweep.kind.nodes as usize);
        let could = |id: &&u64| !avoided.contains(*id) && self.is_open(**id) && self.is_large_enough(sweep, **id);
        let ended = trial.and_then(|trial| trial.attempts.last()?.ended).unwrap_or(0);
        let waits = self.now < ended + 60_000 && self.agents.keys().find(could).is_some();
        match &offers[..] {
            [(agent, _)] if sweep.kind.nodes == 1 && avoided.contains(agent) && waits => None,
            _ => (offers.len() == sweep.kind.nodes as usize).then_some(offers),
        }
    }

    /// Keeps agents free for those that have waited 30 seconds: those with room, then those that hold the least.
    fn keep_free(&mut self) {
        let long = self.queue.since.iter().filter(|(_, since)| self.now.saturating_sub(**since) >= 30_000);
        let waiting: BTreeSet<(u64, u64)> = long.map(|(id, since)| (*since, *id)).collect();
        for (_, id) in waiting {
            let sweep = &self.sweeps[&id];
            let has_gpus = |agent| self.open_gpus(agent).len() >= sweep.kind.gpus as usize;
            let could = |agent: &u64| self.is_open(*agent) && self.is_large_enough(sweep, *agent) && has_gpus(*agent);
            let own: Vec<u64> = self.queue.kept.iter().filter(|(_, kept)| **kept == id).map(|(a, _)| *a).collect();
            if own.len() == sweep.kind.nodes as usize && own.iter().all(could) {
                continue;
            }
            let admits = |agent: &u64| self.queue.kept.get(agent).is_none_or(|kept| *kept == id);
            let mut agents: Vec<u64> =
                self.agents.keys().copied().filter(|agent| could(agent) && admits(agent)).collect();
            agents.sort_by_key(|agent| (self.room(sweep, *agent).is_none(), self.held(*agent).len(), *agent));
            agents.truncate(sweep.kind.nodes as usize);
            let is_whole = agents.len() == sweep.kind.nodes as usize;
            self.queue.kept.retain(|_, other| *other != id);
            if is_whole {
                self.queue.kept.extend(agents.into_iter().map(|agent| (agent, id)));
            } else {
                self.queue.since.insert(id, self.now);
            }
        }
    }

    pub fn dispatch(&mut self, salt: u64) {
        let now = self.now;
        let (mut done, mut unplaced, mut in_vain) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let Self { queue, sweeps, .. } = self;
        queue.kept.retain(|_, id| sweeps.get(id).is_some_and(Sweep::hungry));
        loop {
            let hungry = self.sweeps.iter().filter(|(id, sweep)| sweep.hungry() && !done.contains(*id));
            let Some(id) = hungry.min_by_key(|(id, sweep)| (sweep.live().len(), **id)).map(|(id, _)| *id) else {
                break;
            };
            let sweep = &self.sweeps[&id];
            let waiting: Vec<u32> = sweep.waiting();
            let waiting = &waiting[..waiting.len().min(16)];
            let particular = waiting.iter().any(|number| !sweep.trials[number].failed_on().is_empty());
            // Without one that failed, the first that waits has the first place, or nobody has.
            let asking = if particular { waiting } else { &waiting[..waiting.len().min(1)] };
            let mut placed = asking.iter().filter_map(|n| Some((Some(*n), self.places(id, Some(&sweep.trials[n]))?)));
            let next = placed.next();
            let may_propose = particular && sweep.proposed() < sweep.max && sweep.waiting().len() < 16;
            let new =
                || self.places(id, None).filter(|_| waiting.is_empty() || may_propose).map(|places| (None, places));
            let Some((number, seats)) = next.or_else(new) else {
                unplaced.extend((sweep.kind.nodes > 1).then_some(id));
                in_vain.insert(id);
                done.insert(id);
                continue;
            };
            let sweep = self.sweeps.get_mut(&id).expect("is there");
            let lease = Attempt::of(seats, now);
            // What was kept free for it will be there for everybody again, also for those who found nothing.
            let had_kept = self.queue.kept.values().any(|kept| *kept == id);
            if let Some(number) = number {
                self.queue.forget(id);
                if had_kept {
                    done = &done - &std::mem::take(&mut in_vain);
                }
                let trial = sweep.trials.get_mut(&number).expect("is there");
                trial.attempts.push(lease);
                trial.state = Some(TrialState::Leased);
                continue;
            }
            let (created, proposed, fixed) = (sweep.created(), sweep.proposed(), sweep.queue > 0);
            let mut create = |state, attempts| {
                sweep.queue = sweep.queue.saturating_sub(1);
                sweep.trials.insert(created, Trial { state: Some(state), attempts, ..Trial::default() });
            };
            match ask(salt, id, sweep.kind.space, proposed, fixed) {
                Ask::Ready => {
                    create(TrialState::Leased, vec![lease]);
                    self.queue.forget(id);
                    if had_kept {
                        done = &done - &std::mem::take(&mut in_vain);
                    }
                }
                Ask::Infeasible if fixed => create(TrialState::Infeasible, Vec::new()),
                Ask::Later => {
                    done.insert(id);
                }
                Ask::Exhausted => {
                    sweep.max = proposed;
                    done.insert(id);
                }
                Ask::Infeasible => {
                    sweep.drain(Ending::Failed, None);
                    done.insert(id);
                }
            }
            self.sweeps.get_mut(&id).expect("is there").follow(now);
        }
        self.queue.since.retain(|id, _| unplaced.contains(id));
        for id in unplaced {
            self.queue.since.entry(id).or_insert(now);
        }
        self.keep_free();
    }
}
