//! What became of the logs of attempts that are over.

use heats_domain::{AgentId, SweepId};

/// An attempt whose logs are in a bundle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Logged {
    /// The trial.
    #[prost(uint32, tag = "1")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// See [`Fact::LogsKept`](super::Fact::LogsKept).
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogsKept {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The bundle, by the hash of its bytes, as archives are named.
    #[prost(string, tag = "2")]
    pub bundle: String,
    /// Its size, in bytes.
    #[prost(uint64, tag = "3")]
    pub length: u64,
    /// The agent that ran the attempts.
    #[prost(message, required, tag = "4")]
    pub agent: AgentId,
    /// Whose logs are in it, in order.
    #[prost(message, repeated, tag = "5")]
    pub attempts: Vec<Logged>,
}

/// See [`Fact::LogsDropped`](super::Fact::LogsDropped).
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogsDropped {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The bundle.
    #[prost(string, tag = "2")]
    pub bundle: String,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub why: String,
}
