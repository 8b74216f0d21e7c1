//! The part of the oracle that knows machines and their GPUs: how attempts fared on each, what is left alone for it, and where a
//! trial that failed goes next. Every count is made again at every question.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::ops::attempts::End;
use heats_domain::TrialState;

use crate::oracle::{Answer, Attempt, Oracle, Standing, Sweep};

/// A machine, or one GPU of it.
pub type Part = (u64, Option<u32>);

/// What happened to an attempt, as far as it says something about its machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum What {
    Started,
    Worked,
    Failed { unstarted: bool, ran: u64 },
}

#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// On what: an attempt makes one for its machine and one for each GPU that it holds.
    pub part: Part,
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
    Alone(Part, Quarantine, Vec<(u64, Happened)>),
    Trusted(Part),
}

/// That `what` happened to an attempt of a trial, for each part that it holds.
pub fn happened(parts: &[Part], entry: u64, (trial, attempt): (u32, usize), what: What) -> Vec<Happened> {
    parts.iter().map(|part| Happened { part: *part, entry, trial, attempt, what }).collect()
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
    fn is_quarantined(&self, part: Part) -> bool {
        self.quarantines.contains_key(&part)
    }

    /// Whether a failure of an attempt is put down to its machine, or a GPU that it holds.
    pub fn excuses(&self, attempt: &Attempt, unstarted: bool) -> bool {
        attempt.parts().iter().filter_map(|part| self.quarantines.get(part)).any(|q| q.proven || unstarted)
    }

    /// Whether a quarantine lets the part be given now.
    fn lets_through(&self, part: Part) -> bool {
        let Some(quarantine) = self.quarantines.get(&part) else { return true };
        let held = self.held(part.0).into_iter().filter_map(|key| {
            let attempt = self.sweeps[&key.sweep.bits].trials[&key.trial].attempts.last()?;
            let member = attempt.members.iter().find(|member| member.agent == part.0)?;
            part.1.is_none_or(|gpu| member.gpus.contains(&gpu)).then_some(attempt.leased)
        });
        self.now >= quarantine.until && held.into_iter().all(|leased| leased <= quarantine.since)
    }

    /// The GPUs of an agent that are not left alone.
    pub fn open_gpus(&self, id: u64) -> BTreeSet<u32> {
        (0..self.agents[&id].gpus).filter(|gpu| self.lets_through((id, Some(*gpu)))).collect()
    }

    /// Whether the agent may be given something.
    pub fn is_open(&self, id: u64) -> bool {
        let agent = &self.agents[&id];
        agent.attached && agent.able && agent.drained.is_none() && self.lets_through((id, None))
    }

    /// The failures on a part since an attempt there worked or somebody released it.
    fn streak(&self, part: Part) -> Vec<(u64, Happened)> {
        let here = || {
            let live = self.sweeps.iter().filter(|(_, sweep)| !sweep.over());
            live.flat_map(|(id, sweep)| sweep.happened.iter().map(|one| (*id, *one)))
                .filter(|(_, one)| one.part == part)
        };
        let worked = here().filter(|(_, one)| one.what == What::Worked).map(|(_, one)| one.entry).max().unwrap_or(0);
        let since = worked.max(self.released.get(&part).copied().unwrap_or(0));
        let mut streak: Vec<(u64, Happened)> =
            here().filter(|(_, one)| matches!(one.what, What::Failed { .. }) && one.entry > since).collect();
        // In one entry a sweep may have had a success after a failure, but the entry of that is excluded as a whole.
        streak.sort_by_key(|(id, one)| (one.entry, *id, one.trial, one.attempt));
        streak
    }

    /// What of these is the part's own: what all held one GPU of several is that GPU's, and no machine's.
    fn own(&self, part: Part, mut failures: Vec<(u64, Happened)>) -> Vec<(u64, Happened)> {
        let gpus = |(id, one): &(u64, Happened)| {
            self.sweeps[id].trials[&one.trial].attempts[one.attempt].members[0].gpus.clone()
        };
        if part.1.is_none() {
            failures.retain(|one| !gpus(one).iter().any(|gpu| self.is_quarantined((part.0, Some(*gpu)))));
        }
        let has = self.agents[&part.0].gpus;
        let shared = (0..64).filter(|gpu| failures.iter().all(|one| gpus(one).contains(gpu))).count();
        let is_a_gpus = !failures.is_empty() && shared > 0 && shared < has as usize;
        if is_a_gpus == part.1.is_some() { failures } else { Vec::new() }
    }

    /// How likely so many different trials fail, as likely as attempts do elsewhere; and whether any works there.
    fn likelihood(&self, part: Part, failures: &[(u64, Happened)]) -> (f64, bool) {
        let mut longest: BTreeMap<u64, u64> = BTreeMap::new();
        for (id, one) in failures {
            if let What::Failed { ran, .. } = one.what {
                let most = longest.entry(*id).or_default();
                *most = ran.max(*most);
            }
        }
        let elsewhere = |other: Part| other != part && !self.is_quarantined(other);
        let (mut all, mut works) = (1.0, false);
        for (id, one) in failures.iter().rev() {
            let unstarted = matches!(one.what, What::Failed { unstarted: true, .. });
            let sweep = &self.sweeps[id];
            // Of the other machines, without what is left alone of them.
            let count = |what: &dyn Fn(&Happened) -> bool| {
                let of = |which: &dyn Fn(Part) -> bool| {
                    sweep.happened.iter().filter(|one| which(one.part) && what(one)).count()
                };
                let machine = |(agent, gpu): Part| gpu.is_none() && elsewhere((agent, None));
                let left = |(agent, gpu): Part| gpu.is_some() && elsewhere((agent, None)) && !elsewhere((agent, gpu));
                of(&machine).saturating_sub(of(&left))
            };
            // What worked first and failed then has failed.
            let failed_later = |other: &Happened| {
                let same = |one: &&Happened| (one.trial, one.attempt) == (other.trial, other.attempt);
                sweep.happened.iter().filter(same).any(|one| matches!(one.what, What::Failed { .. }))
            };
            let failed = count(&|one| matches!(one.what, What::Failed { unstarted: u, .. } if u == unstarted));
            let mut good = match unstarted {
                true => count(&|one| one.what == What::Started),
                false => count(&|one| one.what == What::Worked && !failed_later(one)),
            };
            if !unstarted {
                let live = sweep.trials.values().filter_map(|trial| trial.live());
                good += live
                    .filter(|a| {
                        a.only_agent().is_some()
                            && a.parts().into_iter().all(elsewhere)
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

    /// What is heard of an attempt has consequences for a part of it, and what is known of others for those that are left alone.
    pub fn watch(&mut self, part: Part, leased: u64, worked: bool) {
        let known: BTreeSet<Part> = self.quarantines.keys().chain(self.released.keys()).copied().collect();
        if worked && known.is_empty() {
            return;
        }
        let mut verdicts: Vec<Verdict> = self.judge(part, leased, worked).into_iter().collect();
        verdicts.extend(known.into_iter().filter(|other| *other != part).filter_map(|other| self.reconsider(other)));
        for verdict in verdicts {
            match verdict {
                Verdict::Trusted(part) => self.trust(part),
                Verdict::Alone(part, quarantine, failures) => {
                    self.quarantines.insert(part, quarantine);
                    self.excuse(&failures, quarantine.proven);
                }
            }
        }
    }

    fn judge(&self, part: Part, leased: u64, worked: bool) -> Option<Verdict> {
        let streak = self.streak(part);
        match self.quarantines.get(&part).copied() {
            None if worked => None,
            None => {
                let streak = self.own(part, streak);
                let mut trials = streak.clone();
                trials.retain(|(id, _)| self.runs_elsewhere(&self.sweeps[id], part));
                let trials = different(&trials);
                let unstarted = |(_, one): &&(u64, Happened)| matches!(one.what, What::Failed { unstarted: true, .. });
                // Of the trials that are compared, the first failure of each counts.
                let few = trials.len() < 3 && trials.iter().filter(unstarted).count() < 2;
                let (chance, works) = self.likelihood(part, &trials);
                if few || chance >= 0.02 {
                    return None;
                }
                let proven = works && chance < 1e-4;
                let delay = if proven { 600_000 } else { 30_000 };
                let quarantine = Quarantine { since: self.now, until: self.now + delay, delay, proven };
                Some(Verdict::Alone(part, quarantine, streak))
            }
            Some(old) if leased > old.since && worked => Some(Verdict::Trusted(part)),
            Some(old) if leased > old.since => {
                let (chance, works) = self.likelihood(part, &different(&streak));
                let proven = old.proven || works && chance < 1e-4;
                let (least, most) = if proven { (600_000, 3_600_000) } else { (30_000, 600_000) };
                let delay = (2 * old.delay).clamp(least, most);
                let quarantine = Quarantine { until: self.now + delay, delay, proven, ..old };
                Some(Verdict::Alone(part, quarantine, streak))
            }
            Some(_) => self.reconsider(part),
        }
    }

    fn reconsider(&self, part: Part) -> Option<Verdict> {
        let old = self.quarantines.get(&part).copied()?;
        let streak = self.streak(part);
        if streak.is_empty() {
            return None;
        }
        let (chance, works) = self.likelihood(part, &different(&streak));
        if chance >= 0.1 {
            return Some(Verdict::Trusted(part));
        }
        let quarantine = Quarantine { until: self.now + 600_000, delay: 600_000, proven: true, ..old };
        (!old.proven && works && chance < 1e-4).then_some(Verdict::Alone(part, quarantine, streak))
    }

    fn trust(&mut self, part: Part) {
        self.quarantines.remove(&part);
        self.released.insert(part, self.entry);
    }

    pub fn release(&mut self, agent: u64) -> Answer {
        if !self.agents.contains_key(&agent) {
            return Answer::Refused("H0020");
        }
        let own: Vec<Part> = self.quarantines.keys().copied().filter(|(of, _)| *of == agent).collect();
        own.into_iter().for_each(|part| self.trust(part));
        Answer::Done
    }

    fn excuse(&mut self, failures: &[(u64, Happened)], proven: bool) {
        let mut touched: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        for (id, one) in failures {
            let sweep = self.sweeps.get_mut(id).expect("is there");
            let counts = proven || matches!(one.what, What::Failed { unstarted: true, .. });
            if !counts || !matches!(sweep.standing, Standing::Running | Standing::Paused) {
                continue;
            }
            let trial = sweep.trials.get_mut(&one.trial).expect("is there");
            touched.entry((*id, one.trial)).or_insert(trial.retries);
            let attempt = &mut trial.attempts[one.attempt];
            attempt.excused = true;
            trial.retries -= u32::from(std::mem::take(&mut attempt.retried));
        }
        for ((id, number), retries) in touched {
            let sweep = self.sweeps.get_mut(&id).expect("is there");
            let trial = &sweep.trials[&number];
            let Some(last) = trial.attempts.last().filter(|_| trial.state() == TrialState::Failed) else { continue };
            if last.excused {
                if trial.requeues() < 20 {
                    sweep.settle(number, TrialState::Waiting);
                }
            } else if last.failed_on.is_some() && retries >= sweep.kind.retries && trial.retries < sweep.kind.retries {
                // It gets back the retry that it lost there.
                let trial = sweep.trials.get_mut(&number).expect("is there");
                trial.retries += 1;
                trial.attempts.last_mut().expect("has failed").retried = true;
                sweep.settle(number, TrialState::Waiting);
            }
        }
    }

    /// Whether a trial of the sweep could run without the part: on an agent that may be given something, without whatever is
    /// left alone.
    fn runs_elsewhere(&self, sweep: &Sweep, part: Part) -> bool {
        let is_sound = |other: Part| other != part && !self.is_quarantined(other);
        self.agents.iter().any(|(id, agent)| {
            let gpus = (0..agent.gpus).filter(|gpu| is_sound((*id, Some(*gpu)))).count();
            let is_large_enough = agent.cpus >= 1 && gpus >= sweep.kind.gpus as usize;
            is_sound((*id, None)) && self.is_open(*id) && is_large_enough
        })
    }

    pub fn is_large_enough(&self, sweep: &Sweep, agent: u64) -> bool {
        self.agents[&agent].cpus >= 1 && self.agents[&agent].gpus >= sweep.kind.gpus
    }

    /// Whether the configuration is at fault: it failed on two machines or more that are trusted, and where others ended well.
    pub fn at_fault(&self, sweep: &Sweep, number: u32) -> bool {
        let trial = &sweep.trials[&number];
        let failed = trial.attempts.iter().filter(|attempt| attempt.failed_on.is_some()).chain(trial.attempts.last());
        let trusted = failed.filter(|attempt| !attempt.parts().iter().any(|part| self.is_quarantined(*part)));
        let mut agents: BTreeSet<u64> = trusted.filter_map(Attempt::only_agent).collect();
        agents.retain(|agent| sweep.ended_well.contains(agent));
        trial.confirms.is_none() && agents.len() >= 2
    }
}

fn different(failures: &[(u64, Happened)]) -> Vec<(u64, Happened)> {
    let mut seen = BTreeSet::new();
    failures.iter().copied().filter(|(id, one)| seen.insert((*id, one.trial))).collect()
}
