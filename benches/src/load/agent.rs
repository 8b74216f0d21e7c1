//! One agent of the load: it speaks as a real one does, and starts nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heats_domain::{AgentId, Inventory, Metric, Metrics, SweepId};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, AttemptKey, to_agent};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use super::ledger::{End, Ledger};
use super::{Manner, Plan};

/// As many as a real agent's stream holds.
const STREAM_QUEUE: usize = 256;

/// How long there may be no leader.
const ELECTION: Duration = Duration::from_secs(20);
/// How soon the next coordinator is asked.
const TURN: Duration = Duration::from_millis(20);

/// What was said and is not acknowledged.
enum Word {
    Report(AttemptKey, Instant),
    Finished(AttemptKey),
    /// Nothing waits for it.
    Other,
}

/// An attempt that runs.
struct Attempt {
    /// What it reported, step by step. Whatever is reported later is better than all before, so that hardly any trial is stopped:
    /// all make the reports that are to be measured, and each is judged.
    said: Vec<f64>,
    judged: u64,
    /// It said that it has ended: stopped or not.
    over: Option<bool>,
    took: Vec<Duration>,
    /// When it makes its next report, where it goes by time.
    due: Instant,
}

impl Attempt {
    fn due(&self) -> Option<Instant> {
        self.over.is_none().then_some(self.due)
    }
}

/// A key that can be looked up.
type Name = (u64, u32, u32);

fn name(key: AttemptKey) -> Name {
    (key.sweep.map_or(0, |sweep| sweep.bits), key.trial, key.attempt)
}

type Welcomed = (mpsc::Sender<v1::FromAgent>, Streaming<v1::ToAgent>, v1::Welcome);

/// Says Hello to one coordinator; what it has against that.
async fn welcomed(address: &str, hello: &v1::Hello) -> Result<Result<Welcomed, Status>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let (to_leader, queue) = mpsc::channel(STREAM_QUEUE);
    to_leader.send(v1::FromAgent { seq: 1, message: Some(Message::Hello(hello.clone())) }).await?;
    let said = async {
        let mut from_leader = AgentsClient::new(channel).attach(ReceiverStream::new(queue)).await?.into_inner();
        Ok((from_leader.message().await?, from_leader))
    };
    match said.await {
        Ok((Some(v1::ToAgent { message: Some(to_agent::Message::Welcome(welcome)) }), from_leader)) => {
            Ok(Ok((to_leader, from_leader, welcome)))
        }
        Ok((other, _)) => bail!("an agent was told {other:?} in place of a welcome"),
        Err(status) => Ok(Err(status)),
    }
}

/// An agent that is attached.
pub(super) struct Agent {
    plan: Plan,
    ledger: Arc<Ledger>,
    to_leader: mpsc::Sender<v1::FromAgent>,
    from_leader: Streaming<v1::ToAgent>,
    beat: Duration,
    sent: u64,
    /// From the first that is not acknowledged.
    words: VecDeque<(u64, Word)>,
    attempts: BTreeMap<Name, Attempt>,
    /// Leased ahead: each begins when a place is free.
    next: VecDeque<AttemptKey>,
    /// To be sent.
    queue: Vec<(Message, Word)>,
}

impl Agent {
    /// Says Hello to each of `addresses` until it is welcome.
    pub(super) async fn attach(number: u32, plan: Plan, addresses: &[String], ledger: Arc<Ledger>) -> Result<Self> {
        let id = AgentId { bits: 0x10ad_0000_0000 + u64::from(number) };
        let hello = v1::Hello {
            agent: Some(id),
            name: format!("load-{number}"),
            inventory: Some(Inventory { cpus: plan.places, ..Inventory::default() }),
            version: "load".to_owned(),
            session: id.bits,
            ..v1::Hello::default()
        };
        let begun = Instant::now();
        for address in addresses.iter().cycle() {
            match welcomed(address, &hello).await? {
                Ok((to_leader, from_leader, welcome)) => {
                    let (words, attempts, next, queue) = Default::default();
                    let beat = Duration::from_millis(welcome.heartbeat_ms.max(1));
                    return Ok(Self {
                        plan,
                        ledger,
                        to_leader,
                        from_leader,
                        beat,
                        sent: 1,
                        words,
                        attempts,
                        next,
                        queue,
                    });
                }
                // Another one leads, or none does yet.
                Err(status) => ensure!(begun.elapsed() < ELECTION, "agent {number} is welcome nowhere: {status}"),
            }
            tokio::time::sleep(TURN).await;
        }
        bail!("there are no coordinators")
    }

    /// Runs what it is told to, until the leader does not want it any more.
    pub(super) async fn run(mut self) -> Result<()> {
        let pace = match self.plan.manner {
            Manner::Ahead(_) => None,
            Manner::Every(pace) => Some(pace),
        };
        let mut beat = tokio::time::interval(self.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = pace.and_then(|_| self.attempts.values().filter_map(Attempt::due).min());
            tokio::select! {
                message = self.from_leader.message() => {
                    let message = message.context("the stream of an agent")?.context("the leader has hung up")?;
                    self.obey(message)?;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    let (now, pace) = (Instant::now(), pace.unwrap_or_default());
                    for (key, attempt) in self.attempts.iter_mut().filter(|(_, attempt)| attempt.due <= now) {
                        attempt.due += pace;
                        next(*key, attempt, self.plan.reports, self.ledger.loss(), &mut self.queue);
                    }
                }
                _beat = beat.tick() => {
                    self.queue.push((Message::Heartbeat(v1::Heartbeat { condition: None }), Word::Other));
                }
            }
            self.fill();
            for (message, word) in self.queue.drain(..) {
                self.sent += 1;
                self.words.push_back((self.sent, word));
                let message = v1::FromAgent { seq: self.sent, message: Some(message) };
                self.to_leader.send(message).await.context("the leader has hung up")?;
            }
        }
    }

    fn obey(&mut self, message: v1::ToAgent) -> Result<()> {
        match message.message {
            Some(to_agent::Message::Run(run)) => self.begin(&run),
            Some(to_agent::Message::Stop(stop)) => {
                let key = stop.key.context("a key")?;
                match self.attempts.get_mut(&name(key)) {
                    Some(attempt) if attempt.over.is_none() => finish(key, attempt, true, &mut self.queue),
                    // It has ended by itself meanwhile.
                    Some(_) => {}
                    None => bail!("told to stop {key:?}, which does not run here"),
                }
                Ok(())
            }
            Some(to_agent::Message::Ack(v1::Ack { seq })) => self.acknowledged(seq),
            Some(to_agent::Message::Coordinators(_)) => Ok(()),
            other => bail!("an agent was told {other:?}, which nobody asked for"),
        }
    }

    fn begin(&mut self, run: &v1::Run) -> Result<()> {
        let key = run.key.context("a key")?;
        self.ledger.leased(key)?;
        self.next.push_back(key);
        ensure!(self.next.len() <= self.plan.places as usize, "{} attempts wait for a place", self.next.len());
        Ok(())
    }

    /// Begins what has a place.
    fn fill(&mut self) {
        let mut running = self.attempts.values().filter(|attempt| attempt.over.is_none()).count();
        while running < self.plan.places as usize
            && let Some(key) = self.next.pop_front()
        {
            running += 1;
            let due = Instant::now() + self.plan.manner.first_after(key.trial);
            let mut attempt = Attempt { said: Vec::new(), judged: 0, over: None, took: Vec::new(), due };
            let started = v1::Started { key: Some(key), ..v1::Started::default() };
            self.queue.push((Message::Started(started), Word::Other));
            if let Manner::Ahead(ahead) = self.plan.manner {
                for _ in 0..ahead {
                    next(name(key), &mut attempt, self.plan.reports, self.ledger.loss(), &mut self.queue);
                }
            }
            self.attempts.insert(name(key), attempt);
        }
    }

    fn acknowledged(&mut self, seq: u64) -> Result<()> {
        ensure!(seq <= self.sent, "message {seq} was acknowledged, {} is the last", self.sent);
        while let Some((_, word)) = self.words.pop_front_if(|(said, _)| *said <= seq) {
            match word {
                Word::Report(key, when) => {
                    let Some(attempt) = self.attempts.get_mut(&name(key)) else { continue };
                    attempt.took.push(when.elapsed());
                    if attempt.over.is_some() {
                        continue;
                    }
                    attempt.judged += 1;
                    if attempt.judged == self.plan.reports {
                        finish(key, attempt, false, &mut self.queue);
                    } else if matches!(self.plan.manner, Manner::Ahead(_)) {
                        next(name(key), attempt, self.plan.reports, self.ledger.loss(), &mut self.queue);
                    }
                }
                Word::Finished(key) => {
                    let attempt = self.attempts.remove(&name(key)).context("an attempt that ended twice")?;
                    let Attempt { said, judged, over, took, due: _ } = attempt;
                    self.ledger.ended(key, End { said, judged, stopped: over == Some(true), took })?;
                }
                Word::Other => {}
            }
        }
        Ok(())
    }
}

/// The attempt's next report, where it has one to make.
fn next(
    (sweep, trial, number): Name,
    attempt: &mut Attempt,
    reports: u64,
    loss: f64,
    queue: &mut Vec<(Message, Word)>,
) {
    let step = attempt.said.len() as u64 + 1;
    if attempt.over.is_some() || step > reports {
        return;
    }
    attempt.said.push(loss);
    let key = AttemptKey { sweep: Some(SweepId { bits: sweep }), trial, attempt: number };
    let metrics = Metrics { list: vec![Metric { name: "loss".to_owned(), value: loss }] };
    let report = v1::Report { key: Some(key), step, metrics: Some(metrics) };
    queue.push((Message::Report(report), Word::Report(key, Instant::now())));
}

fn finish(key: AttemptKey, attempt: &mut Attempt, stopped: bool, queue: &mut Vec<(Message, Word)>) {
    attempt.over = Some(stopped);
    let kind = if stopped { v1::end::Kind::Stopped } else { v1::end::Kind::Exited };
    let end = Some(v1::End { kind: kind.into(), code: 0, signal: 0 });
    queue.push((
        Message::Finished(v1::Finished { key: Some(key), end, ..v1::Finished::default() }),
        Word::Finished(key),
    ));
}
