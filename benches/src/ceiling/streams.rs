//! Streams that report and wait for nothing but that it is durable.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use heats_domain::{Metric, Metrics, SweepId};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::{self, from_agent, to_agent};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// How many streams are opened at once.
const DIALLING: usize = 64;
/// As many as a real agent's stream holds.
const STREAM_QUEUE: usize = 256;

/// See the module.
pub(super) struct Streams {
    runtime: Runtime,
    streams: Vec<Agent>,
}

/// One of them.
struct Agent {
    number: u64,
    sent: u64,
    durable: u64,
    to_server: mpsc::Sender<v1::FromAgent>,
    from_server: Streaming<v1::ToAgent>,
}

impl Streams {
    /// Opens so many.
    ///
    /// # Errors
    /// Where one is refused.
    pub(super) fn start(address: &str, count: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let streams = runtime.block_on(async {
            let dialling = (1..=u64::from(count)).map(|number| Agent::dial(number, address));
            let dialled: Vec<Result<Agent>> = stream::iter(dialling).buffer_unordered(DIALLING).collect().await;
            dialled.into_iter().collect::<Result<Vec<Agent>>>()
        })?;
        Ok(Self { runtime, streams })
    }

    /// Reports for a time, each stream with so many on their way; how many a second are durable.
    ///
    /// # Errors
    /// Where a stream ends.
    pub(super) fn report(&mut self, on_their_way: u32, time: Duration) -> Result<f64> {
        let begun = Instant::now();
        let streams = std::mem::take(&mut self.streams);
        let (streams, reports) = self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for agent in streams {
                running.spawn(agent.report(u64::from(on_their_way), begun, time));
            }
            let (mut streams, mut reports) = (Vec::new(), 0);
            while let Some(done) = running.join_next().await {
                let (agent, count) = done??;
                streams.push(agent);
                reports += count;
            }
            anyhow::Ok((streams, reports))
        })?;
        self.streams = streams;
        Ok(reports as f64 / begun.elapsed().as_secs_f64())
    }

    pub(super) fn stop(self) {
        drop(self.streams);
        self.runtime.shutdown_background();
    }
}

impl Agent {
    async fn dial(number: u64, address: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        let (to_server, queue) = mpsc::channel(STREAM_QUEUE);
        let from_server = AgentsClient::new(channel).attach(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { number, sent: 0, durable: 0, to_server, from_server })
    }

    /// Reports until the time is over and everything is durable; how many reports that were.
    async fn report(mut self, on_their_way: u64, begun: Instant, time: Duration) -> Result<(Self, u64)> {
        let before = self.durable;
        loop {
            let goes_on = begun.elapsed() < time;
            while goes_on && self.sent < self.durable + on_their_way {
                self.sent += 1;
                self.to_server.send(self.next()).await.context("the server has hung up")?;
            }
            if self.sent == self.durable {
                let count = self.durable - before;
                return Ok((self, count));
            }
            let message = self.from_server.message().await?.context("the server has hung up")?;
            if let Some(to_agent::Message::Ack(v1::Ack { seq })) = message.message {
                self.durable = seq;
            }
        }
    }

    /// A report as a trial of one metric makes it.
    fn next(&self) -> v1::FromAgent {
        let key = v1::AttemptKey { sweep: Some(SweepId { bits: self.number }), trial: 1_000, attempt: 1 };
        let metrics = Metrics { list: vec![Metric { name: "loss".to_owned(), value: -(self.sent as f64) }] };
        let report = v1::Report { key: Some(key), step: self.sent, metrics: Some(metrics) };
        v1::FromAgent { seq: self.sent, message: Some(from_agent::Message::Report(report)) }
    }
}
