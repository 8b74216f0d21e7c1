//! The stream to the leader: finds it, says what the agent holds, sends what is not durable yet, obeys.
//!
//! Messages about attempts stay in a window until the coordinator has them for good; a new stream sends the
//! window again, in order, so that a reconnect loses nothing and an attempt's reports come before its end.
//! Knows nothing about processes and files.

mod address;
mod dial;
mod lost;
mod way;
mod window;

use std::sync::Arc;
use std::time::Duration;

use heats_domain::{AgentId, Inventory};
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::stop::Purpose;
use heats_wire::v1::{self, to_agent};
use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use self::address::own_address;
use self::dial::{Attached, attach};
use self::lost::Lost;
pub use self::way::Way;
use self::way::{back_off, learn, next_turn};
use self::window::Window;
use crate::attempt::Cause;
use crate::context::{Context, Standing};
use crate::eraser::Eraser;
use crate::event::{AgentEvent, OnEvent};
use crate::held::{Order, Outgoing};
use crate::key::Key;
use crate::lineage::Lineage;
use crate::logs::{Asked, Logs};
use crate::supervisor::Origin;

/// The wait while a leader is being elected, which takes about a second, is no longer than after so many tries: 400 ms.
const ELECTION_TRIES: u32 = 3;
/// So many redirections in a row are followed without a pause.
const REDIRECTS: u32 = 3;
/// How long after a bad tick the next may come, so that a machine that slept does not beat in bursts.
const HEARTBEAT_LEAST: Duration = Duration::from_millis(10);
/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(500);

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
    eraser: Eraser,
    window: Window,
    /// Once it is true, the agent is about to leave and takes no new attempts.
    closing: watch::Receiver<bool>,
    /// Nobody said at which address other machines reach this one.
    seeks_address: bool,
}

impl Attach {
    /// Attaches to one of the coordinators of `way` once [`Attach::run`] is called.
    pub fn new(
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
        let eraser = Eraser::start(context.stores.clone());
        let seeks_address = identity.inventory.rendezvous.as_ref().is_some_and(|own| own.address.is_empty());
        Self {
            context,
            identity,
            way,
            told_at_start,
            orphan_ttl,
            on_event,
            outbox,
            eraser,
            window,
            closing,
            seeks_address,
        }
    }

    /// Finds out at which address other machines reach this one, until it is one that others than itself can reach.
    async fn seek_address(&mut self) {
        let Some(own) = self.identity.inventory.rendezvous.as_mut().filter(|_| self.seeks_address) else { return };
        if let Some(address) = own_address(&self.way.coordinators).await {
            own.address = address.to_string();
            self.seeks_address = address.is_loopback();
        }
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
            self.seek_address().await;
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
        let Attached { to_leader, mut from_leader, welcome, mut sent, mut told } = stream;
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
            if self.context.standing() != told {
                let condition = self.context.condition();
                told = Standing::told(&condition);
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
                Some(object) = self.eraser.gone(), if !self.window.has_unsent() => {
                    sent += 1;
                    let erased = v1::Erased { object: Some(object) };
                    let message = v1::FromAgent { seq: sent, message: Some(Message::Erased(erased)) };
                    if to_leader.send(message).await.is_err() {
                        return Lost::Ended;
                    }
                }
                _beat = heartbeat.tick() => {
                    let condition = self.context.condition();
                    if Standing::told(&condition) != told {
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
            self.learn(&named.addresses);
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
                        // It was on its way while the agent said that it leaves: it never starts, and is given back.
                        let why = "the agent was shut down".to_owned();
                        held.order(Order { cause: Cause::Preempted, grace: Duration::ZERO, why });
                    }
                }
                Err(error) => tracing::error!(%error, "told to run something that has no name"),
            },
            to_agent::Message::Stop(stop) => self.stop(stop),
            to_agent::Message::Erase(v1::Erase { object }) => {
                if let Some(object) = object {
                    self.eraser.erase(object);
                }
            }
            to_agent::Message::LogRequest(request) => logs.start(request.id, Asked::of(request)),
            to_agent::Message::ReadArtifact(v1::ReadArtifact { id, range }) => {
                logs.start(id, Asked::Artifact(range.unwrap_or_default()));
            }
            to_agent::Message::LogCancel(v1::LogCancel { id }) => logs.cancel(id),
            to_agent::Message::Coordinators(v1::Coordinators { addresses }) => {
                self.learn(&addresses);
            }
        }
    }

    fn learn(&mut self, named: &[String]) {
        learn(&mut self.way.coordinators, self.told_at_start, named);
        self.context.reach.learn(&self.way.coordinators);
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
