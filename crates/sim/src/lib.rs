//! A whole sweep in virtual time: the leader's own code, agents that only exist on paper, and a function in
//! place of the training.
//!
//! Pure, like the core: no thread, no clock, no file. One seed replays one run. It carries `heats simulate`,
//! and it is where leases, early stopping and failover meet thousands of times a second. It has no network
//! and no consensus: what those do is to lose, delay and repeat messages, and that it does.

mod agents;
pub mod benchmark;
mod config;
pub mod dialogue;
pub mod replay;
mod report;
mod simulate;
mod suggest;
mod workload;

pub use config::{Faults, SimConfig};
pub use report::{SimError, SimReport, Troubles};
pub use simulate::simulate;
pub use suggest::Suggester;
pub use workload::{Running, Step, Workload};
