//! What the log records: facts, in the past tense, complete in themselves.
//!
//! A fact says what happened, never what somebody asked for; nothing has to be looked up or computed to
//! apply it. These types are the log's format as well: tags are never used twice, and a new field is
//! optional. A fact that this version does not know decodes to `None` and stops the node (see `state`).

use heats_domain::{AgentId, FailureKind, Grant, Inventory, Metrics, Params, StopReason, SweepId, TokenId};

use crate::prior::Prior;

/// What one log entry carries: everything that was decided in one turn of the leader.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The term that the deciding leader led in; an entry of another term records nothing.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// The leader's clock, milliseconds since the Unix epoch; never decreases along the log.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// What happened, in order.
    #[prost(message, repeated, tag = "3")]
    pub facts: Vec<FactCell>,
    /// Which of its term's entries it is: from 1, growing, and never used again. 0 in entries of versions before it was counted.
    #[prost(uint64, tag = "4")]
    pub number: u64,
    /// The number of the entry that it was decided upon; 0 where that is none of its term. Where another is the last that
    /// recorded something, this one records nothing.
    #[prost(uint64, tag = "5")]
    pub after: u64,
}

/// The box that a fact travels in: empty when a newer version wrote a fact that this one does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FactCell {
    /// The fact.
    #[prost(
        oneof = "Fact",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26"
    )]
    pub fact: Option<Fact>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Fact {
    /// A sweep came to be.
    #[prost(message, tag = "1")]
    SweepSubmitted(SweepSubmitted),
    /// A user paused a sweep: nothing more is leased.
    #[prost(message, tag = "2")]
    SweepPaused(SweepPaused),
    /// A user resumed a sweep.
    #[prost(message, tag = "3")]
    SweepResumed(SweepResumed),
    /// A sweep creates nothing more, for this reason.
    #[prost(message, tag = "4")]
    SweepDrained(SweepDrained),
    /// A sweep's limits changed.
    #[prost(message, tag = "5")]
    SweepEdited(SweepEdited),
    /// A sweep is over: all its trials are terminal and none holds a lease.
    #[prost(message, tag = "6")]
    SweepEnded(SweepEnded),
    /// A sweep that was over goes on: a user raised its budget or asked for failed trials again.
    #[prost(message, tag = "7")]
    SweepReopened(SweepReopened),
    /// A sweep and everything that it knew is gone.
    #[prost(message, tag = "8")]
    SweepRemoved(SweepRemoved),
    /// A user asked for a point to be tried next.
    #[prost(message, tag = "9")]
    PointEnqueued(PointEnqueued),
    /// A trial came to be.
    #[prost(message, tag = "10")]
    TrialCreated(TrialCreated),
    /// An agent got a trial.
    #[prost(message, tag = "11")]
    TrialLeased(TrialLeased),
    /// The attempt's process was started.
    #[prost(message, tag = "12")]
    TrialStarted(TrialStarted),
    /// A trial reported at a step that it had not reached before.
    #[prost(message, tag = "13")]
    TrialReported(TrialReported),
    /// A trial reached a state that is not that of a live lease.
    #[prost(message, tag = "14")]
    TrialSettled(TrialSettled),
    /// An attempt is over and its lease with it.
    #[prost(message, tag = "15")]
    AttemptEnded(AttemptEnded),
    /// An agent attached with this inventory, for the first time or with a changed one.
    #[prost(message, tag = "16")]
    AgentAttached(AgentAttached),
    /// A trial that was leased ahead has its place now: another attempt on its agent ended.
    #[prost(message, tag = "17")]
    TrialPlaced(TrialPlaced),
    /// An admin made a token.
    #[prost(message, tag = "18")]
    TokenCreated(TokenCreated),
    /// An agent joined by a token.
    #[prost(message, tag = "19")]
    TokenUsed(TokenUsed),
    /// A token is good for nothing any more.
    #[prost(message, tag = "20")]
    TokenRevoked(TokenRevoked),
    /// An agent is known by this key from now on.
    #[prost(message, tag = "21")]
    AgentJoined(AgentJoined),
    /// An operator drained an agent: nothing more is leased to it.
    #[prost(message, tag = "22")]
    AgentDrained(AgentDrained),
    /// An operator took the drain back.
    #[prost(message, tag = "23")]
    AgentUndrained(AgentUndrained),
    /// The cluster was made anew from a backup.
    #[prost(message, tag = "24")]
    ClusterRestored(ClusterRestored),
    /// A trial that held at a rung goes on: it waits for an agent again.
    #[prost(message, tag = "25")]
    TrialResumed(TrialResumed),
    /// A rule would have stopped a trial, which runs on as one of the control group.
    #[prost(message, tag = "26")]
    TrialSpared(TrialSpared),
}

/// See [`Fact::SweepSubmitted`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepSubmitted {
    /// The new sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The specification as JSON: self-describing, so that an old one reads in a new version.
    #[prost(string, tag = "3")]
    pub spec: String,
    /// What every random choice of the sweep follows from.
    #[prost(fixed64, tag = "4")]
    pub seed: u64,
    /// The client's request, so that a repeated one makes no second sweep.
    #[prost(fixed64, tag = "5")]
    pub request: u64,
    /// The folder of the sweep file on the machine that submitted it.
    #[prost(string, tag = "6")]
    pub base_dir: String,
    /// JSON: who submitted it, from where, fingerprints of code and data.
    #[prost(string, tag = "7")]
    pub provenance: String,
    /// What it learns from, one for each earlier sweep.
    #[prost(message, repeated, tag = "8")]
    pub priors: Vec<Prior>,
}

/// See [`Fact::SweepPaused`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepPaused {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepResumed`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepResumed {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepDrained`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepDrained {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// How the sweep will have ended once nothing runs any more.
    #[prost(enumeration = "Ending", tag = "2")]
    pub ending: i32,
    /// For people.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// How a sweep ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum Ending {
    /// It used its budget, exhausted its space, or reached its target.
    Finished = 0,
    /// A user, or a limit of time or money, stopped it.
    Stopped = 1,
    /// Too many of its trials failed, or it could not go on.
    Failed = 2,
    /// A user cancelled it.
    Cancelled = 3,
}

impl Ending {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// See [`Fact::SweepEdited`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepEdited {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The new number of trials, where it changed.
    #[prost(uint32, optional, tag = "2")]
    pub trials: Option<u32>,
    /// The new number of trials at once, where it changed.
    #[prost(uint32, optional, tag = "3")]
    pub parallel: Option<u32>,
    /// Why, for people; empty where a user asked for it.
    #[prost(string, tag = "4")]
    pub why: String,
}

/// See [`Fact::SweepEnded`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepEnded {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// How.
    #[prost(enumeration = "Ending", tag = "2")]
    pub ending: i32,
    /// For people.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// See [`Fact::SweepReopened`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepReopened {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepRemoved`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepRemoved {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::PointEnqueued`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PointEnqueued {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The values that the user gave; the searcher fills in the rest.
    #[prost(message, required, tag = "2")]
    pub params: Params,
}

/// See [`Fact::TrialCreated`].
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
}

/// See [`Fact::TrialLeased`].
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
}

/// See [`Fact::TrialPlaced`].
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

/// See [`Fact::TrialStarted`].
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
    /// What the environment was found to be.
    #[prost(string, tag = "4")]
    pub environment: String,
}

/// See [`Fact::TrialReported`].
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

/// See [`Fact::TrialSettled`].
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

/// See [`Fact::TrialResumed`].
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

/// See [`Fact::TrialSpared`].
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

/// See [`Fact::AttemptEnded`].
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
}

/// See [`Fact::AgentAttached`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentAttached {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// The machine's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What it offers.
    #[prost(message, required, tag = "3")]
    pub inventory: Inventory,
    /// The version of Heats that it runs.
    #[prost(string, tag = "4")]
    pub version: String,
}

/// See [`Fact::TokenCreated`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenCreated {
    /// The token.
    #[prost(message, required, tag = "1")]
    pub token: TokenId,
    /// For people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What its bearer may do.
    #[prost(enumeration = "TokenRole", tag = "3")]
    pub role: i32,
    /// The BLAKE3 hash of its secret: the secret itself is recorded nowhere.
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
    /// Until when it is good, milliseconds since the Unix epoch; for ever, where there is none.
    #[prost(uint64, optional, tag = "5")]
    pub expires_ms: Option<u64>,
    /// How many agents may join by it; of no meaning for other roles.
    #[prost(uint32, tag = "6")]
    pub uses_max: u32,
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum TokenRole {
    /// Let an agent join.
    Agent = 0,
    /// Run sweeps.
    User = 1,
    /// Run the cluster.
    Admin = 2,
}

impl TokenRole {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// See [`Fact::TokenUsed`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenUsed {
    /// The token.
    #[prost(message, required, tag = "1")]
    pub token: TokenId,
    /// Who joined.
    #[prost(message, required, tag = "2")]
    pub agent: AgentId,
}

/// See [`Fact::TokenRevoked`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenRevoked {
    /// The token.
    #[prost(message, required, tag = "1")]
    pub token: TokenId,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// See [`Fact::AgentJoined`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentJoined {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// The SHA-256 of its public key: nobody with another key can be this agent.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

/// See [`Fact::AgentDrained`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AgentDrained {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// Why, in the operator's words; may be empty.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Who did it, as their command says.
    #[prost(string, tag = "3")]
    pub by: String,
    /// What runs there is ended and waits for another agent; otherwise it runs to its end.
    #[prost(bool, tag = "4")]
    pub now: bool,
}

/// See [`Fact::AgentUndrained`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AgentUndrained {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
}

/// See [`Fact::ClusterRestored`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ClusterRestored {
    /// Drawn anew by each restore. What an agent holds of another lineage is not this cluster's, whatever it is called.
    #[prost(fixed64, tag = "1")]
    pub lineage: u64,
    /// The last entry that the backup covers.
    #[prost(uint64, tag = "2")]
    pub index: u64,
}

impl Fact {
    /// The sweep that the fact is about, where it is about one.
    pub const fn sweep(&self) -> Option<SweepId> {
        Some(match self {
            Self::SweepSubmitted(f) => f.sweep,
            Self::SweepPaused(f) => f.sweep,
            Self::SweepResumed(f) => f.sweep,
            Self::SweepDrained(f) => f.sweep,
            Self::SweepEdited(f) => f.sweep,
            Self::SweepEnded(f) => f.sweep,
            Self::SweepReopened(f) => f.sweep,
            Self::SweepRemoved(f) => f.sweep,
            Self::PointEnqueued(f) => f.sweep,
            Self::TrialCreated(f) => f.sweep,
            Self::TrialLeased(f) => f.sweep,
            Self::TrialStarted(f) => f.sweep,
            Self::TrialReported(f) => f.sweep,
            Self::TrialSettled(f) => f.sweep,
            Self::AttemptEnded(f) => f.sweep,
            Self::TrialPlaced(f) => f.sweep,
            Self::TrialSpared(f) => f.sweep,
            Self::TrialResumed(f) => f.sweep,
            Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::ClusterRestored(_) => return None,
        })
    }

    /// The trial that the fact is about, where it is about one.
    pub const fn trial(&self) -> Option<u32> {
        match self {
            Self::TrialCreated(f) => Some(f.trial),
            Self::TrialLeased(f) => Some(f.trial),
            Self::TrialStarted(f) => Some(f.trial),
            Self::TrialReported(f) => Some(f.trial),
            Self::TrialSettled(f) => Some(f.trial),
            Self::AttemptEnded(f) => Some(f.trial),
            Self::TrialPlaced(f) => Some(f.trial),
            Self::TrialSpared(f) => Some(f.trial),
            Self::TrialResumed(f) => Some(f.trial),
            Self::SweepSubmitted(_)
            | Self::SweepPaused(_)
            | Self::SweepResumed(_)
            | Self::SweepDrained(_)
            | Self::SweepEdited(_)
            | Self::SweepEnded(_)
            | Self::SweepReopened(_)
            | Self::SweepRemoved(_)
            | Self::PointEnqueued(_)
            | Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::ClusterRestored(_) => None,
        }
    }

    /// The attempt that the fact is about, where it is about one.
    pub const fn attempt(&self) -> Option<u32> {
        match self {
            Self::TrialLeased(f) => Some(f.attempt),
            Self::TrialStarted(f) => Some(f.attempt),
            Self::TrialReported(f) => Some(f.attempt),
            Self::AttemptEnded(f) => Some(f.attempt),
            Self::TrialPlaced(f) => Some(f.attempt),
            Self::SweepSubmitted(_)
            | Self::SweepPaused(_)
            | Self::SweepResumed(_)
            | Self::SweepDrained(_)
            | Self::SweepEdited(_)
            | Self::SweepEnded(_)
            | Self::SweepReopened(_)
            | Self::SweepRemoved(_)
            | Self::PointEnqueued(_)
            | Self::TrialCreated(_)
            | Self::TrialSettled(_)
            | Self::TrialResumed(_)
            | Self::TrialSpared(_)
            | Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::ClusterRestored(_) => None,
        }
    }

    /// The fact's name in event lists: `trial_leased`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SweepSubmitted(_) => "sweep_submitted",
            Self::SweepPaused(_) => "sweep_paused",
            Self::SweepResumed(_) => "sweep_resumed",
            Self::SweepDrained(_) => "sweep_drained",
            Self::SweepEdited(_) => "sweep_edited",
            Self::SweepEnded(_) => "sweep_ended",
            Self::SweepReopened(_) => "sweep_reopened",
            Self::SweepRemoved(_) => "sweep_removed",
            Self::PointEnqueued(_) => "point_enqueued",
            Self::TrialCreated(_) => "trial_created",
            Self::TrialLeased(_) => "trial_leased",
            Self::TrialStarted(_) => "trial_started",
            Self::TrialReported(_) => "trial_reported",
            Self::TrialSettled(_) => "trial_settled",
            Self::AttemptEnded(_) => "attempt_ended",
            Self::AgentAttached(_) => "agent_attached",
            Self::TrialPlaced(_) => "trial_placed",
            Self::TrialSpared(_) => "trial_spared",
            Self::TrialResumed(_) => "trial_resumed",
            Self::TokenCreated(_) => "token_created",
            Self::TokenUsed(_) => "token_used",
            Self::TokenRevoked(_) => "token_revoked",
            Self::AgentJoined(_) => "agent_joined",
            Self::AgentDrained(_) => "agent_drained",
            Self::AgentUndrained(_) => "agent_undrained",
            Self::ClusterRestored(_) => "cluster_restored",
        }
    }
}

impl From<Fact> for FactCell {
    fn from(fact: Fact) -> Self {
        Self { fact: Some(fact) }
    }
}

/// A fact with its place in the log: what histories and snapshots are made of.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The index of the log entry that carried it.
    #[prost(uint64, tag = "1")]
    pub log_index: u64,
    /// The leader's clock then, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// The fact.
    #[prost(message, required, tag = "3")]
    pub cell: FactCell,
}
