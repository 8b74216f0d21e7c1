//! Whole clusters in one process, real but for their machines: consensus, its log, snapshots, the leader's decisions,
//! leases and services are the product's own; network, disks, clocks, agents and clients are simulated, and fail. One
//! seed decides everything and replays it, bit for bit.
//!
//! Each seed runs in a process of its own. See `README.md` here for how to run many, or one again.

mod agent;
mod chance;
mod check;
mod client;
mod coordinator;
mod faults;
mod host;
mod machine;
mod net;
mod operator;
mod program;
mod quarantine;
mod runs;
mod services;
mod trace;
mod training;
mod world;

#[test]
fn promises_are_kept_whatever_happens() {
    runs::many();
}

#[test]
fn a_seed_replays_bit_for_bit() {
    runs::twice();
}

#[test]
#[ignore = "one seed, HEATS_SIM_SEED; the others run it"]
fn one() {
    runs::one();
}
