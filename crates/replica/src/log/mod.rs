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
#[cfg(test)]
mod tests;

pub(crate) use disk::{Disk, RealDisk, sync_dir};
#[cfg(test)]
pub(crate) use faults::{Fault, FaultyDisk};
pub(crate) use open::{FORMAT, LogSettings, create};
pub(crate) use store::Log;
