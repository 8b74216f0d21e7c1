//! What a trial ran in, as it was found: the packages of its environment, and the name that any such finding has by its content.
//!
//! The machine is found as well; it is an [`Inventory`] without what its operator says about it.

use std::fmt;
use std::str::FromStr;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::Inventory;
use crate::resources::CONTAINER_FACT;

/// The most text of an environment that is recorded, in bytes: some thousand packages.
pub const ENVIRONMENT_MAX: usize = 256 << 10;
/// The longest summary or name of an image, in bytes.
const SUMMARY_MAX: usize = 1_024;

/// Names something by what it is: the first half of a BLAKE3 hash. What is the same has the same name everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
#[prost(skip_debug)]
pub struct Digest {
    /// The first eight bytes.
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    /// The next eight.
    #[prost(fixed64, tag = "2")]
    pub low: u64,
}

/// A text is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not 32 hexadecimal digits")]
pub struct NotADigest(String);

impl Digest {
    /// The name of an environment.
    pub fn of_environment(environment: &Environment) -> Self {
        Self::of(b"environment\0", environment)
    }

    /// The name of a machine.
    pub fn of_hardware(hardware: &Inventory) -> Self {
        Self::of(b"hardware\0", hardware)
    }

    /// The encoding is the same for the same content: its lists are lists, and its maps are in order.
    fn of(kind: &[u8], content: &impl Message) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind).update(&content.encode_to_vec());
        let [high, low] = [0, 8].map(|from| {
            let bytes = hasher.finalize();
            bytes.as_bytes()[from..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
        });
        Self { high, low }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or_else(|| NotADigest(text.to_owned()))?;
        Ok(Self { high: (bits >> 64) as u64, low: bits as u64 })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A package that is installed in an environment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message, Serialize, Deserialize)]
pub struct Package {
    /// Its name, in small letters.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Where it is from, where the installation says so: an address with its commit or hash, or the build of a conda package.
    #[prost(string, tag = "3")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
}

/// An environment, as it was found where a trial ran in it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
pub struct Environment {
    /// The interpreter and a hash of all packages, in one line; empty where no Python was found.
    #[prost(string, tag = "1")]
    pub summary: String,
    /// What is installed, by name.
    #[prost(message, repeated, tag = "2")]
    pub packages: Vec<Package>,
    /// How many more packages there are than are listed.
    #[prost(uint32, tag = "3")]
    #[serde(default)]
    pub left_out: u32,
    /// The image that it is in, with its digest; empty where it is in none.
    #[prost(string, tag = "4")]
    #[serde(default)]
    pub image: String,
}

impl Environment {
    /// The same in at most about [`ENVIRONMENT_MAX`] bytes: what is over that is counted and not listed.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        clip(&mut self.summary);
        clip(&mut self.image);
        // Its place in the list takes some bytes as well.
        let size = |Package { name, version, origin }: &Package| name.len() + version.len() + origin.len() + 8;
        let sums = self.packages.iter().scan(0, |sum, package| {
            *sum += size(package);
            Some(*sum)
        });
        let listed = sums.take_while(|sum| *sum <= ENVIRONMENT_MAX).count();
        let over = self.packages.len().saturating_sub(listed);
        self.packages.truncate(listed);
        self.left_out = self.left_out.saturating_add(over as u32);
        self
    }
}

fn clip(text: &mut String) {
    if text.len() > SUMMARY_MAX {
        text.truncate(text.floor_char_boundary(SUMMARY_MAX));
    }
}

/// The machine that `inventory` describes: without labels, which are its operator's words; without its disk, of which there is
/// something else free at every start; and without how trials are kept apart on it, and what may run containers.
pub fn hardware(inventory: &Inventory) -> Inventory {
    let Inventory { cpus, memory, gpus, disk: _, labels: _, facts, rendezvous: _ } = inventory;
    let mut facts = facts.clone();
    facts.remove("isolation");
    facts.remove(CONTAINER_FACT);
    Inventory { cpus: *cpus, memory: *memory, gpus: gpus.clone(), facts, ..Inventory::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into(), origin: String::new() }
    }

    #[test]
    fn what_is_the_same_has_the_same_name_and_what_differs_in_anything_has_another() {
        let of = |packages: Vec<Package>, summary: &str| {
            Digest::of_environment(&Environment { summary: summary.into(), packages, ..Environment::default() })
        };
        let first = of(vec![package("numpy", "2.0")], "cpython 3.12.1");
        assert_eq!(first, of(vec![package("numpy", "2.0")], "cpython 3.12.1"));
        assert_ne!(first, of(vec![package("numpy", "2.0.1")], "cpython 3.12.1"));
        assert_ne!(first, of(vec![package("numpy", "2.0")], "cpython 3.12.2"));
        assert_ne!(of(Vec::new(), ""), Digest::of_hardware(&Inventory::default()), "of nothing, but of another kind");
        assert_eq!(first.to_string().parse(), Ok(first));
        for bad in ["", "12", "+0000000000000000000000000000001", "zz000000000000000000000000000000"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_environment_without_end_is_cut_and_says_by_how_much() {
        let packages: Vec<Package> =
            (0..10_000).map(|n| package(&format!("package-{n:05}"), &"1".repeat(40))).collect();
        let whole = Environment { packages, summary: "é".repeat(SUMMARY_MAX), ..Environment::default() };
        let cut = whole.clone().bounded();
        assert!(cut.encoded_len() < ENVIRONMENT_MAX + SUMMARY_MAX, "{}", cut.encoded_len());
        assert_eq!(cut.packages.len() + cut.left_out as usize, 10_000);
        assert!(cut.packages.len() > 3_000 && cut.packages[..] == whole.packages[..cut.packages.len()]);
        assert_eq!(cut.clone().bounded(), cut);
    }

    #[test]
    fn a_machine_is_the_same_whatever_is_free_on_its_disk_and_whatever_its_operator_calls_it() {
        let machine = |cpus, disk, rack: &str| Inventory {
            cpus,
            disk,
            labels: [("rack".to_owned(), rack.to_owned())].into(),
            facts: [("os".to_owned(), "linux".to_owned())].into(),
            ..Inventory::default()
        };
        assert_eq!(hardware(&machine(4, 1, "a")), hardware(&machine(4, 2, "b")));
        assert_ne!(hardware(&machine(4, 1, "a")), hardware(&machine(8, 1, "a")));
        assert_eq!(hardware(&machine(4, 1, "a")).facts["os"], "linux");
    }
}
