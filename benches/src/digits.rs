//! The digits sweep's wall time against the sum of its trials' own process times divided by the slots: what Heats
//! adds to the training itself. The environment is made before, by a sweep of one trial.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::machine;
use crate::report::{Report, Target};

const TIMES: usize = 3;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let data = tempfile::tempdir()?;
    let data = data.path().display().to_string();
    let file = machine::repository().join("examples/digits/sweep.yaml").display().to_string();
    let sweep = |trials: &str| {
        let trials = format!("budget.trials={trials}");
        machine::json(machine::repository(), &["run", &file, "--data", &data, "-q", "-o", "json", "--set", &trials])
    };
    sweep("1").context("the sweep that makes the environment")?;
    let slots = machine::slots()? as f64;
    let mut ratios = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        let document = sweep("60")?;
        let wall = begun.elapsed().as_secs_f64();
        let sweep = &document["sweep"];
        ensure!(sweep["counts"]["created"] == 60, "not 60 trials: {}", sweep["counts"]);
        let trials = sweep["ledger"]["attempts"].as_f64().context("the ledger")?;
        let inner = sweep["duration"].as_f64().context("a duration")?;
        let best = &sweep["best"]["value"];
        report.note(&format!(
            "wall {wall:.1} s ({inner:.1} s from submission to end), trials {trials:.1} s on {slots} slots, best {best}"
        ));
        ratios.push(wall * slots / trials);
    }
    report.figure("wall time, of the trials' own per slot", "", ratios, Some(Target::AtMost(1.05)));
    Ok(())
}
