//! The part of the oracle that gives places out.

use std::collections::BTreeSet;

use heats_core::Ending;
use heats_domain::TrialState;

use crate::oracle::{Ask, Attempt, Oracle, Sweep, Trial, ask};

impl Oracle {
    /// The lowest agent that may be given something and has room, and the GPUs that it gives. A trial that failed goes to one
    /// on which it has not, and for a minute to no other one as long as there is any that could run it.
    fn place(&self, sweep: &Sweep, trial: Option<&Trial>) -> Option<(u64, BTreeSet<u32>)> {
        let gpus = sweep.kind.gpus;
        let offers: Vec<(u64, BTreeSet<u32>)> = self
            .agents
            .keys()
            .filter(|id| self.is_open(**id))
            .filter_map(|id| {
                let held = self.held(*id);
                let taken: BTreeSet<u32> = held
                    .iter()
                    .flat_map(|key| self.sweeps[&key.sweep.bits].trials[&key.trial].attempts.last())
                    .flat_map(|attempt| attempt.gpus.iter().copied())
                    .collect();
                let agent = &self.agents[id];
                let free: Vec<u32> = (0..agent.gpus).filter(|gpu| !taken.contains(gpu)).collect();
                let fits = held.len() < agent.cpus as usize && free.len() >= gpus as usize;
                fits.then(|| (*id, free.into_iter().take(gpus as usize).collect()))
            })
            .collect();
        let avoided = trial.map(Trial::failed_on).unwrap_or_default();
        let other = offers.iter().find(|(id, _)| !avoided.contains(id));
        let could = |id: &&u64| !avoided.contains(*id) && self.is_open(**id) && self.is_large_enough(sweep, **id);
        let ended = trial.and_then(|trial| trial.attempts.last()?.ended).unwrap_or(0);
        let waits = self.now < ended + 60_000 && self.agents.keys().find(could).is_some();
        other.or_else(|| offers.first().filter(|_| !waits)).cloned()
    }

    pub fn dispatch(&mut self, salt: u64) {
        let now = self.now;
        let mut done = BTreeSet::new();
        loop {
            let hungry = self.sweeps.iter().filter(|(id, sweep)| sweep.hungry() && !done.contains(*id));
            let Some(id) = hungry.min_by_key(|(id, sweep)| (sweep.live().len(), **id)).map(|(id, _)| *id) else {
                return;
            };
            let sweep = &self.sweeps[&id];
            let waiting: Vec<u32> = sweep.waiting();
            let waiting = &waiting[..waiting.len().min(16)];
            let particular = waiting.iter().any(|number| !sweep.trials[number].failed_on().is_empty());
            // Without one that failed, the first that waits has the first place, or nobody has.
            let asking = if particular { waiting } else { &waiting[..waiting.len().min(1)] };
            let mut placed = asking.iter().filter_map(|n| Some((Some(*n), self.place(sweep, Some(&sweep.trials[n]))?)));
            let next = placed.next();
            let may_propose = particular && sweep.proposed() < sweep.max && sweep.waiting().len() < 16;
            let new =
                || self.place(sweep, None).filter(|_| waiting.is_empty() || may_propose).map(|place| (None, place));
            let Some((number, (agent, gpus))) = next.or_else(new) else {
                done.insert(id);
                continue;
            };
            let sweep = self.sweeps.get_mut(&id).expect("is there");
            let lease = Attempt { agent, gpus, leased: now, ..Attempt::default() };
            if let Some(number) = number {
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
                Ask::Ready => create(TrialState::Leased, vec![lease]),
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
    }
}
