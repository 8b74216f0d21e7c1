//! The gRPC services. They convert and ask; nothing is decided here.

pub mod agents;
pub mod archives;
mod artifacts;
mod backup;
mod bundles;
pub mod cluster;
pub mod events;
mod fleet;
mod join;
pub mod logs;
mod lookup;
mod notices;
mod placing;
pub mod raft;
pub mod reading;
pub mod series;
mod studies;
pub mod sweeps;
pub mod tokens;
