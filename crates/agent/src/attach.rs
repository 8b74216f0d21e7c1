//! The stream to the leader: finds it, says what the agent holds, sends what is not durable yet, obeys.
//!
//! Messages about attempts stay in a window until the coordinator has them for good; a new stream sends the
//! window again, in order, so that a reconnect loses nothing and an attempt's reports come before its end.
//! Knows nothing about processes and files.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use heats_domain::{AgentId, Inventory};
use heats_tls::{Dialer, Distrust, Expect, Security, distrust};
use heats_wire::LINEAGE_KEY;
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::stop::Purpose;
use heats_wire::v1::{self, to_agent};
use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::attempt::Cause;
use crate::context::Context;
use crate::event::{AgentEvent, OnEvent};
use crate::held::{Order, Outgoing};
use crate::key::Key;
use crate::lineage::Lineage;
use crate::logs::Logs;
use crate::supervisor::Origin;

/// How many messages may be on their way.
const WINDOW: usize = 4096;
/// How many of them the stream's own queue holds.
const STREAM_QUEUE: usize = 256;
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// The wait while a leader is being elected, which takes about a second, is no longer than after so many tries: 400 ms.
const ELECTION_TRIES: u32 = 3;
const BACK_OFF_LAST: Duration = Duration::from_secs(2);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a coordinator may take to answer Hello.
const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// So many redirections in a row are followed without a pause.
const REDIRECTS: u32 = 3;
/// The key of the metadata that says where the leader is.
const LEADER: &str = "heats-leader";
/// How long after a bad tick the next may come, so that a machine that slept does not beat in bursts.
const HEARTBEAT_LEAST: Duration = Duration::from_millis(10);
/// More coordinators than any cluster has.
const COORDINATORS_MAX: usize = 32;
/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After a connection was silent for so long its peer is asked for a sign of life, which it has to give within as long.
/// Where there is another coordinator to go to, a leader that stands still is left soon: it is replaced after about a
/// second. Where there is none, nothing is won by leaving it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const SIGN_OF_LIFE_ALONE: Duration = Duration::from_secs(5);

/// Who the agent says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: AgentId,
    /// Its machine's name.
    pub name: String,
    /// What it offers.
    pub inventory: Inventory,
    /// Which process this is: no other one has the same.
    pub session: u64,
    /// The cluster that its attempts are of.
    pub lineage: Lineage,
}

/// Where coordinators are, and how they are reached.
#[derive(Clone, Debug)]
pub struct Way {
    /// Their addresses, as far as they are known.
    pub coordinators: Vec<String>,
    /// Plain text or TLS.
    pub security: Security,
}

/// Keeps the agent attached.
#[derive(Debug)]
pub struct Attach {
    context: Arc<Context>,
    identity: Identity,
    /// Its coordinators are those that the agent was told at its start, and then those that the last leader named beside them.
    way: Way,
    told_at_start: usize,
    orphan_ttl: Option<Duration>,
    on_event: OnEvent,
    outbox: mpsc::Receiver<Outgoing>,
    window: Window,
    /// Once it is true, the agent is about to leave and takes no new attempts.
    closing: watch::Receiver<bool>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("`{address}` is not an address: {source}; write for example 127.0.0.1:7100")]
    Address { address: String, source: tonic::transport::Error },
    #[error("no connection to {address}: {source}")]
    Connect { address: String, source: tonic::transport::Error },
    #[error("no connection to {address}: {fault}; {}", hint(.fault))]
    Distrusted { address: String, fault: Distrust },
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    #[error("the coordinator did not answer within {} s", WELCOME_WAIT.as_secs())]
    Silent,
    #[error("the coordinator's first answer was not Welcome")]
    NoWelcome,
    #[error("the coordinator ended the stream")]
    Ended,
    #[error("the coordinator acknowledges nothing")]
    Stalled,
}

/// What to do about distrust, for whoever runs an agent.
const fn hint(fault: &Distrust) -> &'static str {
    match fault {
        Distrust::SpeaksTls | Distrust::Refused(_) => {
            "let the agent join with `--join TOKEN`, which `heats token create --role agent` prints for an admin"
        }
        Distrust::SpeaksPlainText
        | Distrust::Other(_)
        | Distrust::Stranger
        | Distrust::UnknownAuthority
        | Distrust::Expired
        | Distrust::OtherHost
        | Distrust::Tls(_) => fault.hint(),
    }
}

impl Lost {
    /// Where the leader is, if whoever answered said so.
    fn leader(&self) -> Option<String> {
        let Self::Refused(status) = self else { return None };
        let leader = status.metadata().get(LEADER)?.to_str().ok()?;
        (status.code() == Code::FailedPrecondition && !leader.is_empty()).then(|| leader.to_owned())
    }

    /// The cluster's lineage, if whoever answered said that the agent's is another.
    fn lineage(&self) -> Option<u64> {
        let Self::Refused(status) = self else { return None };
        status.metadata().get(LINEAGE_KEY)?.to_str().ok()?.parse().ok()
    }

    /// Why the cluster does not take this agent, whichever coordinator it asks.
    fn refusal(&self) -> Option<String> {
        let Self::Refused(status) = self else { return None };
        (status.code() == Code::AlreadyExists).then(|| status.message().to_owned())
    }

    /// Why waiting does not help, where it does not: somebody has to do something about a certificate.
    fn distrust(&self) -> Option<String> {
        match self {
            Self::Distrusted { fault, .. } => Some(fault.to_string()),
            Self::Refused(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
                Some(status.message().to_owned())
            }
            Self::Refused(_)
            | Self::Address { .. }
            | Self::Connect { .. }
            | Self::Silent
            | Self::NoWelcome
            | Self::Ended
            | Self::Stalled => None,
        }
    }

    /// Whether a coordinator answered that is well and does not lead: soon one does.
    fn is_of_an_election(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        status.code() == Code::FailedPrecondition && status.metadata().contains_key(LEADER)
    }
}

impl From<Status> for Lost {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Attach {
    /// Attaches to one of the coordinators of `way` once [`Attach::run`] is called.
    pub const fn new(
        context: Arc<Context>,
        identity: Identity,
        way: Way,
        orphan_ttl: Option<Duration>,
        on_event: OnEvent,
        outbox: mpsc::Receiver<Outgoing>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let window = Window::new();
        let told_at_start = way.coordinators.len();
        Self { context, identity, way, told_at_start, orphan_ttl, on_event, outbox, window, closing }
    }

    /// Stays attached for ever.
    pub async fn run(mut self) {
        // The first is next.
        let mut turn = self.way.coordinators.len().saturating_sub(1);
        let mut tries = 0;
        let mut redirects = 0;
        let mut leader: Option<String> = None;
        let mut failed: Option<String> = None;
        let mut last_heard = Instant::now();
        // Why a coordinator does not let the agent in, and why the cluster does not take it, as they were told last.
        let mut told: Option<String> = None;
        let mut refused: Option<String> = None;
        loop {
            let address = leader.take().unwrap_or_else(|| {
                let known = &self.way.coordinators;
                turn = next_turn(known, turn, failed.as_deref());
                known.get(turn).cloned().unwrap_or_default()
            });
            failed = Some(address.clone());
            let orphaned = self.orphan_ttl.map(|ttl| last_heard + ttl);
            let attached = tokio::select! {
                attached = attach(&address, &self.way, &self.identity, &self.context) => attached,
                () = sleep_until(orphaned) => {
                    self.orphan();
                    last_heard = Instant::now();
                    continue;
                }
            };
            let lost = match attached {
                Ok(stream) => {
                    tries = 0;
                    redirects = 0;
                    told = None;
                    refused = None;
                    self.on_event.tell(AgentEvent::Attached { address });
                    let lost = self.talk(stream).await;
                    last_heard = Instant::now();
                    self.on_event.tell(AgentEvent::Detached { why: lost.to_string() });
                    lost
                }
                Err(lost) => lost,
            };
            tracing::debug!(error = %lost, "not attached");
            let distrust = lost.distrust();
            if distrust.is_some() && told != distrust {
                told = distrust;
                self.on_event.tell(AgentEvent::NotLetIn { why: lost.to_string() });
            }
            if let Some(why) = lost.refusal().filter(|why| refused.as_ref() != Some(why)) {
                refused = Some(why.clone());
                self.on_event.tell(AgentEvent::Refused { why });
            }
            if let Some(lineage) = lost.lineage() {
                match self.begin_anew(lineage).await {
                    Ok(()) => {
                        leader = failed.take();
                        continue;
                    }
                    Err(error) => tracing::error!(%error, "which cluster this agent is of cannot be noted"),
                }
            }
            leader = lost.leader();
            if leader.is_some() && redirects < REDIRECTS {
                redirects += 1;
                continue;
            }
            redirects = 0;
            if lost.is_of_an_election() {
                tries = tries.min(ELECTION_TRIES);
            }
            tokio::time::sleep(back_off(tries)).await;
            tries += 1;
        }
    }

    /// No coordinator was heard of for too long: by now others run these trials.
    fn orphan(&self) {
        for held in self.context.held() {
            let why = "no coordinator was heard of for longer than the agent waits".to_owned();
            held.order(Order { cause: Cause::Orphaned, grace: Duration::from_secs(10), why });
        }
    }

    /// The cluster was made from a backup of the one that the agent comes from, and knows nothing of what came after it. Its
    /// next attempts may have the names of those that the agent holds, or kept: they are ended without a word, and removed.
    async fn begin_anew(&mut self, lineage: u64) -> std::io::Result<()> {
        let held = self.context.held();
        for held in &held {
            let why = "the cluster was made from a backup, and does not know of it".to_owned();
            held.order(Order { cause: Cause::Fenced, grace: Duration::ZERO, why });
        }
        self.context.forget().await;
        while self.outbox.try_recv().is_ok() {}
        self.window = Window::new();
        self.identity.lineage.set(lineage)?;
        self.on_event.tell(AgentEvent::OtherCluster { ended: held.len() });
        Ok(())
    }

    /// Talks until the stream is lost.
    async fn talk(&mut self, stream: Attached) -> Lost {
        let Attached { to_leader, mut from_leader, welcome, mut sent, mut told_unable } = stream;
        self.welcome(&welcome);
        self.window.rewind();
        let (log_chunks, mut log_queue) = mpsc::channel(8);
        let mut logs = Logs::new(self.context.clone(), log_chunks);
        let beat = Duration::from_millis(welcome.heartbeat_ms.max(1));
        let ttl = Duration::from_millis(welcome.lease_ttl_ms).max(beat * 2);
        let mut heartbeat = tokio::time::interval_at(Instant::now() + jitter(beat), beat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        let mut closing = self.closing.clone();
        let mut leaving = false;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Before anything that is sent from here on: what is given back must not be leased to this agent at once.
            if self.context.disk.is_full() != told_unable {
                let condition = self.context.disk.condition();
                told_unable = !condition.unable.is_empty();
                sent += 1;
                if to_leader.send(heartbeat_message(sent, condition)).await.is_err() {
                    return Lost::Ended;
                }
            }
            let stalled = (!self.window.is_empty()).then(|| last_heard + ttl);
            tokio::select! {
                message = from_leader.message() => {
                    last_heard = Instant::now();
                    match message {
                        Ok(Some(v1::ToAgent { message: Some(message) })) => self.obey(message, &mut logs),
                        // A message of a newer coordinator that this agent does not know.
                        Ok(Some(v1::ToAgent { message: None })) => {}
                        Ok(None) => return Lost::Ended,
                        Err(status) => return status.into(),
                    }
                }
                place = to_leader.reserve(), if self.window.has_unsent() => {
                    let Ok(mut place) = place else { return Lost::Ended };
                    while let Some(message) = self.window.next(sent + 1) {
                        sent += 1;
                        place.send(v1::FromAgent { seq: sent, message: Some(message) });
                        match to_leader.try_reserve() {
                            Ok(next) => place = next,
                            Err(_) => break,
                        }
                    }
                    heartbeat.reset_after(jitter(beat));
                }
                Some(outgoing) = self.outbox.recv(), if self.window.has_room() => self.window.push(outgoing),
                Some(chunk) = log_queue.recv(), if !self.window.has_unsent() => {
                    sent += 1;
                    let message = v1::FromAgent { seq: sent, message: Some(Message::LogChunk(chunk)) };
                    if to_leader.send(message).await.is_err() {
                        return Lost::Ended;
                    }
                }
                _beat = heartbeat.tick() => {
                    let condition = self.context.disk.condition();
                    if condition.unable.is_empty() == told_unable {
                        // It has changed just now: the turn's beginning tells it, and waits for room in the queue.
                        continue;
                    }
                    sent += 1;
                    let message = heartbeat_message(sent, condition);
                    // A full queue carries something already: every message is a sign of life.
                    let _full = to_leader.try_send(message);
                    heartbeat.reset_after(jitter(beat));
                }
                () = is_true(&mut closing), if !leaving => {
                    leaving = true;
                    sent += 1;
                    let message = v1::FromAgent { seq: sent, message: Some(Message::Leaving(v1::Leaving {})) };
                    if to_leader.send(message).await.is_err() {
                        return Lost::Ended;
                    }
                }
                _tick = look.tick() => {
                    self.context.disk.look();
                }
                () = sleep_until(stalled) => return Lost::Stalled,
            }
        }
    }

    fn welcome(&mut self, welcome: &v1::Welcome) {
        if let Some(named) = &welcome.coordinators {
            learn(&mut self.way.coordinators, self.told_at_start, &named.addresses);
        }
        for key in &welcome.kill {
            if let Ok(key) = Key::from_wire(Some(*key))
                && let Some(held) = self.context.find(key)
            {
                let why = "the trial was given to another agent".to_owned();
                held.order(Order { cause: Cause::Fenced, grace: Duration::ZERO, why });
            }
        }
    }

    fn obey(&mut self, message: to_agent::Message, logs: &mut Logs) {
        match message {
            to_agent::Message::Welcome(welcome) => self.welcome(&welcome),
            to_agent::Message::Ack(v1::Ack { seq }) => self.window.acknowledged(seq),
            to_agent::Message::Run(run) => match Key::from_wire(run.key) {
                Ok(key) => {
                    self.context.take(key, Origin::Told(Box::new(run)));
                    if *self.closing.borrow()
                        && let Some(held) = self.context.find(key)
                    {
                        // It was on its way while the agent said that it leaves: it never starts, and is told as lost.
                        let why = "the agent was shut down".to_owned();
                        held.order(Order { cause: Cause::Shutdown, grace: Duration::ZERO, why });
                    }
                }
                Err(error) => tracing::error!(%error, "told to run something that has no name"),
            },
            to_agent::Message::Stop(stop) => self.stop(stop),
            to_agent::Message::LogRequest(request) => logs.start(request),
            to_agent::Message::LogCancel(v1::LogCancel { id }) => logs.cancel(id),
            to_agent::Message::Coordinators(v1::Coordinators { addresses }) => {
                learn(&mut self.way.coordinators, self.told_at_start, &addresses);
            }
        }
    }

    fn stop(&self, stop: v1::Stop) {
        let purpose = stop.purpose();
        let v1::Stop { key, grace_ms, why, purpose: _ } = stop;
        let Some(held) = Key::from_wire(key).ok().and_then(|key| self.context.find(key)) else { return };
        let cause = match purpose {
            Purpose::End => Cause::Stopped,
            Purpose::GiveBack if held.has_begun() => return,
            Purpose::Preempt | Purpose::GiveBack => Cause::Preempted,
        };
        held.order(Order { cause, grace: Duration::from_millis(grace_ms), why });
    }
}

/// A sign of life, with what the agent says of itself.
fn heartbeat_message(seq: u64, condition: v1::Condition) -> v1::FromAgent {
    v1::FromAgent { seq, message: Some(Message::Heartbeat(v1::Heartbeat { condition: Some(condition) })) }
}

/// A stream that was welcomed.
struct Attached {
    to_leader: mpsc::Sender<v1::FromAgent>,
    from_leader: Streaming<v1::ToAgent>,
    welcome: v1::Welcome,
    /// The number of the last message that was sent.
    sent: u64,
    /// Whether the coordinator was told that nothing can begin here now.
    told_unable: bool,
}

async fn attach(address: &str, way: &Way, identity: &Identity, context: &Context) -> Result<Attached, Lost> {
    let dialer = Dialer::new(way.security.clone(), Expect::AnyCoordinator);
    let channel = connect(address, sign_of_life(&way.coordinators), dialer.clone()).await?;
    let (to_leader, queue) = mpsc::channel(STREAM_QUEUE);
    let Identity { id, name, inventory, session, lineage } = identity.clone();
    context.disk.look();
    let condition = context.disk.condition();
    let told_unable = !condition.unable.is_empty();
    let hello = v1::Hello {
        agent: Some(id),
        name,
        inventory: Some(inventory),
        holding: context.held().iter().map(|held| v1::Holding { key: Some(held.key.to_wire()) }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        session,
        condition: Some(condition),
        lineage: lineage.number(),
    };
    let first = v1::FromAgent { seq: 1, message: Some(Message::Hello(hello)) };
    // The receiver is right here: the queue is neither full nor closed.
    let _never_full = to_leader.try_send(first);
    let welcomed = async {
        let answer = AgentsClient::new(channel).attach(ReceiverStream::new(queue)).await?;
        let mut from_leader = answer.into_inner();
        match from_leader.message().await?.and_then(|message| message.message) {
            Some(to_agent::Message::Welcome(welcome)) => {
                Ok(Attached { to_leader, from_leader, welcome, sent: 1, told_unable })
            }
            Some(_) => Err(Lost::NoWelcome),
            None => Err(Lost::Ended),
        }
    };
    let attached = tokio::time::timeout(WELCOME_WAIT, welcomed).await.unwrap_or(Err(Lost::Silent));
    // A call in plain text to whoever speaks TLS ends in any of several ways.
    attached.map_err(|lost| match dialer.met_tls() {
        true => Lost::Distrusted { address: address.to_owned(), fault: Distrust::SpeaksTls },
        false => lost,
    })
}

async fn connect(address: &str, sign_of_life: Duration, dialer: Dialer) -> Result<Channel, Lost> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|source| Lost::Address { address: address.to_owned(), source })?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(sign_of_life)
        .keep_alive_timeout(sign_of_life)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(dialer).await.map_err(|source| match distrust(&source) {
        Some(fault) => Lost::Distrusted { address: address.to_owned(), fault },
        None => Lost::Connect { address: address.to_owned(), source },
    })
}

/// Takes note of the coordinators that a leader names, in place of those that the one before it named.
fn learn(coordinators: &mut Vec<String>, told_at_start: usize, named: &[String]) {
    coordinators.truncate(told_at_start);
    for address in named.iter().take(COORDINATORS_MAX) {
        if !coordinators.contains(address) {
            coordinators.push(address.clone());
        }
    }
}

/// After how long a silence a connection's peer is asked for a sign of life.
const fn sign_of_life(coordinators: &[String]) -> Duration {
    if coordinators.len() > 1 { SIGN_OF_LIFE } else { SIGN_OF_LIFE_ALONE }
}

/// Which of `coordinators` is asked after the one at `turn`. Not the one that has just failed, where there is another: it
/// may stand still, and whoever asks it waits.
fn next_turn(coordinators: &[String], turn: usize, failed: Option<&str>) -> usize {
    let after = |turn: usize| (turn + 1) % coordinators.len().max(1);
    let next = after(turn);
    if coordinators.get(next).map(String::as_str) == failed { after(next) } else { next }
}

/// Anything from nothing to the cap, which doubles with every try: agents that lost the same leader come back spread out.
fn back_off(tries: u32) -> Duration {
    let cap = BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(tries.min(16))).min(BACK_OFF_LAST);
    cap.mul_f64(rand::rng().random_range(0.0..1.0))
}

/// Within a fifth of `beat`.
fn jitter(beat: Duration) -> Duration {
    beat.mul_f64(rand::rng().random_range(0.8..1.2)).max(HEARTBEAT_LEAST)
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        // The agent is being dropped, and this task with it.
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Messages in order, from the first that is not durable: some sent on this stream, the rest not yet.
#[derive(Debug)]
struct Window {
    messages: VecDeque<Outgoing>,
    /// The numbers under which the first of them were sent on this stream.
    sent: VecDeque<u64>,
}

impl Window {
    const fn new() -> Self {
        Self { messages: VecDeque::new(), sent: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn has_room(&self) -> bool {
        self.messages.len() < WINDOW
    }

    fn has_unsent(&self) -> bool {
        self.sent.len() < self.messages.len()
    }

    fn push(&mut self, outgoing: Outgoing) {
        self.messages.push_back(outgoing);
    }

    /// A new stream: nothing is sent on it yet.
    fn rewind(&mut self) {
        self.sent.clear();
    }

    /// The first unsent message, which is sent as `seq`.
    fn next(&mut self, seq: u64) -> Option<Message> {
        let message = self.messages.get(self.sent.len())?.message().clone();
        self.sent.push_back(seq);
        Some(message)
    }

    /// Everything up to `seq` is durable.
    fn acknowledged(&mut self, seq: u64) {
        while self.sent.front().is_some_and(|&sent| sent <= seq) {
            self.sent.pop_front();
            if let Some(outgoing) = self.messages.pop_front() {
                outgoing.durable();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn coordinators_that_joined_are_known_and_those_that_were_told_at_the_start_stay_so() {
        let mut known = coordinators(&["a", "b"]);
        learn(&mut known, 2, &coordinators(&["b", "c"]));
        assert_eq!(known, ["a", "b", "c"]);
        learn(&mut known, 2, &coordinators(&["d"]));
        assert_eq!(known, ["a", "b", "d"]);
        learn(&mut known, 2, &(0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(known.len(), 2 + COORDINATORS_MAX);
    }

    #[test]
    fn a_coordinator_that_failed_is_asked_again_only_after_another() {
        let (one, three) = (coordinators(&["a"]), coordinators(&["a", "b", "c"]));
        assert_eq!([next_turn(&three, 0, None), next_turn(&three, 2, None)], [1, 0]);
        assert_eq!([next_turn(&three, 0, Some("b")), next_turn(&three, 1, Some("c"))], [2, 0]);
        assert_eq!(next_turn(&three, 0, Some("x")), 1, "one that was named by another");
        assert_eq!([next_turn(&one, 0, Some("a")), next_turn(&[], 0, None)], [0, 0]);
    }

    #[test]
    fn a_leader_that_stands_still_is_left_soon_where_there_is_somebody_else_to_ask() {
        assert!(sign_of_life(&coordinators(&["a", "b"])) < sign_of_life(&coordinators(&["a"])));
        // A leader is replaced after one second: to be there much earlier is of no use, much later is a loss.
        assert_eq!(sign_of_life(&coordinators(&["a", "b"])), Duration::from_secs(1));
    }

    #[test]
    fn the_back_off_grows_to_its_cap_and_is_spread() {
        for tries in 0..100 {
            assert!(back_off(tries) <= BACK_OFF_LAST);
        }
        let longest = (0..200).map(|_| back_off(3)).max().unwrap_or_default();
        assert!(longest > BACK_OFF_FIRST * 4 && longest <= BACK_OFF_FIRST * 8, "{longest:?}");
    }
}
