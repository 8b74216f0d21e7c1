//! A checkpoint that is complete, as everybody knows it: the catalogue keeps it, messages carry it.

use serde::{Deserialize, Serialize};

use crate::SweepId;
use crate::object::hex;

/// What a trial keeps in a storage for attempts to go on from. Two are the same only where everything but `bytes` is the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The sweep of the trial that made it.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt, from 1: what another attempt makes is another object, whatever is in it.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The step after which it was taken.
    #[prost(uint64, tag = "4")]
    pub step: u64,
    /// The BLAKE3 hash of its manifest, which has the hashes of its files.
    #[prost(bytes = "vec", tag = "5")]
    pub hash: Vec<u8>,
    /// The size of its files, in bytes.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// The storage that it is in: `local:AGENT`, `shared:ID`, `s3:BUCKET/PREFIX`.
    #[prost(string, tag = "7")]
    pub place: String,
}

impl Checkpoint {
    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        hex(&self.hash)
    }
}
