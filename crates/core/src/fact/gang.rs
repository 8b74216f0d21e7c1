//! What happened to the members of attempts that span machines.

use heats_domain::{AgentId, FailureKind, Grant, SweepId};

/// One machine's part in an attempt that spans several; its rank is its place in the list, from 1.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeasedMember {
    /// Who got it.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// What it holds of the agent's inventory.
    #[prost(message, required, tag = "2")]
    pub grant: Grant,
}

/// See [`Fact::MemberEnded`](super::Fact::MemberEnded).
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberEnded {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Which member, from 0.
    #[prost(uint32, tag = "4")]
    pub rank: u32,
    /// What its end means for the whole attempt, where it is the first that did not end well: the others are told to stop. Absent
    /// where it ended well, or because it was told to.
    #[prost(enumeration = "Decides", optional, tag = "5")]
    pub decides: Option<i32>,
    /// Why it failed, where it did so of its own.
    #[prost(enumeration = "FailureKind", optional, tag = "6")]
    pub failure: Option<i32>,
    /// Wall time of its process.
    #[prost(uint64, tag = "7")]
    pub ran_ms: u64,
    /// Processor time of its process and the children of that.
    #[prost(uint64, tag = "8")]
    pub cpu_ms: u64,
    /// The largest resident memory, in bytes.
    #[prost(uint64, tag = "9")]
    pub max_rss: u64,
    /// For people: how it ended, with its last lines where it failed.
    #[prost(string, tag = "10")]
    pub detail: String,
}

/// What a member's end means for its attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum Decides {
    /// It failed.
    Failed = 0,
    /// The script asked for it to be run again.
    Requeue = 1,
    /// The script asked for it not to be run again.
    Final = 2,
    /// The configuration cannot be run.
    Infeasible = 3,
}

impl Decides {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Requeue => "requeue",
            Self::Final => "final",
            Self::Infeasible => "infeasible",
        }
    }
}
