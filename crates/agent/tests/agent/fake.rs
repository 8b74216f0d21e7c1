//! A coordinator for tests: takes what an agent says, acknowledges it or not, and tells it what the test wants.
//! Decides nothing by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heats_agent::inventory::Gpus;
use heats_agent::{AgentConfig, OnEvent};
use heats_agent::{BusyGpus, Cgroups};
use heats_domain::{Checkpoint, Grant, Inventory, Object, Params, SweepId, Value};
use heats_wire::LINEAGE_KEY;
use heats_wire::v1::agents_server::{Agents, AgentsServer};
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything here takes on the slowest machine: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

type Reply = Box<dyn Fn(&Message) -> Vec<to_agent::Message> + Send>;

#[derive(Default)]
pub struct Seen {
    pub hellos: Vec<v1::Hello>,
    /// What the last sign of life said.
    pub condition: Option<v1::Condition>,
    pub messages: Vec<Message>,
    /// Steps that were new when they came, as a coordinator counts them.
    pub reports: BTreeMap<u32, Vec<(u64, f64)>>,
    pub finished: BTreeMap<u32, Vec<v1::Finished>>,
    pub logs: BTreeMap<u64, Vec<v1::LogChunk>>,
    pub checkpoints: Vec<Checkpoint>,
    pub erased: Vec<Object>,
}

struct Mind {
    seen: Seen,
    acknowledges: bool,
    kill: Vec<v1::AttemptKey>,
    redirect: Option<String>,
    lineage: u64,
    reply: Option<Reply>,
    stream: Option<mpsc::Sender<Result<v1::ToAgent, Status>>>,
}

#[derive(Clone)]
struct Service {
    mind: Arc<Mutex<Mind>>,
    changed: Arc<watch::Sender<u64>>,
    /// Counts how often all streams were cut.
    cuts: Arc<watch::Sender<u64>>,
}

/// The coordinator.
pub struct Fake {
    service: Service,
    pub address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

#[tonic::async_trait]
impl Agents for Service {
    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn keep_logs(&self, _: Request<Streaming<v1::LogPiece>>) -> Result<Response<v1::KeepLogsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    type AttachStream = ReceiverStream<Result<v1::ToAgent, Status>>;

    async fn attach(&self, request: Request<Streaming<v1::FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut stream = request.into_inner();
        let (sender, receiver) = mpsc::channel(1024);
        let first = stream.message().await?.and_then(|message| message.message);
        let Some(Message::Hello(hello)) = first else { return Err(Status::invalid_argument("no hello")) };
        let welcome = {
            let mut mind = self.mind.lock().expect("not poisoned");
            if let Some(leader) = &mind.redirect {
                let mut status = Status::failed_precondition("not the leader");
                status.metadata_mut().insert("heats-leader", leader.parse().expect("ascii"));
                return Err(status);
            }
            if hello.lineage != mind.lineage {
                let mut status = Status::aborted("another cluster");
                status.metadata_mut().insert(LINEAGE_KEY, mind.lineage.to_string().parse().expect("ascii"));
                return Err(status);
            }
            mind.seen.hellos.push(hello);
            mind.stream = Some(sender.clone());
            v1::Welcome {
                term: 1,
                lease_ttl_ms: 15_000,
                heartbeat_ms: 1_000,
                kill: mind.kill.clone(),
                coordinators: None,
            }
        };
        sender.send(wrap(to_agent::Message::Welcome(welcome))).await.expect("is open");
        self.changed.send_modify(|n| *n += 1);
        let service = self.clone();
        let mut cuts = self.cuts.subscribe();
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = stream.message() => message,
                    _cut = cuts.changed() => return,
                };
                let Ok(Some(v1::FromAgent { seq, message: Some(message) })) = message else { return };
                let mut answers = service.take(seq, message);
                service.changed.send_modify(|n| *n += 1);
                for answer in answers.drain(..) {
                    if sender.send(wrap(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn wrap(message: to_agent::Message) -> Result<v1::ToAgent, Status> {
    Ok(v1::ToAgent { message: Some(message) })
}

impl Service {
    fn take(&self, seq: u64, message: Message) -> Vec<to_agent::Message> {
        let mut mind = self.mind.lock().expect("not poisoned");
        let mut answers = mind.reply.as_ref().map(|reply| reply(&message)).unwrap_or_default();
        match &message {
            Message::Report(report) => {
                let trial = report.key.expect("a key").trial;
                let value = report.metrics.as_ref().expect("metrics").list[0].value;
                let steps = mind.seen.reports.entry(trial).or_default();
                if steps.last().is_none_or(|(step, _)| *step < report.step) {
                    steps.push((report.step, value));
                }
            }
            Message::Finished(finished) => {
                let trial = finished.key.expect("a key").trial;
                mind.seen.finished.entry(trial).or_default().push(finished.clone());
            }
            Message::LogChunk(chunk) => mind.seen.logs.entry(chunk.id).or_default().push(chunk.clone()),
            Message::Heartbeat(v1::Heartbeat { condition }) => mind.seen.condition.clone_from(condition),
            Message::Checkpoint(checkpoint) => mind.seen.checkpoints.push(checkpoint.clone()),
            Message::Erased(erased) => mind.seen.erased.extend(erased.object.clone()),
            Message::Hello(_)
            | Message::Started(_)
            | Message::Artifact(_)
            | Message::NotKept(_)
            | Message::Leaving(_) => {}
        }
        if !matches!(message, Message::Report(_) | Message::Heartbeat(_)) {
            mind.seen.messages.push(message);
        }
        if mind.acknowledges {
            answers.push(to_agent::Message::Ack(v1::Ack { seq }));
        }
        answers
    }
}

impl Fake {
    /// A coordinator on a port of its own.
    pub async fn start() -> Self {
        let mind = Mind {
            seen: Seen::default(),
            acknowledges: true,
            kill: Vec::new(),
            redirect: None,
            lineage: 0,
            reply: None,
            stream: None,
        };
        let service = Service {
            mind: Arc::new(Mutex::new(mind)),
            changed: Arc::new(watch::Sender::new(0)),
            cuts: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let mut fake = Self { service, address, server: None };
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let service = AgentsServer::new(self.service.clone());
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        self.server = Some(tokio::spawn(async move { server.await.expect("serves") }));
    }

    /// Cuts every stream and listens no more.
    pub async fn go_away(&mut self) {
        self.service.mind.lock().expect("not poisoned").stream = None;
        if let Some(server) = self.server.take() {
            // Connections outlive the server that took them.
            self.service.cuts.send_modify(|n| *n += 1);
            server.abort();
            let _aborted = server.await;
        }
    }

    /// Listens again at the same address.
    pub async fn come_back(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("sets");
        socket.bind(self.address).expect("binds");
        self.serve(socket.listen(64).expect("listens"));
    }

    fn mind<T>(&self, f: impl FnOnce(&mut Mind) -> T) -> T {
        f(&mut self.service.mind.lock().expect("not poisoned"))
    }

    pub fn acknowledge(&self, yes: bool) {
        self.mind(|mind| mind.acknowledges = yes);
    }

    pub fn redirect_to(&self, leader: Option<SocketAddr>) {
        self.mind(|mind| mind.redirect = leader.map(|leader| leader.to_string()));
    }

    /// From now on it is another cluster, made from a backup of this one: it knows nothing of what it has seen.
    pub fn restored(&self, lineage: u64) {
        self.mind(|mind| (mind.lineage, mind.seen) = (lineage, Seen::default()));
    }

    pub fn kill_on_hello(&self, trial: u32) {
        self.mind(|mind| mind.kill.push(key(trial)));
    }

    pub fn reply(&self, reply: impl Fn(&Message) -> Vec<to_agent::Message> + Send + 'static) {
        self.mind(|mind| mind.reply = Some(Box::new(reply)));
    }

    /// Tells the agent something.
    pub async fn tell(&self, message: to_agent::Message) {
        let sender = self.mind(|mind| mind.stream.clone()).expect("an agent is attached");
        sender.send(wrap(message)).await.expect("the stream is open");
    }

    /// Tells the agent to run `command` as `trial`.
    pub async fn run(&self, trial: u32, spec: serde_json::Value) {
        self.attached().await;
        self.tell(to_agent::Message::Run(run(trial, 1, spec))).await;
    }

    /// Waits until `look` finds what it looks for.
    pub async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut changed = self.service.changed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = self.mind(|mind| look(&mind.seen)) {
                    return found;
                }
                changed.changed().await.expect("the sender lives");
            }
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => panic!("waited too long for {what}; seen: {:?}", self.mind(|mind| mind.seen.messages.clone())),
        }
    }

    pub async fn attached(&self) {
        self.wait("an agent", |seen| (!seen.hellos.is_empty()).then_some(())).await;
    }

    pub async fn started(&self, trial: u32) -> v1::Started {
        self.wait("a start", |seen| {
            seen.messages.iter().find_map(|message| match message {
                Message::Started(started) if started.key == Some(key(trial)) => Some(started.clone()),
                _ => None,
            })
        })
        .await
    }

    pub async fn finished(&self, trial: u32) -> v1::Finished {
        self.wait("an end", |seen| seen.finished.get(&trial).map(|ends| ends[0].clone())).await
    }

    /// The steps that were reported by the trial, waiting for at least `count`.
    pub async fn reports(&self, trial: u32, count: usize) -> Vec<(u64, f64)> {
        self.wait("reports", |seen| seen.reports.get(&trial).filter(|steps| steps.len() >= count).cloned()).await
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        self.mind(|mind| look(&mind.seen))
    }
}

pub fn sweep() -> SweepId {
    SweepId::mint(1_795_000_000_000, 42)
}

pub fn key(trial: u32) -> v1::AttemptKey {
    v1::AttemptKey { sweep: Some(sweep()), trial, attempt: 1 }
}

pub fn run(trial: u32, attempt: u32, spec: serde_json::Value) -> v1::Run {
    let params: Params = [("lr", Value::Float(0.5)), ("opt", Value::Str("a b".into()))].into_iter().collect();
    v1::Run {
        key: Some(v1::AttemptKey { attempt, ..key(trial) }),
        sweep_name: "demo".into(),
        params: Some(params),
        grant: Some(Grant { cpus: 1, memory: 0, gpus: Vec::new(), ..Grant::default() }),
        seed: 7,
        spec: spec.to_string(),
        base_dir: std::env::temp_dir().display().to_string(),
        resume_step: None,
        code: String::new(),
        known: Vec::new(),
        from: None,
        forked: false,
        gang: None,
        keeps: Vec::new(),
    }
}

/// A specification that runs `script` in a shell.
pub fn shell(script: &str) -> serde_json::Value {
    let script = script.replace('$', "$$");
    serde_json::json!({ "command": ["sh", "-c", script], "objective": { "minimize": "loss" } })
}

pub fn config(data: &Path, fake: &Fake) -> AgentConfig {
    AgentConfig {
        security: heats_tls::Security::PlainText,
        join: None,
        data_dir: data.to_owned(),
        folder: "agent".into(),
        name: "here".into(),
        coordinators: vec![fake.address.to_string()],
        inventory: Inventory { cpus: 2, memory: 1 << 30, gpus: Vec::new(), ..Inventory::default() },
        gpus: Gpus::None.source(),
        busy_gpus: BusyGpus::Offer,
        cgroups: Cgroups::Off,
        containers: None,
        checkpoints: heats_agent::CheckpointStorage::Local,
        log_limit: heats_agent::LOG_LIMIT,
        shim: vec![env!("CARGO_BIN_EXE_heats-agent-shim").into()],
        heats_bin: None,
        orphan_ttl: None,
        on_event: OnEvent::default(),
    }
}
