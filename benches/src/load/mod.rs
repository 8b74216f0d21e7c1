//! Agents that run no processes: real streams to a real leader, and trials whose steps take no time. What they are told is
//! checked while it is measured, and in the end it is compared with what the cluster says: speed that is bought with a wrong
//! answer is an error, not a figure.

mod agent;
mod ledger;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use heats_domain::SweepId;
use heats_wire::v1;
use heats_wire::v1::sweeps_client::SweepsClient;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use self::agent::Agent;
use self::ledger::{Ledger, Seen};
use crate::latency::Latencies;
use crate::{machine, three};

/// How often is looked whether the sweep has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How many agents say Hello at once.
const DIALLING: usize = 64;
/// No single trial waits longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the agents are, and what their trials do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many agents, each with a stream of its own.
    pub(crate) agents: u32,
    /// How many trials each of them runs at once.
    pub(crate) places: u32,
    /// How many reports a trial makes that is not stopped.
    pub(crate) reports: u64,
    pub(crate) manner: Manner,
}

/// When a trial makes its next report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// As soon as all but so many of its reports have been judged. With 1 it waits for each verdict.
    Ahead(u64),
    /// After this time, whatever was judged; trials that began together do not report together.
    Every(Duration),
}

impl Manner {
    /// How long after its beginning a trial makes its first report.
    fn first_after(self, trial: u32) -> Duration {
        match self {
            Self::Ahead(_) => Duration::ZERO,
            // By the golden ratio: trials with numbers near to each other are far apart, and all are spread evenly.
            Self::Every(pace) => pace.mul_f64((f64::from(trial) * 0.618_033_988_749_895).fract()),
        }
    }
}

/// What came of it.
pub(crate) struct Outcome {
    /// Trials that ended.
    pub(crate) trials: u64,
    /// Reports that were judged.
    pub(crate) reports: u64,
    /// From the submission to the end of the sweep.
    pub(crate) wall: Duration,
    /// From a report to the verdict on it.
    pub(crate) verdicts: Latencies,
}

/// How long whoever waits for one trial had to.
pub(crate) struct Probed {
    /// Until its sweep was durably submitted.
    pub(crate) submits: Latencies,
    /// Until an agent had it, from the same moment on.
    pub(crate) leases: Latencies,
}

/// Agents that are attached to the coordinators at `addresses`.
pub(crate) struct Load {
    addresses: Vec<String>,
    /// How many sweeps were submitted to see how long that takes.
    probed: u64,
    runtime: Runtime,
    agents: JoinSet<Result<()>>,
    ledger: Arc<Ledger>,
    plan: Plan,
}

impl Load {
    /// Has all agents attached.
    ///
    /// # Errors
    /// Where one is not welcome.
    pub(crate) fn start(plan: Plan, addresses: &[String]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ledger = Arc::new(Ledger::new());
        let mut agents = JoinSet::new();
        runtime.block_on(async {
            let dialling = (0..plan.agents).map(|number| Agent::attach(number, plan, addresses, ledger.clone()));
            let mut dialling = stream::iter(dialling).buffer_unordered(DIALLING);
            while let Some(agent) = dialling.next().await {
                agents.spawn(agent?.run());
            }
            anyhow::Ok(())
        })?;
        Ok(Self { addresses: addresses.to_vec(), probed: 0, runtime, agents, ledger, plan })
    }

    /// A sweep of so many trials, from its submission to its end.
    ///
    /// # Errors
    /// Where an agent was told something wrong, or the cluster says something else than the agents saw.
    pub(crate) fn sweep(&mut self, folder: &Path, name: &str, trials: u64) -> Result<Outcome> {
        let (seen, wall) = self.run_to_end(folder, name, trials)?;
        let listed = machine::json(folder, &["trials", name, "-o", "json"])?;
        let listed = listed["trials"].as_array().context("a list of trials")?;
        ensure!(listed.len() as u64 == trials, "{} trials of {trials} are there", listed.len());
        seen.agrees(listed, self.plan.reports)?;
        Ok(Outcome { trials, reports: seen.reports, wall, verdicts: seen.verdicts })
    }

    /// As [`Load::sweep`], of more trials than anybody would list: they are counted. How long it took.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn fill(&mut self, folder: &Path, name: &str, trials: u64) -> Result<Duration> {
        let (seen, wall) = self.run_to_end(folder, name, trials)?;
        let stopped = seen.whole(trials, self.plan.reports)?;
        let shown = machine::json(folder, &["show", name, "-o", "json"])?;
        let count = |state: &str| shown["sweep"]["counts"][state].as_u64().context("a count");
        let counted = (count("stopped")?, count("completed")?);
        ensure!(counted == (stopped, trials - stopped), "{counted:?} trials were stopped and completed, not {stopped}");
        Ok(wall)
    }

    /// A sweep of so many trials, all of which run at once; returns when they do.
    ///
    /// # Errors
    /// Where they do not within a minute.
    pub(crate) fn hold(&mut self, folder: &Path, name: &str, trials: u64) -> Result<()> {
        self.submit(folder, name, trials)?;
        three::until("all trials to run", || {
            let shown = machine::json(folder, &["show", name, "-o", "json"])?;
            Ok(shown["sweep"]["counts"]["running"].as_u64().filter(|running| *running == trials))
        })?;
        Ok(())
    }

    /// Sweeps of one trial, one after the other: how long until each is durably submitted, and until an agent has its trial.
    ///
    /// # Errors
    /// Where one is not submitted, or does not end.
    pub(crate) fn probe(&mut self, sweeps: usize) -> Result<Probed> {
        let mut leases = self.ledger.leases();
        let (addresses, sample) = (self.addresses.clone(), spec("probe", 1, self.plan.reports).to_string());
        let began = Instant::now();
        let (submits, leases) = self.runtime.block_on(async {
            let mut client = leader(&addresses).await?;
            let (mut submits, mut leased) = (Vec::new(), Vec::new());
            for _ in 0..sweeps {
                self.probed += 1;
                let request = v1::SubmitRequest {
                    request: self.probed,
                    spec: sample.clone(),
                    base_dir: "/".to_owned(),
                    ..v1::SubmitRequest::default()
                };
                let begun = Instant::now();
                let id = client.submit(request).await?.into_inner().sweep.context("its id")?;
                submits.push(begun.elapsed());
                let lease = leases.wait_for(|lease| lease.is_some_and(|(sweep, _)| sweep == id));
                let when =
                    tokio::time::timeout(PATIENCE, lease).await.context("the trial of a probe was not leased")??;
                leased.extend(when.map(|(_, when)| when.saturating_duration_since(begun)));
                drop(when);
                // One that runs would keep a place from the next.
                while !ended(&mut client, id).await? {
                    tokio::time::sleep(LOOK).await;
                }
            }
            anyhow::Ok((submits, leased))
        })?;
        let wall = began.elapsed();
        self.ledger.take(wall);
        Ok(Probed { submits: Latencies::of(submits, wall), leases: Latencies::of(leases, wall) })
    }

    fn run_to_end(&mut self, folder: &Path, name: &str, trials: u64) -> Result<(Seen, Duration)> {
        let begun = Instant::now();
        self.submit(folder, name, trials)?;
        let mut watch = three::watch(folder, name)?;
        let ended = self.runtime.block_on(async {
            loop {
                if let Some(status) = watch.0.try_wait()? {
                    return Ok(status);
                }
                // An agent ends only by an error, which explains more than a sweep that does not end.
                if let Ok(Some(lost)) = tokio::time::timeout(LOOK, self.agents.join_next()).await {
                    lost??;
                }
            }
        });
        let ended = ended.map_err(|error: anyhow::Error| error.context(format!("sweep {name}")))?;
        ensure!(ended.success(), "the sweep ended with {ended}");
        let wall = begun.elapsed();
        // The cluster knows of the last ends before their agents hear that it does.
        three::until("the last ends to be acknowledged", || Ok(self.ledger.all_ended().then_some(())))?;
        Ok((self.ledger.take(wall), wall))
    }

    fn submit(&self, folder: &Path, name: &str, trials: u64) -> Result<()> {
        let file = format!("{name}.json");
        std::fs::write(folder.join(&file), spec(name, trials, self.plan.reports).to_string())?;
        three::submit(folder, &file)
    }
}

/// The file of a sweep.
fn spec(name: &str, trials: u64, reports: u64) -> Value {
    json!({
        "version": 1, "name": name, "command": ["true"], "objective": {"minimize": "loss"},
        "space": {"x": {"float": [0.0, 1.0]}}, "search": {"algorithm": "random", "seed": 1},
        "early_stop": {"algorithm": "asha", "min": 1, "max": reports, "eta": 3},
        "budget": {"trials": trials}
    })
}

/// A way to the coordinator that leads.
async fn leader(addresses: &[String]) -> Result<SweepsClient<Channel>> {
    for address in addresses {
        let mut client = SweepsClient::new(Endpoint::from_shared(format!("http://{address}"))?.connect().await?);
        if client.list(v1::ListRequest::default()).await.is_ok() {
            return Ok(client);
        }
    }
    bail!("no coordinator leads")
}

async fn ended(client: &mut SweepsClient<Channel>, sweep: SweepId) -> Result<bool> {
    let shown = client.get(v1::GetRequest { sweep: sweep.to_string(), assess: false }).await?.into_inner();
    Ok(shown.sweep.context("the sweep")?.ended_ms.is_some())
}
