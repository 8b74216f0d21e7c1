//! What storages hold, whatever it is for: whoever puts, gets or removes it need not tell a checkpoint from an artifact.

use serde::{Deserialize, Serialize};

use crate::{Artifact, Checkpoint, SweepId};

/// A checkpoint or an artifact. Encoded, it is the same as what it is made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message, Serialize, Deserialize)]
pub struct Object {
    /// The sweep of the trial that made it.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt, from 1.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The step of a checkpoint; 0 of an artifact.
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
    /// The name of an artifact; of a checkpoint empty.
    #[prost(string, tag = "70")]
    pub artifact: String,
}

impl Object {
    /// The name of the object in its storage: `swp_…-12@2-step-3-HASH`, of an artifact `swp_…-12@2-artifact-HASH`.
    pub fn name(&self) -> String {
        let Self { sweep, trial, attempt, step, artifact, .. } = self;
        let what = if artifact.is_empty() { format!("step-{step}") } else { "artifact".to_owned() };
        format!("{sweep}-{trial}@{attempt}-{what}-{}", self.hash_text())
    }

    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        hex(&self.hash)
    }

    /// The checkpoint that it is.
    pub fn into_checkpoint(self) -> Checkpoint {
        let Self { sweep, trial, attempt, step, hash, bytes, place, artifact: _ } = self;
        Checkpoint { sweep, trial, attempt, step, hash, bytes, place }
    }

    /// The artifact that it is.
    pub fn into_artifact(self) -> Artifact {
        let Self { sweep, trial, attempt, step: _, hash, bytes, place, artifact: name } = self;
        Artifact { sweep, trial, attempt, hash, bytes, place, name }
    }
}

impl From<Checkpoint> for Object {
    fn from(Checkpoint { sweep, trial, attempt, step, hash, bytes, place }: Checkpoint) -> Self {
        Self { sweep, trial, attempt, step, hash, bytes, place, artifact: String::new() }
    }
}

impl From<Artifact> for Object {
    fn from(Artifact { sweep, trial, attempt, hash, bytes, place, name }: Artifact) -> Self {
        Self { sweep, trial, attempt, step: 0, hash, bytes, place, artifact: name }
    }
}

/// A hash in hexadecimal digits.
pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn checkpoint() -> Checkpoint {
        let (sweep, hash, place) = (SweepId { bits: 7 }, vec![0xa, 0xbc], "shared:1".to_owned());
        Checkpoint { sweep, trial: 12, attempt: 2, step: 3, hash, bytes: 9, place }
    }

    fn artifact() -> Artifact {
        let Checkpoint { sweep, trial, attempt, step: _, hash, bytes, place } = checkpoint();
        Artifact { sweep, trial, attempt, hash, bytes, place, name: "model.pt".into() }
    }

    #[test]
    fn an_object_is_named_by_whose_it_is_by_step_and_by_content() {
        let made = Object::from(checkpoint());
        assert_eq!(made.name(), format!("{}-12@2-step-3-0abc", made.sweep));
        assert_ne!(made.name(), Object { attempt: 3, ..made.clone() }.name());
        assert_eq!(Object::from(artifact()).name(), format!("{}-12@2-artifact-0abc", made.sweep));
    }

    #[test]
    fn what_it_is_made_of_is_written_and_read_as_the_object_itself() {
        let (checkpoint, artifact) = (checkpoint(), artifact());
        for (bytes, object) in [
            (checkpoint.encode_to_vec(), Object::from(checkpoint.clone())),
            (artifact.encode_to_vec(), Object::from(artifact.clone())),
        ] {
            assert_eq!(object.encode_to_vec(), bytes);
            assert_eq!(Object::decode(bytes.as_slice()).expect("decodes"), object);
        }
        assert_eq!(Object::from(checkpoint.clone()).into_checkpoint(), checkpoint);
        assert_eq!(Object::from(artifact.clone()).into_artifact(), artifact);
    }
}
