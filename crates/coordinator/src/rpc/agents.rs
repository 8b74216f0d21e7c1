//! One stream per agent. What it says is decided in the order it is said; acknowledgements follow in that
//! order once each message is durable.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use heats_core::ops::agent_drain::leaving;
use heats_core::ops::agents::{self, Attach};
use heats_core::ops::attempts::{self, Finish, Key};
use heats_core::ops::start::Start;
use heats_core::ops::{artifacts, checkpoints};
use heats_core::{Op, Refusal, Reply};
use heats_domain::{AgentId, Object};
use heats_wire::convert::{ConvertError, required};
use heats_wire::v1::agents_server::Agents;
use heats_wire::v1::{self, from_agent, to_agent};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{bundles, join};
use crate::caller::Caller;
use crate::decider::{Answer, AskError, Parting};
use crate::node::{Node, ToAgents};
use crate::rpc::reading::Reading;
use crate::status::{impostor, malformed, unanswered};
use crate::streams::{Attached, Opening, Outbox, Present, Taken, erase, leave, run, stop};

/// Messages of one agent that may be on their way to the log; beyond that its stream is not read.
const WINDOW: usize = 1_024;

/// How many storages of checkpoints an agent may reach.
const PLACES_MAX: usize = 8;
/// How many checkpoints an agent is told to remove when it attaches; it is told the rest the next time.
const ERASE_MAX: usize = 10_000;

/// The service.
pub struct AgentsService {
    node: Node,
}

impl AgentsService {
    /// The service of this node.
    pub const fn new(node: Node) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Agents for AgentsService {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        join::join(&self.node, request).await
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        join::renew(&self.node, request).await
    }

    async fn keep_logs(
        &self,
        request: Request<Streaming<v1::LogPiece>>,
    ) -> Result<Response<v1::KeepLogsResponse>, Status> {
        bundles::keep(&self.node, request).await
    }

    type AttachStream = ToAgents;

    async fn attach(&self, request: Request<Streaming<v1::FromAgent>>) -> Result<Response<ToAgents>, Status> {
        let caller = request.extensions().get().cloned().unwrap_or(Caller::Nobody);
        attach(self.node.clone(), caller, request.into_inner()).await.map(Response::new)
    }
}

/// Begins a session with whoever says Hello in `messages`.
pub async fn attach<M>(node: Node, caller: Caller, mut messages: M) -> Result<ToAgents, Status>
where
    M: Stream<Item = Result<v1::FromAgent, Status>> + Send + Unpin + 'static,
{
    let first = messages.next().await.transpose()?.and_then(|m| m.message);
    let Some(from_agent::Message::Hello(hello)) = first else {
        return Err(Status::invalid_argument("the first message of an agent's stream is Hello"));
    };
    let (attach, opening) = attach_of(hello, node.clock.now_ms()).map_err(|error| malformed(&error))?;
    let agent = attach.agent;
    if !caller.is_agent(agent) {
        return Err(impostor(agent));
    }
    // What the agent holds may be news from another leader: to call it lost, this one must be sure of its own.
    Reading::Fresh.state(&node).await?;
    let silent = node.leases.silent(agent, Instant::now());
    // A process that lives is heard of once in a heartbeat, or nearly so.
    let lives = silent.is_some_and(|silent| silent < node.config.heartbeat * 2);
    let present = if lives { Present::Heard } else { Present::Silent };
    // The outbox exists before the agent is known to the leader, so that no order to it is lost.
    let Attached { number, outbox, inbox, cut } =
        node.streams.attach(agent, opening, present).map_err(|Taken| taken(agent, &attach.name))?;
    node.leases.renew(agent, Instant::now());
    let answer = match node.decider.ask(Op::Attach(attach)).await {
        Ok(answer) => answer,
        Err(error) => {
            node.streams.detach(agent, number);
            return Err(unanswered(&error));
        }
    };
    let first = match answer.reply {
        Reply::Attached(attached) => welcome(&node, agent, attached),
        Reply::Done
        | Reply::Submitted(_)
        | Reply::Enqueued(_)
        | Reply::Retried(_)
        | Reply::Token(_)
        | Reply::Study(_) => Vec::new(),
    };
    info!(agent_id = %agent, "agent attached");
    let session = Session { node, agent, number, outbox, reign: answer.reign };
    tokio::spawn(session.run(messages, cut));
    // What was decided in the same turn may be in the inbox already: the welcome comes before it all the same.
    let answers = futures::stream::iter(first).chain(ReceiverStream::new(inbox));
    Ok(Box::pin(answers.map(Ok)))
}

/// That two processes say that they are the same agent.
fn taken(agent: AgentId, name: &str) -> Status {
    let why = format!(
        "another process with the id of agent `{agent}` is attached: `{name}` works on a copy of its data directory; \
         remove `agent*/id` in one of the two, while it is stopped"
    );
    Status::already_exists(why)
}

fn attach_of(hello: v1::Hello, now_ms: u64) -> Result<(Attach, Opening), ConvertError> {
    let v1::Hello {
        agent,
        name,
        inventory,
        holding,
        version,
        session,
        condition,
        lineage,
        mut places,
        reads_artifacts,
    } = hello;
    let agent = required(agent, "agent")?;
    let inventory = required(inventory, "inventory")?;
    let holding =
        holding.into_iter().map(|h| required(h.key, "key")?.try_into()).collect::<Result<BTreeSet<Key>, _>>()?;
    let condition = condition.unwrap_or_default();
    let able = condition.unable.is_empty();
    let unusable = unusable(&condition);
    places.truncate(PLACES_MAX);
    let opening = Opening { session, since_ms: now_ms, condition, reads_artifacts };
    Ok((Attach { agent, name, inventory, version, holding, able, unusable, lineage, places }, opening))
}

/// Which of its GPUs the agent says must not be leased.
fn unusable(condition: &v1::Condition) -> BTreeSet<u32> {
    condition.gpus.iter().map(|gpu| gpu.index).collect()
}

/// What the agent is told first: who leads, and what became of its attempts.
fn welcome(node: &Node, agent: AgentId, attached: agents::Attached) -> Vec<v1::ToAgent> {
    let state = node.replica.state();
    let agents::Attached { kill, stop: stops, run: runs } = attached;
    let welcome = v1::Welcome {
        term: node.replica.status().term,
        lease_ttl_ms: node.config.lease_ttl.as_millis() as u64,
        heartbeat_ms: node.config.heartbeat.as_millis() as u64,
        kill: kill.into_iter().map(Into::into).collect(),
        coordinators: Some(coordinators(node)),
    };
    let stops = stops.into_iter().map(|key| to_agent::Message::Stop(stop(&state, key, "the trial has ended".into())));
    let runs = runs.into_iter().filter_map(|key| run(&state, key, agent)).map(to_agent::Message::Run);
    // Last, for among them is what it has only just been told to run.
    let leaves =
        leaving(&state, agent).into_iter().map(|leaving| to_agent::Message::Stop(leave(&state, agent, leaving)));
    let erases = state.to_erase(agent).take(ERASE_MAX).cloned().map(erase);
    let messages =
        std::iter::once(to_agent::Message::Welcome(welcome)).chain(stops).chain(runs).chain(leaves).chain(erases);
    messages.map(|message| v1::ToAgent { message: Some(message) }).collect()
}

/// The members of the cluster, for an agent that has to find the next leader.
fn coordinators(node: &Node) -> v1::Coordinators {
    v1::Coordinators { addresses: node.replica.members().into_iter().map(|member| member.address).collect() }
}

/// One stream, from its Welcome to its end.
struct Session {
    node: Node,
    agent: AgentId,
    number: u64,
    outbox: Outbox,
    /// The leader's reign that it began in: it ends with it.
    reign: u64,
}

/// What becomes of one message: its number, and what has to be decided first.
type Pending = Pin<Box<dyn Future<Output = (u64, Option<Subject>, Result<(), AskError>)> + Send>>;

/// What a message is about.
struct Subject {
    key: Key,
    /// The checkpoint or artifact that it says is complete.
    object: Option<Object>,
}

impl Session {
    async fn run<M>(self, mut messages: M, mut cut: oneshot::Receiver<()>)
    where
        M: Stream<Item = Result<v1::FromAgent, Status>> + Send + Unpin + 'static,
    {
        let mut told = coordinators(&self.node);
        let mut pending: FuturesOrdered<Pending> = FuturesOrdered::new();
        loop {
            tokio::select! {
                biased;
                Some((seq, subject, outcome)) = pending.next() => {
                    if self.answer(seq, subject, outcome).await.is_err() {
                        break;
                    }
                }
                () = self.outbox.closed() => break,
                _ = &mut cut => break,
                message = messages.next(), if pending.len() < WINDOW => match message {
                    Some(Ok(message)) => {
                        self.node.leases.renew(self.agent, Instant::now());
                        if matches!(message.message, Some(from_agent::Message::Heartbeat(_)))
                            && self.tell_coordinators(&mut told).await.is_err()
                        {
                            break;
                        }
                        match self.take(message).await {
                            Ok(Some(next)) => pending.push_back(next),
                            Ok(None) => {}
                            Err(error) => {
                                debug!(agent_id = %self.agent, %error, "stream refused");
                                break;
                            }
                        }
                    }
                    None => break,
                    Some(Err(status)) => {
                        debug!(agent_id = %self.agent, %status, "stream broken");
                        break;
                    }
                },
            }
        }
        if self.node.streams.detach(self.agent, self.number) {
            self.node.decider.detach(self.agent, Parting::Gone).await;
            info!(agent_id = %self.agent, "agent detached");
        }
    }

    /// Starts to deal with one message.
    async fn take(&self, message: v1::FromAgent) -> Result<Option<Pending>, TakeError> {
        let v1::FromAgent { seq, message } = message;
        let mut saved = None;
        let (key, op) = match required(message, "message")? {
            from_agent::Message::Hello(_) => return Err(TakeError::SecondHello),
            from_agent::Message::Heartbeat(v1::Heartbeat { condition }) => {
                if let Some(condition) = condition {
                    self.describe(condition).await;
                }
                return Ok(Some(Box::pin(async move { (seq, None, Ok(())) })));
            }
            from_agent::Message::Leaving(v1::Leaving {}) => {
                self.node.decider.detach(self.agent, Parting::Leaving).await;
                return Ok(Some(Box::pin(async move { (seq, None, Ok(())) })));
            }
            from_agent::Message::LogChunk(chunk) => {
                self.node.relays.deliver(self.agent, chunk);
                return Ok(None);
            }
            from_agent::Message::Started(started) => {
                let start = Start::try_from(started)?;
                (start.key, Op::Start(start))
            }
            from_agent::Message::Report(v1::Report { key, step, metrics }) => {
                let key = Key::try_from(required(key, "key")?)?;
                (key, Op::Report(key, step, metrics.unwrap_or_default()))
            }
            from_agent::Message::Checkpoint(checkpoint) => {
                saved = Some(checkpoint.clone().into());
                (checkpoints::key(&checkpoint), Op::SaveCheckpoint(checkpoint))
            }
            from_agent::Message::Artifact(artifact) => {
                saved = Some(artifact.clone().into());
                (artifacts::key(&artifact), Op::KeepArtifact(artifact))
            }
            from_agent::Message::NotKept(file) => (artifacts::key_of(&file), Op::LeaveOutArtifact(file)),
            from_agent::Message::Erased(v1::Erased { object }) => {
                let op = Op::Erase(required(object, "object")?);
                let answer = self.node.decider.post_in(self.reign, op).await?;
                return Ok(Some(Box::pin(async move { (seq, None, outcome(answer).await) })));
            }
            from_agent::Message::Finished(finished) => {
                let finish = Finish::try_from(finished)?;
                (finish.key, Op::Finish(finish))
            }
        };
        let rank = match attempts::owned(&self.node.replica.state(), self.agent, key) {
            Ok(rank) => rank,
            Err(refusal) => {
                let subject = Subject { key, object: None };
                return Ok(Some(Box::pin(async move { (seq, Some(subject), Err(AskError::Refused(refusal))) })));
            }
        };
        let Some(op) = op.by_rank(rank) else { return Ok(Some(Box::pin(async move { (seq, None, Ok(())) }))) };
        let answer = self.node.decider.post_in(self.reign, op).await?;
        let subject = Subject { key, object: saved };
        Ok(Some(Box::pin(async move { (seq, Some(subject), outcome(answer).await) })))
    }

    /// Tells the agent of coordinators that have joined or left since it was told last.
    async fn tell_coordinators(&self, told: &mut v1::Coordinators) -> Result<(), ()> {
        let now = coordinators(&self.node);
        if now == *told {
            return Ok(());
        }
        told.clone_from(&now);
        self.send(to_agent::Message::Coordinators(now)).await
    }

    /// What the agent says of itself; the leader is told before anything that it says afterwards.
    async fn describe(&self, condition: v1::Condition) {
        let Some(before) = self.node.streams.opening(self.agent) else { return };
        let (could, can) = (before.condition.unable.is_empty(), condition.unable.is_empty());
        if could != can {
            info!(agent_id = %self.agent, unable = condition.unable, "agent can start something, or no longer");
            self.node.decider.able(self.agent, self.number, can).await;
        }
        let gpus = unusable(&condition);
        if gpus != unusable(&before.condition) {
            info!(agent_id = %self.agent, ?gpus, "other GPUs of the agent than before must not be leased");
            self.node.decider.unusable(self.agent, self.number, gpus).await;
        }
        self.node.streams.describe(self.agent, self.number, condition);
    }

    /// Acknowledges a message, or says why the attempt is not the agent's; an error ends the stream.
    async fn answer(&self, seq: u64, subject: Option<Subject>, outcome: Result<(), AskError>) -> Result<(), ()> {
        match (outcome, subject) {
            (Ok(()), _) => {}
            (Err(AskError::Refused(refusal @ Refusal::Stale { .. })), Some(Subject { key, object })) => {
                // The agent's own attempt, but too late: nothing knows of the object.
                if let Some(object) = object {
                    self.send(erase(object)).await?;
                }
                let stop = v1::Stop {
                    key: Some(key.into()),
                    why: format!("{refusal}: {}", refusal.hint()),
                    ..Default::default()
                };
                self.send(to_agent::Message::Stop(stop)).await?;
            }
            (Err(AskError::Refused(refusal)), subject) => {
                debug!(agent_id = %self.agent, seq, %refusal, "message refused");
                if let Some(object) = subject.and_then(|subject| subject.object) {
                    self.send(erase(object)).await?;
                }
            }
            (Err(error), _) => {
                debug!(agent_id = %self.agent, %error, "stream ends");
                return Err(());
            }
        }
        self.send(to_agent::Message::Ack(v1::Ack { seq })).await
    }

    async fn send(&self, message: to_agent::Message) -> Result<(), ()> {
        self.outbox.send(v1::ToAgent { message: Some(message) }).await.map_err(|_| ())
    }
}

/// What became of a request.
async fn outcome(answer: oneshot::Receiver<Result<Answer, AskError>>) -> Result<(), AskError> {
    match answer.await {
        Ok(Ok(Answer { .. })) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AskError::Stopped),
    }
}

/// Why a message ends the stream.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("a second Hello on one stream")]
    SecondHello,
    #[error(transparent)]
    Malformed(#[from] ConvertError),
    #[error(transparent)]
    Unanswered(#[from] AskError),
}
