//! Benchmarks: real training runs that somebody did before, so that a sweep over them takes no training.
//!
//! Of a surrogate or a table (see `docs/search.md` for where they come from), what a configuration reports and how long that
//! takes are looked up. What a benchmark is made of is read by whoever opens it: nothing here touches a file.

mod files;
mod surrogate;
mod table;
mod training;

use heats_domain::{Metrics, Params};

pub use training::Training;

use surrogate::Surrogate;
use table::Table;

/// Where the files of benchmarks are read: a name such as `lcbench.json`, and its content or why there is none.
pub type Files<'a> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'a;

/// Why a benchmark cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// Nobody knows it.
    #[error("there is no benchmark `{name}`; there are {there_are}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What could be.
        there_are: String,
    },
    /// A file is not there, or not what it should be.
    #[error("`{file}` of the benchmark cannot be used: {why}")]
    File {
        /// Which.
        file: String,
        /// Why not.
        why: String,
    },
    /// The sweep's configurations are not the benchmark's.
    #[error("the benchmark `{benchmark}` needs the parameter `{parameter}`: {why}")]
    Parameter {
        /// The benchmark.
        benchmark: String,
        /// The parameter.
        parameter: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What is optimized, and what that is measured by.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// The metric.
    pub metric: String,
    /// Whether more of it is better.
    pub is_maximized: bool,
    /// The best value that anybody knows: a bound, from one side, of the best there is.
    pub best: f64,
    /// The worst value and the best one of what the benchmark was made from: regret is counted in their distance.
    pub range: f64,
}

impl Target {
    /// By how much `value` falls short of the best known, in parts of the range: 0 where it does not.
    pub fn regret(&self, value: f64) -> f64 {
        let short = if self.is_maximized { self.best - value } else { value - self.best };
        (short / self.range).max(0.0)
    }
}

/// How training goes on from one level to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resource {
    /// Epoch after epoch.
    Epochs,
    /// On a larger part of the data, from the beginning.
    Share,
    /// There is one level.
    Whole,
}

/// A point of a training run at which it reports.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Level {
    /// The step that it reports.
    step: u64,
    /// What the model calls it: an epoch, a share of the data.
    fidelity: f64,
}

/// What training up to a step comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// How long it takes from the beginning, in seconds. Fitted: it may come down from one step to the next.
    pub cost_s: f64,
    /// What is reported.
    pub metrics: Metrics,
}

#[derive(Debug)]
enum Model {
    Surrogate(Box<Surrogate>),
    Table(Table),
}

/// One task of a benchmark: a data set that models are trained on.
#[derive(Debug)]
pub struct Benchmark {
    name: String,
    target: Target,
    full_cost_s: f64,
    resource: Resource,
    levels: Vec<Level>,
    model: Model,
}

impl Benchmark {
    /// The task `name`, such as `lcbench/189909`.
    ///
    /// # Errors
    /// Where there is none, or its files cannot be read.
    pub fn open(name: &str, files: &Files<'_>) -> Result<Self, BenchmarkError> {
        files::open(name, files)
    }

    /// The names of all tasks of a benchmark, or the one that `name` is.
    ///
    /// # Errors
    /// Where there is none, or the benchmark's files cannot be read.
    pub fn names(name: &str, files: &Files<'_>) -> Result<Vec<String>, BenchmarkError> {
        files::names(name, files)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is optimized.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// How long one configuration takes to the end, on average over the space, in seconds: the unit of budgets.
    pub const fn full_cost_s(&self) -> f64 {
        self.full_cost_s
    }

    /// The steps at which a training run reports.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        self.levels.iter().map(|level| level.step)
    }

    /// What training this configuration up to `step` comes to, with this seed where the benchmark has several; `None` where
    /// training does not report at that step.
    ///
    /// # Errors
    /// Where the configuration is none of the benchmark's.
    pub fn evaluate(&self, params: &Params, step: u64, seed: u64) -> Result<Option<Evaluation>, BenchmarkError> {
        let Some(level) = self.levels.iter().find(|level| level.step == step) else { return Ok(None) };
        match &self.model {
            Model::Surrogate(surrogate) => surrogate.at(&self.name, params, level.fidelity).map(Some),
            Model::Table(table) => table.at(&self.name, params, seed).map(Some),
        }
    }
}
