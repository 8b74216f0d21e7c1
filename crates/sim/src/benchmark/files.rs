//! What a benchmark's files hold.

use std::collections::BTreeMap;

use heats_domain::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::surrogate::{Asked, Surrogate};
use super::table::Table;
use super::{Benchmark, BenchmarkError, Files, Level, Model, Resource, Target};

/// Benchmarks that are surrogates, with the column of the task, what an accuracy of 1 is in the metric, and how training
/// goes on.
const SURROGATES: [(&str, &str, f64, Resource); 2] =
    [("lcbench", "OpenML_task_id", 100.0, Resource::Epochs), ("rbv2_xgboost", "task_id", 1.0, Resource::Share)];
/// Benchmarks that are tables, with their metric and whether more of it is better.
const TABLES: [(&str, &str, bool); 2] = [("hpobench", "val_acc", true), ("hpolib", "val_loss", false)];

/// `NAME.space.json`.
#[derive(Debug, Deserialize)]
struct Space {
    target: String,
    runtime: String,
    fidelity: String,
    fidelity_levels: Vec<f64>,
    fixed: BTreeMap<String, Value>,
    instances: Vec<String>,
    params: Vec<Param>,
}

#[derive(Debug, Deserialize)]
struct Param {
    name: String,
    parent: Option<serde_json::Value>,
}

/// One task of `tables.json`.
#[derive(Debug, Deserialize)]
struct Task {
    seeds: usize,
    best_mean: f64,
    worst_mean: f64,
}

pub(super) fn names(name: &str, files: &Files<'_>) -> Result<Vec<String>, BenchmarkError> {
    let (benchmark, instance) = name.split_once('/').map_or((name, None), |(name, instance)| (name, Some(instance)));
    let instances: Vec<String> = if SURROGATES.iter().any(|(known, ..)| *known == benchmark) {
        json::<Space>(files, &format!("{benchmark}.space.json"))?.instances
    } else if TABLES.iter().any(|(known, ..)| *known == benchmark) {
        let tables: BTreeMap<String, serde_json::Value> = json(files, "tables.json")?;
        tables.keys().filter_map(|task| task.split_once('/')).filter_map(of(benchmark)).collect()
    } else {
        let all = SURROGATES.iter().map(|(name, ..)| *name).chain(TABLES.iter().map(|(name, ..)| *name));
        return Err(BenchmarkError::Unknown { name: name.to_owned(), there_are: all.collect::<Vec<_>>().join(", ") });
    };
    let all = |instances: &[String]| instances.iter().map(|instance| format!("{benchmark}/{instance}")).collect();
    match instance {
        None => Ok(all(&instances)),
        Some(instance) if instances.iter().any(|known| known == instance) => Ok(vec![name.to_owned()]),
        Some(_) => {
            let there_are: Vec<String> = all(&instances);
            Err(BenchmarkError::Unknown { name: name.to_owned(), there_are: there_are.join(", ") })
        }
    }
}

fn of(benchmark: &str) -> impl Fn((&str, &str)) -> Option<String> {
    move |(name, instance)| (name == benchmark).then(|| instance.to_owned())
}

pub(super) fn open(name: &str, files: &Files<'_>) -> Result<Benchmark, BenchmarkError> {
    let known = names(name, files)?;
    let ([_], Some((benchmark, instance))) = (known.as_slice(), name.split_once('/')) else {
        return Err(BenchmarkError::Unknown { name: name.to_owned(), there_are: known.join(", ") });
    };
    let costs: BTreeMap<String, f64> = json(files, "full_cost.json")?;
    let full_cost_s = costs.get(name).copied().ok_or_else(|| lacks("full_cost.json", name))?;
    let (target, resource, levels, model) = match SURROGATES.iter().find(|(known, ..)| *known == benchmark) {
        Some((_, task, one, resource)) => surrogate(benchmark, instance, task, *one, *resource, files)?,
        None => table(benchmark, name, files)?,
    };
    Ok(Benchmark { name: name.to_owned(), target, full_cost_s, resource, levels, model })
}

type Parts = (Target, Resource, Vec<Level>, Model);

fn surrogate(
    benchmark: &str,
    instance: &str,
    task: &str,
    one: f64,
    resource: Resource,
    files: &Files<'_>,
) -> Result<Parts, BenchmarkError> {
    let Space { target, runtime, fidelity, fidelity_levels, mut fixed, params, .. } =
        json(files, &format!("{benchmark}.space.json"))?;
    fixed.insert(task.to_owned(), Value::Str(instance.to_owned()));
    let name = format!("{benchmark}/{instance}");
    let best: BTreeMap<String, f64> = json(files, "fstar.json")?;
    let best = best.get(&name).ok_or_else(|| lacks("fstar.json", &name))? * one;
    let target =
        Target { range: range(files, benchmark, instance, &target)?, metric: target, is_maximized: true, best };
    let first = fidelity_levels.first().copied().unwrap_or(1.0);
    let level = |(place, fidelity): (usize, &f64)| Level {
        step: if resource == Resource::Share { (fidelity / first).round() as u64 } else { place as u64 + 1 },
        fidelity: *fidelity,
    };
    let levels = fidelity_levels.iter().enumerate().map(level).collect();
    let optional = params.into_iter().filter(|param| param.parent.is_some()).map(|param| param.name).collect();
    let asked = Asked { cost: runtime, fidelity, fixed, optional };
    let file = format!("{benchmark}.json");
    let weights = read(files, &format!("{benchmark}.f32"))?;
    let model = Surrogate::read(&read(files, &file)?, &weights, asked);
    let model = model.map_err(|why| BenchmarkError::File { file, why })?;
    Ok((target, resource, levels, Model::Surrogate(Box::new(model))))
}

fn table(benchmark: &str, name: &str, files: &Files<'_>) -> Result<Parts, BenchmarkError> {
    let tables: BTreeMap<String, serde_json::Value> = json(files, "tables.json")?;
    let part = |value: Option<&serde_json::Value>, what: &str| value.cloned().ok_or_else(|| lacks("tables.json", what));
    let Task { seeds, best_mean, worst_mean } = of_json("tables.json", part(tables.get(name), name)?)?;
    let params = tables.get("params").and_then(|params| params.get(benchmark));
    let params = of_json("tables.json", part(params, "params")?)?;
    let (metric, is_maximized) = TABLES
        .iter()
        .find_map(|(known, metric, up)| (*known == benchmark).then_some((*metric, *up)))
        .unwrap_or(("value", true));
    let range = (best_mean - worst_mean).abs();
    let target = Target { metric: metric.to_owned(), is_maximized, best: best_mean, range };
    let file = format!("{name}.f32");
    let model = Table::read(params, seeds, metric.to_owned(), &read(files, &file)?);
    let model = model.map_err(|why| BenchmarkError::File { file, why })?;
    Ok((target, Resource::Whole, vec![Level { step: 1, fidelity: 1.0 }], Model::Table(model)))
}

/// The distance between the smallest and the largest value of `metric`, from `stats.csv`.
fn range(files: &Files<'_>, benchmark: &str, instance: &str, metric: &str) -> Result<f64, BenchmarkError> {
    const FILE: &str = "stats.csv";
    let text = read(files, FILE)?;
    let text = String::from_utf8_lossy(&text);
    let begin = format!("{benchmark},{instance},{metric},");
    let ends = text.lines().find_map(|line| line.strip_prefix(&begin)?.split_once(','));
    let (low, high) = ends.ok_or_else(|| lacks(FILE, &begin))?;
    match (low.trim().parse::<f64>(), high.trim().parse::<f64>()) {
        (Ok(low), Ok(high)) if high > low => Ok(high - low),
        _ => Err(BenchmarkError::File { file: FILE.to_owned(), why: format!("`{begin}{low},{high}` is no range") }),
    }
}

fn lacks(file: &str, what: &str) -> BenchmarkError {
    BenchmarkError::File { file: file.to_owned(), why: format!("it does not have `{what}`") }
}

fn read(files: &Files<'_>, file: &str) -> Result<Vec<u8>, BenchmarkError> {
    files(file).map_err(|why| BenchmarkError::File { file: file.to_owned(), why })
}

fn json<T: DeserializeOwned>(files: &Files<'_>, file: &str) -> Result<T, BenchmarkError> {
    serde_json::from_slice(&read(files, file)?)
        .map_err(|error| BenchmarkError::File { file: file.to_owned(), why: error.to_string() })
}

fn of_json<T: DeserializeOwned>(file: &str, value: serde_json::Value) -> Result<T, BenchmarkError> {
    serde_json::from_value(value)
        .map_err(|error| BenchmarkError::File { file: file.to_owned(), why: error.to_string() })
}
