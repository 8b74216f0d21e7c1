//! What an agent uses while 64 trials run on it that each print a metric ten times a second: processor time from `/proc`, of
//! the agent and of all its helping processes, without the trials' own.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::command;
use crate::report::{Report, Target};
use crate::{machine, processes, three};

pub(super) const ROLE: &str = "chatty";
const TRIALS: usize = 64;
const EVERY: Duration = Duration::from_millis(100);
/// Long enough for some hundred ticks of the kernel's clock.
const OBSERVED: Duration = Duration::from_secs(30);
/// What each trial reports: beyond the end of the observation, however slowly they start.
const REPORTS: u64 = 900;

/// One trial.
pub(super) fn trial() -> Result<()> {
    for step in 1..=REPORTS {
        println!("::metric step={step} loss={}", 1.0 / step as f64);
        thread::sleep(EVERY);
    }
    Ok(())
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let sweep = serde_json::json!({
        "version": 1, "name": "busy", "command": command(ROLE, &[])?, "objective": {"minimize": "loss"},
        "space": {"x": {"float": [0.0, 1.0]}}, "search": {"algorithm": "random", "seed": 1},
        "early_stop": {"algorithm": "none"}, "budget": {"trials": TRIALS}
    });
    std::fs::write(folder.join("sweep.json"), sweep.to_string())?;
    let _coordinators = three::start(folder)?;
    let agent = three::agent(folder, 0, TRIALS as u32)?;
    three::submit(folder, "sweep.json")?;
    three::until("64 running trials", || {
        let shown = machine::json(folder, &["show", "busy", "-o", "json"])?;
        Ok((shown["sweep"]["counts"]["running"] == TRIALS).then_some(()))
    })?;
    let steps = || -> Result<u64> {
        let shown = machine::json(folder, &["show", "busy", "-o", "json"])?;
        shown["sweep"]["ledger"]["steps"].as_u64().context("a count")
    };
    let of_agent = || processes::below(agent.0.id(), &["heats"]);
    let (reported, before, begun) = (steps()?, of_agent()?, Instant::now());
    thread::sleep(OBSERVED);
    let (after, seconds) = (of_agent()?, begun.elapsed().as_secs_f64());
    let reports = (steps()? - reported) as f64 / seconds;
    let shares = after.iter().map(|(pid, used)| used - before.get(pid).copied().unwrap_or(0.0));
    let share = shares.sum::<f64>() / seconds;
    ensure!(after.keys().eq(before.keys()), "processes of the agent came or went meanwhile");
    // They would outlive the agent.
    machine::command(folder, &["cancel", "busy", "-q"])?.stdout(Stdio::null()).status()?;
    three::until("the end of the trials", || {
        let shown = machine::json(folder, &["show", "busy", "-o", "json"])?;
        Ok((shown["sweep"]["counts"]["cancelled"] == TRIALS).then_some(()))
    })?;
    report.note(&format!("{reports:.0} reports a second; {} processes of the agent", after.len()));
    report.figure("processor time, of one core", "%", vec![share * 100.0], Some(Target::AtMost(5.0)));
    Ok(())
}
