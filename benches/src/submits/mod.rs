//! Durable submissions by unary calls, so many on their way at once, against puts of the same size into etcd: three coordinators
//! and three members, turn by turn, all of them with their data on one disk. Either side's leader is asked directly.

mod etcd;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use heats_wire::v1;
use heats_wire::v1::sweeps_client::SweepsClient;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use self::etcd::Etcd;
use crate::report::{Report, Target};
use crate::three::Process;
use crate::{machine, three};

const PAIRS: usize = 5;
const TURN: Duration = Duration::from_secs(4);
const OUTSTANDING: [usize; 2] = [32, 512];
/// Connections of each side.
const CHANNELS: usize = 4;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let coordinators = three::start(folder.path())?;
    let leader = three::addresses()[three::leader(folder.path())?].clone();
    let etcd = Etcd::start(folder.path(), &runtime)?;
    let mut number = 0;
    for outstanding in OUTSTANDING {
        let (mut rates, mut costs, mut ratios, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for pair in 1..=PAIRS {
            machine::flush()?;
            let theirs = etcd.as_ref().map(|etcd| {
                let turn = Turn { outstanding, first: number, servers: &etcd.members };
                turn.take(&runtime, &etcd.leader, |channel, number| async move {
                    etcd::put(channel, &format!("sweep-{number}"), spec(number).as_bytes()).await
                })
            });
            let theirs = theirs.transpose()?;
            machine::flush()?;
            let turn = Turn { outstanding, first: number, servers: &coordinators };
            let ours = turn.take(&runtime, &leader, submit)?;
            number += 1 << 32;
            report.note(&format!(
                "{outstanding} on their way, pair {pair}: {ours}; etcd {}",
                theirs.as_ref().map_or_else(|| "is not there".to_owned(), ToString::to_string)
            ));
            rates.push(ours.rate);
            costs.push(ours.cost);
            if let Some(theirs) = theirs {
                ratios.push(ours.rate / theirs.rate);
                shares.push(ours.cost / theirs.cost);
            }
        }
        let with = |what: &str| format!("{what}, {outstanding} on their way");
        report.figure(&with("submissions a second"), "", rates, None);
        report.figure(&with("the coordinators' processor time for each"), "µs", costs, None);
        if !ratios.is_empty() {
            report.figure(&with("of etcd's puts a second"), "", ratios, Some(Target::AtLeast(1.3)));
            report.figure(&with("of etcd's processor time for each"), "", shares, Some(Target::AtMost(0.5)));
        }
    }
    Ok(())
}

/// What is submitted, and what is put.
fn spec(number: u64) -> String {
    json!({
        "version": 1, "name": format!("sweep-{number}"), "command": ["true"], "objective": {"minimize": "loss"},
        "space": {"x": {"float": [0.0, 1.0]}}, "search": {"algorithm": "random", "seed": 1},
        "budget": {"trials": 1}
    })
    .to_string()
}

async fn submit(channel: Channel, number: u64) -> Result<()> {
    let request = v1::SubmitRequest {
        request: number + 1,
        spec: spec(number),
        base_dir: "/".to_owned(),
        ..v1::SubmitRequest::default()
    };
    SweepsClient::new(channel).submit(request).await?.into_inner().sweep.context("its id").map(|_| ())
}

async fn dial(address: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
}

/// One side's time.
struct Turn<'a> {
    outstanding: usize,
    /// The number of the first that is written.
    first: u64,
    servers: &'a [Process],
}

/// What came of it.
struct Written {
    /// How many a second.
    rate: f64,
    /// The servers' processor time for each, in microseconds.
    cost: f64,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} a second at {:.0} µs of the servers", self.rate, self.cost)
    }
}

impl Turn<'_> {
    /// Has `write` called, by so many at once, each of which waits for its answer before it calls again.
    fn take<F>(
        &self,
        runtime: &tokio::runtime::Runtime,
        address: &str,
        write: impl Fn(Channel, u64) -> F + Copy + Send + 'static,
    ) -> Result<Written>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let before = three::used(self.servers)?;
        let (count, wall) = runtime.block_on(async {
            let mut channels = Vec::new();
            for _ in 0..CHANNELS {
                channels.push(dial(address).await?);
            }
            let begun = Instant::now();
            let mut callers = JoinSet::new();
            for caller in 0..self.outstanding {
                let channel = channels[caller % CHANNELS].clone();
                let (mut number, step) = (self.first + caller as u64, self.outstanding as u64);
                callers.spawn(async move {
                    let mut count = 0;
                    while begun.elapsed() < TURN {
                        write(channel.clone(), number).await?;
                        number += step;
                        count += 1;
                    }
                    anyhow::Ok(count)
                });
            }
            let mut count = 0_u64;
            while let Some(caller) = callers.join_next().await {
                count += caller??;
            }
            anyhow::Ok((count, begun.elapsed()))
        })?;
        let used = three::used(self.servers)? - before;
        Ok(Written { rate: count as f64 / wall.as_secs_f64(), cost: used * 1e6 / count as f64 })
    }
}
