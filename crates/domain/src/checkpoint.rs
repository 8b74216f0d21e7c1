//! A checkpoint or an artifact that is complete, as everybody knows it: the catalogue keeps it, messages carry it.

use serde::{Deserialize, Serialize};

use crate::SweepId;

/// What a trial keeps in a storage: a checkpoint, from which attempts go on, or an artifact, which is for people. Two are the
/// same object only where everything but `bytes` is the same.
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
    /// The step after which it was taken; 0 of an artifact.
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
    /// The name that its trial gave it, where it is an artifact; of a checkpoint empty.
    #[prost(string, tag = "70")]
    #[serde(default)]
    pub artifact: String,
}

impl Checkpoint {
    /// The name of the object in its storage: `swp_…-12@2-step-3-HASH`, of an artifact `swp_…-12@2-artifact-HASH`.
    pub fn name(&self) -> String {
        let Self { sweep, trial, attempt, step, artifact, .. } = self;
        let what = if artifact.is_empty() { format!("step-{step}") } else { "artifact".to_owned() };
        format!("{sweep}-{trial}@{attempt}-{what}-{}", self.hash_text())
    }

    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_whose_it_is_by_step_and_by_content() {
        let place = "shared:1".to_owned();
        let made = Checkpoint {
            sweep: SweepId { bits: 7 },
            trial: 12,
            attempt: 2,
            step: 3,
            hash: vec![0xa, 0xbc],
            bytes: 9,
            place,
            artifact: String::new(),
        };
        assert_eq!(made.name(), format!("{}-12@2-step-3-0abc", made.sweep));
        assert_ne!(made.name(), Checkpoint { attempt: 3, ..made.clone() }.name());
        let artifact = Checkpoint { artifact: "model.pt".into(), step: 0, ..made };
        assert_eq!(artifact.name(), format!("{}-12@2-artifact-0abc", artifact.sweep));
    }
}
