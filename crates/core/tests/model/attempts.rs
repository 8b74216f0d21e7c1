//! The part of the oracle that hears of attempts: started, reported, ended.

use heats_core::Ending;
use heats_core::ops::attempts::{End, Key};
use heats_domain::TrialState;
use heats_search::stoppers::audit::is_drawn;

use crate::kind::{SEED, TARGET, UPPER};
use crate::machines::{Happened, What, own};
use crate::oracle::{Answer, Oracle, Outcome, Sweep};
use crate::surroundings::RanIn;

impl Oracle {
    fn fenced(&mut self, key: Key) -> Option<&mut Sweep> {
        let sweep = self.sweeps.get_mut(&key.sweep.bits)?;
        let trial = sweep.trials.get(&key.trial)?;
        (trial.live().is_some() && trial.attempts.len() as u32 == key.attempt).then_some(sweep)
    }

    pub fn start(&mut self, key: Key, told: RanIn) -> Answer {
        let (now, entry, known) = (self.now, self.entry, self.known(told));
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        let (place, attempt) = (trial.attempts.len() - 1, trial.attempts.last_mut().expect("is live"));
        attempt.ran_in = attempt.ran_in.or(Some(known));
        if attempt.started.is_none() {
            attempt.started = Some(now);
            let agent = attempt.agent;
            sweep.happened.push(Happened { agent, entry, trial: key.trial, attempt: place, what: What::Started });
        }
        if trial.state() == TrialState::Leased {
            trial.state = Some(TrialState::Running);
        }
        Answer::Done
    }

    pub fn report(&mut self, key: Key, step: u64, value: Option<f64>) -> Answer {
        let entry = self.entry;
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let kind = sweep.kind.clone();
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        if trial.ended() || trial.reports.last().is_some_and(|(last, _)| step <= *last) {
            return Answer::Done;
        }
        // A negative zero is recorded as a zero.
        trial.reports.push((step, value.map(|value| value + 0.0)));
        trial.state = Some(TrialState::Running);
        let (place, attempt) = (trial.attempts.len() - 1, trial.attempts.last_mut().expect("is live"));
        let news = (!std::mem::replace(&mut attempt.worked, true)).then_some((attempt.agent, attempt.leased));
        if let Some((agent, _)) = news {
            sweep.happened.push(Happened { agent, entry, trial: key.trial, attempt: place, what: What::Worked });
        }
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
        self.heard(news, true);
        Answer::Done
    }

    /// What is heard of an attempt, and then what follows for every sweep.
    fn heard(&mut self, news: Option<(u64, u64)>, worked: bool) {
        if let Some((agent, leased)) = news {
            self.watch(agent, leased, worked);
        }
        let now = self.now;
        self.sweeps.values_mut().for_each(|sweep| sweep.follow(now));
    }

    pub fn finish(&mut self, key: Key, end: End, ran: u64) -> Answer {
        let (now, entry) = (self.now, self.entry);
        if self.fenced(key).is_none() {
            return Answer::Done;
        }
        let sweep = &self.sweeps[&key.sweep.bits];
        let trial = &sweep.trials[&key.trial];
        let measured = trial.reports.iter().any(|(_, value)| value.is_some());
        let lacks_metric = end == End::Exited(0) && sweep.kind.maximize.is_some() && !measured;
        let (goes_on, place) = (!trial.ended(), trial.attempts.len() - 1);
        let (agent, leased) = trial.live().map(|attempt| (attempt.agent, attempt.leased)).expect("is live");
        let own = own(end).filter(|_| goes_on);
        let excused = own.is_some_and(|unstarted| self.excuses(agent, unstarted));
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
        let sweep = self.sweeps.get_mut(&key.sweep.bits).expect("is there");
        sweep.end(key.trial, ran, outcome, now);
        let attempt = &mut sweep.trials.get_mut(&key.trial).expect("is there").attempts[place];
        let failed = goes_on && (lacks_metric || !matches!(outcome, Outcome::Is(_)));
        let worked = goes_on && !failed && !attempt.worked;
        (attempt.failed, attempt.own_failure, attempt.excused) = (failed, own.is_some(), excused);
        attempt.worked |= worked;
        let what = own.map(|unstarted| What::Failed { unstarted, ran }).or(worked.then_some(What::Worked));
        if let Some(what) = what.filter(|_| !sweep.over()) {
            sweep.happened.push(Happened { agent, entry, trial: key.trial, attempt: place, what });
        }
        self.heard(what.map(|_| (agent, leased)), worked);
        Answer::Done
    }
}
