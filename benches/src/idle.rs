//! What a coordinator with an agent uses while nothing happens: processor time from `/proc`, as a share of one core.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::report::{Report, Target};
use crate::{machine, processes};

/// Long enough for a hundred ticks of the kernel's clock to be a share of a few per cent.
const OBSERVED: Duration = Duration::from_secs(30);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut dev = machine::command(folder.path(), &["dev", "--listen", "127.0.0.1:0"])?
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start heats dev")?;
    let share = observe(&mut dev);
    // SIGKILL: what it leaves goes with the folder.
    dev.kill().context("heats dev ended by itself")?;
    dev.wait()?;
    let (share, wakes) = share?;
    report.figure("processor time, of one core", "%", vec![share * 100.0], Some(Target::AtMost(1.0)));
    report.figure("voluntary switches", "per second", vec![wakes], None);
    Ok(())
}

fn observe(dev: &mut Child) -> Result<(f64, f64)> {
    let said = BufReader::new(dev.stderr.take().context("is piped")?);
    let mut lines = said.lines();
    let listening = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.contains("listening on"));
    ensure!(lines.any(|line| listening(&line)), "heats dev did not come up");
    // What it says later goes nowhere, but must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    // The start itself is over, and the agent attached.
    std::thread::sleep(Duration::from_secs(3));
    let (before, switches) = (processes::used(dev.id())?, switches(dev.id())?);
    let begun = Instant::now();
    std::thread::sleep(OBSERVED);
    let seconds = begun.elapsed().as_secs_f64();
    let share = (processes::used(dev.id())? - before) / seconds;
    Ok((share, (self::switches(dev.id())? - switches) / seconds))
}

/// How often its threads have gone to sleep.
fn switches(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.and_then(|number| number.trim().parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(sum)
}
