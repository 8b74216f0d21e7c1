//! What was told to whom outside of the cluster.

use heats_domain::SweepId;

/// See [`Fact::NoticeDelivered`](super::Fact::NoticeDelivered).
#[derive(Clone, PartialEq, prost::Message)]
pub struct NoticeDelivered {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// Which of its webhooks, from 0.
    #[prost(uint32, tag = "2")]
    pub hook: u32,
    /// The notice: the place in the sweep's journal of the fact that it tells of. Nothing up to there is told any more.
    #[prost(uint32, tag = "3")]
    pub place: u32,
}

/// See [`Fact::HookGivenUp`](super::Fact::HookGivenUp).
#[derive(Clone, PartialEq, prost::Message)]
pub struct HookGivenUp {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// Which of its webhooks, from 0.
    #[prost(uint32, tag = "2")]
    pub hook: u32,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// See [`Fact::NoticeRead`](super::Fact::NoticeRead).
#[derive(Clone, PartialEq, prost::Message)]
pub struct NoticeRead {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// Who has read, by the name that they gave themselves.
    #[prost(string, tag = "2")]
    pub reader: String,
    /// Up to which notice: its place in the sweep's journal.
    #[prost(uint32, tag = "3")]
    pub place: u32,
}
