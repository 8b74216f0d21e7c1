//! An agent of the simulation: the protocol of `agents.proto` as a real agent keeps it, with a function in place of the
//! training and a list in place of the disk. It acts only when it is stepped.
//!
//! What a real agent keeps in files survives its process here too: what runs (supervisors outlive the agent), and what was
//! reported. What it keeps in memory does not: the stream, and how much of it was acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heats_core::ops::attempts::Key;
use heats_domain::resources::Rendezvous;
use heats_domain::{AgentId, Inventory, Metric, Metrics};
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::stop::Purpose;
use heats_wire::v1::{self, to_agent};

use crate::chance::Dice;
use crate::check::Witness;
use crate::coordinator::node_at;
use crate::net::{Net, Parcel, Place};
use crate::training::{self, Training};

/// How long an agent waits for an answer to Hello.
const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed after this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Trials of an agent that hears of no coordinator for so long are ended.
pub const ORPHAN_TTL: Duration = Duration::from_secs(120);
/// How long a process takes to end when it is asked to.
const STOPPING: Duration = Duration::from_millis(300);

/// How often an agent that was told that an attempt is not its own any more claims all the same that it came to its end: a
/// real one does not, and nobody may believe one that does.
const STUBBORN: f64 = 0.5;

/// The id of the first agent.
pub const FIRST: u64 = 0xa000;

/// One attempt's process, or what is left of it.
#[derive(Clone, Debug)]
struct Attempt {
    training: Training,
    /// It waits for a place until then `None`.
    started: Option<Duration>,
    next_step: u64,
    next_at: Duration,
    /// It was told to stop, and ends then, for this reason.
    stops: Option<(Duration, Purpose)>,
    /// What it has said so far, in order; the last may be its end.
    said: Vec<Message>,
    over: bool,
}

enum Link {
    /// Not before then.
    Waiting(Duration),
    /// Said Hello on this stream, at that time.
    Greeting { stream: u64, since: Duration },
    Attached {
        stream: u64,
        /// When it said Hello.
        since: Duration,
        sent: u64,
        heard: Duration,
        beat: Duration,
        next_beat: Duration,
        ttl: Duration,
    },
}

pub struct Agent {
    number: usize,
    id: AgentId,
    /// Those that the last leader named.
    coordinators: Vec<u64>,
    cpus: u32,
    dice: Dice,
    net: Net,
    link: Link,
    leader: Option<u64>,
    tries: u32,
    attempts: BTreeMap<Key, Attempt>,
    /// Attempts that are over and that a coordinator knows to be, with what they said.
    done: BTreeMap<Key, Vec<Message>>,
    /// What is not durable yet, in order, with the number that it was sent under on this stream.
    window: VecDeque<(Key, Message, Option<u64>)>,
    /// When each message of this stream was sent, until it is acknowledged.
    said: VecDeque<(u64, Duration)>,
    last_heard: Duration,
    /// Its process is down until then; what runs, runs on.
    down_until: Option<Duration>,
    /// Its machine is broken until then: every process fails there.
    broken_until: Option<Duration>,
}

impl Agent {
    pub fn new(number: usize, cpus: u32, dice: Dice, net: Net) -> Self {
        let id = AgentId { bits: FIRST + number as u64 };
        Self {
            number,
            id,
            coordinators: Vec::new(),
            cpus,
            dice,
            net,
            link: Link::Waiting(Duration::ZERO),
            leader: None,
            tries: 0,
            attempts: BTreeMap::new(),
            done: BTreeMap::new(),
            window: VecDeque::new(),
            said: VecDeque::new(),
            last_heard: Duration::ZERO,
            down_until: None,
            broken_until: None,
        }
    }

    pub const fn id(&self) -> AgentId {
        self.id
    }

    /// Every process fails there until then.
    pub fn break_machine(&mut self, until: Duration) {
        self.broken_until = Some(until);
    }

    /// No process fails there any more for its machine's sake; whether any may have.
    pub fn mend(&mut self) -> bool {
        self.broken_until.take().is_some()
    }

    pub const fn place(&self) -> Place {
        Place::Agent(self.number)
    }

    /// The attempts whose processes run.
    pub fn running(&self) -> impl Iterator<Item = Key> {
        self.attempts.iter().filter(|(_, attempt)| attempt.started.is_some() && !attempt.over).map(|(key, _)| *key)
    }

    /// Its process is killed and starts again after `time`; what it supervises runs on.
    pub fn restart(&mut self, now: Duration, time: Duration, witness: &mut Witness) {
        self.hang_up(now);
        self.coordinators.clear();
        self.down_until = Some(now + time);
        self.window.clear();
        self.forget(|attempt| attempt.started.is_none() && !attempt.over, witness);
    }

    /// Of some attempts it knows nothing any more.
    fn forget(&mut self, which: impl Fn(&Attempt) -> bool, witness: &mut Witness) {
        let gone: Vec<Key> = self.attempts.iter().filter(|(_, attempt)| which(attempt)).map(|(key, _)| *key).collect();
        for key in gone {
            self.attempts.remove(&key);
            witness.forgotten(self.id, key);
        }
    }

    /// Its process is up again. It knows nothing of what was acknowledged: it reads everything from the beginning.
    fn come_back(&mut self, now: Duration) {
        self.down_until = None;
        self.link = Link::Waiting(now);
        self.last_heard = now;
        for (key, attempt) in &self.attempts {
            self.window.extend(attempt.said.iter().map(|message| (*key, message.clone(), None)));
        }
    }

    /// The machine is gone with all that ran on it, and starts again after `time` with what its disk has: nothing.
    pub fn lose(&mut self, now: Duration, time: Duration, witness: &mut Witness) {
        self.forget(|_| true, witness);
        self.restart(now, time, witness);
    }

    fn hang_up(&mut self, now: Duration) {
        match self.link {
            Link::Greeting { stream, .. } | Link::Attached { stream, .. } => {
                self.net.send(self.place(), self.place(), Parcel::Closed { stream, leader: None });
            }
            Link::Waiting(_) => {}
        }
        let cap = 50 * 2_u64.pow(self.tries.min(5));
        self.tries += 1;
        self.link = Link::Waiting(now + Duration::from_millis(self.dice.between(0, cap.min(2_000))));
        self.said.clear();
        for (_, _, sent) in &mut self.window {
            *sent = None;
        }
    }

    /// Takes in what arrived.
    pub fn receive(&mut self, now: Duration, parcel: Parcel, witness: &mut Witness) {
        if self.down_until.is_some() {
            return;
        }
        match parcel {
            Parcel::Down { stream: on, message: v1::ToAgent { message: Some(message) } } => match self.link {
                Link::Greeting { stream, since } if stream == on => {
                    if let to_agent::Message::Welcome(welcome) = message {
                        self.welcomed(now, stream, since, &welcome, witness);
                    } else {
                        self.hang_up(now);
                    }
                }
                Link::Attached { stream, since, ref mut heard, .. } if stream == on => {
                    *heard = now;
                    self.last_heard = now;
                    self.obey(now, since, message, witness);
                }
                Link::Waiting(_) | Link::Greeting { .. } | Link::Attached { .. } => {}
            },
            Parcel::Closed { stream: on, leader } => match self.link {
                Link::Greeting { stream, .. } | Link::Attached { stream, .. } if stream == on => {
                    self.leader = leader;
                    self.hang_up(now);
                }
                Link::Waiting(_) | Link::Greeting { .. } | Link::Attached { .. } => {}
            },
            _ => {}
        }
    }

    fn welcomed(&mut self, now: Duration, stream: u64, since: Duration, welcome: &v1::Welcome, witness: &mut Witness) {
        self.tries = 0;
        self.last_heard = now;
        witness.welcomed(self.id);
        let beat = Duration::from_millis(welcome.heartbeat_ms.max(1));
        let ttl = Duration::from_millis(welcome.lease_ttl_ms).max(beat * 2);
        self.link = Link::Attached { stream, since, sent: 1, heard: now, beat, next_beat: now + beat, ttl };
        if let Some(named) = &welcome.coordinators {
            self.learn(named);
        }
        for key in welcome.kill.iter().filter_map(|key| Key::try_from(*key).ok()) {
            self.fence(key, witness);
            if self.dice.chance(STUBBORN) {
                witness.finished(now, key, true);
                let end = Message::Finished(training::exited(key, 0, Duration::ZERO));
                self.window.push_back((key, end, None));
            }
        }
    }

    /// The attempt is not this agent's any more: it ends without a word.
    fn fence(&mut self, key: Key, witness: &mut Witness) {
        witness.fenced(self.id, key);
        if let Some(attempt) = self.attempts.remove(&key) {
            self.done.insert(key, attempt.said);
        }
        self.window.retain(|(about, _, _)| *about != key);
    }

    /// Does what it is told on a stream that it said Hello on at `since`.
    fn obey(&mut self, now: Duration, since: Duration, message: to_agent::Message, witness: &mut Witness) {
        match message {
            to_agent::Message::Run(run) => {
                let Some(Ok(key)) = run.key.map(Key::try_from) else { panic!("told to run what has no name") };
                witness.leased(since, now, self.id, key, run.gang.is_some());
                assert!(run.from.is_some() || !run.forked, "a fork is told to begin at the beginning: {key:?}");
                if !self.attempts.contains_key(&key) {
                    let training = Training::of(key, &run);
                    let mut attempt = Attempt {
                        next_step: training.first_step(),
                        training,
                        started: None,
                        next_at: now,
                        stops: None,
                        said: Vec::new(),
                        over: false,
                    };
                    // One that is over is not run again: what became of it is told again.
                    if let Some(mut said) = self.done.remove(&key) {
                        if !matches!(said.last(), Some(Message::Finished(_))) {
                            witness.finished(now, key, false);
                            said.push(Message::Finished(training::lost(key)));
                        }
                        self.window.extend(said.iter().map(|message| (key, message.clone(), None)));
                        attempt.said = said;
                        attempt.over = true;
                    }
                    self.attempts.insert(key, attempt);
                }
            }
            to_agent::Message::Stop(stop) => {
                let Some(Ok(key)) = stop.key.map(Key::try_from) else { panic!("told to stop what has no name") };
                let attempt = self.attempts.get_mut(&key);
                // It is asked for only if it has not begun.
                if stop.purpose() == Purpose::GiveBack
                    && attempt.as_ref().is_none_or(|attempt| attempt.started.is_some())
                {
                    return;
                }
                witness.stopped(key);
                if let Some(attempt) = attempt.filter(|attempt| !attempt.over) {
                    attempt.stops.get_or_insert((now + STOPPING, stop.purpose()));
                }
            }
            to_agent::Message::Ack(v1::Ack { seq }) => {
                while let Some((_, said)) = self.said.pop_front_if(|(number, _)| *number <= seq) {
                    witness.heard(self.id, said);
                }
                while let Some((key, message, _)) =
                    self.window.pop_front_if(|(_, _, sent)| sent.is_some_and(|sent| sent <= seq))
                {
                    witness.acknowledged(now, key, &message);
                    if matches!(message, Message::Finished(_))
                        && let Some(attempt) = self.attempts.remove(&key)
                    {
                        self.done.insert(key, attempt.said);
                    }
                }
            }
            to_agent::Message::Coordinators(named) => self.learn(&named),
            to_agent::Message::Erase(v1::Erase { object }) => {
                let object = object.expect("names one");
                let key = Key { sweep: object.sweep, trial: object.trial, attempt: object.attempt };
                let erased = Message::Erased(v1::Erased { object: Some(object) });
                self.window.push_back((key, erased, None));
            }
            to_agent::Message::Welcome(_)
            | to_agent::Message::LogRequest(_)
            | to_agent::Message::ReadArtifact(_)
            | to_agent::Message::LogCancel(_) => {}
        }
    }

    /// Does what is due.
    pub fn step(&mut self, now: Duration, witness: &mut Witness) {
        self.train(now, witness);
        if let Some(until) = self.down_until {
            if now < until {
                return;
            }
            self.come_back(now);
        }
        if now >= self.last_heard + ORPHAN_TTL {
            self.last_heard = now;
            for attempt in self.attempts.values_mut() {
                attempt.stops.get_or_insert((now + STOPPING, Purpose::End));
            }
        }
        match self.link {
            Link::Waiting(until) if now >= until => {
                let target = self.leader.take().unwrap_or_else(|| self.somebody());
                let stream = self.net.open(self.place(), Place::Node { id: target, life: 0 });
                self.say(stream, 1, Message::Hello(self.hello()));
                self.link = Link::Greeting { stream, since: now };
            }
            Link::Greeting { since, .. } if now >= since + WELCOME_WAIT => self.hang_up(now),
            Link::Attached { heard, ttl, .. } if now >= heard + KEEPALIVE.max(ttl) => self.hang_up(now),
            Link::Attached { .. } => self.send_due(now),
            Link::Waiting(_) | Link::Greeting { .. } => {}
        }
    }

    /// Whom it asks where it does not know who leads: one that it was told of, or that it finds as it did at its start.
    fn somebody(&mut self) -> u64 {
        let named = self.dice.pick(&self.coordinators).filter(|_| self.dice.chance(0.5));
        named.unwrap_or_else(|| self.net.somebody(&mut self.dice))
    }

    fn learn(&mut self, named: &v1::Coordinators) {
        self.coordinators = named.addresses.iter().filter_map(|address| node_at(address)).collect();
    }

    fn hello(&self) -> v1::Hello {
        let holding = self.attempts.keys().map(|key| v1::Holding { key: Some((*key).into()) }).collect();
        let rendezvous = Some(Rendezvous { address: format!("agent-{}", self.number), first_port: 29_500, ports: 64 });
        let inventory = Inventory { cpus: self.cpus, rendezvous, ..Inventory::default() };
        v1::Hello {
            agent: Some(self.id),
            name: format!("agent-{}", self.number),
            inventory: Some(inventory),
            holding,
            version: "sim".to_owned(),
            session: 0,
            condition: None,
            lineage: 0,
            places: vec![training::STORAGE.to_owned()],
            reads_artifacts: true,
        }
    }

    fn send_due(&mut self, now: Duration) {
        let place = self.place();
        let Link::Attached { stream, sent, beat, next_beat, .. } = &mut self.link else { return };
        let mut say = |message| {
            *sent += 1;
            let message = v1::FromAgent { seq: *sent, message: Some(message) };
            self.net.send(place, place, Parcel::Up { stream: *stream, message });
            self.said.push_back((*sent, now));
            *sent
        };
        for (_, message, number) in self.window.iter_mut().filter(|(_, _, number)| number.is_none()) {
            *number = Some(say(message.clone()));
            *next_beat = now + *beat;
        }
        if now >= *next_beat {
            say(Message::Heartbeat(v1::Heartbeat { condition: None }));
            *next_beat = now + beat.mul_f64(self.dice.between(80, 120) as f64 / 100.0);
        }
    }

    fn say(&self, stream: u64, seq: u64, message: Message) {
        let message = v1::FromAgent { seq, message: Some(message) };
        self.net.send(self.place(), self.place(), Parcel::Up { stream, message });
    }

    /// Lets the processes work.
    fn train(&mut self, now: Duration, witness: &mut Witness) {
        let is_up = self.down_until.is_none();
        let is_broken = self.broken_until.is_some_and(|until| now < until);
        let mut free = (self.cpus as usize).saturating_sub(self.running().count());
        for (key, attempt) in &mut self.attempts {
            if attempt.over {
                continue;
            }
            let mut said = Vec::new();
            if attempt.started.is_none() {
                if let Some((_, cause)) = attempt.stops {
                    witness.finished(now, *key, false);
                    said.push(Message::Finished(training::stopped(*key, cause, Duration::ZERO)));
                    attempt.over = true;
                } else if free > 0 && is_up {
                    free -= 1;
                    attempt.started = Some(now);
                    attempt.next_at = now + attempt.training.step_time();
                    said.push(Message::Started(attempt.training.started()));
                }
            } else if let Some(started) = attempt.started {
                if let Some((_, cause)) = attempt.stops.filter(|(at, _)| now >= *at) {
                    witness.finished(now, *key, false);
                    said.push(Message::Finished(training::stopped(*key, cause, now - started)));
                    attempt.over = true;
                } else if now >= attempt.next_at {
                    let step = attempt.training.step(attempt.next_step);
                    match if is_broken { training::Step::Exited(1) } else { step } {
                        training::Step::Measured(value) => {
                            let step = attempt.next_step;
                            let metrics = Metrics { list: vec![Metric { name: "loss".to_owned(), value }] };
                            if let Some(checkpoint) = attempt.training.checkpoint(step) {
                                witness.kept(&checkpoint);
                                said.push(Message::Checkpoint(checkpoint));
                            }
                            said.extend(attempt.training.artifact(step).map(Message::Artifact));
                            witness.measured(now, *key, step, value);
                            let report = v1::Report { key: Some((*key).into()), step, metrics: Some(metrics) };
                            said.push(Message::Report(report));
                            attempt.next_step += 1;
                            attempt.next_at = now + attempt.training.step_time();
                        }
                        training::Step::Silent => {
                            attempt.next_step += 1;
                            attempt.next_at = now + attempt.training.step_time();
                        }
                        training::Step::Exited(code) => {
                            witness.finished(now, *key, code == 0);
                            said.push(Message::Finished(training::exited(*key, code, now - started)));
                            attempt.over = true;
                        }
                    }
                }
            }
            attempt.said.extend(said.iter().cloned());
            if is_up {
                self.window.extend(said.into_iter().map(|message| (*key, message, None)));
            }
        }
    }
}
