//! Three replicas that take agents' streams and decide nothing: what is reported goes into entries as a coordinator batches them,
//! which the state does not record, because they are of a term in which nobody leads.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use heats_core::fact::{Fact, FactCell, TrialReported};
use heats_core::{Entry, ops::attempts::Key};
use heats_replica::Replica;
use heats_wire::v1::agents_server::{Agents, AgentsServer};
use heats_wire::v1::{self, from_agent, to_agent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Cluster;

/// What the decider of a coordinator takes into one entry, how many entries it has on their way, and what waits for it.
const TOGETHER: usize = 1_024;
const IN_FLIGHT: usize = 8;
const MAILBOX: usize = 16_384;
/// No leader gets this far.
const NOBODYS: u64 = 1 << 40;

/// See the module.
pub(super) struct Ceiling {
    cluster: Cluster,
    address: String,
}

impl Ceiling {
    /// Starts them, with their logs in a temporary folder.
    ///
    /// # Errors
    /// Where the disk or the network refuses.
    pub(super) fn start() -> Result<Self> {
        let cluster = Cluster::start()?;
        let address = cluster.leader.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?.to_string();
            let (mailbox, said) = mpsc::channel(MAILBOX);
            tokio::spawn(batch(cluster.leader.replica.clone(), said));
            let router = Server::builder().add_service(AgentsServer::new(Service { mailbox }));
            tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
            anyhow::Ok(address)
        })?;
        Ok(Self { cluster, address })
    }

    /// Where it takes streams.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn stop(self) {
        self.cluster.stop();
    }
}

/// A report, and whom to tell that it is durable.
struct Said {
    seq: u64,
    fact: FactCell,
    stream: u64,
    acks: mpsc::Sender<Result<v1::ToAgent, Status>>,
}

/// What waits goes into an entry; the streams are told once it is durable.
async fn batch(replica: Replica, mut said: mpsc::Receiver<Said>) {
    let mut flight = FuturesOrdered::new();
    let mut waiting = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            biased;
            Some(durable) = flight.next() => tell(durable).await,
            count = said.recv_many(&mut waiting, TOGETHER), if flight.len() < IN_FLIGHT => {
                if count == 0 {
                    return;
                }
                let (mut facts, mut last) = (Vec::with_capacity(count), BTreeMap::new());
                for Said { seq, fact, stream, acks } in waiting.drain(..) {
                    facts.push(fact);
                    last.insert(stream, (seq, acks));
                }
                let entry = Entry { term: NOBODYS, number: 0, after: 0, at_ms: 1, facts };
                let proposed = replica.propose(entry);
                flight.push_back(async move { proposed.await.map(|_| last).unwrap_or_default() });
            }
        }
    }
}

async fn tell(durable: BTreeMap<u64, (u64, mpsc::Sender<Result<v1::ToAgent, Status>>)>) {
    for (seq, acks) in durable.into_values() {
        let ack = v1::ToAgent { message: Some(to_agent::Message::Ack(v1::Ack { seq })) };
        // Whoever has gone waits for nothing.
        let _gone = acks.send(Ok(ack)).await;
    }
}

struct Service {
    mailbox: mpsc::Sender<Said>,
}

#[tonic::async_trait]
impl Agents for Service {
    type AttachStream = ReceiverStream<Result<v1::ToAgent, Status>>;

    async fn attach(&self, request: Request<Streaming<v1::FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut messages = request.into_inner();
        let (acks, told) = mpsc::channel(MAILBOX);
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            while let Some(Ok(v1::FromAgent { seq, message })) = messages.next().await {
                let Some(from_agent::Message::Report(report)) = message else { continue };
                let Some((stream, fact)) = recorded(report) else { return };
                if mailbox.send(Said { seq, fact, stream, acks: acks.clone() }).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("nobody joins"))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Err(Status::unimplemented("nobody renews"))
    }

    async fn keep_logs(&self, _: Request<Streaming<v1::LogPiece>>) -> Result<Response<v1::KeepLogsResponse>, Status> {
        Err(Status::unimplemented("nobody keeps logs"))
    }
}

/// The fact that a coordinator records of a report, with the number of the stream that it came on, which is its sweep's.
fn recorded(report: v1::Report) -> Option<(u64, FactCell)> {
    let v1::Report { key, step, metrics } = report;
    let Key { sweep, trial, attempt } = key?.try_into().ok()?;
    let fact = Fact::TrialReported(TrialReported { sweep, trial, attempt, step, metrics: metrics? });
    Some((sweep.bits, fact.into()))
}
