//! How fast one trial's reports are recorded, against how fast its lines can be written: a trial that prints a
//! million metric lines.

use anyhow::{Context, Result, ensure};

use crate::machine;
use crate::report::Report;

const LINES: u32 = 1_000_000;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let print =
        format!("BEGIN {{ for (i = 1; i <= {LINES}; i++) printf \"::metric step=%d loss=%d\\n\", i, {LINES} - i }}");
    let sweep = serde_json::json!({
        "version": 1, "name": "reports", "command": ["awk", print], "objective": {"minimize": "loss"},
        "space": {"x": {"int": [1, 1]}}, "search": {"algorithm": "grid"}
    });
    std::fs::write(folder.path().join("sweep.json"), sweep.to_string())?;
    let document = machine::json(folder.path(), &["run", "sweep.json", "-q", "-o", "json"])?;
    let sweep = &document["sweep"];
    ensure!(sweep["ledger"]["steps"] == LINES, "not every report was recorded: {sweep}");
    let whole = sweep["duration"].as_f64().context("a duration")?;
    let script = sweep["ledger"]["attempts"].as_f64().context("the ledger")?;
    report.figure("reports of one trial recorded", "per second", vec![f64::from(LINES) / whole], None);
    report.note(&format!("the script itself took {script:.2} s of {whole:.2} s"));
    Ok(())
}
