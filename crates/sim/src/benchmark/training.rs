//! A benchmark in place of a training script.

use std::collections::BTreeMap;

use heats_core::ops::attempts::End;
use heats_domain::spec::EarlyStop;

use super::{Benchmark, BenchmarkError, Resource};
use crate::{Running, Step, Workload};

/// Trains every trial of a sweep by looking up what came of it.
#[derive(Debug)]
pub struct Training<'a> {
    benchmark: &'a Benchmark,
    /// The steps at which trials report.
    steps: Vec<u64>,
    /// How long each attempt has trained to get where it is, in seconds.
    spent: BTreeMap<(u32, u32), f64>,
    broken: Option<BenchmarkError>,
}

impl<'a> Training<'a> {
    /// Trains on `benchmark`. Where to report on the way costs something, trials do it only if one may be stopped for it.
    pub fn new(benchmark: &'a Benchmark, early_stop: &EarlyStop) -> Self {
        let whole = benchmark.resource == Resource::Share && early_stop.algorithm == "none";
        let skipped = if whole { benchmark.levels.len().saturating_sub(1) } else { 0 };
        Self { benchmark, steps: benchmark.steps().skip(skipped).collect(), spent: BTreeMap::new(), broken: None }
    }

    /// Why trials failed, where the sweep's configurations are not the benchmark's.
    pub const fn broken(&self) -> Option<&BenchmarkError> {
        self.broken.as_ref()
    }
}

impl Workload for Training<'_> {
    fn step(&mut self, running: &Running<'_>, step: u64) -> Step {
        let attempt = (running.trial, running.attempt);
        let at = usize::try_from(step.saturating_sub(1)).ok().and_then(|place| self.steps.get(place)).copied();
        let evaluated = at.map_or(Ok(None), |at| self.benchmark.evaluate(running.params, at, running.seed));
        let (at, evaluation) = match evaluated.map(|evaluation| at.zip(evaluation)) {
            Ok(Some(evaluated)) => evaluated,
            Ok(None) => {
                self.spent.remove(&attempt);
                return Step::Done;
            }
            Err(error) => {
                self.broken.get_or_insert(error);
                return Step::Ended { after_ms: 0, end: End::Exited(1) };
            }
        };
        let spent = self.spent.entry(attempt).or_default();
        // A fitted cost may come down from one level to the next: no training does.
        let cost = evaluation.cost_s.max(*spent);
        let took = if self.benchmark.resource == Resource::Epochs { cost - *spent } else { cost };
        *spent = cost;
        Step::Trained { at, took_ms: (took * 1e3).round() as u64, metrics: evaluation.metrics }
    }

    fn resume(&mut self, running: &Running<'_>, reported: u64) -> u64 {
        // Its checkpoint is as old as its last report.
        let before = running.attempt.saturating_sub(1);
        if let Some(spent) = self.spent.remove(&(running.trial, before)) {
            self.spent.insert((running.trial, running.attempt), spent);
        }
        self.steps.partition_point(|at| *at <= reported) as u64
    }
}
