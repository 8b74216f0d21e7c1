//! Runs seeds, each in a process of its own, and reports.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::chance;
use crate::world::{Outcome, World};

/// Which seed `one` runs.
const SEED: &str = "HEATS_SIM_SEED";
/// Which seeds `many` runs: `FIRST-LAST`.
const SEEDS: &str = "HEATS_SIM_SEEDS";
/// What a run's report begins with.
const REPORT: &str = "simulated ";

/// Runs one seed in this process.
pub fn one() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| panic!("set {SEED} to the seed that is to be run"));
    // On a thread that has not drawn anything yet.
    let run = std::thread::Builder::new().name("run".to_owned()).spawn(move || {
        chance::decide_by(seed);
        World::new(seed).run()
    });
    let outcome = run.expect("starts a thread").join();
    let Outcome { simulated, coordinators, faults, promises, trials, quarantines, trace } =
        outcome.unwrap_or_else(|_| panic!("seed {seed} found a violation: run it again with {SEED}={seed}"));
    println!(
        "\n{REPORT}{} s, {coordinators} coordinators, {faults} faults, {quarantines} quarantines, {trials} trials, \
         {promises} promises, trace {trace}",
        simulated.as_secs()
    );
}

fn child(seed: u64) -> Output {
    let this = std::env::current_exe().expect("this program");
    let args = ["one", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    Command::new(this).args(args).env(SEED, seed.to_string()).output().expect("starts itself")
}

/// The report of a run that found nothing.
fn report(seed: u64) -> Result<String, String> {
    let output = child(seed);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = text.lines().find(|line| line.starts_with(REPORT)).map(str::to_owned);
    report
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("seed {seed}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn number(report: &str, before: &str) -> u64 {
    let words: Vec<&str> = report.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let place = words.iter().position(|word| *word == before);
    place.and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok()).unwrap_or_default()
}

/// Runs the seeds that the environment says, or a few, on all processors.
pub fn many() {
    let range = std::env::var(SEEDS).unwrap_or_else(|_| "1-60".to_owned());
    let (first, last) = range.split_once('-').unwrap_or((&range, &range));
    let bound =
        |text: &str| text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{SEEDS} is FIRST-LAST, not `{range}`"));
    let (first, last) = (bound(first), bound(last));
    let next = AtomicU64::new(first);
    let begun = Instant::now();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                return reports;
            }
            let outcome = report(seed);
            if let Err(why) = &outcome {
                println!("{why}");
            }
            reports.push((seed, outcome));
        }
    };
    let reports: Vec<(u64, Result<String, String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    let failed: Vec<u64> = reports.iter().filter(|(_, outcome)| outcome.is_err()).map(|(seed, _)| *seed).collect();
    let sum = |what| {
        reports.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).map(|report| number(report, what)).sum::<u64>()
    };
    println!(
        "{} seeds, {:.2} cluster-hours, {} faults, {} quarantines, {} trials, {} promises in {:.0} s; failed: {failed:?}",
        reports.len(),
        sum("s") as f64 / 3_600.0,
        sum("faults"),
        sum("quarantines"),
        sum("trials"),
        sum("promises"),
        begun.elapsed().as_secs_f64(),
    );
    assert!(failed.is_empty(), "seeds that found a violation: {failed:?}; run one again with {SEED}");
}

/// The same seed twice: the same run, to the last bit of everything that was carried.
pub fn twice() {
    for seed in [1, 2, 3] {
        let (first, second) = (report(seed), report(seed));
        assert_eq!(first, second, "seed {seed} did not replay");
        assert!(first.is_ok(), "{first:?}");
    }
}
