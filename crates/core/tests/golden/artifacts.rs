//! Files that trials keep for people, and those that are not kept.

use heats_core::fact::{ArtifactDropped, ArtifactKept, ArtifactNotKept, CheckpointErased, Fact};
use heats_domain::{Artifact, NotKept, SweepId};

pub const V19: &[u8] = include_bytes!("entry-v19.bin");

/// The kinds of facts and the field that versions before it did not have.
pub fn kept() -> Vec<Fact> {
    let (sweep, place, name) = (SweepId { bits: 5 }, "s3:ckpt/team".to_owned(), "model.pt".to_owned());
    let artifact = Artifact { sweep, trial: 7, attempt: 2, hash: vec![0xab; 32], bytes: 1 << 20, place, name };
    vec![
        Fact::ArtifactKept(ArtifactKept { artifact: artifact.clone() }),
        Fact::ArtifactDropped(ArtifactDropped { artifact: artifact.clone(), why: "the sweep was removed".into() }),
        Fact::CheckpointErased(CheckpointErased { object: artifact.into() }),
    ]
}

pub const V24: &[u8] = include_bytes!("entry-v24.bin");

/// The kind of fact that versions before it did not have.
pub fn not_kept() -> Vec<Fact> {
    let (sweep, name, why) = (SweepId { bits: 5 }, "model.pt".to_owned(), "over the limit".to_owned());
    let not_kept = NotKept { sweep, trial: 7, attempt: 2, name, bytes: 65 << 30, why, limit: 64 << 30 };
    vec![Fact::ArtifactNotKept(ArtifactNotKept { not_kept })]
}
