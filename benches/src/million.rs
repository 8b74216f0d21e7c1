//! What a cluster of three coordinators is like that holds a million finished trials of ten reports each: its memory, how long a
//! coordinator takes to serve again after `kill -9`, and how long people and agents wait, against the same cluster when it
//! was empty; and that while it takes a snapshot of all that.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::latency::Latencies;
use crate::load::{Load, Manner, Plan, Probed};
use crate::report::{Report, Target};
use crate::{machine, processes, three};

const PLAN: Plan = Plan { agents: 32, places: 32, reports: 10, manner: Manner::Ahead(4) };
/// `HEATS_BENCH_TRIALS` has another number.
const TRIALS: u64 = 1_000_000;
/// A sweep each.
const PROBES: usize = 300;
const RESTARTS: usize = 3;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let trials = std::env::var("HEATS_BENCH_TRIALS").map_or(Ok(TRIALS), |number| number.parse())?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut coordinators = three::start(folder)?;
    let mut load = Load::start(PLAN, &three::addresses())?;
    load.probe(PROBES)?;
    let empty = load.probe(PROBES)?;
    let wall = load.fill(folder, "million", trials)?;
    report.note(&format!("{trials} trials in {:.0} s", wall.as_secs_f64()));
    let memory = coordinators.iter().map(|process| processes::resident(process.0.id()));
    let memory = memory.map(|bytes| Ok(bytes? as f64 / f64::from(1 << 20))).collect::<Result<Vec<_>>>()?;
    machine::flush()?;
    let full = load.probe(PROBES)?;
    for (what, full, empty) in
        [("a submission", &full.submits, &empty.submits), ("the lease of its trial", &full.leases, &empty.leases)]
    {
        report.note(&format!("until {what}: {full}; in the empty cluster {empty}"));
        let ratio = full.quantile(0.5) / empty.quantile(0.5);
        report.figure(
            &format!("median until {what}, of that in the empty cluster"),
            "",
            vec![ratio],
            Some(Target::AtMost(2.0)),
        );
    }
    report.figure("resident memory of each coordinator", "MiB", memory, Some(Target::AtMost(1536.0)));

    let meanwhile = snapshot(folder, &mut load)?;
    report.note(&format!("until a submission while a snapshot is taken: {}", meanwhile.submits));
    let ratio = meanwhile.submits.quantile(0.99) / full.submits.quantile(0.99);
    report.figure(
        "p99 of a submission while a snapshot is taken, of that before",
        "",
        vec![ratio],
        Some(Target::AtMost(2.0)),
    );

    let mut restarts = Vec::new();
    for _ in 0..RESTARTS {
        restarts.push(restart(folder, &mut coordinators)?.as_secs_f64());
    }
    report.figure(
        "from the start of a coordinator that was killed until it serves",
        "s",
        restarts,
        Some(Target::AtMost(10.0)),
    );
    Ok(())
}

/// Submissions while each coordinator takes a snapshot.
fn snapshot(folder: &Path, load: &mut Load) -> Result<Probed> {
    let mut taking = machine::command(folder, &["cluster", "snapshot", "-q", "--patience", "10m"])?
        .spawn()
        .context("cannot start heats")?;
    let (mut submits, mut leases) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while taking.try_wait()?.is_none() {
        let Probed { submits: some, leases: others } = load.probe(20)?;
        submits.push(some);
        leases.push(others);
    }
    ensure!(taking.wait()?.success() && !submits.is_empty(), "no snapshot was taken");
    println!("  a snapshot took {:.1} s", begun.elapsed().as_secs_f64());
    Ok(Probed { submits: Latencies::pooled(&submits), leases: Latencies::pooled(&leases) })
}

/// Kills a coordinator that follows, and has it start again: how long until it has everything and answers.
fn restart(folder: &Path, coordinators: &mut [three::Process]) -> Result<Duration> {
    let number = three::follower(folder)?;
    let doomed = coordinators.get_mut(number).context("it is one of three")?;
    doomed.0.kill()?;
    doomed.0.wait()?;
    machine::flush()?;
    let begun = Instant::now();
    *doomed = three::coordinator(folder, number)?;
    three::until("the return of the killed one", || Ok(three::status(folder)?["up"].as_u64().filter(|up| *up == 3)))?;
    let took = begun.elapsed();
    thread::sleep(Duration::from_secs(1));
    Ok(took)
}
