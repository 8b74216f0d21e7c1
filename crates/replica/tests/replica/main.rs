//! The replica from outside: single nodes, clusters in memory, kills, old directories, the catalogue.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod backup;
mod catalogue;
mod cluster;
mod common;
mod golden;
mod kill;
mod members;
mod net;
mod renewal;
mod single;
