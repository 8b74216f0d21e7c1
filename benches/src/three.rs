//! Three coordinators with every write flushed on a majority, and agents: the release build of the command, as processes on
//! one machine.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{machine, processes};

/// Where this is set, what the processes log is seen.
const LOGS: &str = "HEATS_BENCH_LOGS";
/// Nothing takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three coordinators of one cluster, whose addresses commands in `folder` know.
///
/// # Errors
/// Where they do not come up.
pub(crate) fn start(folder: &Path) -> Result<Vec<Process>> {
    start_with(folder, |_| Vec::new())
}

/// The same, each with `more` arguments by its number from 0.
///
/// # Errors
/// Where they do not come up.
pub(crate) fn start_with(folder: &Path, more: impl Fn(usize) -> Vec<String>) -> Result<Vec<Process>> {
    std::fs::create_dir(folder.join(".heats"))?;
    std::fs::write(folder.join(".heats/config.toml"), format!("address = \"{}\"\n", addresses().join(",")))?;
    let coordinators =
        (0..3).map(|number| coordinator_with(folder, number, &more(number))).collect::<Result<Vec<_>>>()?;
    let all = addresses();
    until("the coordinators", || {
        let init: Vec<&str> = ["cluster", "init", "-q"].into_iter().chain(all.iter().map(String::as_str)).collect();
        Ok(machine::command(folder, &init)?.stderr(Stdio::null()).status()?.success().then_some(()))
    })?;
    Ok(coordinators)
}

/// A process that ends with this value; what it leaves goes with the folder.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Where the three listen.
pub(crate) fn addresses() -> Vec<String> {
    (1..=3).map(|node| format!("127.0.77.{node}:7177")).collect()
}

/// One of the three, by its number from 0; it may have run before.
///
/// # Errors
/// See [`machine::heats`].
pub(crate) fn coordinator(folder: &Path, number: usize) -> Result<Process> {
    coordinator_with(folder, number, &[])
}

fn coordinator_with(folder: &Path, number: usize, more: &[String]) -> Result<Process> {
    let (id, data) = ((number + 1).to_string(), format!("c{number}"));
    let address = addresses().get(number).cloned().context("there are three")?;
    let args = ["coordinator", "start", "--id", &id, "--listen", &address, "--data", &data];
    let args: Vec<&str> = args.into_iter().chain(more.iter().map(String::as_str)).collect();
    process(folder, &args)
}

/// An agent with so many processors to give.
///
/// # Errors
/// See [`machine::heats`].
pub(crate) fn agent(folder: &Path, number: usize, cpus: u32) -> Result<Process> {
    let (data, cpus) = (format!("a{number}"), cpus.to_string());
    process(folder, &["agent", "start", "--cpus", &cpus, "--data", &data])
}

/// Seconds of processor time that they have used.
///
/// # Errors
/// Where one is gone.
pub(crate) fn used(processes: &[Process]) -> Result<f64> {
    processes.iter().map(|process| processes::used(process.0.id())).sum()
}

/// Submits the sweep of a file.
///
/// # Errors
/// Where it is refused.
pub(crate) fn submit(folder: &Path, file: &str) -> Result<()> {
    ensure!(machine::command(folder, &["submit", file, "-q"])?.stdout(Stdio::null()).status()?.success());
    Ok(())
}

fn process(folder: &Path, args: &[&str]) -> Result<Process> {
    let mut command = machine::command(folder, args)?;
    // Whoever wonders why one failed sees what all of them say.
    let stderr = if std::env::var_os(LOGS).is_some() { Stdio::inherit() } else { Stdio::null() };
    Ok(Process(command.stdout(Stdio::null()).stderr(stderr).spawn().context("cannot start heats")?))
}

/// What `look` finds.
///
/// # Errors
/// Its own, or where it finds nothing in a minute.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
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
///
/// # Errors
/// Where it says nothing.
pub(crate) fn status(folder: &Path) -> Result<Value> {
    let output = machine::command(folder, &["cluster", "status", "-o", "json"])?.stderr(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).context("the status is no JSON")
}

/// The number of one that follows, from 0.
///
/// # Errors
/// Where none does within a minute.
pub(crate) fn follower(folder: &Path) -> Result<usize> {
    with_role(folder, "voter")
}

/// The number of the one that leads.
///
/// # Errors
/// Where none does within a minute.
pub(crate) fn leader(folder: &Path) -> Result<usize> {
    with_role(folder, "leader")
}

fn with_role(folder: &Path, role: &str) -> Result<usize> {
    until(&format!("a {role}"), || {
        let status = status(folder)?;
        let members = status["members"].as_array().context("members")?;
        let found = members.iter().find(|member| member["role"] == role);
        Ok(found.and_then(|member| member["node"].as_u64()).map(|node| node as usize - 1))
    })
}

/// Waits for a sweep's end, however long that takes.
///
/// # Errors
/// Where it ends otherwise than finished.
pub(crate) fn until_ended(folder: &Path, sweep: &str) -> Result<()> {
    let status = watch(folder, sweep)?.0.wait()?;
    ensure!(status.success(), "the sweep ended with {status}");
    Ok(())
}

/// A process that ends with the sweep.
///
/// # Errors
/// See [`machine::heats`].
pub(crate) fn watch(folder: &Path, sweep: &str) -> Result<Process> {
    process(folder, &["watch", sweep, "-q"])
}
