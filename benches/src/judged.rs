//! How long a verdict takes while ten thousand reports come in each second, against one flush of this disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::latency::Latencies;
use crate::load::{Load, Manner, Outcome, Plan};
use crate::report::{Report, Target};
use crate::three;

const ROUNDS: usize = 5;
/// A thousand trials at once, each of which reports ten times a second, for ten seconds.
const PLAN: Plan = Plan { agents: 100, places: 10, reports: 100, manner: Manner::Every(Duration::from_millis(100)) };
const TRIALS: u64 = 1_000;
/// What one flush writes, in bytes: a batch of reports is about as long.
const BLOCK: usize = 4 << 10;
const FLUSHES: usize = 2_000;
/// How often one is made beside the coordinators', which make some hundreds a second each.
const BESIDE: Duration = Duration::from_millis(5);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _coordinators = three::start(folder.path())?;
    let mut load = Load::start(PLAN, &three::addresses())?;
    load.sweep(folder.path(), "warm-up", TRIALS)?;
    let (mut rates, mut ratios, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let file = folder.path().join(format!("flushes-{round}"));
        let flush = flushes(&file, Duration::ZERO, |count| count < FLUSHES)?;
        let is_over = AtomicBool::new(false);
        let (outcome, meanwhile) = thread::scope(|scope| {
            let meanwhile = scope.spawn(|| flushes(&file, BESIDE, |_| !is_over.load(Ordering::Relaxed)));
            let outcome = load.sweep(folder.path(), &format!("round-{round}"), TRIALS);
            is_over.store(true, Ordering::Relaxed);
            (outcome, meanwhile.join())
        });
        let Outcome { trials: _, reports, wall, verdicts } = outcome?;
        let meanwhile = meanwhile.map_err(|_| anyhow!("the thread that flushes has panicked"))??;
        let rate = reports as f64 / wall.as_secs_f64();
        report.note(&format!(
            "round {round}: {rate:.0} reports a second, {verdicts} to a verdict; a flush {flush}, meanwhile {meanwhile}"
        ));
        rates.push(rate);
        ratios.push(verdicts.quantile(0.99) / flush.quantile(0.99));
        beside.push(verdicts.quantile(0.99) / meanwhile.quantile(0.99));
    }
    report.figure("reports a second, with the beginning and the end of the sweep", "", rates, None);
    report.figure("p99 from a report to its verdict, of one flush's", "", ratios, Some(Target::AtMost(4.0)));
    report.figure("the same, of one flush's meanwhile", "", beside, None);
    Ok(())
}

/// How long it takes to append a block to a file and have it on the disk, again after each pause while `goes_on` says so of how many
/// were made.
fn flushes(path: &Path, pause: Duration, goes_on: impl Fn(usize) -> bool) -> Result<Latencies> {
    let mut file = File::create(path).context("cannot make a file")?;
    let (block, begun) = ([7; BLOCK], Instant::now());
    let mut took = Vec::new();
    while goes_on(took.len()) {
        let one = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(one.elapsed());
        thread::sleep(pause);
    }
    Ok(Latencies::of(took, begun.elapsed()))
}
