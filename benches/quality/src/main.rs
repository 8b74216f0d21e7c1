//! How good the models are that sweeps find with the same compute: regret, by budget, of our settings on real learning curves.
//!
//! `cargo run --release -p heats-quality`. `HEATS_BENCH_DATA` is the folder with the benchmarks' files (see `docs/search.md`). `HEATS_QUALITY_SEEDS` says how many sweeps
//! there are on each task (10), `HEATS_QUALITY_ONLY` names settings, by commas, that are run alone,
//! and `HEATS_QUALITY_ON` suites. Every sweep, the tables
//! and the pictures go to `target/quality`.

mod chart;
mod plan;
mod statistics;
mod sweep;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use plan::{SETTINGS, SUITES, Setting, Suite};
use sweep::{Job, Ran};

fn main() -> Result<()> {
    let data = std::env::var_os("HEATS_BENCH_DATA").context("HEATS_BENCH_DATA is not set: the benchmarks' folder")?;
    let seeds =
        std::env::var("HEATS_QUALITY_SEEDS").map_or(Ok(10), |text| text.parse()).context("HEATS_QUALITY_SEEDS")?;
    let only = std::env::var("HEATS_QUALITY_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let on = std::env::var("HEATS_QUALITY_ON").unwrap_or_default();
    let settings: Vec<&Setting> = SETTINGS.iter().filter(|s| only.is_empty() || only.contains(&s.name)).collect();
    ensure!(!settings.is_empty(), "HEATS_QUALITY_ONLY names no setting of {:?}", SETTINGS.map(|s| s.name));
    let out = PathBuf::from("target/quality");
    std::fs::create_dir_all(&out)?;
    for suite in SUITES.iter().filter(|suite| on.is_empty() || on.split(',').any(|name| name == suite.name)) {
        let runs = run_suite(suite, &settings, seeds, Path::new(&data))?;
        let lines: Vec<String> = runs.iter().map(|ran| ran.json().to_string()).collect();
        std::fs::write(out.join(format!("{}.jsonl", suite.name)), lines.join("\n") + "\n")?;
        let table = table::markdown(suite, &runs);
        println!("{table}");
        std::fs::write(out.join(format!("{}.md", suite.name)), table)?;
        std::fs::write(out.join(format!("{}.svg", suite.name)), chart::svg(suite, &runs))?;
    }
    println!("in {}", out.display());
    Ok(())
}

fn run_suite(suite: &Suite, settings: &[&Setting], seeds: u64, data: &Path) -> Result<Vec<Ran>> {
    let tasks = suite.open(data)?;
    let mut jobs = Vec::new();
    for setting in settings.iter().filter(|setting| setting.fits(suite)) {
        for (place, task) in tasks.iter().enumerate() {
            // Of its own on every task: one that is lucky on one task says nothing about another.
            jobs.extend((0..seeds).map(|number| Job {
                suite,
                setting,
                task,
                number,
                seed: number * 1000 + place as u64,
            }));
        }
    }
    sweep::run_all(&jobs)
}

/// The runs of each setting, in the plan's order.
fn by_setting(runs: &[Ran]) -> Vec<(&'static str, Vec<&Ran>)> {
    let mut of: BTreeMap<&str, Vec<&Ran>> = BTreeMap::new();
    for ran in runs {
        of.entry(ran.setting).or_default().push(ran);
    }
    SETTINGS.iter().filter_map(|setting| Some((setting.name, of.remove(setting.name)?))).collect()
}
