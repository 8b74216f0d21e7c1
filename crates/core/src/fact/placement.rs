//! What happened to shares, and to places that were taken away.

use heats_domain::SweepId;

/// See [`Fact::QuotaSet`](super::Fact::QuotaSet).
#[derive(Clone, PartialEq, prost::Message)]
pub struct QuotaSet {
    /// Whether it is a project or a user.
    #[prost(enumeration = "QuotaScope", tag = "1")]
    pub scope: i32,
    /// Which.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How many shares it has, where others have one.
    #[prost(uint32, tag = "3")]
    pub weight: u32,
    /// How many trials it may run at once.
    #[prost(uint32, optional, tag = "4")]
    pub parallel: Option<u32>,
    /// How many GPUs it may hold at once.
    #[prost(uint32, optional, tag = "5")]
    pub gpus: Option<u32>,
    /// How many GPU-hours it may use.
    #[prost(double, optional, tag = "6")]
    pub gpu_hours: Option<f64>,
}

/// What a quota is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum QuotaScope {
    /// A project.
    Project = 0,
    /// A user.
    User = 1,
}

impl QuotaScope {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// See [`Fact::QuotaRemoved`](super::Fact::QuotaRemoved).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QuotaRemoved {
    /// Whether it is a project or a user.
    #[prost(enumeration = "QuotaScope", tag = "1")]
    pub scope: i32,
    /// Which.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// See [`Fact::TrialRecalled`](super::Fact::TrialRecalled).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TrialRecalled {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial's number.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt that is to end.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The sweep that its place is for.
    #[prost(message, required, tag = "4")]
    pub by: SweepId,
}
