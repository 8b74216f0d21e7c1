//! The one task that decides. It leads while this node leads: requests that wait together are decided
//! together and become one log entry; up to [`IN_FLIGHT`] entries are on their way at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use heats_core::{Entry, Leading, Op, Refusal, Reply, TurnError};
use heats_domain::AgentId;
use heats_replica::{Leadership, Replica};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::edge::clock::Clock;
use crate::leases::Leases;
use crate::settler::{Turn, settle};
use crate::streams::Streams;
use crate::suggesters::Suggesters;

/// Requests that may wait for a turn.
const MAILBOX: usize = 8_192;
/// Requests that one turn takes.
const BATCH: usize = 1_024;
/// Entries that may be on their way to the log at once.
const IN_FLIGHT: usize = 8;
/// Facts that a draft may hold apart from the applied state: a hundred megabytes at most.
const APART: usize = 1 << 16;
/// How soon a leader that was refused by its own log asks again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often leases and limits of time are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Why a request got no reply from a leader.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Another node leads, as far as this one knows.
    #[error("this node does not lead{}", leader.as_ref().map(|l| format!(": ask {l}")).unwrap_or_default())]
    NotLeader {
        /// The leader's address, where it is known.
        leader: Option<String>,
    },
    /// More requests wait than may.
    #[error("the coordinator is overloaded: {MAILBOX} requests wait")]
    Overloaded,
    /// It is not allowed in this state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node is shutting down or has failed.
    #[error("this coordinator is shutting down")]
    Stopped,
}

/// A reply, and the log index at which it holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// The log index.
    pub log_index: u64,
    /// Which time of leading it was decided in; a node may lead twice, even in one term.
    pub reign: u64,
}

pub(crate) type Answered = oneshot::Sender<Result<Answer, AskError>>;

enum Request {
    /// Decided in this reign only, where one is named.
    Op(Box<Op>, Option<u64>, Answered),
    Detach(AgentId, Parting),
    /// Said on this stream of the agent's.
    Able(AgentId, u64, bool),
    /// Likewise.
    Unusable(AgentId, u64, BTreeSet<u32>),
}

/// Why an agent gets no leases any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// It said so, on a stream that it still has.
    Leaving,
    /// A stream of it is gone; it may have another by now.
    Gone,
}

/// How long a leader waits for others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How much longer than their leases last a new leader waits for agents.
    pub grace: Duration,
    /// For a place, before others of a lower priority lose theirs.
    pub preempt_after: Duration,
    /// How long a trial of Optuna's may be silent; for ever where none is given.
    pub optuna_stale: Option<Duration>,
}

/// The way to the decider.
#[derive(Clone)]
pub struct Decider {
    mailbox: mpsc::Sender<Request>,
}

impl Decider {
    /// Starts the task. It ends when `replica` stops or every handle is gone.
    pub fn start(
        replica: Replica,
        streams: Streams,
        leases: Leases,
        patience: Patience,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (mailbox, requests) = mpsc::channel(MAILBOX);
        let leadership = replica.leadership();
        let task =
            Task { replica, streams, leases, patience, clock, requests, leadership, reign: 0, led: 0, numbered: 0 };
        tokio::spawn(task.run());
        Self { mailbox }
    }

    /// Has `op` decided; the answer comes once it is durable and applied. Requests of one caller that does
    /// not wait in between are decided in the order of these calls.
    ///
    /// # Errors
    /// See [`AskError`]; nothing was recorded then, but for `NotLeader` and `Stopped`, where it may have been.
    pub async fn ask(&self, op: Op) -> Result<Answer, AskError> {
        self.post(op)?.await.map_err(|_| AskError::Stopped)?
    }

    /// As [`Decider::ask`], with the answer to be waited for later.
    ///
    /// # Errors
    /// [`AskError::Overloaded`] and [`AskError::Stopped`].
    pub fn post(&self, op: Op) -> Result<oneshot::Receiver<Result<Answer, AskError>>, AskError> {
        let (answered, answer) = oneshot::channel();
        self.mailbox.try_send(Request::Op(Box::new(op), None, answered)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
        })?;
        Ok(answer)
    }

    /// As [`Decider::post`], but waits for room in the mailbox, and is decided in `reign` or not at all: for streams, which
    /// push back, and whose messages mean something only after those before them. A node that lost the lead and has it
    /// again would otherwise decide what was said late, and never what was lost before.
    ///
    /// # Errors
    /// [`AskError::Stopped`].
    pub async fn post_in(&self, reign: u64, op: Op) -> Result<oneshot::Receiver<Result<Answer, AskError>>, AskError> {
        let (answered, answer) = oneshot::channel();
        let request = Request::Op(Box::new(op), Some(reign), answered);
        self.mailbox.send(request).await.map_err(|_| AskError::Stopped)?;
        Ok(answer)
    }

    /// Says that an agent is to get nothing more until it attaches again.
    pub async fn detach(&self, agent: AgentId, parting: Parting) {
        // A decider that is gone has no agents.
        let _ = self.mailbox.send(Request::Detach(agent, parting)).await;
    }

    /// Says whether an agent can start anything now, as it said on its stream of this number.
    pub async fn able(&self, agent: AgentId, stream: u64, able: bool) {
        // As above.
        let _ = self.mailbox.send(Request::Able(agent, stream, able)).await;
    }

    /// Says which of an agent's GPUs must not be leased now, as it said on its stream of this number.
    pub async fn unusable(&self, agent: AgentId, stream: u64, gpus: BTreeSet<u32>) {
        // As above.
        let _ = self.mailbox.send(Request::Unusable(agent, stream, gpus)).await;
    }
}

struct Task {
    replica: Replica,
    streams: Streams,
    leases: Leases,
    patience: Patience,
    clock: Arc<dyn Clock>,
    requests: mpsc::Receiver<Request>,
    leadership: watch::Receiver<Leadership>,
    /// Counts the times that this node leads.
    reign: u64,
    /// The term that it led in last.
    led: u64,
    /// The last number that it gave to an entry: none is given twice, in whatever term.
    numbered: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            let leadership = self.leadership.borrow_and_update().clone();
            match leadership {
                Leadership::Leader { term } => {
                    info!(term, "leading");
                    if !self.lead(term).await {
                        return;
                    }
                    info!(term, "not leading any more");
                    self.streams.cut_all();
                }
                Leadership::Follower { leader, .. } => {
                    let leader = leader.map(|(_, address)| address);
                    tokio::select! {
                        changed = self.leadership.changed() => if changed.is_err() { return },
                        request = self.requests.recv() => match request {
                            Some(Request::Op(_, _, answered)) => { let _ = answered.send(Err(AskError::NotLeader { leader })); }
                            Some(Request::Detach(..) | Request::Able(..) | Request::Unusable(..)) => {}
                            None => return,
                        },
                    }
                }
            }
        }
    }

    /// Leads in `term` until that is over; whether the task should go on.
    async fn lead(&mut self, term: u64) -> bool {
        if self.led == term && !self.has_come_through().await {
            return true;
        }
        self.led = term;
        self.reign += 1;
        let state = self.replica.state();
        self.leases.begin(
            state.leases.iter().filter(|(_, held)| !held.is_empty()).map(|(agent, _)| *agent),
            self.patience.grace,
            Instant::now(),
        );
        let preempt_after_ms = self.patience.preempt_after.as_millis().try_into().unwrap_or(u64::MAX);
        let mut leading = Leading::new(term, self.numbered, (*state).clone()).preempting_after(preempt_after_ms);
        if let Some(silent) = self.patience.optuna_stale {
            leading.begin(self.clock.now_ms());
            leading.expect_word_of_trials(silent.as_millis() as u64);
        }
        let (mut suggesters, mut thoughts) = Suggesters::new();
        let (turns, in_flight) = mpsc::channel(IN_FLIGHT);
        let (replica, asked) = (self.replica.clone(), self.replica.clone());
        let leads = move || {
            let replica = asked.clone();
            async move { replica.confirm_leadership().await.is_ok() }.boxed()
        };
        let settled = settle(move || replica.state(), leads, self.streams.clone(), self.reign, in_flight);
        let mut settler = tokio::spawn(settled);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut apart = 0;
        let go_on = loop {
            let mut ticked = false;
            tokio::select! {
                biased;
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break false;
                    }
                    if *self.leadership.borrow() != (Leadership::Leader { term }) {
                        break true;
                    }
                }
                // An entry was not recorded: what follows it in the draft never happened.
                _ = &mut settler => break true,
                count = self.requests.recv_many(&mut batch, BATCH) => if count == 0 { break false },
                Some(thought) = thoughts.recv() => suggesters.keep(thought),
                _ = tick.tick() => ticked = true,
            }
            while let Ok(thought) = thoughts.try_recv() {
                suggesters.keep(thought);
            }
            let expired = if ticked { self.expired().await } else { Vec::new() };
            for (agent, _) in &expired {
                self.streams.cut(*agent);
            }
            let now_ms = self.clock.now_ms();
            // Whoever waits for one that does not count finds that nobody answers it.
            let requests = batch.drain(..).filter(|request| self.counts(request));
            let seen = self.replica.committed();
            let turn = match take_turn(&mut leading, &mut suggesters, now_ms, requests, expired, ticked) {
                Ok(turn) => turn,
                Err(error) => {
                    error!(%error, "this is a defect: the leader steps down");
                    break false;
                }
            };
            let Some(mut turn) = turn else {
                if ticked && leading.share(&self.replica.state()) {
                    apart = 0;
                }
                continue;
            };
            turn.seen = seen;
            if let Some(entry) = &turn.entry {
                self.numbered = entry.number;
                apart += entry.facts.len();
                turn.outcome = Some(Box::pin(self.replica.propose(entry.clone())));
            }
            if turns.send(turn).await.is_err() {
                break true;
            }
            if apart >= APART {
                // Some milliseconds, now and then.
                let mut states = self.replica.watch_state();
                tokio::select! {
                    biased;
                    _changed = self.leadership.changed() => self.leadership.mark_changed(),
                    _ = &mut settler => break true,
                    _applied = states.wait_for(|state| leading.share(state)) => apart = 0,
                }
            }
        };
        drop(turns);
        go_on
    }

    /// Waits until what this node proposed in an earlier reign of its term has come to be or never will: a draft without it
    /// would refuse what is right. Whether this node leads then.
    async fn has_come_through(&mut self) -> bool {
        // An entry of term 0 records nothing. It has its place in the log, behind everything that was proposed before.
        let last = self.replica.propose(Entry::default());
        tokio::select! {
            biased;
            _changed = self.leadership.changed() => return false,
            proposed = last => if proposed.is_ok() { return true },
        }
        tokio::select! {
            _changed = self.leadership.changed() => {}
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
        false
    }

    /// Whether a request still means what it meant when it was made.
    fn counts(&self, request: &Request) -> bool {
        match request {
            Request::Op(_, only_in, _) => only_in.is_none_or(|only| only == self.reign),
            // The agent may have another stream by now.
            Request::Detach(agent, Parting::Gone) => self.streams.number(*agent).is_none(),
            Request::Detach(_, Parting::Leaving) => true,
            // What it said on a newer stream counts.
            Request::Able(agent, stream, _) | Request::Unusable(agent, stream, _) => {
                self.streams.number(*agent) == Some(*stream)
            }
        }
    }

    /// The agents whose leases are over, if this node still leads: a node that was stopped for a while must
    /// not take leases from agents that another leader hears well.
    async fn expired(&self) -> Vec<(AgentId, Duration)> {
        let expired = self.leases.expired(TICK, Instant::now());
        if expired.is_empty() {
            return expired;
        }
        match self.replica.confirm_leadership().await {
            Ok(_) => expired,
            Err(error) => {
                warn!(%error, "leases not expired: leadership is in doubt");
                let now = Instant::now();
                for (agent, _) in expired {
                    self.leases.renew(agent, now);
                }
                Vec::new()
            }
        }
    }
}

/// One turn: decides everything that waits, then gives out the free places. `None` where nothing came of it.
fn take_turn(
    leading: &mut Leading,
    suggesters: &mut Suggesters,
    now_ms: u64,
    batch: impl Iterator<Item = Request>,
    expired: Vec<(AgentId, Duration)>,
    ticked: bool,
) -> Result<Option<Turn>, TurnError> {
    leading.begin(now_ms);
    let mut waiting = Vec::new();
    for request in batch {
        match request {
            Request::Op(op, _, answered) => waiting.push((leading.decide(*op)?, answered)),
            Request::Detach(agent, _) => leading.detach(agent),
            Request::Able(agent, _, able) => leading.set_able(agent, able),
            Request::Unusable(agent, _, gpus) => leading.set_unusable(agent, gpus),
        }
    }
    for (agent, silent) in expired {
        warn!(agent_id = %agent, silent_ms = silent.as_millis() as u64, "leases expired");
        // It has no reply that anybody waits for, and no refusal.
        let _ = leading.decide(Op::Expire(agent, silent.as_millis() as u64))?;
    }
    if ticked {
        leading.limits()?;
        let draft = leading.draft();
        suggesters.retain(|id| draft.sweeps.get(&id).is_some_and(|sweep| !sweep.is_ended()));
    }
    leading.dispatch(suggesters)?;
    leading.dispatch_ahead(suggesters)?;
    let entry = leading.finish();
    let idle = entry.is_none() && waiting.is_empty();
    Ok((!idle).then_some(Turn { entry, outcome: None, seen: 0, waiting }))
}
