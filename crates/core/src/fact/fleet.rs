//! What happened to agents, tokens and the cluster as a whole.

use heats_domain::{AgentId, FailureKind, Inventory, SweepId, TokenId};

/// See [`Fact::AgentAttached`](super::Fact::AgentAttached).
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
    /// The storages of checkpoints that it reaches.
    #[prost(string, repeated, tag = "8")]
    pub places: Vec<String>,
}

/// See [`Fact::TokenCreated`](super::Fact::TokenCreated).
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

/// See [`Fact::TokenUsed`](super::Fact::TokenUsed).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenUsed {
    /// The token.
    #[prost(message, required, tag = "1")]
    pub token: TokenId,
    /// Who joined.
    #[prost(message, required, tag = "2")]
    pub agent: AgentId,
}

/// See [`Fact::TokenRevoked`](super::Fact::TokenRevoked).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenRevoked {
    /// The token.
    #[prost(message, required, tag = "1")]
    pub token: TokenId,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// See [`Fact::AgentJoined`](super::Fact::AgentJoined).
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentJoined {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// The SHA-256 of its public key: nobody with another key can be this agent.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

/// See [`Fact::AgentDrained`](super::Fact::AgentDrained).
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

/// See [`Fact::AgentUndrained`](super::Fact::AgentUndrained).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AgentUndrained {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
}

/// See [`Fact::AgentQuarantined`](super::Fact::AgentQuarantined).
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentQuarantined {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// When it was first quarantined without having been released since, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub since_ms: u64,
    /// From when on one trial at a time may be tried there, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub until_ms: u64,
    /// How long it is left alone this time, in milliseconds; the next time it is twice as long.
    #[prost(uint64, tag = "4")]
    pub delay_ms: u64,
    /// It is as good as certain that the machine is at fault: what fails there counts against no trial.
    #[prost(bool, tag = "5")]
    pub proven: bool,
    /// For people.
    #[prost(string, tag = "6")]
    pub why: String,
    /// The attempts that failed there, the first of each trial; not all of them, where they are many.
    #[prost(message, repeated, tag = "7")]
    pub failures: Vec<FailedAttempt>,
}

/// See [`Fact::GpuQuarantined`](super::Fact::GpuQuarantined).
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuQuarantined {
    /// Which GPU of the agent, by index.
    #[prost(uint32, tag = "1")]
    pub gpu: u32,
    /// What is said of whole machines otherwise.
    #[prost(message, required, tag = "2")]
    pub quarantine: AgentQuarantined,
}

/// See [`Fact::GpuReleased`](super::Fact::GpuReleased).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GpuReleased {
    /// Which GPU of the agent, by index.
    #[prost(uint32, tag = "1")]
    pub gpu: u32,
    /// What is said of whole machines otherwise.
    #[prost(message, required, tag = "2")]
    pub release: AgentReleased,
}

/// An attempt that failed on an agent that was quarantined for it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FailedAttempt {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// How it failed.
    #[prost(enumeration = "FailureKind", tag = "4")]
    pub failure: i32,
    /// Wall time of its process, in milliseconds.
    #[prost(uint64, tag = "5")]
    pub ran_ms: u64,
}

/// See [`Fact::AgentReleased`](super::Fact::AgentReleased).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AgentReleased {
    /// The agent.
    #[prost(message, required, tag = "1")]
    pub agent: AgentId,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub why: String,
    /// Who did it, as their command says; empty where nobody did.
    #[prost(string, tag = "3")]
    pub by: String,
}

/// See [`Fact::ClusterRestored`](super::Fact::ClusterRestored).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ClusterRestored {
    /// Drawn anew by each restore. What an agent holds of another lineage is not this cluster's, whatever it is called.
    #[prost(fixed64, tag = "1")]
    pub lineage: u64,
    /// The last entry that the backup covers.
    #[prost(uint64, tag = "2")]
    pub index: u64,
}
