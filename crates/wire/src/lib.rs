//! The gRPC services and messages of `proto/`, and every conversion between them and the domain.
//!
//! Holds no logic: nothing is decided or checked here beyond what a conversion needs.

pub mod bundle;
pub mod convert;
pub mod encoded;
pub mod excerpt;
pub mod notice;
pub mod sentence;
pub mod series;
pub mod study;
pub mod views;

#[expect(
    missing_docs,
    clippy::doc_markdown,
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated from proto/, which carries the documentation; messages are made, sent and dropped one by one"
)]
pub mod v1 {
    tonic::include_proto!("heats.v1");
}

#[expect(
    missing_docs,
    clippy::allow_attributes,
    reason = "generated from proto/optuna.proto, which carries the documentation"
)]
pub mod optuna {
    tonic::include_proto!("optuna");
}

/// What the data of a large message is held in.
pub use bytes::Bytes;

/// The metadata key by which a user's question says what it may be answered from.
pub const READ_KEY: &str = "heats-read";
/// Its value for: from what the node that is asked has applied, which may be behind.
pub const READ_STALE: &str = "stale";

/// The metadata key by which an agent of another cluster is told this one's lineage.
pub const LINEAGE_KEY: &str = "heats-lineage";

/// The encoded file descriptors of `proto/`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/heats.v1.bin"));
