//! What must be true, whatever happens: after every step for what a run's machines show, and at the end for what its agents
//! and clients were promised. Every failure is a panic with the reason; the seed replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use heats_core::fact::Forked;
use heats_core::health::is_own;
use heats_core::ops::attempts::Key;
use heats_core::ops::retries::REQUEUES_MAX;
use heats_core::trial::AttemptEnd;
use heats_core::{Ending, Fact, State, Status, Sweep, Trial, invariants};
use heats_domain::{AgentId, Checkpoint, SweepId, TrialState};
use heats_testkit::{Attempt, CallId, History};
use heats_wire::v1::from_agent::Message;

use crate::quarantine::Quarantines;
use crate::training;

/// What agents did and what they were promised.
#[derive(Debug, Default)]
pub struct Witness {
    /// What was measured, by trial and step: attempts measure the same.
    measured: BTreeMap<(u64, u32, u64), f64>,
    /// Reports that were acknowledged while the attempt was the trial's live one, as far as its agent knew.
    promised: BTreeSet<(u64, u32, u64)>,
    /// Ends that were acknowledged.
    ended: BTreeSet<Key>,
    /// Attempts that were told to stop: what they still say may count or not.
    stopped: BTreeSet<Key>,
    /// When each agent last said something that a leader was shown to have heard.
    heard: BTreeMap<AgentId, Duration>,
    /// The same, as it was when a leader last took the agent on.
    heard_before: BTreeMap<AgentId, Duration>,
    /// The same of each attempt that an agent forgot, or was told is not its own any more, as it was then.
    last_heard: BTreeMap<(AgentId, Key), Duration>,
    /// What agents said and clients asked, with the answers.
    pub history: History,
    /// Checkpoints that attempts have made.
    kept: BTreeSet<Checkpoint>,
    /// Artifacts that were acknowledged, likewise.
    artifacts: BTreeSet<Key>,
    leased: BTreeSet<(AgentId, Key)>,
    /// Attempts that span machines: their ends are more than one agent's word, and are no part of the history.
    gangs: BTreeSet<Key>,
    reports: BTreeMap<(Key, u64), CallId>,
    ends: BTreeMap<Key, CallId>,
    /// Agents of which it was acknowledged that they are drained, or are not any more, as long as nobody asks for the other;
    /// and the log index that it was acknowledged at.
    fleet: BTreeMap<AgentId, (bool, u64)>,
    /// Agents of which somebody asked that they be trusted again.
    released: BTreeSet<AgentId>,
}

impl Witness {
    /// An agent that had offered itself by `begun` was told to run an attempt, for the first time or again.
    pub fn leased(&mut self, begun: Duration, now: Duration, agent: AgentId, key: Key, is_gang: bool) {
        // It may have forgotten it in between.
        self.last_heard.remove(&(agent, key));
        if is_gang {
            self.gangs.insert(key);
        }
        if self.leased.insert((agent, key)) && !is_gang {
            self.history.leased(begun, now, attempt(key));
        }
    }

    pub fn kept(&mut self, checkpoint: &Checkpoint) {
        self.kept.insert(checkpoint.clone());
    }

    pub fn measured(&mut self, now: Duration, key: Key, step: u64, value: f64) {
        self.measured.insert((key.sweep.bits, key.trial, step), value);
        if self.gangs.contains(&key) {
            return;
        }
        self.reports.insert((key, step), self.history.report(now, attempt(key), step));
    }

    /// The process of an attempt ended; `over` where that ends its trial.
    pub fn finished(&mut self, now: Duration, key: Key, over: bool) {
        if self.gangs.contains(&key) {
            return;
        }
        self.ends.insert(key, self.history.finish(now, attempt(key), over));
    }

    pub fn stopped(&mut self, key: Key) {
        self.stopped.insert(key);
    }

    /// The agent is told that the attempt is not its own any more. What it says from now on came too late.
    pub fn fenced(&mut self, agent: AgentId, key: Key) {
        self.stopped.insert(key);
        self.last_heard.insert((agent, key), self.heard.get(&agent).copied().unwrap_or_default());
    }

    pub fn acknowledged(&mut self, now: Duration, key: Key, message: &Message) {
        let call = match message {
            Message::Report(report) if !self.stopped.contains(&key) => {
                self.promised.insert((key.sweep.bits, key.trial, report.step));
                self.reports.get(&(key, report.step))
            }
            Message::Finished(_) if !self.stopped.contains(&key) => {
                self.ended.insert(key);
                self.ends.get(&key)
            }
            Message::Artifact(_) if !self.stopped.contains(&key) => {
                self.artifacts.insert(key);
                None
            }
            _ => None,
        };
        if let Some(call) = call {
            self.history.acknowledged(*call, now);
        }
    }

    /// The agent does not know the attempt any more. What it says from now on says nothing about that.
    pub fn forgotten(&mut self, agent: AgentId, key: Key) {
        self.last_heard.insert((agent, key), self.heard.get(&agent).copied().unwrap_or_default());
    }

    /// A leader has taken the agent on again. What it had been leased and was never told of, it lost by what it had said before.
    pub fn welcomed(&mut self, agent: AgentId) {
        self.heard_before.insert(agent, self.heard.get(&agent).copied().unwrap_or_default());
    }

    /// The last that was heard of the agent before it can have lost the attempt.
    fn heard_of(&self, agent: AgentId, key: Key) -> Duration {
        let heard = if self.leased.contains(&(agent, key)) { &self.heard } else { &self.heard_before };
        self.last_heard.get(&(agent, key)).or_else(|| heard.get(&agent)).copied().unwrap_or_default()
    }

    /// A leader has heard what the agent said then.
    pub fn heard(&mut self, agent: AgentId, said: Duration) {
        let last = self.heard.entry(agent).or_default();
        *last = said.max(*last);
    }

    /// Somebody asks that the agent be drained, or that it be no longer.
    pub fn fleet_changes(&mut self, agent: AgentId, drained: bool) {
        if self.fleet.get(&agent).is_some_and(|(is, _)| *is != drained) {
            self.fleet.remove(&agent);
        }
    }

    /// That was acknowledged.
    pub fn fleet_changed(&mut self, agent: AgentId, drained: bool, log_index: u64) {
        self.fleet.insert(agent, (drained, log_index));
    }

    /// Somebody asks that the agent be trusted again.
    pub fn releases(&mut self, agent: AgentId) {
        self.released.insert(agent);
    }

    /// Whether somebody asked for that.
    pub fn has_released(&self, agent: AgentId) -> bool {
        self.released.contains(&agent)
    }

    /// How many reports were promised to be kept.
    pub fn promises(&self) -> usize {
        self.promised.len()
    }
}

const fn attempt(key: Key) -> Attempt {
    Attempt { sweep: key.sweep.bits, trial: key.trial, attempt: key.attempt }
}

/// What coordinators showed, across all of their lives.
#[derive(Debug, Default)]
pub struct Replicas {
    hashes: BTreeMap<u64, blake3::Hash>,
    /// How much of each sweep's journal has been looked at.
    seen: BTreeMap<SweepId, usize>,
    /// Where in the log each agent was given something last.
    given: BTreeMap<AgentId, u64>,
    quarantines: Quarantines,
}

/// Clocks drift, what is shown is shown a moment later, and a leader that nobody hears does not know at once.
const SLACK: Duration = Duration::from_secs(3);

impl Replicas {
    /// How often a machine was left alone.
    pub const fn quarantines(&self) -> u32 {
        self.quarantines.count()
    }

    /// Looks at what a coordinator has applied by `now`.
    pub fn look(&mut self, node: u64, state: &State, now: Duration, lease_ttl: Duration, witness: &Witness) {
        for sweep in state.sweeps.values() {
            let seen = self.seen.entry(sweep.id).or_default();
            for record in sweep.journal.iter_from(*seen) {
                if let Some(Fact::TrialLeased(leased)) = &record.cell.fact {
                    leased.agents().for_each(|agent| Quarantines::expect_open(state, agent, &record));
                    self.given.extend(leased.agents().map(|agent| (agent, record.log_index)));
                }
                if let Some((key, agent)) = record.cell.fact.as_ref().and_then(|fact| unheard(sweep, fact)) {
                    let heard = witness.heard_of(agent, key);
                    assert!(
                        now + SLACK >= heard + lease_ttl,
                        "{agent} lost its leases by {now:?}, although what it said at {heard:?} had been heard"
                    );
                }
            }
            let times = sweep.journal.iter_from(seen.saturating_sub(1)).map(|record| record.at_ms);
            assert!(times.is_sorted(), "time went back in the log of node {node}");
            *seen = sweep.journal.len().max(*seen);
        }
        for (agent, (drained, index)) in witness.fleet.iter().filter(|(_, (_, index))| state.applied >= *index) {
            assert_eq!(
                state.drain(*agent).is_some(),
                *drained,
                "whether {agent} is drained is not what was acknowledged"
            );
            let given = self.given.get(agent).filter(|given| *drained && *given > index);
            assert!(given.is_none(), "{agent} was drained by index {index}, and given something at {given:?}");
        }
        self.quarantines.look(state, witness);
        let violations = invariants::violations(state);
        assert!(violations.is_empty(), "node {node} at index {}: {violations:?}", state.applied);
        let hash = state.hash();
        let first = self.hashes.entry(state.applied).or_insert(hash);
        assert!(*first == hash, "R1 is broken: node {node} applied something else up to index {}", state.applied);
    }
}

/// The attempt that an agent lost because it was not heard of, or its part in it, where a fact says so.
fn unheard(sweep: &Sweep, fact: &Fact) -> Option<(Key, AgentId)> {
    let (trial, number, rank, detail) = match fact {
        Fact::AttemptEnded(ended) => (ended.trial, ended.attempt, 0, &ended.detail),
        Fact::MemberEnded(ended) => (ended.trial, ended.attempt, ended.rank, &ended.detail),
        _ => return None,
    };
    let attempt = sweep.trial(trial).and_then(|trial| trial.attempts.get(number as usize - 1));
    let attempt = attempt.expect("an attempt that ended was there");
    // What a member lost is told of the whole attempt again.
    let is_again = attempt.nodes() > 1 && matches!(fact, Fact::AttemptEnded(_));
    let agent = attempt.agents().nth(rank as usize).expect("a member that ended was there");
    let key = Key { sweep: sweep.id, trial, attempt: number };
    (detail.contains("was not heard of") && !is_again).then_some((key, agent))
}

/// One call of a client: when it was made and answered, and the log index that the answer holds at.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub begun: Duration,
    pub answered: Duration,
    pub index: u64,
}

/// Answers carry the log index that they hold at, so that the order is known: an answer that was given before a question
/// was asked is never newer than the answer to that question.
///
/// That is true of everything at once. What one trial or one submit shows, call by call, is searched for an order by the
/// checker of [`History`], which knows nothing of indices.
pub fn in_order(calls: &[Call]) {
    let mut by_answer: Vec<&Call> = calls.iter().collect();
    by_answer.sort_by_key(|call| call.answered);
    let mut by_begin: Vec<&Call> = calls.iter().collect();
    by_begin.sort_by_key(|call| call.begun);
    let (mut newest, mut earlier) = (0, by_answer.into_iter().peekable());
    for call in by_begin {
        while let Some(other) = earlier.next_if(|other| other.answered < call.begun) {
            newest = newest.max(other.index);
        }
        assert!(call.index >= newest, "a stale answer: {call:?}, although index {newest} had been answered before");
    }
}

/// A submit that was answered.
#[derive(Clone, Debug)]
pub struct Promised {
    pub request: u64,
    /// The sweep that it became.
    pub sweep: u64,
    /// How many trials it has in the end, with a population at most; more than one answer where a change was never answered.
    pub trials: Vec<u32>,
    /// How many members its population has.
    pub population: Option<u32>,
    /// How often each of its trials may be tried again.
    pub retries: u32,
}

/// What clients asked for and were promised.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    pub sweeps: Vec<Promised>,
    /// Every request that was ever made.
    pub requests: BTreeSet<u64>,
    /// Sweeps of these requests stop trials early.
    pub stopping: BTreeSet<u64>,
    /// The trials of these sweeps may hold, and go on later.
    pub pausing: BTreeSet<u64>,
}

/// Looks at the state that everybody has come to.
pub fn at_the_end(state: &Arc<State>, witness: &Witness, ordered: &Ordered) {
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    for sweep in state.sweeps.values() {
        let request = sweep.submitted().map_or(0, |(submitted, _)| submitted.request);
        assert!(ordered.requests.contains(&request), "nobody asked for sweep {}", sweep.id);
        assert!(found.insert(request, sweep.id.bits).is_none(), "request {request} became two sweeps");
    }
    for promised @ Promised { request, sweep, .. } in &ordered.sweeps {
        assert_eq!(found.get(request), Some(sweep), "the sweep of request {request} is not what was promised");
        let sweep = state.sweeps.values().find(|found| found.id.bits == *sweep).expect("was found");
        complete(sweep, promised, witness, ordered.stopping.contains(request));
        forked(sweep, witness);
    }
    for (sweep, trial, step) in &witness.promised {
        let sweep = state.sweeps.values().find(|found| found.id.bits == *sweep).expect("a promised sweep is there");
        let trial = sweep.trial(*trial).unwrap_or_else(|| panic!("trial {trial} reported and is gone"));
        let steps =
            (0..trial.series.len()).filter_map(|place| sweep.report(trial, place)).map(|(report, _)| report.step);
        // What a process says after its trial was stopped is taken from it, and does not count.
        if trial.state == TrialState::Stopped && trial.last_step.is_none_or(|last| last < *step) {
            continue;
        }
        let count = steps.filter(|found| found == step).count();
        assert_eq!(
            count, 1,
            "T3 is broken: step {step} of trial {} was acknowledged and is there {count} times",
            trial.number
        );
    }
    for key in &witness.artifacts {
        let trial = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial)).expect("is there");
        assert!(trial.artifact("model").is_some(), "what {key:?} kept was acknowledged, and is not there");
    }
    for key in &witness.ended {
        let trial = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial)).expect("is there");
        let attempt = trial.attempts.get(key.attempt as usize - 1).expect("an attempt that ended was there");
        assert!(attempt.end.is_some(), "{key:?} ended, which was acknowledged, and holds its lease");
    }
}

/// A sweep that ended has exactly its trials, and each measured what it should have, once.
fn complete(sweep: &Sweep, promised: &Promised, witness: &Witness, stops: bool) {
    let Promised { request: _, sweep: _, trials, population, retries } = promised;
    assert!(
        matches!(sweep.status, Status::Ended { ending: Ending::Finished, .. }),
        "sweep {} has not finished: {:?}",
        sweep.id,
        sweep.status
    );
    let (created, terminal) = (sweep.created(), sweep.counts.terminal());
    let most = trials.iter().copied().max().unwrap_or(0);
    let is_all = population.map_or_else(|| trials.contains(&created), |members| (members..=most).contains(&created));
    assert!(created == terminal && is_all, "S1 is broken: {created}, {terminal}, not {promised:?}");
    let mut best: Option<(f64, u32)> = None;
    for trial in &sweep.trials {
        let params = sweep.params(trial).expect("was created with one");
        let mut steps = Vec::new();
        for (report, _) in (0..trial.series.len()).filter_map(|place| sweep.report(trial, place)) {
            let value = report.metrics.get("loss").expect("reports have it");
            let measured = witness.measured.get(&(sweep.id.bits, trial.number, report.step));
            assert_eq!(measured, Some(&value), "trial {} never measured what it is said to have", trial.number);
            assert_eq!(value, training::loss(&params, report.step), "the value of another trial");
            let counts = !matches!(trial.state, TrialState::Failed | TrialState::Infeasible);
            if counts && best.is_none_or(|(least, _)| value < least) {
                best = Some((value, trial.number));
            }
            steps.push(report.step);
        }
        expect_retries(sweep, trial, *retries);
        match trial.state {
            TrialState::Completed => {
                let first = trial.forked.as_ref().map_or(1, |forked| forked.from.step + 1);
                let all: Vec<u64> = (first..=training::steps(&params)).collect();
                assert_eq!(steps, all, "trial {} completed without its steps, or with some twice", trial.number);
            }
            TrialState::Stopped if stops => {}
            TrialState::Failed | TrialState::Infeasible => {}
            other => panic!("trial {} of sweep {} is {other:?}", trial.number, sweep.id),
        }
    }
    let told = sweep.best().and_then(|trial| trial.best.map(|best| (best.value, trial.number)));
    assert_eq!(
        told.map(|(value, _)| value),
        best.map(|(value, _)| value),
        "S2 is broken: {told:?} is called the best, {best:?} is"
    );
}

/// A trial was tried again for its own failures as often as its sweep allows, neither more nor less: it has failed exactly where
/// they were one more than that, by the name of the last, and is said to have done so once.
fn expect_retries(sweep: &Sweep, trial: &Trial, retries: u32) {
    let number = trial.number;
    let ends: Vec<AttemptEnd> = trial.attempts.iter().filter_map(|attempt| attempt.end).collect();
    let own = |end: &&AttemptEnd| !end.excused && end.failure.is_some_and(is_own);
    let failures = ends.iter().filter(own).count() as u32;
    let last = ends.last().expect("a trial that is over has ended");
    let has_failed = matches!(trial.state, TrialState::Failed | TrialState::Infeasible);
    let gave_up = ends.len() as u32 - 1 - trial.retries_used >= REQUEUES_MAX;
    assert!(
        if has_failed { failures == retries + 1 || gave_up } else { failures <= retries },
        "trial {number} of {} is {:?} after {failures} failures, and may be tried again {retries} times",
        sweep.id,
        trial.state
    );
    assert_eq!(trial.retries_used, failures.min(retries), "trial {number} used up other retries than it needed");
    assert!(!has_failed || last.failure.is_some(), "trial {number} failed, and nobody says of what");
    let settled = sweep.records(trial).filter_map(|record| match &record.cell.fact {
        Some(Fact::TrialSettled(settled)) => Some(settled.state()),
        _ => None,
    });
    let settled: Vec<TrialState> = settled.collect();
    // One that had failed because of its machine waits again.
    let is_again = |pair: &[TrialState]| pair[0].is_terminal() && pair != [TrialState::Failed, TrialState::Waiting];
    assert!(!settled.windows(2).any(is_again), "trial {number} ended more than once: {settled:?}");
}

/// Whoever was replaced in a population was so once, by one fork; and each fork comes from a checkpoint that its parent made.
fn forked(sweep: &Sweep, witness: &Witness) {
    let mut made: BTreeMap<u32, u32> = BTreeMap::new();
    for trial in &sweep.trials {
        let Some(Forked { from, replaces }) = trial.forked.as_deref() else { continue };
        assert!(witness.kept.contains(from), "trial {} goes on from what nobody kept: {from:?}", trial.number);
        assert_eq!(made.insert(*replaces, from.trial), None, "trial {replaces} was replaced twice");
    }
    let winner = |trial: &Trial| Some((trial.number, sweep.verdict(trial)?.winner?));
    let replaced: BTreeMap<u32, u32> = sweep.trials.iter().filter_map(|trial| winner(trial)).collect();
    assert_eq!(made, replaced, "a fork for each trial that was replaced, of the one that its verdict names");
}
