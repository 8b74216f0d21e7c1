//! The durable log: entries, votes and what is known to be committed, in files of our own.
//!
//! Why not a crate: docs/adr/0001-raft-log.md.

mod contents;
mod disk;
mod open;
mod store;
mod writer;

#[cfg(test)]
mod faults;
#[cfg(any(test, feature = "testing"))]
mod power;
#[cfg(test)]
mod tests;

pub(crate) use disk::sync_dir;
pub use disk::{Disk, RealDisk};
#[cfg(test)]
pub(crate) use faults::{Fault, FaultyDisk};
pub(crate) use open::{FORMAT, LogSettings, create};
#[cfg(any(test, feature = "testing"))]
pub use power::PowerDisk;
pub(crate) use store::Log;
