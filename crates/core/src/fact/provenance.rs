//! What trials ran in, each environment and each machine once.

use heats_domain::{Digest, Environment, Inventory};

/// See [`Fact::EnvironmentRecorded`](super::Fact::EnvironmentRecorded).
#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvironmentRecorded {
    /// What attempts call it by.
    #[prost(message, required, tag = "1")]
    pub name: Digest,
    /// What it is.
    #[prost(message, required, tag = "2")]
    pub environment: Environment,
}

/// See [`Fact::HardwareRecorded`](super::Fact::HardwareRecorded).
#[derive(Clone, PartialEq, prost::Message)]
pub struct HardwareRecorded {
    /// What attempts call it by.
    #[prost(message, required, tag = "1")]
    pub name: Digest,
    /// What it is: see [`heats_domain::provenance::hardware`].
    #[prost(message, required, tag = "2")]
    pub hardware: Inventory,
}
