//! How long a doomed trial runs on: from the moment before it reports the value by which it is stopped to SIGTERM in its
//! process. By both doors: a line on standard output, and the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::{command, note, notes, now_ms};
use crate::latency::Latencies;
use crate::report::{Report, Target};
use crate::three;

pub(super) const ROLE: &str = "doomed";
const DOORS: [&str; 2] = ["stdout", "socket"];
/// By each door.
const TRIALS: usize = 500;
/// Above it a trial is stopped.
const UPPER: f64 = 1.0;

/// One trial: a report that is fine, one that is not, and the wait for its end.
pub(super) fn trial(file: &Path, door: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tell(door, 1, UPPER / 2.0)?;
        let doomed = now_ms();
        tell(door, 2, UPPER * 2.0)?;
        terminated.recv().await.context("no signal can come any more")?;
        note(file, &format!("{door} {}", now_ms() - doomed))
    })
}

fn tell(door: &str, step: u64, loss: f64) -> Result<()> {
    match door {
        "stdout" => Ok(writeln!(std::io::stdout(), "::metric step={step} loss={loss}")?),
        "socket" => post(&serde_json::json!({"step": step, "metrics": {"loss": loss}}).to_string()),
        _ => bail!("there is no door `{door}`"),
    }
}

fn post(body: &str) -> Result<()> {
    let path = std::env::var("HEATS_API_SOCK").context("a trial has a socket")?;
    let mut socket = UnixStream::connect(path)?;
    let length = body.len();
    let head = format!("POST /v1/report HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    socket.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the report was refused: {answer}");
    Ok(())
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let file = notes(folder);
    let sweep = serde_json::json!({
        "version": 1, "name": "verdict",
        "command": command(ROLE, &[file.to_str().context("a path that is text")?, "${door}"])?,
        "space": {"door": {"choice": DOORS}, "x": {"int": [1, TRIALS]}}, "search": {"algorithm": "grid"},
        "objective": {"minimize": "loss"}, "early_stop": {"algorithm": "threshold", "upper": UPPER}
    });
    std::fs::write(folder.join("sweep.json"), sweep.to_string())?;
    let _coordinators = three::start(folder)?;
    let _agent = three::agent(folder, 0, 1)?;
    three::submit(folder, "sweep.json")?;
    three::until_ended(folder, "verdict")?;
    let text = std::fs::read_to_string(&file).context("the trials' notes")?;
    for door in DOORS {
        let noted = text.lines().filter_map(|line| line.strip_prefix(door));
        let took = noted.map(|ms| Ok(Duration::from_secs_f64(ms.trim().parse::<f64>()? / 1e3)));
        let took = took.collect::<Result<Vec<_>>>()?;
        ensure!(took.len() == TRIALS, "{} of {TRIALS} trials were told by SIGTERM", took.len());
        let took = Latencies::of(took, Duration::ZERO);
        let p99 = vec![took.quantile(0.99)];
        report.figure(&format!("p99 from a report by {door} to SIGTERM"), "ms", p99, Some(Target::AtMost(50.0)));
        report.note(&took.to_string());
    }
    Ok(())
}
