//! The part of the oracle that knows machines: how attempts fared on each, who is left alone for it, and where a trial that failed
//! goes next. Every count is made again at every question.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::ops::attempts::End;
use heats_domain::TrialState;

use crate::oracle::{Answer, Attempt, Oracle, Standing, Sweep};

/// What happened to an attempt, as far as it says something about its machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum What {
    Started,
    Worked,
    Failed { unstarted: bool, ran: u64 },
}

#[derive(Clone, Copy, Debug)]
pub struct Happened {
    pub agent: u64,
    /// In which entry.
    pub entry: u64,
    pub trial: u32,
    pub attempt: usize,
    pub what: What,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quarantine {
    pub since: u64,
    pub until: u64,
    pub delay: u64,
    pub proven: bool,
}

enum Verdict {
    Alone(u64, Quarantine, Vec<(u64, Happened)>),
    Trusted(u64),
}

/// Whether an end is the process's own failure, or its machine's, and whether it never began.
pub fn own(end: End) -> Option<bool> {
    match end {
        End::Exited(0 | 65) | End::Infeasible | End::Lost | End::Stopped | End::Preempted => None,
        End::Exited(_) | End::Signaled(_) | End::OutOfMemory | End::TimedOut => Some(false),
        End::StartFailed => Some(true),
    }
}

impl Oracle {
    fn is_quarantined(&self, agent: u64) -> bool {
        self.agents.get(&agent).is_some_and(|agent| agent.quarantine.is_some())
    }

    /// Whether a failure there is put down to the machine.
    pub fn excuses(&self, agent: u64, unstarted: bool) -> bool {
        self.agents.get(&agent).and_then(|agent| agent.quarantine).is_some_and(|q| q.proven || unstarted)
    }

    /// Whether the agent may be given something.
    pub fn is_open(&self, id: u64) -> bool {
        let agent = &self.agents[&id];
        let leased =
            self.held(id).into_iter().map(|key| self.sweeps[&key.sweep.bits].trials[&key.trial].attempts.last());
        let mut leased = leased.flatten().map(|attempt| attempt.leased);
        let let_through =
            agent.quarantine.is_none_or(|q| self.now >= q.until && leased.all(|leased| leased <= q.since));
        agent.attached && agent.able && agent.drained.is_none() && let_through
    }

    /// The failures on an agent since an attempt there worked or somebody released it.
    fn streak(&self, agent: u64) -> Vec<(u64, Happened)> {
        let here = || {
            let live = self.sweeps.iter().filter(|(_, sweep)| !sweep.over());
            live.flat_map(|(id, sweep)| sweep.happened.iter().map(|one| (*id, *one)))
                .filter(|(_, one)| one.agent == agent)
        };
        let worked = here().filter(|(_, one)| one.what == What::Worked).map(|(_, one)| one.entry).max().unwrap_or(0);
        let since = worked.max(self.agents.get(&agent).map_or(0, |agent| agent.released));
        let mut streak: Vec<(u64, Happened)> =
            here().filter(|(_, one)| matches!(one.what, What::Failed { .. }) && one.entry > since).collect();
        // In one entry a sweep may have had a success after a failure, but the entry of that is excluded as a whole.
        streak.sort_by_key(|(id, one)| (one.entry, *id, one.trial, one.attempt));
        streak
    }

    /// How likely so many different trials fail, as likely as attempts do elsewhere; and whether any works there.
    fn likelihood(&self, agent: u64, failures: &[(u64, Happened)]) -> (f64, bool) {
        let mut longest: BTreeMap<u64, u64> = BTreeMap::new();
        for (id, one) in failures {
            if let What::Failed { ran, .. } = one.what {
                let most = longest.entry(*id).or_default();
                *most = ran.max(*most);
            }
        }
        let (mut all, mut works) = (1.0, false);
        for (id, one) in failures.iter().rev() {
            let unstarted = matches!(one.what, What::Failed { unstarted: true, .. });
            let sweep = &self.sweeps[id];
            let elsewhere = |other: u64| other != agent && !self.is_quarantined(other);
            let count = |what: &dyn Fn(What) -> bool| {
                sweep.happened.iter().filter(|one| elsewhere(one.agent) && what(one.what)).count()
            };
            let failed = count(&|what| matches!(what, What::Failed { unstarted: u, .. } if u == unstarted));
            let mut good = count(&|what| what == if unstarted { What::Started } else { What::Worked });
            if !unstarted {
                // What worked first and failed then has failed.
                let failed = |other: &Happened| {
                    let same = |one: &&Happened| (one.trial, one.attempt) == (other.trial, other.attempt);
                    sweep.happened.iter().filter(same).any(|one| matches!(one.what, What::Failed { .. }))
                };
                let worked = sweep.happened.iter().filter(|one| elsewhere(one.agent) && one.what == What::Worked);
                good -= worked.filter(|one| failed(one)).count();
                let live = sweep.trials.values().filter_map(|trial| trial.live());
                good += live
                    .filter(|a| {
                        a.only_agent().is_some_and(elsewhere)
                            && !a.worked
                            && a.members[0]
                                .started
                                .is_some_and(|s| self.now.saturating_sub(s) > 2 * longest[id] + 10_000)
                    })
                    .count();
            }
            works |= good > 0;
            all *= (failed as f64 + 1.0) / (failed as f64 + good as f64 + 4.0);
        }
        (all, works)
    }

    /// What is heard of an attempt has consequences for its machine, and what is known of others for those that are left alone.
    pub fn watch(&mut self, agent: u64, leased: u64, worked: bool) {
        if worked && self.agents.values().all(|agent| agent.quarantine.is_none() && agent.released == 0) {
            return;
        }
        let mut verdicts: Vec<Verdict> = self.judge(agent, leased, worked).into_iter().collect();
        let others: Vec<u64> = self.agents.keys().copied().filter(|other| *other != agent).collect();
        verdicts.extend(others.into_iter().filter_map(|other| self.reconsider(other)));
        for verdict in verdicts {
            match verdict {
                Verdict::Trusted(agent) => self.trust(agent),
                Verdict::Alone(agent, quarantine, failures) => {
                    self.agents.get_mut(&agent).expect("is there").quarantine = Some(quarantine);
                    self.excuse(&failures, quarantine.proven);
                }
            }
        }
    }

    fn judge(&self, agent: u64, leased: u64, worked: bool) -> Option<Verdict> {
        let streak = self.streak(agent);
        match self.agents.get(&agent)?.quarantine {
            None if worked => None,
            None => {
                let mut trials = different(&streak);
                trials.retain(|(id, _)| self.runs_elsewhere(&self.sweeps[id], agent));
                let unstarted = |(_, one): &&(u64, Happened)| matches!(one.what, What::Failed { unstarted: true, .. });
                // Of the trials that are compared, the first failure of each counts.
                let few = trials.len() < 3 && trials.iter().filter(unstarted).count() < 2;
                let (chance, works) = self.likelihood(agent, &trials);
                if few || chance >= 0.02 {
                    return None;
                }
                let proven = works && chance < 1e-4;
                let delay = if proven { 600_000 } else { 30_000 };
                let quarantine = Quarantine { since: self.now, until: self.now + delay, delay, proven };
                Some(Verdict::Alone(agent, quarantine, streak))
            }
            Some(old) if leased > old.since && worked => Some(Verdict::Trusted(agent)),
            Some(old) if leased > old.since => {
                let (chance, works) = self.likelihood(agent, &different(&streak));
                let proven = old.proven || works && chance < 1e-4;
                let (least, most) = if proven { (600_000, 3_600_000) } else { (30_000, 600_000) };
                let delay = (2 * old.delay).clamp(least, most);
                let quarantine = Quarantine { until: self.now + delay, delay, proven, ..old };
                Some(Verdict::Alone(agent, quarantine, streak))
            }
            Some(_) => self.reconsider(agent),
        }
    }

    fn reconsider(&self, agent: u64) -> Option<Verdict> {
        let old = self.agents.get(&agent)?.quarantine?;
        let streak = self.streak(agent);
        if streak.is_empty() {
            return None;
        }
        let (chance, works) = self.likelihood(agent, &different(&streak));
        if chance >= 0.1 {
            return Some(Verdict::Trusted(agent));
        }
        let quarantine = Quarantine { until: self.now + 600_000, delay: 600_000, proven: true, ..old };
        (!old.proven && works && chance < 1e-4).then_some(Verdict::Alone(agent, quarantine, streak))
    }

    fn trust(&mut self, agent: u64) {
        let entry = self.entry;
        let agent = self.agents.get_mut(&agent).expect("is there");
        (agent.quarantine, agent.released) = (None, entry);
    }

    pub fn release(&mut self, agent: u64) -> Answer {
        match self.agents.get(&agent).map(|agent| agent.quarantine) {
            None => return Answer::Refused("H0020"),
            Some(None) => {}
            Some(Some(_)) => self.trust(agent),
        }
        Answer::Done
    }

    fn excuse(&mut self, failures: &[(u64, Happened)], proven: bool) {
        let mut touched = BTreeSet::new();
        for (id, one) in failures {
            let sweep = self.sweeps.get_mut(id).expect("is there");
            let counts = proven || matches!(one.what, What::Failed { unstarted: true, .. });
            if !counts || !matches!(sweep.standing, Standing::Running | Standing::Paused) {
                continue;
            }
            let trial = sweep.trials.get_mut(&one.trial).expect("is there");
            let attempt = &mut trial.attempts[one.attempt];
            attempt.excused = true;
            trial.retries -= u32::from(std::mem::take(&mut attempt.retried));
            touched.insert((*id, one.trial));
        }
        for (id, number) in touched {
            let sweep = self.sweeps.get_mut(&id).expect("is there");
            let trial = &sweep.trials[&number];
            let again = trial.state() == TrialState::Failed && trial.attempts.last().is_some_and(|last| last.excused);
            if again && trial.requeues() < 20 {
                sweep.settle(number, TrialState::Waiting);
            }
        }
    }

    /// Whether another agent that may be given something, and is in no quarantine, could run a trial of the sweep.
    fn runs_elsewhere(&self, sweep: &Sweep, agent: u64) -> bool {
        self.agents.keys().any(|other| {
            *other != agent
                && self.is_open(*other)
                && !self.is_quarantined(*other)
                && self.is_large_enough(sweep, *other)
        })
    }

    pub fn is_large_enough(&self, sweep: &Sweep, agent: u64) -> bool {
        self.agents[&agent].cpus >= 1 && self.agents[&agent].gpus >= sweep.kind.gpus
    }

    /// Whether the configuration is at fault: it failed on two machines or more that are trusted, and where others ended well.
    pub fn at_fault(&self, sweep: &Sweep, number: u32) -> bool {
        let trial = &sweep.trials[&number];
        let here = trial.attempts.last().and_then(Attempt::only_agent);
        let mut agents: BTreeSet<u64> = trial.failed_on().into_iter().chain(here).collect();
        agents.retain(|agent| sweep.ended_well.contains(agent) && !self.is_quarantined(*agent));
        trial.confirms.is_none() && agents.len() >= 2
    }
}

fn different(failures: &[(u64, Happened)]) -> Vec<(u64, Happened)> {
    let mut seen = BTreeSet::new();
    failures.iter().copied().filter(|(id, one)| seen.insert((*id, one.trial))).collect()
}
