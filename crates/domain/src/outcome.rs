//! How trials and attempts end, and why: every verdict carries the numbers that it was reached with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a trial stands: `waiting -> leased -> running -> (paused -> waiting)* -> completed | stopped | failed | infeasible | cancelled`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, prost::Enumeration, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum TrialState {
    /// Created, and waits for an agent: a retry, or a trial that was resumed.
    Waiting = 0,
    /// Leased to an agent that has not started its process yet.
    Leased = 1,
    /// Its process runs.
    Running = 2,
    /// Holds at a rung or by command; holds no lease.
    Paused = 3,
    /// Ran to its end and reported its objective.
    Completed = 4,
    /// Stopped early by a rule.
    Stopped = 5,
    /// Failed, and will not be tried again.
    Failed = 6,
    /// Its configuration cannot be run at all.
    Infeasible = 7,
    /// Cancelled by a user.
    Cancelled = 8,
}

impl TrialState {
    /// Every state, in the order of a trial's life.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Leased,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Stopped,
        Self::Failed,
        Self::Infeasible,
        Self::Cancelled,
    ];

    /// Whether nothing about the trial can change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Failed | Self::Infeasible | Self::Cancelled)
    }

    /// Whether nothing of the trial is to run now: it is over, or holds at a rung. A process that it still has is ended.
    pub const fn is_at_rest(self) -> bool {
        self.is_terminal() || matches!(self, Self::Paused)
    }

    /// Whether an agent holds the trial.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Leased | Self::Running)
    }

    /// The name that users see and type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Infeasible => "infeasible",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TrialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, prost::Enumeration, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum FailureKind {
    /// The process left with a non-zero exit code.
    Exit = 0,
    /// A signal that Heats did not send ended the process.
    Signal = 1,
    /// The kernel, or the memory limit, killed the process.
    OutOfMemory = 2,
    /// The process ran longer than `run.timeout`.
    Timeout = 3,
    /// The process exited with 0 and never reported the objective.
    NoMetric = 4,
    /// The agent was not heard of within its lease, or it lost the process.
    NodeLost = 5,
    /// Its agent gave it back: its place was asked for, or it could not be started there now.
    Preempted = 6,
    /// The process could not be started at all.
    StartFailed = 7,
}

impl FailureKind {
    /// Whether the failure says something about the trial, so that it uses up one of `run.retries`.
    pub const fn counts_against_retries(self) -> bool {
        match self {
            Self::Exit | Self::Signal | Self::OutOfMemory | Self::Timeout | Self::NoMetric | Self::StartFailed => true,
            Self::NodeLost | Self::Preempted => false,
        }
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::OutOfMemory => "out_of_memory",
            Self::Timeout => "timeout",
            Self::NoMetric => "no_metric",
            Self::NodeLost => "node_lost",
            Self::Preempted => "preempted",
            Self::StartFailed => "start_failed",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a rule stopped (or paused) a trial: enough to check the verdict by hand.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct StopReason {
    /// The rule's name as in the sweep file: `asha`, `median`, `threshold`, `patience`.
    #[prost(string, tag = "1")]
    pub rule: String,
    /// The step whose report was judged.
    #[prost(uint64, tag = "2")]
    pub step: u64,
    /// The value that was judged, as reported; with several objectives, the first's.
    #[prost(double, tag = "3")]
    pub value: f64,
    /// The rung's resource, for rules that have rungs.
    #[prost(uint64, optional, tag = "4")]
    pub rung: Option<u64>,
    /// The place of the value among its peers, 1 for the best.
    #[prost(uint64, optional, tag = "5")]
    pub rank: Option<u64>,
    /// How many values it was ranked among, its own included.
    #[prost(uint64, optional, tag = "6")]
    pub peers: Option<u64>,
    /// The value that it had to reach.
    #[prost(double, optional, tag = "7")]
    pub cutoff: Option<f64>,
    /// The trial of whose state a copy takes its place, for a member of a population that is replaced.
    #[prost(uint32, optional, tag = "70")]
    pub winner: Option<u32>,
}

/// `asha at step 9: 0.71 ranks 5 of 6 at rung 9; the cutoff is 0.9`
impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {}: {}", self.rule, self.step, self.value)?;
        if let (Some(rank), Some(peers)) = (self.rank, self.peers) {
            write!(f, " ranks {rank} of {peers}")?;
        }
        if let Some(rung) = self.rung {
            write!(f, " at rung {rung}")?;
        }
        if let Some(cutoff) = self.cutoff {
            write!(f, "; the cutoff is {cutoff}")?;
        }
        if let Some(winner) = self.winner {
            write!(f, "; a copy of trial {winner} takes its place")?;
        }
        Ok(())
    }
}
