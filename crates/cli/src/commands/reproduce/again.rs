//! Runs a trial again, and holds what it reports against what is recorded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use heats_agent::containers::Runtime;
use heats_agent::solo::Solo;
use heats_agent::{AgentEvent, OnEvent};
use heats_client::Client;
use heats_domain::Metrics;
use rustix::process::{Pid, Signal, kill_process_group};

use super::recorded::Recorded;
use crate::exit::{Exit, Failure};
use crate::hints;
use crate::host::Signals;
use crate::output::Fields;
use crate::words;

/// How often it is looked whether a trial that was stopped early has come as far again.
const LOOK: Duration = Duration::from_millis(200);
/// Differences that are shown.
const SHOWN: usize = 5;

/// What came of it.
pub(super) struct Again {
    address: String,
    objectives: Vec<String>,
    environment: String,
    /// What of the environment is not as it was.
    changes: Vec<String>,
    then: BTreeMap<u64, Metrics>,
    now: BTreeMap<u64, Metrics>,
    /// How it ended; `None` where it was ended, as far as the recorded one had come.
    status: Option<ExitStatus>,
    stdout: PathBuf,
    output: PathBuf,
}

/// Runs it.
pub(super) async fn run(
    client: &Client,
    recorded: &Recorded,
    data_dir: &Path,
    runtime: Option<Runtime>,
) -> Result<Again, Failure> {
    let fail = |error: heats_agent::solo::SoloError| Failure::failed(error.to_string());
    let packed = super::archive(client, &recorded.sweep.code).await?;
    let bin = std::env::current_exe().ok();
    let mut solo = Solo::new(recorded.order(), data_dir, bin, runtime).map_err(fail)?;
    solo.bring_code(packed).map_err(fail)?;
    let on_event = OnEvent::new(|event| {
        if let AgentEvent::EnvBuilding { requirements, tool } = event {
            hints::note(&format!("making the environment of {requirements} with {tool}"));
        }
    });
    let environment = solo.make_environment(on_event).await.map_err(fail)?;
    let mut command = solo.prepare().map_err(fail)?;
    let io = |error: io::Error| Failure::failed(format!("it cannot be run: {error}"));
    command.stdin(Stdio::null()).stdout(File::create(solo.stdout()).map_err(io)?);
    let mut signals = Signals::listen()?;
    hints::note(&format!("running {} again", recorded.address()));
    let mut group = Group::start(command, &solo).map_err(io)?;
    let last = recorded.reports.last_key_value().map(|(step, _)| *step);
    let status = loop {
        if let Some(status) = group.leader.try_wait().map_err(io)? {
            break Some(status);
        }
        let has_come =
            || last.is_some_and(|last| solo.reports().last_key_value().is_some_and(|(step, _)| *step >= last));
        // One that was stopped by its rule is stopped here where it was there.
        if !recorded.is_complete() && has_come() {
            break None;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = signals.next() => {
                group.signal(Signal::TERM);
                let grace = Duration::from_millis(recorded.spec.run.stop_grace.ms);
                let ended = async {
                    while let Ok(None) = group.leader.try_wait() {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                tokio::select! {
                    () = ended => {}
                    () = tokio::time::sleep(grace) => {}
                    () = signals.next() => {}
                }
                return Err(Failure::new(Exit::Interrupted, "interrupted: what ran was ended with it"));
            }
        }
    };
    drop(group);
    Ok(Again {
        address: recorded.address(),
        objectives: recorded.spec.objectives().iter().map(|objective| objective.metric().to_owned()).collect(),
        environment: environment.summary.clone(),
        changes: recorded.environment_changes(&environment),
        then: recorded.reports.clone(),
        now: solo.reports(),
        status,
        stdout: solo.stdout(),
        output: solo.output(),
    })
}

/// A process and its group, with its container where it has one: nothing of it is left when this is dropped.
struct Group<'a> {
    leader: Child,
    solo: &'a Solo,
}

impl<'a> Group<'a> {
    fn start(mut command: Command, solo: &'a Solo) -> io::Result<Self> {
        Ok(Self { leader: command.process_group(0).spawn()?, solo })
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw);
        // Fails only where all of it has just ended.
        let _ended = group.map(|group| kill_process_group(group, signal));
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.solo.end();
        self.signal(Signal::KILL);
        // It was killed, or has been waited for.
        let _waited = self.leader.wait();
    }
}

impl Again {
    /// Every step at which an objective is not what it was, bit for bit: the step, its name, what it was and what it is.
    fn changed(&self) -> Vec<(u64, &str, f64, Option<f64>)> {
        let mut changed = Vec::new();
        for (step, metrics) in &self.then {
            for name in &self.objectives {
                let Some(then) = metrics.get(name) else { continue };
                let now = self.now.get(step).and_then(|metrics| metrics.get(name));
                let is_same = now.is_some_and(|now| now.to_bits() == then.to_bits() || now.is_nan() && then.is_nan());
                if !is_same {
                    changed.push((*step, name.as_str(), then, now));
                }
            }
        }
        changed
    }

    /// Whether it came to the same at every step. What reported nothing then cannot be compared.
    pub(super) fn is_identical(&self) -> bool {
        !self.then.is_empty() && self.status.is_none_or(|status| status.success()) && self.changed().is_empty()
    }

    fn ended(&self) -> String {
        self.status.map_or_else(|| "ended where the recorded one was".to_owned(), |status| status.to_string())
    }

    pub(super) fn fields(&self) -> serde_json::Value {
        let changed: Vec<serde_json::Value> = self
            .changed()
            .into_iter()
            .map(|(step, name, then, now)| {
                Fields::new().with("step", step).with("metric", name).number("then", then).number("now", now).into()
            })
            .collect();
        Fields::new()
            .with("identical", self.is_identical())
            .with("steps", self.then.len())
            .with("changed", changed)
            .with("ended", self.ended())
            .with("environment", self.environment.as_str())
            .with("environment_changes", self.changes.clone())
            .with("stdout", self.stdout.display().to_string())
            .with("output", self.output.display().to_string())
            .into()
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let changed = self.changed();
        let steps = words::count(self.then.len() as u64, "report");
        let metrics = self.objectives.join("` and `");
        if self.is_identical() {
            writeln!(out, "{}: identical: `{metrics}` is the same, to the last bit, in {steps}", self.address)?;
        } else if self.then.is_empty() {
            writeln!(out, "{}: nothing to compare: it reported nothing then", self.address)?;
        } else {
            writeln!(out, "{}: not identical: {} of {steps} differ; {}", self.address, changed.len(), self.ended())?;
        }
        for (step, name, then, now) in changed.iter().take(SHOWN) {
            let now = now.map_or_else(|| "not reported".to_owned(), |now| now.to_string());
            writeln!(out, "  step {step}: {name} was {then}, and is {now}")?;
        }
        for change in &self.changes {
            writeln!(out, "  the environment is another: {change}")?;
        }
        writeln!(out, "  its output is in {}", self.stdout.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(then: &[(u64, f64)], now: &[(u64, f64)]) -> Again {
        let series = |points: &[(u64, f64)]| {
            points
                .iter()
                .map(|&(step, loss)| (step, [("loss", loss), ("speed", loss + step as f64)].into_iter().collect()))
                .collect()
        };
        Again {
            address: "a/1@1".into(),
            objectives: vec!["loss".into()],
            environment: String::new(),
            changes: Vec::new(),
            then: series(then),
            now: series(now),
            status: None,
            stdout: PathBuf::new(),
            output: PathBuf::new(),
        }
    }

    #[test]
    fn what_comes_to_the_same_is_the_same_to_the_last_bit_at_every_step() {
        let then = [(1, 0.5), (2, f64::NAN)];
        assert!(again(&then, &[(1, 0.5), (2, f64::NAN), (3, 0.1)]).is_identical(), "it may go on for longer");
        assert!(!again(&then, &[(1, 0.5)]).is_identical());
        assert!(!again(&then, &[(1, 0.5 + f64::EPSILON), (2, f64::NAN)]).is_identical());
        assert!(!again(&[], &[(1, 0.5)]).is_identical(), "there is nothing to compare with");
    }
}
