//! What the oracle knows of agents that come, go, are drained and lose what they hold.

use std::collections::BTreeSet;

use heats_core::ops::attempts::Key;
use heats_domain::{SweepId, TrialState};

use crate::attempts::well_on;
use crate::oracle::{Agent, Answer, End, Member, Oracle, Outcome};

impl Oracle {
    /// The attempts that an agent has leases for.
    pub fn held(&self, agent: u64) -> Vec<Key> {
        let mut keys = Vec::new();
        for (id, sweep) in &self.sweeps {
            for number in sweep.live() {
                let attempt = sweep.trials[&number].attempts.len() as u32;
                let key = Key { sweep: SweepId { bits: *id }, trial: number, attempt };
                keys.extend(self.rank(agent, key).map(|_| key));
            }
        }
        keys
    }

    /// Which member of a live attempt the agent has.
    pub fn rank(&self, agent: u64, key: Key) -> Option<u32> {
        let attempt = self.sweeps.get(&key.sweep.bits)?.trials.get(&key.trial)?.live()?;
        let is_its = |member: &Member| member.agent == agent && member.ran.is_none();
        attempt.members.iter().position(is_its).map(|rank| rank as u32)
    }

    /// Of these attempts, the members of these ranks are lost.
    fn lose(&mut self, keys: &[(Key, u32)]) {
        let now = self.now;
        for (key, rank) in keys {
            let sweep = self.sweeps.get_mut(&key.sweep.bits).expect("is there");
            let started = sweep.trials[&key.trial].member(*rank).and_then(|member| member.started);
            let ran = started.map_or(0, |since| now - since);
            sweep.end(
                key.trial,
                *rank,
                End { ran, outcome: Outcome::NotItsFault, failed: true, own_failure: false },
                now,
            );
        }
        // One that had ended well before it lost its last member has worked on all of them.
        let attempts = keys.iter().map(|(key, _)| self.sweeps[&key.sweep.bits].trials[&key.trial].attempts.last());
        let gangs = attempts.flatten().filter(|attempt| attempt.only_agent().is_none());
        let well: Vec<_> = gangs.map(|attempt| (well_on(attempt), attempt.leased)).collect();
        for (parts, leased) in well {
            self.heard(&parts, leased, true);
        }
        for (key, _) in keys {
            self.sweeps.get_mut(&key.sweep.bits).expect("is there").follow(now);
        }
    }

    fn held_ranks(&self, agent: u64) -> Vec<(Key, u32)> {
        self.held(agent).into_iter().filter_map(|key| Some((key, self.rank(agent, key)?))).collect()
    }

    pub fn attach(&mut self, agent: u64, cpus: u32, gpus: u32, able: bool, holding: &BTreeSet<Key>) -> Answer {
        let old = self.agents.remove(&agent).unwrap_or_default();
        self.agents.insert(agent, Agent { cpus, gpus, attached: true, able, ..old });
        let held = self.held(agent);
        let (mut stop, mut run, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for key in &held {
            let rank = self.rank(agent, *key).expect("is held");
            let trial = &self.sweeps[&key.sweep.bits].trials[&key.trial];
            let has_begun = match rank {
                0 => trial.state() == TrialState::Running,
                _ => trial.member(rank).is_some_and(|member| member.started.is_some()),
            };
            match (holding.contains(key), trial.is_being_ended()) {
                (true, true) => stop.push(*key),
                (true, false) => {}
                (false, false) if !has_begun => run.push(*key),
                (false, _) => lost.push((*key, rank)),
            }
        }
        self.lose(&lost);
        Answer::Attached { kill: holding.iter().filter(|key| !held.contains(key)).copied().collect(), stop, run }
    }

    pub fn expire(&mut self, agent: u64) -> Answer {
        self.detach(agent);
        self.lose(&self.held_ranks(agent));
        Answer::Done
    }

    /// What ran until the backup is lost, and nobody is attached. No time has passed since it was taken.
    pub fn restore(&mut self, lineage: u64) -> Answer {
        self.lineage = lineage;
        self.agents.values_mut().for_each(|agent| agent.attached = false);
        let mut held: Vec<(Key, u32)> = self.agents.keys().flat_map(|agent| self.held_ranks(*agent)).collect();
        held.sort_unstable();
        self.lose(&held);
        Answer::Done
    }

    pub fn able(&mut self, agent: u64, able: bool) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.able = able;
        }
    }

    pub fn drain(&mut self, agent: u64, reason: &str, now: bool) -> Answer {
        let Some(agent) = self.agents.get_mut(&agent) else { return Answer::Refused("H0020") };
        let (old, ending) = agent.drained.clone().unwrap_or_default();
        let reason = if reason.is_empty() { old } else { reason.to_owned() };
        agent.drained = Some((reason, now || ending));
        Answer::Done
    }

    pub fn undrain(&mut self, agent: u64) -> Answer {
        let Some(agent) = self.agents.get_mut(&agent) else { return Answer::Refused("H0020") };
        agent.drained = None;
        Answer::Done
    }

    pub fn detach(&mut self, agent: u64) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.attached = false;
        }
    }
}
