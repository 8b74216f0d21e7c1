//! The agents that are attached to this node, and the way to each: what the leader decides goes out here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heats_core::fact::{AgentDrained, AgentQuarantined, GpuQuarantined};
use heats_core::health::Part;
use heats_core::history::trial_seed;
use heats_core::ops::agent_drain::{self, Leaving};
use heats_core::ops::attempts::Key;
use heats_core::trial::Attempt;
use heats_core::{Entry, Fact, State, Trial};
use heats_domain::{AgentId, FailureKind, Object};
use heats_wire::v1;
use heats_wire::v1::stop::Purpose;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

/// Messages that may wait for one agent. One that falls this far behind is cut off; it attaches again and
/// is told what it missed.
const OUTBOX: usize = 4_096;

/// A way to one agent.
pub type Outbox = mpsc::Sender<v1::ToAgent>;

/// Who is attached.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    inner: Arc<Mutex<Inner>>,
    /// Told whenever a stream comes or goes.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    by_agent: BTreeMap<AgentId, Way>,
    next: u64,
}

/// The way to one agent, as long as it is in the map.
#[derive(Debug)]
struct Way {
    number: u64,
    opening: Opening,
    outbox: Outbox,
    /// Dropped with the entry, which tells the stream's session to end.
    _alive: oneshot::Sender<()>,
}

/// What an agent says of itself when it attaches.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Opening {
    /// Which process it is: drawn anew by each. 0 where it does not say.
    pub session: u64,
    /// When it attached, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether it can start anything, and what its disk has left; the latest that it said.
    pub condition: v1::Condition,
    /// Whether it knows how to be asked for a part of an artifact.
    pub reads_artifacts: bool,
}

/// Another process with the agent's id is attached and lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken;

/// Whether the agent's present stream is one that something came by lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Present {
    /// It lives.
    Heard,
    /// It may be a machine that is gone: a newcomer takes its place.
    Silent,
}

/// One stream's side of its way.
pub struct Attached {
    /// Tells it from the agent's other streams.
    pub number: u64,
    /// What the agent is sent.
    pub outbox: Outbox,
    /// The other end of the outbox.
    pub inbox: mpsc::Receiver<v1::ToAgent>,
    /// Resolves when the stream is to end: a newer one replaced it, or it was cut.
    pub cut: oneshot::Receiver<()>,
}

impl Streams {
    /// A new stream of `agent`, in place of the one it had.
    ///
    /// # Errors
    /// The one that it has is another process's, and lives.
    pub fn attach(&self, agent: AgentId, opening: Opening, present: Present) -> Result<Attached, Taken> {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let (alive, cut) = oneshot::channel();
        let mut inner = self.lock();
        let other = |way: &&Way| {
            let (old, new) = (way.opening.session, opening.session);
            old != 0 && new != 0 && old != new
        };
        if present == Present::Heard && inner.by_agent.get(&agent).filter(other).is_some() {
            return Err(Taken);
        }
        inner.next += 1;
        let number = inner.next;
        inner.by_agent.insert(agent, Way { number, opening, outbox: outbox.clone(), _alive: alive });
        self.changed.send_replace(());
        Ok(Attached { number, outbox, inbox, cut })
    }

    /// What the agent says of itself now.
    pub fn describe(&self, agent: AgentId, number: u64, condition: v1::Condition) {
        if let Some(way) = self.lock().by_agent.get_mut(&agent).filter(|way| way.number == number) {
            way.opening.condition = condition;
        }
    }

    /// What the agent last said of itself, where it is attached.
    pub fn opening(&self, agent: AgentId) -> Option<Opening> {
        self.lock().by_agent.get(&agent).map(|way| way.opening.clone())
    }

    /// The stream ended. Whether it was the agent's newest.
    pub fn detach(&self, agent: AgentId, number: u64) -> bool {
        let mut inner = self.lock();
        let newest = inner.by_agent.get(&agent).is_some_and(|way| way.number == number);
        if newest {
            inner.by_agent.remove(&agent);
            self.changed.send_replace(());
        }
        newest
    }

    /// Cuts one agent's stream: its leases are over, and it has to attach again to get others.
    pub fn cut(&self, agent: AgentId) {
        self.lock().by_agent.remove(&agent);
        self.changed.send_replace(());
    }

    /// Cuts every stream: this node does not lead any more, and its agents have to find who does.
    pub fn cut_all(&self) {
        self.lock().by_agent.clear();
        self.changed.send_replace(());
    }

    /// The number of the agent's stream, as soon as it has one.
    pub async fn attached(&self, agent: AgentId) -> u64 {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(number) = self.number(agent) {
                return number;
            }
            next(&mut changed).await;
        }
    }

    /// Waits until the stream is not the agent's any more.
    pub async fn gone(&self, agent: AgentId, number: u64) {
        let mut changed = self.changed.subscribe();
        while self.number(agent) == Some(number) {
            next(&mut changed).await;
        }
    }

    /// The number of the agent's stream, where it has one.
    pub fn number(&self, agent: AgentId) -> Option<u64> {
        self.lock().by_agent.get(&agent).map(|way| way.number)
    }

    /// Sends `message` to the agent; whether it could be.
    pub fn send(&self, agent: AgentId, message: v1::to_agent::Message) -> bool {
        let mut inner = self.lock();
        let Some(way) = inner.by_agent.get(&agent) else { return false };
        match way.outbox.try_send(v1::ToAgent { message: Some(message) }) {
            Ok(()) => true,
            Err(error) => {
                debug!(agent_id = %agent, %error, "agent cut off: its outbox is full or gone");
                inner.by_agent.remove(&agent);
                self.changed.send_replace(());
                false
            }
        }
    }

    /// Tells the agents what an entry means for them, once it is applied in `state`.
    pub fn route(&self, state: &State, entry: &Entry) {
        for fact in entry.facts.iter().filter_map(|cell| cell.fact.as_ref()) {
            match fact {
                Fact::TrialLeased(fact) => {
                    let key = Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt };
                    let agents = std::iter::once(fact.agent).chain(fact.members.iter().map(|member| member.agent));
                    for agent in agents {
                        if let Some(run) = run(state, key, agent) {
                            self.send(agent, v1::to_agent::Message::Run(run));
                        }
                    }
                }
                Fact::TrialSettled(fact) => {
                    let Some(sweep) = state.sweeps.get(&fact.sweep) else { continue };
                    // `state` may be past this entry: a trial that went back to the queue may run again by now.
                    let Some(trial) = sweep.trial(fact.trial).filter(|trial| trial.state.is_at_rest()) else {
                        continue;
                    };
                    let Some((attempt, live)) = trial.live() else { continue };
                    let key = Key { sweep: fact.sweep, trial: fact.trial, attempt };
                    let why = fact.reason.as_ref().map_or_else(|| fact.why.clone(), ToString::to_string);
                    self.stop_all(state, key, live, &why);
                }
                Fact::MemberEnded(fact) if fact.decides.is_some() => {
                    let trial = state.sweeps.get(&fact.sweep).and_then(|sweep| sweep.trial(fact.trial));
                    let live = trial.and_then(Trial::live).filter(|(attempt, _)| *attempt == fact.attempt);
                    let Some((attempt, live)) = live else { continue };
                    let key = Key { sweep: fact.sweep, trial: fact.trial, attempt };
                    let kind = fact.failure.and_then(|code| FailureKind::try_from(code).ok());
                    let how = kind.map_or_else(|| fact.decides().name(), FailureKind::name);
                    self.stop_all(state, key, live, &format!("rank {} of it ended early ({how})", fact.rank));
                }
                Fact::AgentDrained(AgentDrained { agent, .. })
                | Fact::AgentQuarantined(AgentQuarantined { agent, .. })
                | Fact::GpuQuarantined(GpuQuarantined { gpu: _, quarantine: AgentQuarantined { agent, .. } }) => {
                    // Where `state` is past this entry, and that is taken back, there is nothing to ask for.
                    for leaving in agent_drain::leaving(state, *agent) {
                        self.send(*agent, v1::to_agent::Message::Stop(leave(state, *agent, leaving)));
                    }
                }
                Fact::TrialRecalled(fact) => {
                    let trial = state.sweeps.get(&fact.sweep).and_then(|sweep| sweep.trial(fact.trial));
                    let Some((_, live)) = trial.and_then(Trial::live) else { continue };
                    let key = Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt };
                    for agent in live.holders().map(|holder| holder.agent) {
                        for leaving in
                            agent_drain::leaving(state, agent).into_iter().filter(|leaving| leaving.key() == key)
                        {
                            self.send(agent, v1::to_agent::Message::Stop(leave(state, agent, leaving)));
                        }
                    }
                }
                Fact::CheckpointDropped(fact) => self.have_erased(state, &fact.checkpoint.clone().into()),
                Fact::ArtifactDropped(fact) => self.have_erased(state, &fact.artifact.clone().into()),
                Fact::SweepSubmitted(_)
                | Fact::QuotaSet(_)
                | Fact::QuotaRemoved(_)
                | Fact::EnvironmentRecorded(_)
                | Fact::HardwareRecorded(_)
                | Fact::SweepPaused(_)
                | Fact::SweepResumed(_)
                | Fact::SweepDrained(_)
                | Fact::SweepEdited(_)
                | Fact::SweepEnded(_)
                | Fact::SweepReopened(_)
                | Fact::SweepRemoved(_)
                | Fact::PointEnqueued(_)
                | Fact::TrialCreated(_)
                | Fact::TrialStarted(_)
                | Fact::TrialReported(_)
                | Fact::TrialResumed(_)
                | Fact::TrialSpared(_)
                | Fact::CheckpointSaved(_)
                | Fact::CheckpointErased(_)
                | Fact::ArtifactKept(_)
                | Fact::ArtifactNotKept(_)
                | Fact::LogsKept(_)
                | Fact::LogsDropped(_)
                | Fact::NoticeDelivered(_)
                | Fact::HookGivenUp(_)
                | Fact::NoticeRead(_)
                | Fact::Study(_)
                | Fact::AttemptEnded(_)
                | Fact::MemberEnded(_)
                | Fact::AgentAttached(_)
                | Fact::AgentUndrained(_)
                | Fact::AgentReleased(_)
                | Fact::GpuReleased(_)
                | Fact::AttemptExcused(_)
                | Fact::ClusterRestored(_)
                | Fact::TrialPlaced(_)
                | Fact::TokenCreated(_)
                | Fact::TokenUsed(_)
                | Fact::TokenRevoked(_)
                | Fact::AgentJoined(_) => {}
            }
        }
    }

    /// Has every process of a live attempt end.
    fn stop_all(&self, state: &State, key: Key, live: &Attempt, why: &str) {
        for holder in live.holders() {
            self.send(holder.agent, v1::to_agent::Message::Stop(stop(state, key, why.to_owned())));
        }
    }

    /// Has one of the agents that reach an object remove it. Where none is attached now, the next one that attaches is told.
    fn have_erased(&self, state: &State, object: &Object) {
        self.reaching(state, &object.place).find(|&agent| self.send(agent, erase(object.clone())));
    }

    /// The attached agents that reach a storage.
    pub fn reaching<'a>(&self, state: &'a State, place: &'a str) -> impl Iterator<Item = AgentId> + use<'a> {
        let attached: Vec<AgentId> = self.lock().by_agent.keys().copied().collect();
        attached.into_iter().filter(move |&agent| state.places(agent).iter().any(|reached| reached == place))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn next(changed: &mut watch::Receiver<()>) {
    // The sender is as old as whoever waits here: it cannot be gone.
    let _never_closed = changed.changed().await;
}

/// How many environments an agent is told not to describe again. Most sweeps have one.
const KNOWN_MAX: usize = 64;

/// The order to start what `agent` holds of an attempt, where it is live and is not to end.
pub fn run(state: &State, key: Key, agent: AgentId) -> Option<v1::Run> {
    let sweep = state.sweeps.get(&key.sweep)?;
    let trial = sweep.trial(key.trial)?;
    let (attempt, live) = trial.live()?;
    if attempt != key.attempt || live.is_breaking_up() {
        return None;
    }
    let holder = live.holders().find(|holder| holder.agent == agent)?;
    let gang = live.gang.as_ref().map(|gang| v1::Gang {
        rank: holder.rank,
        nodes: gang.members.len() as u32,
        address: rendezvous(state, live.agent),
        port: gang.port,
    });
    let (submitted, _) = sweep.submitted()?;
    Some(v1::Run {
        key: Some(key.into()),
        sweep_name: sweep.name.clone(),
        params: sweep.params(trial),
        grant: Some(holder.grant.clone()),
        seed: trial_seed(sweep.seed, key.trial),
        spec: submitted.spec.clone(),
        base_dir: submitted.base_dir.clone(),
        resume_step: trial.last_step,
        code: submitted.code.clone(),
        from: sweep.lease_of(trial, attempt).and_then(|lease| lease.from),
        known: sweep.named.environments.iter().take(KNOWN_MAX).copied().collect(),
        forked: trial.forked.is_some(),
        gang,
        keeps: trial.artifacts.clone(),
    })
}

/// Where an agent is reached by those whose trials it leads.
fn rendezvous(state: &State, agent: AgentId) -> String {
    let inventory = state.agent(agent).map(|attached| &attached.inventory);
    inventory.and_then(|inventory| inventory.rendezvous.as_ref()).map(|own| own.address.clone()).unwrap_or_default()
}

/// The order to remove a checkpoint or an artifact.
pub const fn erase(object: Object) -> v1::to_agent::Message {
    v1::to_agent::Message::Erase(v1::Erase { object: Some(object) })
}

/// The order to end an attempt.
pub fn stop(state: &State, key: Key, why: String) -> v1::Stop {
    let grace_ms = state.sweeps.get(&key.sweep).map_or(0, |sweep| sweep.spec.run.stop_grace.ms);
    v1::Stop { key: Some(key.into()), grace_ms, why, purpose: Purpose::End.into() }
}

/// What of the agent is quarantined that the attempt holds, and why.
fn quarantine(state: &State, agent: AgentId, key: Key) -> Option<(Part, &str)> {
    let lease = state.leases.get(&agent)?.get(&(key.sweep, key.trial))?;
    let mut own = state.quarantined(agent).filter(|(part, _)| part.is_in(&lease.grant));
    own.next().map(|(part, quarantine)| (part, quarantine.why.as_str()))
}

/// The order to give an attempt back: the agent is drained, or the place is another sweep's.
pub fn leave(state: &State, agent: AgentId, leaving: Leaving) -> v1::Stop {
    let (key, purpose) = match leaving {
        Leaving::Whole(key) | Leaving::Recalled(key, _) => (key, Purpose::Preempt),
        Leaving::Unstarted(key) => (key, Purpose::GiveBack),
    };
    let why = match leaving {
        Leaving::Recalled(_, by) => {
            let name = state.sweeps.get(&by).map_or_else(|| by.to_string(), |sweep| sweep.name.clone());
            format!("its place is for `{name}`, which has a higher priority")
        }
        Leaving::Whole(_) | Leaving::Unstarted(_) => match (state.drain(agent), quarantine(state, agent, key)) {
            (None, Some((Part { gpu: None, .. }, why))) => format!("its agent is quarantined: {why}"),
            (None, Some((Part { gpu: Some(gpu), .. }, why))) => format!("GPU {gpu} of its agent is quarantined: {why}"),
            (Some((drain, _)), _) if !drain.reason.is_empty() => format!("its agent is drained: {}", drain.reason),
            (_, _) => "its agent is drained".to_owned(),
        },
    };
    v1::Stop { purpose: purpose.into(), ..stop(state, key, why) }
}
