//! An agent of the test's own, which speaks the protocol of `agents.proto` and trains nothing. It says what it has not been
//! told to be kept again, to whichever coordinator leads.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heats_core::ops::attempts::Key;
use heats_domain::{AgentId, Inventory, Metric, Metrics};
use heats_testkit::{Attempt, CallId};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Endpoint;

use super::{Notes, STEPS};

/// How many attempts it runs at once.
const CPUS: u32 = 3;
/// How long a step takes.
const STEP: Duration = Duration::from_millis(25);
/// How long a coordinator may say nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that it has said, or will say, until it is kept.
struct Word {
    key: Key,
    message: Message,
    call: Option<CallId>,
    /// Under which number it was said on this stream.
    said: Option<u64>,
}

pub struct Agent {
    id: AgentId,
    coordinators: Vec<String>,
    notes: Notes,
    /// The next step of each attempt that it holds; `None` once that is over.
    attempts: BTreeMap<Key, Option<u64>>,
    words: VecDeque<Word>,
}

const fn attempt(key: Key) -> Attempt {
    Attempt { sweep: key.sweep.bits, trial: key.trial, attempt: key.attempt }
}

impl Agent {
    pub fn new(number: u64, coordinators: Vec<String>, notes: Notes) -> Self {
        let id = AgentId { bits: 0xa000 + number };
        Self { id, coordinators, notes, attempts: BTreeMap::new(), words: VecDeque::new() }
    }

    /// Works until all is over.
    pub async fn run(mut self) {
        for turn in 0.. {
            if self.notes.is_over() {
                return;
            }
            let address = self.coordinators[turn % self.coordinators.len()].clone();
            // Why it is not attached is of no interest: another one is asked.
            let _lost = self.attach(&address).await;
            tokio::time::sleep(STEP).await;
        }
    }

    async fn attach(&mut self, address: &str) -> Result<(), Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect_timeout(PATIENCE).connect_lazy();
        let (to_leader, queue) = mpsc::channel(256);
        let since = self.notes.now();
        // The receiver is right here.
        let _never_full = to_leader.try_send(v1::FromAgent { seq: 1, message: Some(Message::Hello(self.hello())) });
        let late = || Status::deadline_exceeded("says nothing");
        let mut client = AgentsClient::new(channel);
        let answered = client.attach(ReceiverStream::new(queue));
        let mut from_leader = tokio::time::timeout(PATIENCE, answered).await.map_err(|_| late())??.into_inner();
        let mut sent = 1;
        self.words.iter_mut().for_each(|word| word.said = None);
        let mut step = tokio::time::interval(STEP);
        let mut heard = self.notes.now();
        while !self.notes.is_over() {
            tokio::select! {
                message = from_leader.message() => {
                    heard = self.notes.now();
                    let message = message?.ok_or_else(|| Status::unavailable("the stream has ended"))?;
                    self.obey(since, message);
                }
                _tick = step.tick() => {
                    if self.notes.now() > heard + PATIENCE {
                        return Err(late());
                    }
                    self.work();
                    for word in self.words.iter_mut().filter(|word| word.said.is_none()) {
                        let message = v1::FromAgent { seq: sent + 1, message: Some(word.message.clone()) };
                        if to_leader.try_send(message).is_err() {
                            break;
                        }
                        sent += 1;
                        word.said = Some(sent);
                    }
                    // A sign of life, which is answered; with a full queue there are others.
                    let beat = Message::Heartbeat(v1::Heartbeat { condition: None });
                    if to_leader.try_send(v1::FromAgent { seq: sent + 1, message: Some(beat) }).is_ok() {
                        sent += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn hello(&self) -> v1::Hello {
        v1::Hello {
            agent: Some(self.id),
            name: format!("agent-{}", self.id.bits),
            inventory: Some(Inventory { cpus: CPUS, ..Inventory::default() }),
            holding: self.attempts.keys().map(|key| v1::Holding { key: Some((*key).into()) }).collect(),
            version: "test".to_owned(),
            session: self.id.bits,
            condition: None,
            lineage: 0,
            places: Vec::new(),
            reads_artifacts: false,
        }
    }

    fn obey(&mut self, since: Duration, message: v1::ToAgent) {
        let now = self.notes.now();
        match message.message {
            Some(to_agent::Message::Run(run)) => {
                let key = Key::try_from(run.key.expect("has a key")).expect("a good key");
                if let Entry::Vacant(place) = self.attempts.entry(key) {
                    place.insert(Some(1));
                    self.notes.write(|history| history.leased(since, now, attempt(key)));
                }
            }
            Some(to_agent::Message::Ack(v1::Ack { seq })) => {
                while let Some(word) = self.words.pop_front_if(|word| word.said.is_some_and(|said| said <= seq)) {
                    if let Some(call) = word.call {
                        self.notes.write(|history| history.acknowledged(call, now));
                    }
                    if matches!(word.message, Message::Finished(_)) {
                        self.attempts.remove(&word.key);
                    }
                }
            }
            Some(to_agent::Message::Welcome(welcome)) => {
                for key in welcome.kill.into_iter().map(|key| Key::try_from(key).expect("a good key")) {
                    self.attempts.remove(&key);
                    self.words.retain(|word| word.key != key);
                }
            }
            other => panic!("told {other:?}: nobody asked for that"),
        }
    }

    /// Every attempt takes its next step.
    fn work(&mut self) {
        let now = self.notes.now();
        for (&key, next) in &mut self.attempts {
            let Some(step) = *next else { continue };
            let name = Some(key.into());
            let mut say = |message, call| self.words.push_back(Word { key, message, call, said: None });
            if step == 1 {
                say(Message::Started(v1::Started { key: name, ..v1::Started::default() }), None);
            }
            if step <= STEPS {
                let metrics =
                    Some(Metrics { list: vec![Metric { name: "loss".to_owned(), value: 1.0 / step as f64 }] });
                let call = self.notes.write(|history| history.report(now, attempt(key), step));
                say(Message::Report(v1::Report { key: name, step, metrics }), Some(call));
                *next = Some(step + 1);
            } else {
                let end = Some(v1::End { kind: v1::end::Kind::Exited.into(), code: 0, signal: 0 });
                let call = self.notes.write(|history| history.finish(now, attempt(key), true));
                say(Message::Finished(v1::Finished { key: name, end, ..v1::Finished::default() }), Some(call));
                *next = None;
            }
        }
    }
}
