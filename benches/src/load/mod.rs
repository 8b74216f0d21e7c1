//! Agents that run no processes: real streams to a real leader, and trials whose steps take no time. What they are told is
//! checked while it is measured, and in the end it is compared with what the cluster says: speed that is bought with a wrong
//! answer is an error, not a figure.

mod agent;
mod ledger;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use self::agent::Agent;
use self::ledger::Ledger;
use crate::latency::Latencies;
use crate::{machine, three};

/// How often is looked whether the sweep has ended.
const LOOK: Duration = Duration::from_millis(5);

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
    /// After this time, whatever was judged.
    Every(Duration),
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

/// Agents that are attached to the coordinators at `addresses`.
pub(crate) struct Load {
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
        let ledger = Arc::new(Ledger::default());
        let mut agents = JoinSet::new();
        runtime.block_on(async {
            let mut dialling = JoinSet::new();
            for number in 0..plan.agents {
                let (addresses, ledger) = (addresses.to_vec(), ledger.clone());
                dialling.spawn(async move { Agent::attach(number, plan, &addresses, ledger).await });
            }
            while let Some(agent) = dialling.join_next().await {
                agents.spawn(agent??.run());
            }
            anyhow::Ok(())
        })?;
        Ok(Self { runtime, agents, ledger, plan })
    }

    /// A sweep of so many trials, from its submission to its end.
    ///
    /// # Errors
    /// Where an agent was told something wrong, or the cluster says something else than the agents saw.
    pub(crate) fn sweep(&mut self, folder: &Path, name: &str, trials: u64) -> Result<Outcome> {
        let sweep = json!({
            "version": 1, "name": name, "command": ["true"], "objective": {"minimize": "loss"},
            "space": {"x": {"float": [0.0, 1.0]}}, "search": {"algorithm": "random", "seed": 1},
            "early_stop": {"algorithm": "asha", "min": 1, "max": self.plan.reports, "eta": 3},
            "budget": {"trials": trials}
        });
        let file = format!("{name}.json");
        std::fs::write(folder.join(&file), sweep.to_string())?;
        let begun = Instant::now();
        three::submit(folder, &file)?;
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
        let seen = self.ledger.take(wall);
        let listed = machine::json(folder, &["trials", name, "-o", "json"])?;
        let listed = listed["trials"].as_array().context("a list of trials")?;
        ensure!(listed.len() as u64 == trials, "{} trials of {trials} are there", listed.len());
        seen.agrees(listed, self.plan.reports)?;
        Ok(Outcome { trials, reports: seen.reports, wall, verdicts: seen.verdicts })
    }
}
