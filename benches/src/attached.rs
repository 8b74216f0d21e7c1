//! What ten thousand agents that do nothing but say that they live cost the leader: processor time from `/proc`, while 20,000
//! trials are leased.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::{Load, Manner, Plan};
use crate::report::{Report, Target};
use crate::{machine, processes, three};

/// Each with two trials, which report nothing for as long as is measured.
const PLAN: Plan = Plan { agents: 10_000, places: 2, reports: 9, manner: Manner::Every(Duration::from_secs(86_400)) };
const ROUNDS: usize = 5;
const OBSERVED: Duration = Duration::from_secs(10);
/// For what the leases themselves left to be done.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coordinators = three::start(folder.path())?;
    let mut load = Load::start(PLAN, &three::addresses())?;
    let leases = u64::from(PLAN.agents * PLAN.places);
    load.hold(folder.path(), "held", leases)?;
    thread::sleep(SETTLE);
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let (before, begun) = (used(&coordinators)?, Instant::now());
        thread::sleep(OBSERVED);
        let seconds = begun.elapsed().as_secs_f64();
        let of_each = before.iter().zip(used(&coordinators)?).map(|(before, after)| (after - before) / seconds);
        // Agents are attached to the leader, and to nobody else.
        shares.push(of_each.fold(0.0, f64::max) * 100.0);
    }
    let shown = machine::json(folder.path(), &["show", "held", "-o", "json"])?;
    let running = shown["sweep"]["counts"]["running"].as_u64().context("a count")?;
    ensure!(running == leases, "{running} trials of {leases} are still held: leases were lost");
    report.figure("processor time of the leader, of one core", "%", shares, Some(Target::AtMost(20.0)));
    Ok(())
}

fn used(coordinators: &[three::Process]) -> Result<Vec<f64>> {
    coordinators.iter().map(|process| processes::used(process.0.id())).collect()
}
