//! What happened to the checkpoints and artifacts of trials.

use heats_domain::{Artifact, Checkpoint, NotKept, Object};

/// See [`Fact::CheckpointSaved`](super::Fact::CheckpointSaved).
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointSaved {
    /// What is where.
    #[prost(message, required, tag = "1")]
    pub checkpoint: Checkpoint,
}

/// See [`Fact::CheckpointDropped`](super::Fact::CheckpointDropped).
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointDropped {
    /// What is to be removed from where.
    #[prost(message, required, tag = "1")]
    pub checkpoint: Checkpoint,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// See [`Fact::CheckpointErased`](super::Fact::CheckpointErased).
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointErased {
    /// What is gone: a checkpoint or an artifact.
    #[prost(message, required, tag = "1")]
    pub object: Object,
}

/// See [`Fact::ArtifactKept`](super::Fact::ArtifactKept).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ArtifactKept {
    /// What is where.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
}

/// See [`Fact::ArtifactDropped`](super::Fact::ArtifactDropped).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ArtifactDropped {
    /// What is to be removed from where.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub why: String,
}

/// See [`Fact::ArtifactNotKept`](super::Fact::ArtifactNotKept).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ArtifactNotKept {
    /// Which file, and why.
    #[prost(message, required, tag = "1")]
    pub not_kept: NotKept,
}
