//! One attempt that the agent holds, as everything around it sees it: what was ordered, what was taken over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use heats_wire::v1;
use heats_wire::v1::from_agent::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::attempt::{AttemptDir, Cause};
use crate::keeper::LAST_WAIT;
use crate::keeping::OnItsWay;
use crate::key::Key;

/// How many messages may wait for the stream before whoever has more must wait.
const OUTBOX: usize = 1024;

/// That an attempt is to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// On whose account.
    pub cause: Cause,
    /// The time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Why, for people.
    pub why: String,
}

/// An attempt from the moment that it was told of until a coordinator has taken over its end.
#[derive(Debug)]
pub struct Held {
    /// Which attempt.
    pub key: Key,
    /// Its folder.
    pub dir: AttemptDir,
    order: watch::Sender<Option<Order>>,
    durable_step: watch::Sender<Option<u64>>,
    over: watch::Sender<bool>,
    begun: AtomicBool,
    /// Since when its process is over.
    gone: OnceLock<Instant>,
    on_its_way: Mutex<Option<OnItsWay>>,
}

impl Held {
    /// An attempt that runs on.
    pub fn new(key: Key, dir: AttemptDir) -> Self {
        Self {
            key,
            dir,
            order: watch::Sender::new(None),
            durable_step: watch::Sender::new(None),
            over: watch::Sender::new(false),
            begun: AtomicBool::new(false),
            gone: OnceLock::new(),
            on_its_way: Mutex::new(None),
        }
    }

    /// Its process is about to be started, or was found.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether [`Held::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Its process is over.
    pub fn is_gone(&self) {
        self.gone.get_or_init(Instant::now);
    }

    /// What is being kept of what it made; `None` where nothing is.
    pub fn brings(&self, object: Option<OnItsWay>) {
        *self.on_its_way.lock().unwrap_or_else(PoisonError::into_inner) = object;
    }

    /// What it brings is not kept yet, for this reason.
    pub fn is_held_up(&self, reason: &str) {
        if let Some(object) = self.on_its_way.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            reason.clone_into(&mut object.why);
        }
    }

    /// What its end waits for, where its process is over and something is not kept yet.
    pub fn waits_for(&self) -> Option<v1::Keeping> {
        let gone = self.gone.get()?;
        let OnItsWay { step, artifact, progress, why } =
            self.on_its_way.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (bytes, total) = progress.kept();
        Some(v1::Keeping {
            key: Some(self.key.to_wire()),
            step,
            artifact,
            bytes,
            total,
            waited_ms: gone.elapsed().as_millis() as u64,
            limit_ms: LAST_WAIT.as_millis() as u64,
            why,
        })
    }

    /// Orders the attempt to end. The first cause stands, unless the trial has gone to somebody else; the
    /// shortest grace counts.
    pub fn order(&self, new: Order) {
        self.order.send_if_modified(|order| match order {
            Some(old) if old.cause == Cause::Fenced => false,
            Some(old) if new.cause != Cause::Fenced => {
                let shorter = new.grace < old.grace;
                old.grace = old.grace.min(new.grace);
                shorter
            }
            Some(_) | None => {
                *order = Some(new);
                true
            }
        });
    }

    /// What is ordered, and whoever waits for it.
    pub fn orders(&self) -> watch::Receiver<Option<Order>> {
        self.order.subscribe()
    }

    /// What is ordered now.
    pub fn ordered(&self) -> Option<Order> {
        self.order.borrow().clone()
    }

    /// The highest step whose report is durable.
    pub fn durable_steps(&self) -> watch::Receiver<Option<u64>> {
        self.durable_step.subscribe()
    }

    /// Returns once a coordinator has taken over the attempt's end.
    pub async fn is_over(&self) {
        // The sender lives in `self`: it cannot be gone.
        let mut over = self.over.subscribe();
        let _sender_lives = over.wait_for(|over| *over).await;
    }

    /// Returns once the trial has gone to somebody else.
    pub async fn is_fenced(&self) {
        let fenced = |order: &Option<Order>| order.as_ref().is_some_and(|order| order.cause == Cause::Fenced);
        // As above.
        let mut orders = self.order.subscribe();
        let _sender_lives = orders.wait_for(fenced).await;
    }
}

/// A message about an attempt, kept until it is durable with the coordinator.
#[derive(Clone, Debug)]
pub struct Outgoing {
    held: Arc<Held>,
    message: Message,
}

impl Outgoing {
    /// What is sent.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The coordinator has it for good.
    pub fn durable(&self) {
        match &self.message {
            Message::Report(report) => {
                self.held.durable_step.send_if_modified(|step| {
                    let later = step.is_none_or(|step| step < report.step);
                    if later {
                        *step = Some(report.step);
                    }
                    later
                });
            }
            Message::Finished(_) => {
                self.held.over.send_replace(true);
            }
            Message::Started(_)
            | Message::Hello(_)
            | Message::Heartbeat(_)
            | Message::Checkpoint(_)
            | Message::Artifact(_)
            | Message::NotKept(_)
            | Message::Erased(_)
            | Message::LogChunk(_)
            | Message::Leaving(_) => {}
        }
    }
}

/// Where messages about attempts wait for the stream, in order. Full, it makes whoever has more wait: that is
/// what keeps a trial that reports a million times from filling the memory.
#[derive(Clone, Debug)]
pub struct Outbox {
    sender: mpsc::Sender<Outgoing>,
}

impl Outbox {
    /// The outbox and what the stream takes from it.
    pub fn new() -> (Self, mpsc::Receiver<Outgoing>) {
        let (sender, receiver) = mpsc::channel(OUTBOX);
        (Self { sender }, receiver)
    }

    /// Puts a message about `held` in line.
    pub async fn send(&self, held: &Arc<Held>, message: Message) {
        // Nobody takes from the outbox only while the agent goes down: its successor says it all again.
        let _agent_gone = self.sender.send(Outgoing { held: held.clone(), message }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{SweepId, TrialId};

    fn order(cause: Cause, seconds: u64) -> Order {
        Order { cause, grace: Duration::from_secs(seconds), why: String::new() }
    }

    #[test]
    fn the_first_cause_stands_the_shortest_grace_counts_and_a_fence_beats_both() {
        let key = Key { trial: TrialId { sweep: SweepId::mint(1, 1), number: 0 }, attempt: 1 };
        let held = Held::new(key, AttemptDir::at("/nowhere".into()));
        held.order(order(Cause::TimedOut, 10));
        held.order(order(Cause::Stopped, 3));
        assert_eq!(held.ordered(), Some(order(Cause::TimedOut, 3)));
        held.order(order(Cause::Stopped, 30));
        assert_eq!(held.ordered(), Some(order(Cause::TimedOut, 3)));
        held.order(order(Cause::Fenced, 0));
        held.order(order(Cause::Stopped, 0));
        assert_eq!(held.ordered(), Some(order(Cause::Fenced, 0)));
    }
}
