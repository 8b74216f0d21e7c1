//! The gRPC services. They convert and ask; nothing is decided here.

pub mod agents;
pub mod events;
pub mod logs;
mod lookup;
pub mod sweeps;
