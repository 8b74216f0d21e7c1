//! Runs simulated sweeps, as many at once as there are processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use heats_sim::benchmark::{Benchmark, Training};
use heats_sim::{SimConfig, simulate};
use serde_json::{Value, json};

use crate::plan::{Setting, Suite};

/// One sweep to run.
pub(crate) struct Job<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) setting: &'a Setting,
    pub(crate) task: &'a Benchmark,
    pub(crate) number: u64,
    pub(crate) seed: u64,
}

/// What came of one.
pub(crate) struct Ran {
    pub(crate) setting: &'static str,
    pub(crate) task: String,
    pub(crate) number: u64,
    seed: u64,
    /// The budget after which each better value was found, and the regret from then on.
    improvements: Vec<(f64, f64)>,
    /// The regrets after the suite's budgets.
    pub(crate) regrets: Vec<f64>,
    trials: u32,
    /// How long the sweep took on a processor of this machine, training being looked up: what deciding costs.
    pub(crate) decided_s: f64,
}

impl Ran {
    /// The regret after `budget`: the largest there is before anything was reported.
    pub(crate) fn regret(&self, budget: f64) -> f64 {
        let found = self.improvements.partition_point(|(at, _)| *at <= budget);
        found.checked_sub(1).map_or(1.0, |last| self.improvements[last].1)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "setting": self.setting, "task": self.task, "seed": self.seed, "trials": self.trials, "regrets": self.regrets,
        })
    }
}

/// Runs them in any order; returns them in theirs.
pub(crate) fn run_all(jobs: &[Job<'_>]) -> Result<Vec<Ran>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Ran>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { break };
                    let ran = run(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((place, ran));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, ran)| ran).collect()
}

fn run(job: &Job<'_>) -> Result<Ran> {
    let Job { suite, setting, task, number, seed } = job;
    let spec = suite.spec(setting, task, *seed)?;
    let mut training = Training::new(task, &spec.early_stop);
    let config = SimConfig { agents: suite.agents, seed: *seed, ..SimConfig::default() };
    let begun = Instant::now();
    let simulated = simulate(&spec, &mut training, config);
    let decided_s = begun.elapsed().as_secs_f64();
    if let Some(error) = training.broken() {
        bail!("{error}");
    }
    let report = simulated.with_context(|| format!("{} on {}", setting.name, task.name()))?;
    let unit_ms = task.full_cost_s() * 1e3;
    let regret = |value: f64| task.target().regret(value);
    let improvements = report.improvements.iter().map(|(at_ms, value)| (*at_ms as f64 / unit_ms, regret(*value)));
    let mut ran = Ran {
        setting: setting.name,
        task: task.name().to_owned(),
        number: *number,
        seed: *seed,
        improvements: improvements.collect(),
        regrets: Vec::new(),
        trials: report.sweep.created(),
        decided_s,
    };
    ran.regrets = suite.budgets.iter().map(|budget| ran.regret(*budget)).collect();
    Ok(ran)
}
