//! The gRPC services. They convert and ask; nothing is decided here.

pub mod agents;
mod catch_up;
pub mod cluster;
pub mod events;
pub mod logs;
mod lookup;
pub mod raft;
pub mod series;
pub mod sweeps;
