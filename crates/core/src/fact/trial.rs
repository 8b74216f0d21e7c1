//! What happened to trials and the attempts at them.

use heats_domain::{AgentId, Checkpoint, Digest, FailureKind, Grant, Metrics, Params, StopReason, SweepId};

use super::gang::LeasedMember;

/// See [`Fact::TrialCreated`](super::Fact::TrialCreated).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialCreated {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial's number: the number of trials before it.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// Its configuration.
    #[prost(message, required, tag = "3")]
    pub params: Params,
    /// The log index up to which the searcher had seen the history.
    #[prost(uint64, tag = "4")]
    pub saw_index: u64,
    /// It took the oldest enqueued point with it.
    #[prost(bool, tag = "5")]
    pub enqueued: bool,
    /// The leader that it confirms: it runs that trial's configuration again, on a seed of its own.
    #[prost(uint32, optional, tag = "6")]
    pub confirms: Option<u32>,
    /// Where it comes from, for one that goes on from another trial's checkpoint.
    #[prost(message, optional, tag = "70")]
    pub forked: Option<Forked>,
}

/// Where a trial comes from that did not begin at the beginning.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forked {
    /// The checkpoint that it goes on from, of the trial that it is a copy of.
    #[prost(message, required, tag = "1")]
    pub from: Checkpoint,
    /// The trial whose place in the population it takes.
    #[prost(uint32, tag = "2")]
    pub replaces: u32,
}

/// See [`Fact::TrialLeased`](super::Fact::TrialLeased).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialLeased {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt, from 1: the fencing token.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Who got it.
    #[prost(message, required, tag = "4")]
    pub agent: AgentId,
    /// What it holds of the agent's inventory.
    #[prost(message, required, tag = "5")]
    pub grant: Grant,
    /// It waits at the agent for the place of an attempt that runs there, and takes nothing until it has it.
    #[prost(bool, tag = "6")]
    pub ahead: bool,
    /// The checkpoint that it goes on from; without it, from the beginning.
    #[prost(message, optional, tag = "9")]
    pub from: Option<Checkpoint>,
    /// The place, in the sweep's `resources`, of the variant that it was granted.
    #[prost(uint32, tag = "40")]
    pub variant: u32,
    /// The members of rank 1 and above, where it spans machines; `agent` and `grant` are those of rank 0.
    #[prost(message, repeated, tag = "60")]
    pub members: Vec<LeasedMember>,
    /// The port of the agent of rank 0 at which its members meet; 0 where there is only one.
    #[prost(uint32, tag = "61")]
    pub port: u32,
}

impl TrialLeased {
    /// Who got it, by rank where it spans machines.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> {
        std::iter::once(self.agent).chain(self.members.iter().map(|member| member.agent))
    }
}

/// See [`Fact::TrialPlaced`](super::Fact::TrialPlaced).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialPlaced {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
}

/// See [`Fact::TrialStarted`](super::Fact::TrialStarted).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialStarted {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// What the environment was found to be, in one line.
    #[prost(string, tag = "4")]
    pub environment: String,
    /// The environment that was recorded; none in entries of versions that recorded that line alone.
    #[prost(message, optional, tag = "80")]
    pub environment_name: Option<Digest>,
    /// The machine that was recorded; likewise.
    #[prost(message, optional, tag = "81")]
    pub hardware_name: Option<Digest>,
    /// Which member's process it was, where the attempt spans machines.
    #[prost(uint32, tag = "60")]
    pub rank: u32,
    /// Whether it was forked from a template that had the imports of its script.
    #[prost(bool, tag = "110")]
    pub warm: bool,
    /// Why it was not, where its sweep asks for that.
    #[prost(string, tag = "111")]
    pub cold: String,
}

/// See [`Fact::TrialReported`](super::Fact::TrialReported).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialReported {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// How much of the resource the trial has used.
    #[prost(uint64, tag = "4")]
    pub step: u64,
    /// What was measured.
    #[prost(message, required, tag = "5")]
    pub metrics: Metrics,
}

/// See [`Fact::TrialSettled`](super::Fact::TrialSettled).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialSettled {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// Waiting (it will be tried again), paused (a rule has it hold at a rung), or a terminal state.
    #[prost(enumeration = "heats_domain::TrialState", tag = "3")]
    pub state: i32,
    /// The verdict, where a rule stopped it or has it hold.
    #[prost(message, optional, tag = "4")]
    pub reason: Option<StopReason>,
    /// The failure used up one of the trial's retries.
    #[prost(bool, tag = "5")]
    pub retry_used: bool,
    /// For people, where there is no verdict.
    #[prost(string, tag = "6")]
    pub why: String,
}

/// See [`Fact::TrialResumed`](super::Fact::TrialResumed).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialResumed {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The verdict by which its rule lets it go on.
    #[prost(message, required, tag = "3")]
    pub reason: StopReason,
}

/// See [`Fact::TrialSpared`](super::Fact::TrialSpared).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrialSpared {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The verdict that was not carried out.
    #[prost(message, required, tag = "3")]
    pub reason: StopReason,
}

/// See [`Fact::AttemptEnded`](super::Fact::AttemptEnded).
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttemptEnded {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Why it failed, where it did.
    #[prost(enumeration = "FailureKind", optional, tag = "4")]
    pub failure: Option<i32>,
    /// Wall time of the process.
    #[prost(uint64, tag = "5")]
    pub ran_ms: u64,
    /// Processor time of the process and its children.
    #[prost(uint64, tag = "6")]
    pub cpu_ms: u64,
    /// The largest resident memory, in bytes.
    #[prost(uint64, tag = "7")]
    pub max_rss: u64,
    /// For people: how it ended, with its last lines where it failed.
    #[prost(string, tag = "8")]
    pub detail: String,
    /// The failure is put down to the machine: it counts against no retry.
    #[prost(bool, tag = "40")]
    pub excused: bool,
}

/// See [`Fact::AttemptExcused`](super::Fact::AttemptExcused).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AttemptExcused {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
}
