//! The vocabulary of Heats: ids, values, the search space, the sweep file, outcomes.
//!
//! Parses and validates; decides nothing. No clock, no file system, no network: text comes in, values go out.

mod archive;
pub mod artifact;
pub mod check;
pub mod checkpoint;
pub mod command;
pub mod document;
pub mod expr;
pub mod ids;
pub mod machine;
pub mod metrics;
pub mod object;
pub mod outcome;
pub mod params;
pub mod provenance;
pub mod resources;
pub mod space;
pub mod spec;
pub mod units;

pub use archive::{ArchiveName, NotAName};
pub use artifact::{
    ARTIFACT_NAME_MAX, ARTIFACT_WHY_MAX, ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX, Artifact, ArtifactLimit, NotKept,
    is_artifact_name,
};
pub use checkpoint::Checkpoint;
pub use document::{Fault, Faults, Format};
pub use expr::Expr;
pub use ids::{AgentId, SweepId, TokenId, TrialId};
pub use machine::Machine;
pub use metrics::{Direction, Metric, Metrics};
pub use object::Object;
pub use outcome::{FailureKind, StopReason, TrialState};
pub use params::{Params, Value};
pub use provenance::{Digest, Environment, Package};
pub use resources::{Grant, Inventory};
pub use space::{Domain, Parameter, Space};
pub use spec::SweepSpec;
