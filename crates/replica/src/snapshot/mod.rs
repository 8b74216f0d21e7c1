//! Snapshots: the state's records in a file of our own, which the log before them can be dropped for.

mod file;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use file::{digest_of, read, scan};
pub(crate) use store::{Loaded, SnapshotFile, SnapshotStore};
