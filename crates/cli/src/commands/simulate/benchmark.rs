//! `heats simulate --benchmark`: sweeps over training runs that others have made, and how far from the best they end.

use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use heats_domain::units::Span;
use heats_domain::{Direction, SweepSpec};
use heats_sim::benchmark::{Benchmark, BenchmarkError, Training};
use heats_sim::{SimConfig, SimReport, simulate};

use super::Times;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Column, Fields, Item, Kind, Listing, Printer};
use crate::{hints, words};

/// No sweep that a budget of time ends creates as many.
const TRIALS_MAX: u32 = 1_000_000;

/// What there is to choose.
pub(super) struct Options<'a> {
    pub(super) benchmark: &'a str,
    pub(super) folder: &'a Path,
    pub(super) agents: u32,
    pub(super) budget: Option<Times>,
    pub(super) seeds: u32,
}

/// One sweep on one task.
struct Job<'a> {
    benchmark: &'a Benchmark,
    seed: u64,
    spec: SweepSpec,
}

/// What came of it.
struct Ran {
    task: String,
    seed: u64,
    regret: f64,
    report: SimReport,
}

/// Runs the sweep on every task of the benchmark, once for each seed.
pub(super) fn run(printer: &Printer, spec: &SweepSpec, options: &Options<'_>) -> Outcome {
    let Options { benchmark, folder, agents, budget, seeds } = options;
    let files = |name: &str| read(folder, name);
    let tasks = Benchmark::names(benchmark, &files).map_err(|error| unusable(&error))?;
    let benchmarks: Vec<Benchmark> = tasks
        .iter()
        .map(|task| Benchmark::open(task, &files))
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(&error))?;
    let mut jobs = Vec::new();
    for benchmark in &benchmarks {
        fits(spec, benchmark)?;
        for number in 0..u64::from(*seeds) {
            let mut spec = spec.clone();
            if let Some(Times(times)) = budget {
                let ms = (benchmark.full_cost_s() * times * 1e3).round() as u64;
                (spec.budget.wall, spec.budget.trials) = (Some(Span { ms }), Some(TRIALS_MAX));
            }
            let seed = spec.search.seed.unwrap_or(0).wrapping_add(number);
            spec.search.seed = Some(seed);
            jobs.push(Job { benchmark, seed, spec });
        }
    }
    let runs = run_all(&jobs, *agents)?;
    let mean = runs.iter().map(|run| run.regret).sum::<f64>() / runs.len().max(1) as f64;
    let meta = Fields::new().with("agents", *agents).number("regret", mean).done();
    if printer.is_for_people() {
        let columns = vec![
            Column::new("TASK", "task", Kind::Text),
            Column::new("SWEEPS", "sweeps", Kind::Number),
            Column::new("REGRET", "regret", Kind::Number),
            Column::new("BEST", "best", Kind::Number),
            Column::new("TRIALS", "trials", Kind::Number),
            Column::new("STEPS", "steps", Kind::Number),
            Column::new("TIME", "duration", Kind::Seconds),
        ];
        let items = tasks.iter().map(|task| summary(task, &runs)).collect();
        printer.list(&Listing { of: "tasks", meta, items, columns, now_ms: 0 }, "")?;
        hints::note(&format!("mean regret {}; all numbers are means, times are virtual", words::short(mean)));
    } else {
        let columns = ["task", "seed", "regret", "best", "trial", "trials", "steps", "duration"];
        let columns = columns.map(|name| Column::new(name.to_uppercase(), name, Kind::Text)).into();
        let items = runs.iter().map(item).collect();
        printer.list(&Listing { of: "simulations", meta, items, columns, now_ms: 0 }, "")?;
    }
    Ok(Exit::Ok)
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    std::fs::read(folder.join(name)).map_err(|error| error.to_string())
}

fn unusable(error: &BenchmarkError) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        BenchmarkError::File { .. } => {
            failure.hint("--data-dir DIR or HEATS_BENCH_DATA: the folder with the benchmarks' files")
        }
        BenchmarkError::Unknown { .. } | BenchmarkError::Parameter { .. } => failure,
    }
}

/// Whether regret can be told: the sweep has to look for what the benchmark knows the best of.
fn fits(spec: &SweepSpec, benchmark: &Benchmark) -> Result<(), Failure> {
    let target = benchmark.target();
    let direction = if target.is_maximized { Direction::Maximize } else { Direction::Minimize };
    let objective = spec.objective().map(|objective| (objective.metric(), objective.direction()));
    if objective == Some((target.metric.as_str(), direction)) {
        return Ok(());
    }
    let verb = if target.is_maximized { "maximize" } else { "minimize" };
    Err(Failure::usage(format!("`{}` is about another metric than the sweep file's objective", benchmark.name()))
        .hint(format!("objective: {{ {verb}: {} }}", target.metric)))
}

/// Runs them on all processors, in any order; returns them in theirs.
fn run_all(jobs: &[Job<'_>], agents: u32) -> Result<Vec<Ran>, Failure> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Ran, Failure>)>> = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((place, job)) = take(jobs, &next) {
                    let ran = run_one(job, agents);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((place, ran));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, ran)| ran).collect()
}

fn take<'a, 'b>(jobs: &'a [Job<'b>], next: &AtomicUsize) -> Option<(usize, &'a Job<'b>)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(place).map(|job| (place, job))
}

fn run_one(job: &Job<'_>, agents: u32) -> Result<Ran, Failure> {
    let Job { benchmark, seed, spec } = job;
    let mut training = Training::new(benchmark, &spec.early_stop);
    let config = SimConfig { agents, seed: *seed, ..SimConfig::default() };
    let simulated = simulate(spec, &mut training, config);
    if let Some(error) = training.broken() {
        return Err(unusable(error));
    }
    let report = simulated.map_err(|error| Failure::failed(format!("{}: {error}", benchmark.name())))?;
    let target = benchmark.target();
    // Who has found nothing is as far from the best as anybody can be.
    let regret = report.best().map_or(1.0, |(_, best)| target.regret(best));
    Ok(Ran { task: benchmark.name().to_owned(), seed: *seed, regret, report })
}

fn item(ran: &Ran) -> Item {
    let Ran { task, seed, regret, report } = ran;
    let best = report.best();
    let json = Fields::new()
        .with("task", task.as_str())
        .with("seed", *seed)
        .number("regret", *regret)
        .number("best", best.map(|(_, value)| value))
        .with("trial", best.map(|(trial, _)| trial))
        .with("trials", report.sweep.created())
        .with("steps", report.steps)
        .seconds("duration", report.took_ms)
        .done();
    Item { name: format!("{task}@{seed}"), json }
}

fn summary(task: &str, runs: &[Ran]) -> Item {
    let runs: Vec<&Ran> = runs.iter().filter(|run| run.task == task).collect();
    let mean = |of: &dyn Fn(&Ran) -> f64| runs.iter().map(|run| of(run)).sum::<f64>() / runs.len().max(1) as f64;
    let json = Fields::new()
        .with("task", task)
        .with("sweeps", runs.len())
        .number("regret", mean(&|run| run.regret))
        .number("best", mean(&|run| run.report.best().map_or(f64::NAN, |(_, value)| value)))
        .number("trials", mean(&|run| f64::from(run.report.sweep.created())))
        .number("steps", mean(&|run| run.report.steps as f64))
        .seconds("duration", mean(&|run| run.report.took_ms as f64) as u64)
        .done();
    Item { name: task.to_owned(), json }
}
