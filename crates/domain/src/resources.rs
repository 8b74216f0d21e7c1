//! What an agent offers and what a lease takes from it, in whole units.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The fact by which an agent says what runs containers there: `docker 27.1.0`.
pub const CONTAINER_FACT: &str = "container";
/// Into how many parts a device can be divided among trials.
pub const GPU_PARTS: u32 = 100;

/// A GPU that an agent offers, or one slice of a GPU that is divided by its driver.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Gpu {
    /// Its number on this agent, which leases name.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// The model's name, for example `NVIDIA H100`.
    #[prost(string, tag = "2")]
    pub model: String,
    /// Device memory in bytes.
    #[prost(uint64, tag = "3")]
    pub memory: u64,
    /// The driver's name for it, the same after a restart: what the visibility variable takes. Empty where there is none.
    #[prost(string, tag = "4")]
    #[serde(default)]
    pub uuid: String,
    /// The profile, where it is a slice (`1g.10gb`); empty for a whole device.
    #[prost(string, tag = "5")]
    #[serde(default)]
    pub slice: String,
}

/// The longest name of a host.
const HOST_MAX: usize = 253;

impl Rendezvous {
    /// Whether there is an address, and ports that exist.
    pub fn is_sound(&self) -> bool {
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '%' | '_');
        let is_address = (1..=HOST_MAX).contains(&self.address.len()) && self.address.chars().all(is_host);
        let past = u64::from(self.first_port) + u64::from(self.ports);
        is_address && self.first_port > 0 && self.ports > 0 && past <= 1 << 16
    }

    /// Whether nobody on another machine reaches this address.
    pub fn is_local(&self) -> bool {
        self.address == "localhost" || self.address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl Gpu {
    /// What people call the model: the first word of its name with a digit in it (`H100` of `NVIDIA H100 80GB HBM3`, `A100` of
    /// `NVIDIA A100-SXM4-40GB`), or all of it where there is none.
    pub fn short_name(&self) -> &str {
        let words = || self.model.split([' ', '-']);
        words().find(|word| word.contains(|c: char| c.is_ascii_digit())).unwrap_or(&self.model)
    }
}

/// Where the members of a trial that spans machines find the one that leads them, when that one is on this machine.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Rendezvous {
    /// The host name or IP address at which the other machines reach this one.
    #[prost(string, tag = "1")]
    pub address: String,
    /// The first of the ports that are kept for it.
    #[prost(uint32, tag = "2")]
    pub first_port: u32,
    /// How many these are.
    #[prost(uint32, tag = "3")]
    pub ports: u32,
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
    /// Disk in bytes that trials may fill; 0 where the agent does not say.
    #[prost(uint64, tag = "4")]
    #[serde(default)]
    pub disk: u64,
    /// What its operator says about it.
    #[prost(btree_map = "string, string", tag = "5")]
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it found out about itself: `os`, `arch`, `kernel`, `distribution`, `cpu`, `driver`, `cuda`,
    /// `container`.
    #[prost(btree_map = "string, string", tag = "6")]
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Where it is reached by the members of trials that span machines; nothing where it has no part in such trials.
    #[prost(message, optional, tag = "60")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendezvous: Option<Rendezvous>,
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
    /// Disk in bytes; 0 where the sweep asks for none.
    #[prost(uint64, tag = "4")]
    #[serde(default)]
    pub disk: u64,
    /// How many of the [`GPU_PARTS`] parts of its one GPU it holds; 0 where it holds whole ones.
    #[prost(uint32, tag = "5")]
    #[serde(default)]
    pub gpu_parts: u32,
}

impl Grant {
    /// The GPUs that it holds, in hundredths of one.
    pub fn gpu_hundredths(&self) -> u64 {
        match self.gpu_parts {
            0 => self.gpus.len() as u64 * u64::from(GPU_PARTS),
            parts => u64::from(parts),
        }
    }

    /// The GPU time that it stands for when it is held for `ms`, in milliseconds of one GPU.
    pub fn gpu_ms(&self, ms: u64) -> u64 {
        ms.saturating_mul(self.gpu_hundredths()) / u64::from(GPU_PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_called_by_the_word_that_people_call_it_by() {
        let short = |model: &str| Gpu { model: model.into(), ..Gpu::default() }.short_name().to_owned();
        for (model, name) in [
            ("NVIDIA H100 80GB HBM3", "H100"),
            ("NVIDIA A100-SXM4-40GB", "A100"),
            ("Tesla T4", "T4"),
            ("NVIDIA GeForce RTX 4090", "4090"),
            ("AMD Instinct MI300X", "MI300X"),
            ("H100", "H100"),
            ("fake", "fake"),
        ] {
            assert_eq!(short(model), name);
        }
    }

    #[test]
    fn a_rendezvous_has_an_address_that_is_one_and_ports_that_exist() {
        let at = |address: &str, first_port, ports| Rendezvous { address: address.into(), first_port, ports };
        for sound in [at("10.0.0.6", 29_500, 64), at("fe80::1%eth0", 65_535, 1), at("node-7.cluster", 1, 65_535)] {
            assert!(sound.is_sound(), "{sound:?}");
        }
        let long = "x".repeat(HOST_MAX + 1);
        for odd in
            [at("", 29_500, 64), at("a b", 29_500, 64), at(&long, 29_500, 64), at("a", 0, 64), at("a", 29_500, 0)]
        {
            assert!(!odd.is_sound(), "{odd:?}");
        }
        assert!(!at("a", 65_500, 64).is_sound() && !at("a", u32::MAX, u32::MAX).is_sound());
        let local = |address: &str| at(address, 1, 1).is_local();
        assert!(local("127.0.0.1") && local("::1") && local("localhost") && !local("10.0.0.6") && !local("node"));
    }

    #[test]
    fn the_time_of_a_share_is_its_part_of_the_device() {
        let whole = Grant { gpus: vec![0, 3], ..Grant::default() };
        let share = Grant { gpus: vec![1], gpu_parts: 25, ..Grant::default() };
        assert_eq!((whole.gpu_ms(1_000), share.gpu_ms(1_000), Grant::default().gpu_ms(1_000)), (2_000, 250, 0));
    }
}
