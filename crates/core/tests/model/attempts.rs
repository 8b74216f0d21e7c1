//! The part of the oracle that hears of attempts: started, reported, ended.

use heats_core::Ending;
use heats_core::ops::attempts::{End, Key};
use heats_domain::TrialState;
use heats_search::stoppers::audit::is_drawn;

use crate::kind::{SEED, TARGET, UPPER};
use crate::machines::{Part, What, happened, own};
use crate::oracle::{self, Answer, Attempt, Oracle, Outcome, Sweep};
use crate::surroundings::RanIn;

impl Oracle {
    fn fenced(&mut self, key: Key) -> Option<&mut Sweep> {
        let sweep = self.sweeps.get_mut(&key.sweep.bits)?;
        let trial = sweep.trials.get(&key.trial)?;
        (trial.live().is_some() && trial.attempts.len() as u32 == key.attempt).then_some(sweep)
    }

    /// How many members a trial's last attempt has; 1 where there was none.
    pub fn nodes(&self, key: Key) -> u32 {
        let trial = self.sweeps.get(&key.sweep.bits).and_then(|sweep| sweep.trials.get(&key.trial));
        let attempt = trial.and_then(|trial| trial.attempts.last());
        attempt.map_or(1, |attempt| attempt.members.len() as u32)
    }

    pub fn start(&mut self, key: Key, rank: u32, told: RanIn) -> Answer {
        let (now, entry, known) = (self.now, self.entry, self.known(told));
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        let (place, attempt) = (trial.attempts.len() - 1, trial.attempts.last_mut().expect("is live"));
        let parts = attempt.parts();
        let member = &mut attempt.members[rank as usize];
        if member.ran.is_some() {
            return Answer::Refused("H0006");
        }
        member.ran_in = member.ran_in.or(Some(known));
        if member.started.is_none() {
            member.started = Some(now);
            sweep.happened.extend(happened(&parts, entry, (key.trial, place), What::Started));
        }
        if trial.state() == TrialState::Leased && rank == 0 {
            trial.state = Some(TrialState::Running);
        }
        Answer::Done
    }

    pub fn report(&mut self, key: Key, step: u64, value: Option<f64>) -> Answer {
        let entry = self.entry;
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let kind = sweep.kind.clone();
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        if trial.member(0).is_none() {
            return Answer::Refused("H0006");
        }
        if trial.ended() || trial.reports.last().is_some_and(|(last, _)| step <= *last) {
            return Answer::Done;
        }
        // A negative zero is recorded as a zero.
        trial.reports.push((step, value.map(|value| value + 0.0)));
        trial.state = Some(TrialState::Running);
        let (place, attempt) = (trial.attempts.len() - 1, trial.attempts.last_mut().expect("is live"));
        let is_first = !std::mem::replace(&mut attempt.worked, true);
        let (leased, parts) = (attempt.leased, if is_first { attempt.parts() } else { Vec::new() });
        sweep.happened.extend(happened(&parts, entry, (key.trial, place), What::Worked));
        let judged = sweep.trials[&key.trial].confirms.is_none();
        if let (true, Some(maximize), Some(value)) = (judged, kind.maximize, value) {
            let reached = if maximize { value >= TARGET } else { value <= TARGET };
            if kind.stop_at && value.is_finite() && reached && !sweep.draining() {
                if kind.confirm.is_some() {
                    sweep.max = sweep.proposed();
                    sweep.clear(Some(TrialState::Stopped));
                } else {
                    sweep.drain(Ending::Finished, Some(TrialState::Stopped));
                }
            } else if kind.upper && (!value.is_finite() || value > UPPER) && !sweep.trials[&key.trial].spared {
                let before = sweep.trials.range(..key.trial).filter(|(_, trial)| trial.confirms.is_none()).count();
                if kind.audit && is_drawn(SEED, before as u32, 0.5) {
                    sweep.trials.get_mut(&key.trial).expect("is there").spared = true;
                } else {
                    sweep.settle(key.trial, TrialState::Stopped);
                }
            }
        }
        self.heard(&parts, leased, true);
        Answer::Done
    }

    /// What is heard of an attempt, and then what follows for every sweep.
    pub fn heard(&mut self, parts: &[Part], leased: u64, worked: bool) {
        for part in parts {
            self.watch(*part, leased, worked);
        }
        let now = self.now;
        self.sweeps.values_mut().for_each(|sweep| sweep.follow(now));
    }

    pub fn finish(&mut self, key: Key, rank: u32, end: End, ran: u64) -> Answer {
        let (now, entry) = (self.now, self.entry);
        if self.fenced(key).is_none() {
            return Answer::Done;
        }
        let sweep = &self.sweeps[&key.sweep.bits];
        let trial = &sweep.trials[&key.trial];
        if trial.member(rank).is_none() {
            return Answer::Done;
        }
        let measured = rank > 0 || trial.reports.iter().any(|(_, value)| value.is_some());
        let lacks_metric = end == End::Exited(0) && sweep.kind.maximize.is_some() && !measured;
        let goes_on = !trial.ended();
        let before = trial.live().expect("is live").clone();
        let own = own(end).filter(|_| goes_on);
        let excused = own.is_some_and(|unstarted| self.excuses(&before, unstarted));
        let outcome = match end {
            _ if lacks_metric => Outcome::Is(TrialState::Failed),
            End::Exited(0) => Outcome::Is(TrialState::Completed),
            End::Exited(65) | End::Infeasible => Outcome::Is(TrialState::Infeasible),
            End::Exited(75) | End::Lost | End::Stopped => Outcome::NotItsFault,
            End::Preempted => Outcome::GivenBack,
            _ if excused => Outcome::NotItsFault,
            End::Exited(_) | End::Signaled(_) | End::OutOfMemory | End::TimedOut | End::StartFailed => {
                Outcome::Failed { everywhere: self.at_fault(sweep, key.trial) }
            }
        };
        let failed = goes_on && (lacks_metric || !matches!(outcome, Outcome::Is(_)));
        let sweep = self.sweeps.get_mut(&key.sweep.bits).expect("is there");
        sweep.end(key.trial, rank, oracle::End { ran, outcome, failed, own_failure: own.is_some() }, now);
        let place = sweep.trials[&key.trial].attempts.len() - 1;
        let attempt = &mut sweep.trials.get_mut(&key.trial).expect("is there").attempts[place];
        attempt.excused = excused;
        let (leased, attempt) = (attempt.leased, attempt.clone());
        match attempt.only_agent() {
            Some(_) => {
                let worked = attempt.worked && !before.worked;
                let what = own.map(|unstarted| What::Failed { unstarted, ran }).or(worked.then_some(What::Worked));
                let parts = if what.is_some() { attempt.parts() } else { Vec::new() };
                if let Some(what) = what.filter(|_| !sweep.over()) {
                    sweep.happened.extend(happened(&parts, entry, (key.trial, place), what));
                }
                self.heard(&parts, leased, worked);
            }
            None => self.heard(&well_on(&attempt), leased, true),
        }
        Answer::Done
    }
}

/// The agents of an attempt that spans machines, where it has ended and not as a failure, having worked: so do all of them.
pub fn well_on(attempt: &Attempt) -> Vec<Part> {
    let is_well = attempt.ran.is_some() && attempt.worked && !attempt.failed;
    attempt.members.iter().filter(|_| is_well).map(|member| (member.agent, None)).collect()
}
