//! The durable log: entries, votes and what is known to be committed, in files of our own.
//!
//! Why not a crate: docs/adr/0001-raft-log.md.

mod contents;
mod open;
mod store;
mod tidy;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use open::{FORMAT, LogSettings, create};
pub(crate) use store::Log;
