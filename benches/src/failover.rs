//! How long a cluster of three coordinators decides nothing after its leader was killed: from `kill -9` to the first lease
//! that the new leader grants. Real processes on one machine; both agents' trials last a twentieth of a second, so that
//! there is always one to be leased.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::machine;
use crate::report::{Report, Target};
use crate::three::{self, until};

const KILLS: usize = 100;
const SWEEP: &str = "
version: 1
name: failover
command: [sleep, '0.05']
space: { x: { float: [0.0, 1.0] } }
search: { algorithm: random, seed: 1 }
budget: { trials: 100000 }
";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("sweep.yaml"), SWEEP)?;
    let mut coordinators = three::start(folder)?;
    let agents = [three::agent(folder, 0, 2)?, three::agent(folder, 1, 2)?];
    three::submit(folder, "sweep.yaml")?;
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        let leader = three::leader(folder)?;
        let created = created(folder)?;
        until("the next trials", || Ok((self::created(folder)? > created + 20).then_some(())))?;
        let doomed = coordinators.get_mut(leader).context("it is one of three")?;
        kills.push(Timestamp::now());
        doomed.0.kill()?;
        doomed.0.wait()?;
        let created = self::created(folder)?;
        until("a lease of the new leader", || Ok((self::created(folder)? > created).then_some(())))?;
        *doomed = three::coordinator(folder, leader)?;
        until("the return of the killed one", || Ok((three::status(folder)?["up"] == 3).then_some(())))?;
    }
    let leases = leases(folder)?;
    let gap = |kill: &Timestamp| -> Result<f64> {
        // What the killed one granted in the very millisecond of its end does not count.
        let next = leases.iter().find(|at| at.as_millisecond() > kill.as_millisecond() + 1).context("a lease")?;
        Ok((next.as_millisecond() - kill.as_millisecond()) as f64 / 1000.0)
    };
    let gaps = kills.iter().map(gap).collect::<Result<Vec<_>>>()?;
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    report.figure("from kill -9 of the leader to the next lease", "s", gaps, Some(Target::AtMost(2.0)));
    report.figure("the longest of these", "s", vec![worst], Some(Target::AtMost(5.0)));
    drop(agents);
    Ok(())
}

fn created(folder: &Path) -> Result<u64> {
    machine::json(folder, &["show", "failover", "-o", "json"])?["sweep"]["counts"]["created"]
        .as_u64()
        .context("a count")
}

/// When each lease was granted, in order.
fn leases(folder: &Path) -> Result<Vec<Timestamp>> {
    let output = machine::command(folder, &["events", "failover", "-o", "jsonl"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    let events = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let leased = events.iter().filter(|event| event["kind"] == "trial_leased");
    leased.map(|event| Ok(event["at"].as_str().context("a time")?.parse()?)).collect()
}
