//! What happened to sweeps.

use heats_domain::{Params, SweepId};

use crate::prior::Prior;

/// See [`Fact::SweepSubmitted`](super::Fact::SweepSubmitted).
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
    /// The archive of the code that its trials run in; empty where they run in the folder as it is.
    #[prost(string, tag = "9")]
    pub code: String,
    /// Who submitted it, as shares and quotas count; empty where that is not known.
    #[prost(string, tag = "13")]
    pub user: String,
}

/// See [`Fact::SweepPaused`](super::Fact::SweepPaused).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepPaused {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepResumed`](super::Fact::SweepResumed).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepResumed {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepDrained`](super::Fact::SweepDrained).
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

/// See [`Fact::SweepEdited`](super::Fact::SweepEdited).
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
    /// The new priority, where it changed.
    #[prost(uint32, optional, tag = "5")]
    pub priority: Option<u32>,
}

/// See [`Fact::SweepEnded`](super::Fact::SweepEnded).
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

/// See [`Fact::SweepReopened`](super::Fact::SweepReopened).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepReopened {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::SweepRemoved`](super::Fact::SweepRemoved).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SweepRemoved {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
}

/// See [`Fact::PointEnqueued`](super::Fact::PointEnqueued).
#[derive(Clone, PartialEq, prost::Message)]
pub struct PointEnqueued {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The values that the user gave; the searcher fills in the rest.
    #[prost(message, required, tag = "2")]
    pub params: Params,
}
