//! How long a cluster of three coordinators decides nothing after its leader was killed: from `kill -9` to the first lease
//! that the new leader grants. Real processes on one machine; both agents' trials last a twentieth of a second, so that
//! there is always one to be leased.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::machine;
use crate::spread::Spread;

const KILLS: usize = 100;
/// Nothing takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);
const SWEEP: &str = "
version: 1
name: failover
command: [sleep, '0.05']
space: { x: { float: [0.0, 1.0] } }
search: { algorithm: random, seed: 1 }
budget: { trials: 100000 }
";

pub(crate) fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("sweep.yaml"), SWEEP)?;
    std::fs::create_dir(folder.join(".heats"))?;
    std::fs::write(folder.join(".heats/config.toml"), format!("address = \"{}\"\n", addresses().join(",")))?;
    let mut coordinators = (0..3).map(|number| coordinator(folder, number)).collect::<Result<Vec<_>>>()?;
    let all = addresses();
    until("the coordinators", || {
        let init: Vec<&str> = ["cluster", "init", "-q"].into_iter().chain(all.iter().map(String::as_str)).collect();
        Ok(machine::command(folder, &init)?.stderr(Stdio::null()).status()?.success().then_some(()))
    })?;
    let agents = [agent(folder, 0)?, agent(folder, 1)?];
    ensure!(machine::command(folder, &["submit", "sweep.yaml", "-q"])?.stdout(Stdio::null()).status()?.success());
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        let leader = leader(folder)?;
        let created = created(folder)?;
        until("the next trials", || Ok((self::created(folder)? > created + 20).then_some(())))?;
        let doomed = coordinators.get_mut(leader).context("it is one of three")?;
        kills.push(Timestamp::now());
        doomed.0.kill()?;
        doomed.0.wait()?;
        let created = self::created(folder)?;
        until("a lease of the new leader", || Ok((self::created(folder)? > created).then_some(())))?;
        *doomed = coordinator(folder, leader)?;
        until("the return of the killed one", || Ok((status(folder)?["up"] == 3).then_some(())))?;
    }
    let leases = leases(folder)?;
    let gap = |kill: &Timestamp| -> Result<f64> {
        // What the killed one granted in the very millisecond of its end does not count.
        let next = leases.iter().find(|at| at.as_millisecond() > kill.as_millisecond() + 1).context("a lease")?;
        Ok((next.as_millisecond() - kill.as_millisecond()) as f64 / 1000.0)
    };
    let gaps = kills.iter().map(gap).collect::<Result<Vec<_>>>()?;
    println!(
        "  seconds from kill -9 of the leader to the next lease: {} (target: median 2, worst 5)",
        Spread::of(gaps)
    );
    drop(agents);
    Ok(())
}

/// A process that ends with this value; what it leaves goes with the folder.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn addresses() -> Vec<String> {
    (1..=3).map(|node| format!("127.0.77.{node}:7177")).collect()
}

fn coordinator(folder: &Path, number: usize) -> Result<Process> {
    let (id, data) = ((number + 1).to_string(), format!("c{number}"));
    let address = addresses().get(number).cloned().context("there are three")?;
    start(folder, &["coordinator", "start", "--id", &id, "--listen", &address, "--data", &data])
}

fn agent(folder: &Path, number: usize) -> Result<Process> {
    let data = format!("a{number}");
    start(folder, &["agent", "start", "--cpus", "2", "--data", &data])
}

fn start(folder: &Path, args: &[&str]) -> Result<Process> {
    let mut command = machine::command(folder, args)?;
    Ok(Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start heats")?))
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("waited {PATIENCE:?} in vain for {what}")
}

/// What every coordinator says of itself; without a leader the command says so by its exit code, too.
fn status(folder: &Path) -> Result<Value> {
    let output = machine::command(folder, &["cluster", "status", "-o", "json"])?.stderr(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).context("the status is no JSON")
}

fn leader(folder: &Path) -> Result<usize> {
    until("a leader", || {
        let status = status(folder)?;
        let members = status["members"].as_array().context("members")?;
        let leads = members.iter().find(|member| member["role"] == "leader");
        Ok(leads.and_then(|member| member["node"].as_u64()).map(|node| node as usize - 1))
    })
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
