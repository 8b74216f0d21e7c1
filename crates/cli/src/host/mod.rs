//! A coordinator and agents within this process: what `run` and `dev` are. The same parts as a cluster's, with
//! one coordinator; commands talk to it over its address like to any other.

pub mod agent;
pub mod coordinator;
pub mod folder;
mod hardware;
pub mod log;
mod renewals;
mod signals;
mod start;

pub use hardware::{HardwareArgs, Offer, detect};
pub use renewals::Renewals;
pub use signals::Signals;
pub use start::{Host, HostOptions, Listen, shares};

/// The hidden first argument that makes this program the supervisor of one trial.
pub const SHIM: &str = "__shim";
