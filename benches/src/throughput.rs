//! 1,000 trials of `true` against HyperQueue's 1,000 tasks of `true`, turn by turn on the same machine.
//!
//! Heats is measured as users see it: the whole of `heats run`, with the start and the end of its coordinator and
//! its agent, every step on disk before it is acknowledged, the output of every trial kept. HyperQueue's server and
//! worker are up already, it keeps no journal, and it is told to keep no output: the faster of its ways.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::machine;
use crate::python::{self, Package};
use crate::report::{Report, Target};

const TASKS: u32 = 1000;
const PAIRS: usize = 6;
const PACKAGE: Package = ("hyperqueue", "hyperqueue==0.27.0");

const SWEEP: &str = "
version: 1
name: throughput
command: ['true']
space: { x: { float: [0.0, 1.0] } }
search: { algorithm: random, seed: 1 }
budget: { trials: 1000 }
";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut rival = HyperQueue::start()?;
    // Once each for the page cache.
    rival.tasks()?;
    // Kept until the end: ext4 looks at every inode that was freed within the last minute before it gives out one.
    let folder = tempfile::tempdir()?;
    report.note(&format!("a new file takes {:.0} µs", machine::new_file(folder.path())?));
    heats(&folder.path().join("0"))?;
    let (mut whole, mut sweep) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        let theirs = rival.tasks()?;
        let ours = heats(&folder.path().join(pair.to_string()))?;
        report.note(&format!(
            "pair {pair}: HyperQueue {:.0} tasks/s, heats {:.0} trials/s ({:.0} from submission to end)",
            f64::from(TASKS) / theirs,
            f64::from(TASKS) / ours.whole,
            f64::from(TASKS) / ours.sweep,
        ));
        whole.push(theirs / ours.whole);
        sweep.push(theirs / ours.sweep);
    }
    report.figure("trials per second, of HyperQueue's", "", whole, Some(Target::AtLeast(1.0)));
    report.figure("the same from submission to end", "", sweep, None);
    Ok(())
}

/// Seconds.
struct Times {
    whole: f64,
    sweep: f64,
}

fn heats(folder: &Path) -> Result<Times> {
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("sweep.yaml"), SWEEP)?;
    let begun = Instant::now();
    let document = machine::json(folder, &["run", "sweep.yaml", "-q", "-o", "json"])?;
    let whole = begun.elapsed().as_secs_f64();
    let sweep = &document["sweep"];
    ensure!(sweep["counts"]["completed"] == TASKS, "not every trial completed: {}", sweep["counts"]);
    Ok(Times { whole, sweep: sweep["duration"].as_f64().context("a duration")? })
}

/// A server and a worker of HyperQueue, in a process of their own.
struct HyperQueue {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl HyperQueue {
    fn start() -> Result<Self> {
        let mut process = Command::new(python::with(&[PACKAGE])?)
            .arg(machine::repository().join("benches/src/rival.py"))
            .arg(machine::slots()?.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start HyperQueue")?;
        let orders = process.stdin.take().context("is piped")?;
        let answers = BufReader::new(process.stdout.take().context("is piped")?).lines();
        Ok(Self { process, orders, answers })
    }

    /// Seconds from the submission of the tasks to the end of the last.
    fn tasks(&mut self) -> Result<f64> {
        writeln!(self.orders, "{TASKS}")?;
        // Its progress bar goes to standard output as well, where there is one.
        for line in &mut self.answers {
            if let Ok(seconds) = line?.trim().parse() {
                return Ok(seconds);
            }
        }
        bail!("HyperQueue ended before its tasks")
    }
}

impl Drop for HyperQueue {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
