//! The leader's turn: requests in, one log entry and the replies out.
//!
//! A `Leading` is made when a node is elected and dropped whole when it steps down. It decides on a draft,
//! which is the applied state plus what it has decided itself, so that entries can be in flight. Pure: the
//! coordinator gives it the time, the suggestions and the requests; the simulation does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heats_domain::{AgentId, SweepId, TokenId, TrialState};
use heats_search::{Promotion, Stopper};

use crate::fact::{Entry, Fact, FactCell, Record, TrialPlaced};
use crate::health::Part;
use crate::history;
use crate::ops::Decision;
use crate::ops::agent_drain;
use crate::ops::agents::{Attached, expire};
use crate::ops::attempts;
use crate::ops::control;
use crate::ops::drain;
use crate::ops::fork::Stranded;
use crate::ops::notices;
use crate::ops::quarantine::{self, News};
use crate::ops::submit::{self, Submitted};
use crate::ops::tokens;
use crate::ops::{artifacts, checkpoints};
use crate::ops::{quotas, restore};
use crate::placement::{Line, Places, Usage, preempt};
use crate::refusal::Refusal;
use crate::retention;
use crate::state::{ApplyError, Lease, State, Turn};
use crate::study::Done;
use crate::study::stale::Patience;
use crate::sweep::Sweep;
use crate::trial::Attempt;

#[cfg(any(test, feature = "test-util"))]
mod faults;
mod giving;
mod op;
mod roster;
mod watching;

use roster::Roster;

pub use op::Op;

/// Why a turn could not be taken: the leader must step down and the node stop.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TurnError {
    /// What was decided contradicts the state that it was decided on.
    #[error("a decision contradicts the state: {0}")]
    Contradiction(#[from] ApplyError),
}

/// What a request is answered with once the entry is applied.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// It was carried out.
    Done,
    /// To [`Op::Submit`].
    Submitted(Submitted),
    /// To [`Op::Enqueue`]: how many points wait.
    Enqueued(u32),
    /// To [`Op::Retry`]: which trials.
    Retried(Vec<u32>),
    /// To [`Op::Attach`].
    Attached(Attached),
    /// To [`Op::CreateToken`] and [`Op::RevokeToken`]: which.
    Token(TokenId),
    /// To [`Op::Study`].
    Study(Done),
}

/// The leader's session.
pub struct Leading {
    term: u64,
    /// The last number that an entry of this term was given.
    numbered: u64,
    draft: State,
    now_ms: u64,
    facts: Vec<FactCell>,
    stoppers: BTreeMap<SweepId, Option<Box<dyn Stopper>>>,
    /// The sweeps that have not ended.
    active: BTreeSet<SweepId>,
    /// The agents that are attached to this leader.
    attached: BTreeSet<AgentId>,
    /// Those of them that say that they can start nothing now.
    unable: BTreeSet<AgentId>,
    /// The GPUs, by index, of which agents say that they must not be leased now.
    broken: BTreeMap<AgentId, BTreeSet<u32>>,
    /// Those that may be given something.
    places: Places,
    /// What projects and users hold.
    usage: Usage,
    /// The sweeps that could use a place.
    line: Line,
    /// What else is kept of the sweeps that have not ended.
    roster: Roster,
    /// The sweeps of which something was recorded that these two have not followed yet.
    changed: BTreeSet<SweepId>,
    /// How long one of these waits before others of a lower priority lose their places.
    preempt_after_ms: u64,
    /// The agents at which an attempt ended just now.
    vacated: BTreeSet<AgentId>,
    /// Forks that no attached agent can go on with.
    stranded: Stranded,
    /// What was heard just now of attempts, as far as it bears on their machines.
    news: Vec<News>,
    /// How long trials of studies may be silent, where that is limited.
    patience: Option<Patience>,
}

impl Leading {
    /// Starts to lead in `term`. `state` has applied every entry of earlier terms. `numbered` is the last number that an entry
    /// of this term was given, by whoever led before in it: some of those may still come to be, and then what is decided
    /// here does not.
    pub fn new(term: u64, numbered: u64, state: State) -> Self {
        let active: BTreeSet<SweepId> = state.sweeps.values().filter(|s| !s.is_ended()).map(|s| s.id).collect();
        let now_ms = state.at_ms;
        // A rule is made when a report asks for it; that of trials which hold at a rung is asked about them before that.
        let holding = state.sweeps.values().filter(|sweep| !sweep.paused.is_empty());
        let stoppers = holding.filter_map(|sweep| Some((sweep.id, history::stopper(sweep).ok()?))).collect();
        let usage = Usage::of(&state);
        Self {
            term,
            numbered,
            draft: state,
            now_ms,
            facts: Vec::new(),
            stoppers,
            changed: active.clone(),
            active,
            attached: BTreeSet::new(),
            unable: BTreeSet::new(),
            broken: BTreeMap::new(),
            places: Places::default(),
            usage,
            line: Line::default(),
            roster: Roster::default(),
            preempt_after_ms: preempt::GRACE_MS,
            vacated: BTreeSet::new(),
            stranded: Stranded::default(),
            news: Vec::new(),
            patience: None,
        }
    }

    /// The same, which takes places away from lower priorities after this long, in milliseconds.
    #[must_use]
    pub fn preempting_after(self, preempt_after_ms: u64) -> Self {
        Self { preempt_after_ms, ..self }
    }

    /// Fails trials of studies, from now on, of which nothing was heard for `silent_ms_max` milliseconds.
    pub const fn expect_word_of_trials(&mut self, silent_ms_max: u64) {
        self.patience = Some(Patience::new(silent_ms_max, self.now_ms));
    }

    /// The state with everything that was decided so far.
    pub const fn draft(&self) -> &State {
        &self.draft
    }

    /// The sweeps that have not ended.
    pub fn active(&self) -> impl Iterator<Item = &Arc<Sweep>> {
        self.active.iter().filter_map(|id| self.draft.sweeps.get(id))
    }

    /// Begins a turn at `now_ms` (milliseconds since the Unix epoch), which is clamped to never go back.
    /// A turn has one time, that of its entry: within a turn this does nothing.
    pub fn begin(&mut self, now_ms: u64) {
        if self.facts.is_empty() {
            self.now_ms = self.now_ms.max(now_ms);
        }
    }

    /// Decides one request on the draft.
    ///
    /// # Errors
    /// The inner result is the refusal, which records nothing; the outer one is a [`TurnError`].
    pub fn decide(&mut self, op: Op) -> Result<Result<Reply, Refusal>, TurnError> {
        match op {
            Op::Submit(submit) => {
                let decision = submit.decide(&self.draft);
                self.record(decision, Reply::Submitted)
            }
            Op::Remove(sweep) => self.record(submit::remove(&self.draft, sweep), |()| Reply::Done),
            Op::Control(sweep, verb) => self.record(control::control(&self.draft, sweep, verb), |()| Reply::Done),
            Op::CancelTrial(sweep, trial) => {
                self.record(control::cancel_trial(&self.draft, sweep, trial), |()| Reply::Done)
            }
            Op::Edit(sweep, edit) => self.record(control::edit(&self.draft, sweep, edit), |()| Reply::Done),
            Op::Enqueue(sweep, params) => self.record(control::enqueue(&self.draft, sweep, params), Reply::Enqueued),
            Op::Retry(sweep, trials) => self.record(control::retry(&self.draft, sweep, &trials), Reply::Retried),
            Op::Attach(attach) => {
                let (agent, able, unusable) = (attach.agent, attach.able, attach.unusable.clone());
                let decided = self.record(attach.decide(&self.draft, self.now_ms), Reply::Attached);
                if let Ok(Ok(_)) = decided {
                    self.attached.insert(agent);
                    self.broken.insert(agent, unusable);
                    self.set_able(agent, able);
                }
                decided
            }
            Op::Start(start) => self.record(start.decide(&self.draft), |()| Reply::Done),
            Op::Report(key, step, metrics) => {
                let decision = match self.stopper(key.sweep) {
                    Ok(()) => {
                        let stopper = self.stoppers.get(&key.sweep).and_then(Option::as_deref);
                        attempts::report(&self.draft, stopper, key, step, metrics)
                    }
                    Err(refusal) => Err(refusal),
                };
                self.record(decision, |()| Reply::Done)
            }
            Op::Finish(finish) => self.record(attempts::finish(&self.draft, finish), |()| Reply::Done),
            Op::SaveCheckpoint(checkpoint) => self.record(checkpoints::save(&self.draft, checkpoint), |()| Reply::Done),
            Op::KeepArtifact(artifact) => self.record(artifacts::keep(&self.draft, artifact), |()| Reply::Done),
            Op::LeaveOutArtifact(file) => self.record(artifacts::leave_out(&self.draft, file), |()| Reply::Done),
            Op::Erase(object) => self.record(Ok((checkpoints::erase(&self.draft, object), ())), |()| Reply::Done),
            Op::NoticeDelivered { sweep, hook, place } => {
                self.record(notices::delivered(&self.draft, sweep, hook, place), |()| Reply::Done)
            }
            Op::GiveUpHook { sweep, hook, why } => {
                self.record(notices::give_up(&self.draft, sweep, hook, why), |()| Reply::Done)
            }
            Op::ReadNotice { sweep, reader, place } => {
                self.record(notices::read(&self.draft, sweep, reader, place), |()| Reply::Done)
            }
            Op::KeepLogs(keep) => self.record(keep.decide(&self.draft), |()| Reply::Done),
            Op::CreateToken(create) => self.record(create.decide(&self.draft, self.now_ms), Reply::Token),
            Op::RevokeToken(text) => self.record(tokens::revoke(&self.draft, &text), Reply::Token),
            Op::Join(join) => self.record(join.decide(&self.draft, self.now_ms), |()| Reply::Done),
            Op::SetQuota(quota) => self.record(quotas::set(&self.draft, quota), |()| Reply::Done),
            Op::RemoveQuota(scope, name) => self.record(quotas::remove(&self.draft, scope, name), |()| Reply::Done),
            Op::Drain(drain) => self.record(drain.decide(&self.draft), |()| Reply::Done),
            Op::Undrain(agent) => self.record(agent_drain::undrain(&self.draft, agent), |()| Reply::Done),
            Op::Release { agent, by } => self.record(quarantine::release(&self.draft, agent, by), |()| Reply::Done),
            Op::Restore(lineage) => {
                for agent in std::mem::take(&mut self.attached) {
                    self.detach(agent);
                }
                self.record(Ok((restore::restore(&self.draft, self.now_ms, lineage), ())), |()| Reply::Done)
            }
            Op::Study(change) => self.record(change.decide(&self.draft), Reply::Study),
            Op::Expire(agent, silent_ms) => {
                self.detach(agent);
                let facts = expire(&self.draft, agent, self.now_ms, silent_ms);
                self.record(Ok((facts, ())), |()| Reply::Done)
            }
        }
    }

    /// An agent's stream was cut: nothing new is leased to it, and its leases stay until they expire.
    pub fn detach(&mut self, agent: AgentId) {
        self.attached.remove(&agent);
        self.reconsider(agent);
    }

    /// An agent says whether it can start anything now: where it cannot, nothing new is leased to it.
    pub fn set_able(&mut self, agent: AgentId, able: bool) {
        if able {
            self.unable.remove(&agent);
        } else {
            self.unable.insert(agent);
        }
        self.reconsider(agent);
    }

    /// An agent says which of its GPUs must not be leased now. An attempt that holds one goes on.
    pub fn set_unusable(&mut self, agent: AgentId, gpus: BTreeSet<u32>) {
        self.broken.insert(agent, gpus);
        self.reconsider(agent);
    }

    /// Whether the agent may be given something may have changed.
    fn reconsider(&mut self, agent: AgentId) {
        let drained = self.draft.drains.contains_key(&agent);
        let is_able = self.attached.contains(&agent) && !self.unable.contains(&agent);
        let is_open = is_able && !drained && self.draft.lets_through(Part::machine(agent), self.now_ms);
        let broken = self.broken.get(&agent).into_iter().flatten().copied();
        self.places.set_unusable(agent, broken.chain(self.draft.closed_gpus(agent, self.now_ms)).collect());
        match self.draft.agent(agent).filter(|_| is_open) {
            Some(attached) => {
                self.places.open(attached.clone(), self.draft.free(agent), self.draft.least_priority(agent));
            }
            None => self.places.close(agent),
        }
    }

    /// Ends the sweeps whose time or GPU-hours are over, the forks that have waited too long for their checkpoint, and the trials
    /// of studies whose clients are gone.
    ///
    /// # Errors
    /// See [`TurnError`].
    pub fn limits(&mut self) -> Result<(), TurnError> {
        if let Some(patience) = &mut self.patience {
            let facts = patience.look(&self.draft.studies, self.now_ms);
            self.record_all(facts)?;
        }
        self.catch_up();
        for id in self.roster.to_look_at(self.now_ms) {
            let Some(sweep) = self.draft.sweeps.get(&id) else { continue };
            let facts = drain::limits(sweep, self.now_ms);
            self.record_all(facts)?;
            let Some(sweep) = self.draft.sweeps.get(&id).filter(|sweep| sweep.members.is_some()) else { continue };
            let promoted = self.promotion(sweep).map(|promotion| promotion.trial);
            let facts = self.stranded.look(&self.draft, &self.attached, sweep, promoted, self.now_ms);
            self.record_all(facts)?;
        }
        Ok(())
    }

    /// Ends the turn: everything that was decided since the last one, as one entry; `None` where nothing was.
    pub fn finish(&mut self) -> Option<Entry> {
        let facts = std::mem::take(&mut self.facts);
        if facts.is_empty() {
            return None;
        }
        self.numbered += 1;
        let (term, number, after) = (self.term, self.numbered, self.draft.turn.number_in(self.term));
        self.draft.applied += 1;
        self.draft.turn = Turn { term, number };
        Some(Entry { term, number, after, at_ms: self.now_ms, facts })
    }

    /// Has the draft share its memory with the applied state, where that holds all that was decided; whether it does. What
    /// was recorded since the last time is kept once then, not twice.
    pub fn share(&mut self, applied: &State) -> bool {
        let holds_all = self.facts.is_empty() && applied.turn == self.draft.turn;
        if holds_all {
            self.draft = applied.clone();
        }
        holds_all
    }

    fn record<R>(
        &mut self,
        decision: Decision<R>,
        reply: impl FnOnce(R) -> Reply,
    ) -> Result<Result<Reply, Refusal>, TurnError> {
        match decision {
            Ok((facts, answer)) => {
                self.record_all(facts)?;
                Ok(Ok(reply(answer)))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Adds facts to the draft and the entry, and then what follows from them for their sweeps.
    fn record_all(&mut self, facts: Vec<Fact>) -> Result<(), TurnError> {
        let mut touched: BTreeMap<SweepId, BTreeSet<u32>> = BTreeMap::new();
        for fact in facts {
            if let Some(sweep) = fact.sweep() {
                touched.entry(sweep).or_default().extend(fact.trial());
            }
            self.record_one(fact)?;
        }
        self.fill_vacated()?;
        // Before a sweep fails of them, failures may be put down to a machine.
        for (sweep, trial) in self.watch()? {
            touched.entry(sweep).or_default().insert(trial);
        }
        for (id, mut trials) in touched {
            // Each round confirms, drains or ends the sweep, so there are few.
            while let Some(sweep) = self.draft.sweeps.get(&id) {
                let follow = drain::settle(sweep, self.promotion(sweep).is_some());
                if follow.is_empty() {
                    break;
                }
                for fact in follow {
                    trials.extend(fact.trial());
                    self.record_one(fact)?;
                }
            }
            let excess = self.draft.sweeps.get(&id).map(|sweep| retention::excess(sweep, &trials)).unwrap_or_default();
            for fact in excess {
                self.record_one(fact)?;
            }
        }
        Ok(())
    }

    fn record_one(&mut self, fact: Fact) -> Result<(), TurnError> {
        // The index is that of the next entry if nothing else gets in between; the draft needs no better one.
        let record = Record { log_index: self.draft.applied + 1, at_ms: self.now_ms, cell: fact.clone().into() };
        let attempt = fact.trial().zip(fact.sweep()).and_then(|(trial, sweep)| {
            let (_, attempt) = self.sweep(sweep)?.trial(trial)?.live()?;
            Some(attempt.clone())
        });
        self.count(&fact, attempt.as_ref());
        self.draft.record(Arc::new(record))?;
        let news = attempt.as_ref().map(|attempt| self.heard(&fact, attempt)).unwrap_or_default();
        self.news.extend(news);
        self.changed.extend(fact.sweep());
        if let Some((sweep, stopper)) =
            fact.sweep().and_then(|id| Some((self.draft.sweeps.get(&id)?, self.stoppers.get_mut(&id)?.as_mut()?)))
            && let Some(event) = history::event(sweep, &fact)
        {
            stopper.observe(&event);
        }
        match &fact {
            Fact::SweepSubmitted(fact) => {
                self.active.insert(fact.sweep);
            }
            Fact::SweepReopened(fact) => {
                self.active.insert(fact.sweep);
            }
            Fact::SweepEnded(fact) => {
                self.active.remove(&fact.sweep);
                self.stoppers.remove(&fact.sweep);
                self.places.forget(fact.sweep);
                self.stranded.forget(fact.sweep);
                // It may be reopened before the turn is over.
                self.roster.remove(fact.sweep);
            }
            Fact::TrialLeased(fact) => {
                for agent in fact.agents() {
                    self.recount(agent);
                    self.reconsider_quarantined(agent);
                }
                // What was kept free for it is so no more, and the sweep's next one waits anew.
                if !fact.members.is_empty() {
                    self.places.release(fact.sweep);
                    self.line.end_wait(fact.sweep);
                }
            }
            Fact::AttemptEnded(_) | Fact::MemberEnded(_) | Fact::TrialPlaced(_) | Fact::TrialRecalled(_) => {
                let vacates = matches!(fact, Fact::AttemptEnded(_) | Fact::MemberEnded(_));
                // Those who held something of it before the fact.
                for agent in attempt.iter().flat_map(Attempt::holders).map(|holder| holder.agent) {
                    self.recount(agent);
                    if vacates {
                        self.reconsider_quarantined(agent);
                        self.vacated.insert(agent);
                    }
                }
            }
            Fact::AgentDrained(fact) => self.reconsider(fact.agent),
            Fact::AgentUndrained(fact) => self.reconsider(fact.agent),
            Fact::AgentQuarantined(fact) => self.reconsider(fact.agent),
            Fact::AgentReleased(fact) => self.reconsider(fact.agent),
            Fact::GpuQuarantined(fact) => self.reconsider(fact.quarantine.agent),
            Fact::GpuReleased(fact) => self.reconsider(fact.release.agent),
            Fact::SweepEdited(fact) => self.places.search_again(fact.sweep),
            Fact::QuotaSet(_) | Fact::QuotaRemoved(_) => self.line.reopen(),
            Fact::SweepPaused(_)
            | Fact::SweepResumed(_)
            | Fact::SweepDrained(_)
            | Fact::SweepRemoved(_)
            | Fact::PointEnqueued(_)
            | Fact::TrialCreated(_)
            | Fact::TrialStarted(_)
            | Fact::TrialReported(_)
            | Fact::TrialSettled(_)
            | Fact::TrialSpared(_)
            | Fact::TrialResumed(_)
            | Fact::AttemptExcused(_)
            | Fact::CheckpointSaved(_)
            | Fact::CheckpointDropped(_)
            | Fact::CheckpointErased(_)
            | Fact::ArtifactKept(_)
            | Fact::ArtifactDropped(_)
            | Fact::ArtifactNotKept(_)
            | Fact::LogsKept(_)
            | Fact::LogsDropped(_)
            | Fact::NoticeDelivered(_)
            | Fact::HookGivenUp(_)
            | Fact::NoticeRead(_)
            | Fact::Study(_)
            | Fact::AgentAttached(_)
            | Fact::ClusterRestored(_)
            | Fact::EnvironmentRecorded(_)
            | Fact::HardwareRecorded(_)
            | Fact::TokenCreated(_)
            | Fact::TokenUsed(_)
            | Fact::TokenRevoked(_)
            | Fact::AgentJoined(_) => {}
        }
        self.facts.push(fact.into());
        Ok(())
    }

    /// Keeps what projects and users hold, before `fact` is recorded; `attempt` is the trial's live one.
    fn count(&mut self, fact: &Fact, attempt: Option<&Attempt>) {
        let Some(sweep) = fact.sweep().and_then(|id| self.draft.sweeps.get(&id)) else { return };
        match (fact, attempt) {
            (Fact::TrialLeased(fact), _) => {
                let others = fact.members.iter().map(|member| &member.grant);
                self.usage.begin(sweep, std::iter::once(&fact.grant).chain(others), self.now_ms);
            }
            (Fact::MemberEnded(fact), Some(attempt)) => {
                if let Some(member) = attempt.member(fact.rank) {
                    self.usage.end_member(sweep, attempt, member, fact.ran_ms);
                }
            }
            (Fact::AttemptEnded(fact), Some(attempt)) => self.usage.end(sweep, attempt, fact.ran_ms),
            (Fact::SweepRemoved(_), _) => self.usage.forget(sweep),
            _ => {}
        }
    }

    /// Gives the places of attempts that ended to trials that were leased ahead there, before anybody else.
    fn fill_vacated(&mut self) -> Result<(), TurnError> {
        for agent in std::mem::take(&mut self.vacated) {
            loop {
                let free = self.draft.free(agent);
                let fits = |lease: &Lease| lease.grant.cpus <= free.cpus && lease.grant.memory <= free.memory;
                let held = self.draft.leases.get(&agent).into_iter().flatten();
                let Some((&(sweep, trial), lease)) =
                    held.into_iter().find(|(_, l)| l.ahead && l.recalled.is_none() && fits(l))
                else {
                    break;
                };
                let attempt = lease.attempt;
                self.record_one(Fact::TrialPlaced(TrialPlaced { sweep, trial, attempt }))?;
            }
        }
        Ok(())
    }

    /// The trial that the sweep's rule lets go on next, of those that hold at a rung. One whose process has not ended yet
    /// has to wait for that.
    fn promotion(&self, sweep: &Sweep) -> Option<Promotion> {
        if sweep.paused.is_empty() {
            return None;
        }
        let stopper = self.stoppers.get(&sweep.id)?.as_ref()?;
        let promotion = stopper.promotion(sweep.may_create())?;
        let trial = sweep.of_ordinal(promotion.trial)?;
        let promotion = Promotion { trial: trial.number, ..promotion };
        (trial.state == TrialState::Paused && trial.live().is_none()).then_some(promotion)
    }

    fn recount(&mut self, agent: AgentId) {
        self.places.set(agent, || (self.draft.free(agent), self.draft.least_priority(agent)));
    }

    /// Makes the sweep's stopper by folding its history, where this leader has none yet.
    fn stopper(&mut self, id: SweepId) -> Result<(), Refusal> {
        // A late report of a sweep that has ended is not worth its whole history.
        if self.stoppers.contains_key(&id) || !self.active.contains(&id) {
            return Ok(());
        }
        if let Some(sweep) = self.draft.sweeps.get(&id) {
            self.stoppers.insert(id, history::stopper(sweep)?);
            self.changed.insert(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::SweepId;

    use super::Op;
    use crate::testing::{Cluster, SweepBuilder, attach, submit};

    #[test]
    fn a_turn_is_one_entry_with_one_time() {
        let mut cluster = Cluster::default();
        cluster.leading.begin(5_000);
        cluster.leading.decide(Op::Attach(attach(1, 1, 0))).expect("is decided").expect("attaches");
        cluster.leading.begin(9_000);
        let submit = submit(SweepId { bits: 1 }, 1, SweepBuilder::minimize("loss"));
        cluster.leading.decide(Op::Submit(Box::new(submit))).expect("is decided").expect("is submitted");
        assert_eq!(cluster.end_turn().len(), 2);
        assert_eq!(cluster.entries.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), [5_000]);
    }

    #[test]
    fn the_clock_never_goes_back_along_the_log() {
        let mut cluster = Cluster::default();
        for now_ms in [5_000, 3_000, 6_000] {
            cluster.now_ms = now_ms;
            cluster.submit(SweepBuilder::minimize("loss"));
        }
        cluster.fail_over();
        cluster.now_ms = 1_000;
        cluster.submit(SweepBuilder::minimize("loss"));
        assert_eq!(cluster.entries.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), [5_000, 5_000, 6_000, 6_000]);
    }

    #[test]
    fn a_turn_without_facts_makes_no_entry() {
        let mut cluster = Cluster::default();
        cluster.leading.begin(5_000);
        cluster.leading.limits().expect("no contradiction");
        cluster.leading.dispatch(&mut cluster.suggestions).expect("no contradiction");
        assert_eq!(cluster.leading.finish(), None);
        assert_eq!(cluster.leading.draft().applied, 0);
    }
}
