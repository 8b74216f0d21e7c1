//! Compiles `proto/` without protoc. Messages that are the domain's own types are mapped to them, so that
//! the wire has no second copy of a configuration, a metric or an id.

use std::path::PathBuf;

const FILES: [&str; 7] = [
    "heats/v1/common.proto",
    "heats/v1/archives.proto",
    "heats/v1/agents.proto",
    "heats/v1/sweeps.proto",
    "heats/v1/cluster.proto",
    "heats/v1/tokens.proto",
    "optuna.proto",
];
const DOMAIN: [(&str, &str); 18] = [
    ("SweepId", "ids::SweepId"),
    ("AgentId", "ids::AgentId"),
    ("TokenId", "ids::TokenId"),
    ("Params", "params::Params"),
    ("Metric", "metrics::Metric"),
    ("Metrics", "metrics::Metrics"),
    ("Gpu", "resources::Gpu"),
    ("Inventory", "resources::Inventory"),
    ("Rendezvous", "resources::Rendezvous"),
    ("Grant", "resources::Grant"),
    ("StopReason", "outcome::StopReason"),
    ("Checkpoint", "checkpoint::Checkpoint"),
    ("Artifact", "artifact::Artifact"),
    ("Object", "object::Object"),
    ("NotKept", "artifact::NotKept"),
    ("Digest", "provenance::Digest"),
    ("Package", "provenance::Package"),
    ("Environment", "provenance::Environment"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("heats.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Consensus messages and archives are large, and are handed on as they are.
    let mut build = tonic_prost_build::configure().bytes(".heats.v1.RaftMessage").bytes(".heats.v1.ArchivePiece");
    for (message, path) in DOMAIN {
        build = build.extern_path(format!(".heats.v1.{message}"), format!("::heats_domain::{path}"));
    }
    // Each trial is encoded where it is found: a second list of all of them is not made.
    for (message, path) in [("GetTrialReply", "EncodedTrial"), ("GetTrialsReply", "EncodedTrials")] {
        build = build.extern_path(format!(".optuna.{message}"), format!("crate::encoded::{path}"));
    }
    build.compile_fds(descriptors)?;
    Ok(())
}
