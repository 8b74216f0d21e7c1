//! How long a place stays empty: from the last thing that a trial's process does to the first that the next one's does. One
//! place, and trials so short that the next one has been leased ahead.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{command, note, notes, now_ms};
use crate::report::{Report, Target};
use crate::three;

pub(super) const ROLE: &str = "short";
const TRIALS: usize = 1_000;
/// Shorter than a lease takes to come from three coordinators that flush, now and then: the queue has to be ahead.
const WORK: Duration = Duration::from_millis(20);
/// Trials before the leader knows that the sweep's are short.
const FIRST: usize = 5;

/// One trial.
pub(super) fn trial(file: &Path) -> Result<()> {
    let begun = now_ms();
    thread::sleep(WORK);
    note(file, &format!("{begun} {}", now_ms()))
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let file = notes(folder);
    let sweep = serde_json::json!({
        "version": 1, "name": "slot", "command": command(ROLE, &[file.to_str().context("a path that is text")?])?,
        "space": {"x": {"float": [0.0, 1.0]}}, "search": {"algorithm": "random", "seed": 1},
        "budget": {"trials": TRIALS + FIRST}
    });
    std::fs::write(folder.join("sweep.json"), sweep.to_string())?;
    let _coordinators = three::start(folder)?;
    let _agent = three::agent(folder, 0, 1)?;
    three::submit(folder, "sweep.json")?;
    three::until_ended(folder, "slot")?;
    let text = std::fs::read_to_string(&file).context("the trials' notes")?;
    let times = text.lines().map(|line| {
        let (begun, ended) = line.split_once(' ').context("two times")?;
        Ok((begun.parse::<f64>()?, ended.parse::<f64>()?))
    });
    let times = times.collect::<Result<Vec<_>>>()?;
    ensure!(times.len() == TRIALS + FIRST, "{} trials noted their times", times.len());
    let gaps = times.windows(2).skip(FIRST - 1).map(|pair| pair[1].0 - pair[0].1);
    report.figure("from the end of a process to the next one's start", "ms", gaps.collect(), Some(Target::AtMost(5.0)));
    Ok(())
}
