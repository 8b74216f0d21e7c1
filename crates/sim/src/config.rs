//! How large the virtual cluster is, and what befalls it.

use heats_domain::Inventory;

/// A virtual cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct SimConfig {
    /// How many agents there are.
    pub agents: u32,
    /// What each of them offers.
    pub inventory: Inventory,
    /// What every draw of the run follows from; the sweep has its own seed.
    pub seed: u64,
    /// How long an agent may be silent before its leases are over, in milliseconds.
    pub lease_ms: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// After this many steps of training the run is given up: the workload never ends.
    pub steps_max: u64,
}

/// What goes wrong, and how often. Mean times are in virtual milliseconds; draws are exponential.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Faults {
    /// The mean time between the deaths of one agent: its processes and its disk are gone.
    pub death_every_ms: Option<u64>,
    /// The mean time between cuts of one agent's stream: its processes run on.
    pub cut_every_ms: Option<u64>,
    /// The mean time between changes of the leader.
    pub failover_every_ms: Option<u64>,
    /// How likely each message of an agent is to arrive a second time, some time later.
    pub repeat: f64,
}

impl Default for SimConfig {
    /// Four agents of one slot, 30 seconds of patience, nothing goes wrong.
    fn default() -> Self {
        Self {
            agents: 4,
            inventory: Inventory { cpus: 1, memory: 0, gpus: Vec::new(), ..Inventory::default() },
            seed: 0,
            lease_ms: 30_000,
            faults: Faults::default(),
            steps_max: 100_000_000,
        }
    }
}
