//! What an agent offers and what a lease takes from it, in whole units.

use serde::{Deserialize, Serialize};

/// A GPU that an agent offers.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Gpu {
    /// The index that the driver's visibility variable takes.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// The model's name, for example `NVIDIA H100`.
    #[prost(string, tag = "2")]
    pub model: String,
    /// Device memory in bytes.
    #[prost(uint64, tag = "3")]
    pub memory: u64,
}

/// Everything that an agent offers.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Inventory {
    /// Processors.
    #[prost(uint32, tag = "1")]
    pub cpus: u32,
    /// Memory in bytes.
    #[prost(uint64, tag = "2")]
    pub memory: u64,
    /// GPUs, by index.
    #[prost(message, repeated, tag = "3")]
    pub gpus: Vec<Gpu>,
}

/// What one lease holds of one agent's inventory.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Grant {
    /// Processors.
    #[prost(uint32, tag = "1")]
    pub cpus: u32,
    /// Memory in bytes; 0 where the sweep asks for none.
    #[prost(uint64, tag = "2")]
    pub memory: u64,
    /// The indices of the GPUs.
    #[prost(uint32, repeated, tag = "3")]
    pub gpus: Vec<u32>,
}
