//! How a sweep and its trials take one fact in. What belongs to no sweep is in `state`, beside the maps that hold them.

use std::sync::Arc;

use heats_domain::spec::NotifyOn;
use heats_domain::{FailureKind, TrialState};

use crate::fact::{
    AttemptEnded, Ending, Fact, Forked, MemberEnded, Record, SweepEdited, SweepEnded, TrialCreated, TrialLeased,
    TrialPlaced, TrialRecalled, TrialReported, TrialResumed, TrialSettled, TrialSpared, TrialStarted,
};
use crate::gang::Gang;
use crate::health::{Failed, Part, Tally, is_own};
use crate::series::Series;
use crate::sweep::{Ranked, Status, Sweep};
use crate::trial::{Attempt, AttemptEnd, Best, Trial};

impl Sweep {
    /// Folds one fact in; it is the last of the journal already.
    pub(super) fn record(&mut self, fact: &Fact, record: &Record) -> Result<(), &'static str> {
        let at_ms = record.at_ms;
        match fact {
            Fact::SweepPaused(_) => self.status = Status::Paused,
            Fact::SweepResumed(_) => self.status = Status::Running,
            Fact::SweepReopened(_) => self.reopened(at_ms),
            Fact::SweepDrained(fact) => self.status = Status::Draining(ending(fact.ending)?, fact.why.clone()),
            Fact::SweepEnded(fact) => self.ended(fact, at_ms)?,
            Fact::SweepEdited(SweepEdited { sweep: _, trials, parallel, why, priority }) => {
                if trials.is_some() {
                    self.trials_max = *trials;
                    self.limit_why.clone_from(why);
                }
                self.parallel = parallel.or(self.parallel);
                self.priority = priority.unwrap_or(self.priority);
            }
            Fact::PointEnqueued(fact) => self.queue.push_back(fact.params.clone()),
            Fact::TrialCreated(fact) => self.trial_created(fact)?,
            Fact::TrialLeased(fact) => self.trial_leased(fact, at_ms)?,
            Fact::TrialStarted(fact) => self.trial_started(fact, at_ms)?,
            Fact::TrialReported(fact) => self.trial_reported(fact)?,
            Fact::TrialSettled(fact) => self.trial_settled(fact)?,
            Fact::TrialResumed(fact) => self.trial_resumed(fact)?,
            Fact::AttemptEnded(fact) => self.attempt_ended(fact, at_ms)?,
            Fact::AttemptExcused(fact) => self.touch(fact.trial)?.excuse(fact.attempt)?,
            Fact::MemberEnded(fact) => self.member_ended(fact, at_ms)?,
            Fact::TrialSpared(fact) => self.trial_spared(fact)?,
            Fact::CheckpointSaved(fact) => self.checkpoint_saved(fact)?,
            Fact::CheckpointDropped(fact) => self.checkpoint_dropped(fact)?,
            Fact::CheckpointErased(_) => {}
            Fact::ArtifactKept(fact) => self.artifact_kept(fact)?,
            Fact::ArtifactDropped(fact) => self.artifact_dropped(fact)?,
            Fact::ArtifactNotKept(fact) => self.artifact_not_kept(fact)?,
            Fact::LogsKept(fact) => self.logs_kept(fact, record.log_index)?,
            Fact::LogsDropped(fact) => self.logs_dropped(fact)?,
            Fact::NoticeDelivered(fact) => self.notice_delivered(fact)?,
            Fact::HookGivenUp(fact) => self.hook_given_up(fact)?,
            Fact::NoticeRead(fact) => self.notice_read(fact),
            Fact::TrialPlaced(TrialPlaced { trial, attempt, .. })
            | Fact::TrialRecalled(TrialRecalled { trial, attempt, .. }) => {
                live_attempt(self.touch(*trial)?, *attempt)?;
            }
            Fact::SweepSubmitted(_)
            | Fact::SweepRemoved(_)
            | Fact::Study(_)
            | Fact::AgentAttached(_)
            | Fact::AgentDrained(_)
            | Fact::AgentUndrained(_)
            | Fact::AgentQuarantined(_)
            | Fact::AgentReleased(_)
            | Fact::GpuQuarantined(_)
            | Fact::GpuReleased(_)
            | Fact::ClusterRestored(_)
            | Fact::QuotaSet(_)
            | Fact::QuotaRemoved(_)
            | Fact::EnvironmentRecorded(_)
            | Fact::HardwareRecorded(_)
            | Fact::TokenCreated(_)
            | Fact::TokenUsed(_)
            | Fact::TokenRevoked(_)
            | Fact::AgentJoined(_) => {
                return Err("it is not a sweep's own");
            }
        }
        Ok(())
    }

    fn reopened(&mut self, at_ms: u64) {
        if let Status::Ended { at_ms: ended_ms, .. } = self.status {
            self.open_before_ms = self.open_ms(ended_ms);
            self.opened_ms = at_ms;
        }
        self.forgiven = self.counts.of(TrialState::Failed);
        self.status = Status::Running;
    }

    fn ended(&mut self, fact: &SweepEnded, at_ms: u64) -> Result<(), &'static str> {
        let ending = ending(fact.ending)?;
        self.status = Status::Ended { ending, why: fact.why.clone(), at_ms };
        let event = match ending {
            Ending::Finished | Ending::Stopped => NotifyOn::Finished,
            Ending::Failed | Ending::Cancelled => NotifyOn::Failed,
        };
        let place = self.last_record();
        self.notices.push(event, place);
        // Nobody asks any more how its attempts fared, and there may be many agents.
        self.tallies.clear();
        Ok(())
    }

    fn trial_created(&mut self, fact: &TrialCreated) -> Result<(), &'static str> {
        if fact.trial as usize != self.trials.len() {
            return Err("trials are numbered without gaps");
        }
        if let Some(Forked { from, replaces }) = &fact.forked {
            if self.trial(from.trial).is_none_or(|parent| !parent.checkpoints.contains(from)) {
                return Err("what it is forked from is no checkpoint that is kept");
            }
            if self.trial(*replaces).is_none_or(|replaced| !replaced.state.is_terminal()) {
                return Err("the trial whose place it takes has not ended");
            }
        }
        if fact.enqueued {
            self.queue.pop_front().ok_or("no point is enqueued")?;
        }
        if let Some(Forked { from, .. }) = &fact.forked {
            self.strides.reach(from.step);
        }
        let ordinal = self.proposed;
        match fact.confirms {
            Some(leader) => {
                if self.trial(leader).is_none_or(|leader| leader.confirms.is_some()) {
                    return Err("what it confirms is no trial that was proposed");
                }
                self.fresh.entry(leader).or_default().push_back(fact.trial);
            }
            None => self.proposed += 1,
        }
        self.trials.push_back(Arc::new(Trial {
            number: fact.trial,
            ordinal,
            confirms: fact.confirms,
            forked: fact.forked.clone().map(Arc::new),
            state: TrialState::Waiting,
            records: std::iter::once(self.last_record()).collect(),
            series: Series::default(),
            attempts: Vec::new(),
            retries_used: 0,
            last_step: fact.forked.as_ref().map(|forked| forked.from.step),
            last_value: None,
            spared: false,
            best: None,
            point: Vec::new(),
            checkpoints: Vec::new(),
            saved: None,
            artifacts: Vec::new(),
            not_kept: Vec::new(),
        }));
        self.counts.enter(TrialState::Waiting);
        self.waiting.insert(fact.trial);
        self.sort_heir(fact.trial);
        Ok(())
    }

    fn trial_leased(&mut self, fact: &TrialLeased, at_ms: u64) -> Result<(), &'static str> {
        let trial = self.touch(fact.trial)?;
        if trial.live().is_some() {
            return Err("the trial has a live lease");
        }
        if fact.attempt != trial.attempt() + 1 {
            return Err("attempts are numbered without gaps");
        }
        let (agent, grant, variant) = (fact.agent, fact.grant.clone(), fact.variant);
        let (leased_ms, started_ms, worked, end) = (at_ms, None, false, None);
        let gang = Gang::of(fact);
        trial.attempts.push(Arc::new(Attempt { agent, grant, variant, leased_ms, started_ms, worked, end, gang }));
        self.live.insert(fact.trial);
        self.enter(fact.trial, TrialState::Leased)
    }

    fn trial_started(&mut self, fact: &TrialStarted, at_ms: u64) -> Result<(), &'static str> {
        let trial = self.touch(fact.trial)?;
        let state = trial.state;
        let attempt = Arc::make_mut(live_attempt(trial, fact.attempt)?);
        if let Some(gang) = &mut attempt.gang {
            let member = gang.members.get_mut(fact.rank as usize).ok_or("the attempt has no such member")?;
            member.started_ms = Some(at_ms);
        }
        if fact.rank == 0 {
            attempt.started_ms = Some(at_ms);
        }
        let parts: Vec<Part> = attempt.parts().collect();
        self.tally(parts, |tally| tally.started += 1);
        self.named.started(fact);
        if state == TrialState::Leased && fact.rank == 0 { self.enter(fact.trial, TrialState::Running) } else { Ok(()) }
    }

    fn trial_reported(&mut self, fact: &TrialReported) -> Result<(), &'static str> {
        let value = self.measured(&fact.metrics).and_then(|mut values| values.next());
        let place = self.last_record();
        let trial = self.touched(fact.trial)?;
        if trial.state.is_at_rest() {
            return Err("the trial is at rest");
        }
        if trial.last_step.is_some_and(|last| fact.step <= last) {
            return Err("the step was reported before");
        }
        let attempt = live_attempt(trial, fact.attempt)?;
        let first_of: Vec<Part> = attempt.parts().filter(|_| !attempt.worked).collect();
        if !attempt.worked {
            Arc::make_mut(attempt).worked = true;
        }
        trial.series.push(place);
        trial.last_step = Some(fact.step);
        trial.last_value = value.or(trial.last_value);
        self.strides.reports += 1;
        self.strides.reach(fact.step);
        if let Some(value) = value {
            let first = |sweep: &Self| sweep.ranking.get_min().copied();
            let before = first(self);
            self.rank(fact, value)?;
            let leads = |now: Ranked| now.trial == fact.trial && before.is_none_or(|before| now.loss < before.loss);
            // Of several objectives, none is the one that ranks.
            if !self.has_several() && first(self).is_some_and(leads) {
                self.notices.push(NotifyOn::NewBest, place);
            }
        }
        self.sort_heir(fact.trial);
        let index = self.last_index();
        self.tally(first_of, |tally| tally.note_worked(index));
        let state = self.trials[fact.trial as usize].state;
        if state == TrialState::Leased { self.enter(fact.trial, TrialState::Running) } else { Ok(()) }
    }

    /// Takes in that a report measured `value` of the (first) objective.
    fn rank(&mut self, fact: &TrialReported, value: f64) -> Result<(), &'static str> {
        let several = self.has_several();
        let point: Vec<f64> = self.measured(&fact.metrics).filter(|_| several).into_iter().flatten().collect();
        let before = self.touched(fact.trial)?.best;
        let now = Best { value, step: fact.step };
        let best = if several {
            point.iter().all(|value| value.is_finite()).then_some(now)
        } else {
            let is_better = |before: Best| self.loss(value) < self.loss(before.value);
            before.filter(|before| !is_better(*before)).or_else(|| value.is_finite().then_some(now))
        };
        if best == before {
            return Ok(());
        }
        let trial = self.touched(fact.trial)?;
        let is_searched = trial.confirms.is_none();
        trial.best = best;
        trial.point = if best.is_some() { point } else { Vec::new() };
        let place = |best: Best| Ranked { loss: self.loss(best.value), trial: fact.trial };
        let (gone, come) = (before.map(place), best.map(place));
        if let Some(gone) = gone {
            self.ranking.remove(&gone);
        }
        // A fresh run of a leader has no place.
        self.ranking.extend(come.filter(|_| is_searched));
        Ok(())
    }

    fn trial_settled(&mut self, fact: &TrialSettled) -> Result<(), &'static str> {
        let trial = self.touch(fact.trial)?;
        if fact.retry_used {
            trial.retries_used += 1;
            if let Some(end) = trial.attempts.last_mut().and_then(|attempt| Arc::make_mut(attempt).end.as_mut()) {
                end.retried = true;
            }
        }
        let (best, live) = (trial.best, trial.live().is_some());
        let parts: Vec<Part> = trial.attempts.last().into_iter().flat_map(|attempt| attempt.parts()).collect();
        let state = TrialState::try_from(fact.state).map_err(|_| "this version does not know the trial's state")?;
        match state {
            TrialState::Leased | TrialState::Running => return Err("a trial does not settle there"),
            TrialState::Waiting => {
                if live {
                    return Err("a trial with a live lease does not wait");
                }
            }
            TrialState::Paused | TrialState::Completed | TrialState::Stopped => {
                self.tally(parts, |tally| tally.ended_well += 1);
                if let (TrialState::Stopped, Some(reason)) = (state, &fact.reason) {
                    *self.stopped_by.entry((reason.rule.clone(), reason.rung.unwrap_or(0))).or_insert(0) += 1;
                }
            }
            TrialState::Failed | TrialState::Infeasible | TrialState::Cancelled => {
                // What did not end well is not offered as the best.
                if let Some(best) = best {
                    let loss = self.loss(best.value);
                    self.ranking.remove(&Ranked { loss, trial: fact.trial });
                }
            }
        }
        self.enter(fact.trial, state)
    }

    fn trial_resumed(&mut self, fact: &TrialResumed) -> Result<(), &'static str> {
        let trial = self.touch(fact.trial)?;
        if trial.state != TrialState::Paused {
            return Err("the trial does not hold at a rung");
        }
        if trial.live().is_some() {
            return Err("a trial with a live lease does not wait");
        }
        self.enter(fact.trial, TrialState::Waiting)
    }

    fn trial_spared(&mut self, fact: &TrialSpared) -> Result<(), &'static str> {
        let trial = self.touch(fact.trial)?;
        if trial.state.is_terminal() {
            return Err("the trial is terminal");
        }
        if trial.spared {
            return Err("the trial was spared before");
        }
        trial.spared = true;
        Ok(())
    }

    fn attempt_ended(&mut self, fact: &AttemptEnded, at_ms: u64) -> Result<(), &'static str> {
        let failure = match fact.failure {
            Some(code) => {
                Some(FailureKind::try_from(code).map_err(|_| "this version does not know the kind of failure")?)
            }
            None => None,
        };
        let index = self.last_index();
        let trial = self.touch(fact.trial)?;
        let goes_on = !trial.state.is_at_rest();
        let is_complete = trial.state == TrialState::Completed && trial.last_step.is_some();
        let attempt = Arc::make_mut(live_attempt(trial, fact.attempt)?);
        if attempt.gang.is_some() && attempt.holders().next().is_some() {
            return Err("a member of the attempt has not ended");
        }
        let (ran_ms, cpu_ms, excused) = (fact.ran_ms, fact.cpu_ms, fact.excused);
        attempt.end = Some(AttemptEnd { at_ms, failure, ran_ms, cpu_ms, excused, retried: false });
        let (parts, gpu_ms) = (attempt.parts().collect::<Vec<_>>(), attempt.gpu_ms(at_ms));
        let had_worked = attempt.worked;
        let works = goes_on && failure.is_none() && !std::mem::replace(&mut attempt.worked, true);
        if works {
            self.tally(parts, |tally| tally.note_worked(index));
        } else if let Some(kind) = failure.filter(|kind| is_own(*kind)) {
            let failed = Failed { trial: fact.trial, attempt: fact.attempt, kind, ran_ms, index };
            self.tally(parts, |tally| tally.note_failed(failed, had_worked));
        }
        if is_complete {
            self.strides.whole_ms += u128::from(fact.ran_ms);
        }
        self.live.remove(&fact.trial);
        self.ledger.attempt_ms += fact.ran_ms;
        self.ledger.cpu_ms += fact.cpu_ms;
        self.ledger.gpu_ms += gpu_ms;
        Ok(())
    }

    fn member_ended(&mut self, fact: &MemberEnded, at_ms: u64) -> Result<(), &'static str> {
        let attempt = Arc::make_mut(live_attempt(self.touch(fact.trial)?, fact.attempt)?);
        attempt.gang.as_mut().ok_or("the attempt is on one machine")?.ended(fact, at_ms)
    }

    /// Takes in how an attempt fares, for each part that it holds.
    fn tally(&mut self, parts: Vec<Part>, take_in: impl Fn(&mut Tally)) {
        parts.into_iter().for_each(|part| take_in(self.tallies.entry(part).or_default()));
    }

    /// The trial, with the fact that is folded in added to its records.
    fn touch(&mut self, number: u32) -> Result<&mut Trial, &'static str> {
        let place = self.last_record();
        let trial = self.touched(number)?;
        trial.records.push_back(place);
        Ok(trial)
    }

    pub(crate) fn touched(&mut self, number: u32) -> Result<&mut Trial, &'static str> {
        self.trials.get_mut(number as usize).map(Arc::make_mut).ok_or("there is no such trial")
    }

    fn last_record(&self) -> u32 {
        self.journal.len() as u32 - 1
    }

    /// The log index of the fact that is folded in.
    fn last_index(&self) -> u64 {
        self.journal.last_index()
    }

    /// Moves a trial to `state`, and the counts and queues with it.
    fn enter(&mut self, number: u32, state: TrialState) -> Result<(), &'static str> {
        let trial = self.touched(number)?;
        let before = trial.state;
        // Failed trials may be asked for again; every other end is final (T2).
        if before.is_terminal() && !(trial.may_be_asked_for_again() && state == TrialState::Waiting) {
            return Err("the trial is terminal");
        }
        trial.state = state;
        if state != before {
            self.strides.end(&self.trials[number as usize], state);
        }
        self.counts.leave(before);
        self.counts.enter(state);
        self.forgiven = self.forgiven.min(self.counts.of(TrialState::Failed));
        if state == TrialState::Paused {
            self.paused.insert(number);
        } else {
            self.paused.remove(&number);
        }
        if state == TrialState::Waiting {
            self.waiting.insert(number);
            // A trial that is tried again is ranked by what it reported before.
            let trial = &self.trials[number as usize];
            if let Some(best) = trial.best.filter(|_| trial.confirms.is_none()) {
                let loss = self.loss(best.value);
                self.ranking.insert(Ranked { loss, trial: number });
            }
        } else {
            self.waiting.remove(&number);
        }
        self.sort_stored(number);
        Ok(())
    }
}

/// How a sweep ends; a newer version may know more ways.
fn ending(code: i32) -> Result<Ending, &'static str> {
    Ending::try_from(code).map_err(|_| "this version does not know the way the sweep ended")
}

/// The live attempt of `trial`, if it is `number`.
pub(crate) fn live_attempt(trial: &mut Trial, number: u32) -> Result<&mut Arc<Attempt>, &'static str> {
    if trial.attempt() != number {
        return Err("the attempt is not the trial's last");
    }
    match trial.attempts.last_mut() {
        Some(attempt) if attempt.end.is_none() => Ok(attempt),
        _ => Err("the attempt has ended"),
    }
}
