//! What trials keep for people: the names and the limits, and what is said of a file that is not kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SweepId;
use crate::object::hex;
use crate::units::Bytes;

/// How many artifacts a trial keeps at most.
pub const ARTIFACTS_MAX: usize = 64;
/// How large they may be together, in bytes.
pub const ARTIFACTS_BYTES_MAX: u64 = 64 << 30;
/// The longest name of an artifact, in bytes: what file systems take.
pub const ARTIFACT_NAME_MAX: usize = 255;
/// The longest reason why a file is not kept, in bytes.
pub const ARTIFACT_WHY_MAX: usize = 512;

/// Whether an artifact may have this name: that of a file, and of none that is hidden.
pub fn is_artifact_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= ARTIFACT_NAME_MAX
        && !name.starts_with('.')
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

/// A limit of what a trial keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArtifactLimit {
    /// [`ARTIFACTS_MAX`]
    Files,
    /// [`ARTIFACTS_BYTES_MAX`]
    Bytes,
}

impl ArtifactLimit {
    /// The limit that a file of `bytes` is over, beside others of these sizes that the trial keeps under other names; `None` where
    /// it has room.
    pub fn hit(bytes: u64, others: impl IntoIterator<Item = u64>) -> Option<Self> {
        let (files, all) =
            others.into_iter().fold((0, bytes), |(files, all), bytes| (files + 1, all.saturating_add(bytes)));
        match (files >= ARTIFACTS_MAX, all > ARTIFACTS_BYTES_MAX) {
            (true, _) => Some(Self::Files),
            (false, true) => Some(Self::Bytes),
            (false, false) => None,
        }
    }

    /// The limit in bytes; 0 where it is none of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Files => 0,
            Self::Bytes => ARTIFACTS_BYTES_MAX,
        }
    }
}

/// As a fragment: what a file that is over it is.
impl fmt::Display for ArtifactLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files => write!(f, "over the limit of {ARTIFACTS_MAX} files"),
            Self::Bytes => {
                let limit = Bytes { count: ARTIFACTS_BYTES_MAX }.rounded();
                write!(f, "over the limit of {limit} for all files together")
            }
        }
    }
}

/// A file that a trial keeps in a storage for people, under a name. Two are the same only where everything but `bytes` is the
/// same. Its tags are those of a checkpoint where it has the same fields: see [`crate::Object`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message, Serialize, Deserialize)]
pub struct Artifact {
    /// The sweep of the trial that made it.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt, from 1.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The BLAKE3 hash of its manifest, which has its own.
    #[prost(bytes = "vec", tag = "5")]
    pub hash: Vec<u8>,
    /// Its size, in bytes.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// The storage that it is in: `local:AGENT`, `shared:ID`, `s3:BUCKET/PREFIX`.
    #[prost(string, tag = "7")]
    pub place: String,
    /// The name that its trial gave it.
    #[prost(string, tag = "70")]
    pub name: String,
}

impl Artifact {
    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        hex(&self.hash)
    }
}

/// That a file which a trial made for people is not kept.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct NotKept {
    /// The sweep of the trial that made it.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// The trial.
    #[prost(uint32, tag = "2")]
    pub trial: u32,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The file's name.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Its size, in bytes.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// Why, for people, as a fragment.
    #[prost(string, tag = "6")]
    pub why: String,
    /// What all artifacts of the trial may have together, in bytes, where that is what it is over; otherwise 0.
    #[prost(uint64, tag = "7")]
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_named_as_a_file_that_is_not_hidden() {
        for good in ["model.pt", "confusion matrix.png", "modèle"] {
            assert!(is_artifact_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".new", "a/b", "a\nb", &"x".repeat(256)] {
            assert!(!is_artifact_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_is_over_a_limit_where_the_others_leave_it_no_room() {
        let hit = |bytes, others: &[u64]| ArtifactLimit::hit(bytes, others.iter().copied());
        assert_eq!(hit(ARTIFACTS_BYTES_MAX, &[]), None);
        assert_eq!(hit(ARTIFACTS_BYTES_MAX, &[1]), Some(ArtifactLimit::Bytes));
        assert_eq!(hit(u64::MAX, &[u64::MAX]), Some(ArtifactLimit::Bytes));
        assert_eq!(hit(1, &[0; ARTIFACTS_MAX - 1]), None);
        assert_eq!(hit(0, &[0; ARTIFACTS_MAX]), Some(ArtifactLimit::Files));
        assert_eq!(ArtifactLimit::Bytes.to_string(), "over the limit of 64.0 GiB for all files together");
    }
}
