//! What is known about an attempt and has to outlive its agent. Plain data: where it is kept is not said here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use heats_domain::{Digest, Environment};
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;

/// What the shim starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The folder that it runs in.
    pub cwd: PathBuf,
    /// Variables on top of the agent's own environment.
    pub env: BTreeMap<String, String>,
    /// What is run once it is over, however it ended: the command that removes its container. Empty where it has none.
    #[serde(default)]
    pub cleanup: Vec<String>,
}

/// What an agent must know to supervise an attempt that it did not start itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The sweep's name, for people.
    pub sweep_name: String,
    /// The metric that the sweep ranks by, where it has one.
    pub objective: Option<String>,
    /// The metrics of its other objectives, where it has several.
    #[serde(default)]
    pub others: Vec<String>,
    /// How long the attempt may run, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The time between SIGTERM and SIGKILL, in milliseconds.
    pub stop_grace_ms: u64,
    /// How many processors it may use; 0 where an agent that did not count them wrote this.
    #[serde(default)]
    pub cpus: u32,
    /// The GPUs that it was granted.
    #[serde(default)]
    pub gpus: Vec<u32>,
    /// The control group that its command runs in, where it has one.
    #[serde(default)]
    pub group: Option<Group>,
    /// The unix socket that the trial talks to.
    pub socket: PathBuf,
    /// Where the trial keeps its checkpoints.
    pub checkpoints: PathBuf,
    /// The checkpoint among them that it began with.
    #[serde(default)]
    pub began_with: Option<PathBuf>,
    /// What the environment was found to be, in one line.
    pub environment: String,
    /// What it is called by its content; none where an agent of an earlier version wrote this.
    #[serde(default)]
    pub environment_name: Option<Digest>,
    /// What it is, where the coordinator has yet to be told.
    #[serde(default)]
    pub found: Option<Environment>,
    /// Which member of the attempt it is, where that spans machines: from rank 0 alone anything is reported.
    #[serde(default)]
    pub rank: u32,
    /// The sizes of the artifacts that its trial kept before, by their names.
    #[serde(default)]
    pub keeps: BTreeMap<String, u64>,
    /// What the shim starts.
    pub launch: Launch,
}

impl Record {
    /// The metrics that the trial must report: every objective's.
    pub fn objectives(&self) -> Vec<String> {
        self.objective.iter().chain(&self.others).cloned().collect()
    }
}

/// The processes of a live attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Live {
    /// The shim, which leads the attempt's session.
    pub shim: i32,
    /// The command, which leads its process group.
    pub child: i32,
    /// Whether it was forked from a template.
    #[serde(default)]
    pub warm: bool,
}

/// How the command ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// Why it never ran, where it did not.
    pub not_started: Option<String>,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Processor time of the command and its reaped children, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of any one process, in bytes.
    pub max_rss: u64,
    /// The kernel killed some of its control group for lack of memory; without one, SIGKILL ended it while the kernel
    /// counted such a kill on the machine.
    pub out_of_memory: bool,
    /// How many of its processes could not be killed.
    pub left: u32,
}

impl End {
    /// The end of a command that never ran.
    pub fn not_started(why: String) -> Self {
        Self { not_started: Some(why), ..Self::default() }
    }
}

/// Why the agent ends an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The coordinator said so.
    Stopped,
    /// It ran longer than `run.timeout`.
    TimedOut,
    /// Its agent went down before it could begin.
    Shutdown,
    /// No coordinator was heard of for too long.
    Orphaned,
    /// The trial is to go on elsewhere: its place was asked for, or it could not begin here.
    Preempted,
    /// The coordinator gave the trial to somebody else: nothing about it may be reported.
    Fenced,
}

/// That the agent ends an attempt: noted before the first signal, so that its successor reports the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// Why, for people.
    pub why: String,
}
