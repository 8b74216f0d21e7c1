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
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::from_agent::Message;
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

/// Who the agent says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: AgentId,
    /// Its machine's name.
    pub name: String,
    /// What it offers.
    pub inventory: Inventory,
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
    way: Way,
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
        Self { context, identity, way, orphan_ttl, on_event, outbox, window, closing }
    }

    /// Stays attached for ever.
    pub async fn run(mut self) {
        let mut turn = 0;
        let mut tries = 0;
        let mut redirects = 0;
        let mut leader: Option<String> = None;
        let mut last_heard = Instant::now();
        let mut told: Option<String> = None;
        loop {
            let address = leader.take().unwrap_or_else(|| {
                let known = &self.way.coordinators;
                let address = known.get(turn % known.len().max(1)).cloned().unwrap_or_default();
                turn += 1;
                address
            });
            let orphaned = self.orphan_ttl.map(|ttl| last_heard + ttl);
            let attached = tokio::select! {
                attached = attach(&address, &self.way.security, &self.identity, &self.context) => attached,
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

    /// Talks until the stream is lost.
    async fn talk(&mut self, stream: Attached) -> Lost {
        let Attached { to_leader, mut from_leader, welcome, mut sent } = stream;
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
        loop {
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
                    sent += 1;
                    let message = v1::FromAgent { seq: sent, message: Some(Message::Heartbeat(v1::Heartbeat {})) };
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
                () = sleep_until(stalled) => return Lost::Stalled,
            }
        }
    }

    fn welcome(&self, welcome: &v1::Welcome) {
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
            to_agent::Message::Stop(v1::Stop { key, grace_ms, why }) => {
                let held = Key::from_wire(key).ok().and_then(|key| self.context.find(key));
                if let Some(held) = held {
                    held.order(Order { cause: Cause::Stopped, grace: Duration::from_millis(grace_ms), why });
                }
            }
            to_agent::Message::LogRequest(request) => logs.start(request),
            to_agent::Message::LogCancel(v1::LogCancel { id }) => logs.cancel(id),
        }
    }
}

/// A stream that was welcomed.
struct Attached {
    to_leader: mpsc::Sender<v1::FromAgent>,
    from_leader: Streaming<v1::ToAgent>,
    welcome: v1::Welcome,
    /// The number of the last message that was sent.
    sent: u64,
}

async fn attach(address: &str, security: &Security, identity: &Identity, context: &Context) -> Result<Attached, Lost> {
    let dialer = Dialer::new(security.clone(), Expect::AnyCoordinator);
    let channel = connect(address, dialer.clone()).await?;
    let (to_leader, queue) = mpsc::channel(STREAM_QUEUE);
    let Identity { id, name, inventory } = identity.clone();
    let hello = v1::Hello {
        agent: Some(id),
        name,
        inventory: Some(inventory),
        holding: context.held().iter().map(|held| v1::Holding { key: Some(held.key.to_wire()) }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let first = v1::FromAgent { seq: 1, message: Some(Message::Hello(hello)) };
    // The receiver is right here: the queue is neither full nor closed.
    let _never_full = to_leader.try_send(first);
    let welcomed = async {
        let answer = AgentsClient::new(channel).attach(ReceiverStream::new(queue)).await?;
        let mut from_leader = answer.into_inner();
        match from_leader.message().await?.and_then(|message| message.message) {
            Some(to_agent::Message::Welcome(welcome)) => Ok(Attached { to_leader, from_leader, welcome, sent: 1 }),
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

async fn connect(address: &str, dialer: Dialer) -> Result<Channel, Lost> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|source| Lost::Address { address: address.to_owned(), source })?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(dialer).await.map_err(|source| match distrust(&source) {
        Some(fault) => Lost::Distrusted { address: address.to_owned(), fault },
        None => Lost::Connect { address: address.to_owned(), source },
    })
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

    #[test]
    fn the_back_off_grows_to_its_cap_and_is_spread() {
        for tries in 0..100 {
            assert!(back_off(tries) <= BACK_OFF_LAST);
        }
        let longest = (0..200).map(|_| back_off(3)).max().unwrap_or_default();
        assert!(longest > BACK_OFF_FIRST * 4 && longest <= BACK_OFF_FIRST * 8, "{longest:?}");
    }
}
