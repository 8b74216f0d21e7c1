//! The step that holds the house's layers: which crate may depend on which, and which outside crates stay where.
//!
//! Reads manifests only; what the code of a pure crate may call is in that crate's `clippy.toml`.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::findings::Findings;
use crate::repo::Repo;
use crate::step::Step;
use crate::tally::Tally;
use crate::tree::Tree;

/// Every package and its layer: one may depend on lower layers only. `docs/ARCHITECTURE.md` has the picture.
const LAYERS: [(&str, u8); 16] = [
    ("heats-domain", 0),
    ("heats-search", 1),
    ("heats-tls", 1),
    ("heats-core", 2),
    ("heats-wire", 2),
    ("heats-replica", 3),
    ("heats-client", 3),
    ("heats-sim", 3),
    ("heats-coordinator", 4),
    ("heats-agent", 4),
    ("heats", 5),
    ("heats-testkit", 5),
    ("xtask", 5),
    ("heats-tests", 6),
    ("heats-benches", 6),
    ("heats-quality", 6),
];
/// The one edge within a layer: the wire converts the core's facts and views.
const BESIDE: [(&str, &str); 1] = [("heats-wire", "heats-core")];
/// Packages that decide, and therefore have no runtime, no network and no clock.
const PURE: [&str; 4] = ["heats-domain", "heats-search", "heats-core", "heats-sim"];
/// What a pure package must not depend on.
const IMPURE: [&str; 11] =
    ["tokio", "tokio-stream", "futures", "tonic", "hyper", "axum", "rustix", "nix", "jiff", "tracing", "tempfile"];
/// Outside crates that stay inside one package, with the reason.
const KEPT: [(&str, &str, &str); 3] = [
    ("openraft", "heats-replica", "a new release of it must change one crate only"),
    ("raft-log", "heats-replica", "the log's format is the replica's own affair"),
    ("sled", "heats-replica", "the catalogue can be thrown away; nothing else may come to rely on it"),
];
/// The packages that may use `anyhow`: a library names its errors.
const ANYHOW: [&str; 6] = ["heats", "heats-testkit", "xtask", "heats-tests", "heats-benches", "heats-quality"];

pub struct Edges;

impl Step for Edges {
    fn name(&self) -> &'static str {
        "edges"
    }

    fn about(&self) -> &'static str {
        "no crate looks upwards, and openraft, sled and the log stay in replica"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        check(&repo.tree).map(Findings::report)
    }
}

fn check(tree: &Tree) -> Result<Findings> {
    let mut findings = Findings::default();
    for (path, text) in tree.files("", "Cargo.toml") {
        let manifest: Table = text.parse().with_context(|| format!("cannot read `{path}`"))?;
        let Some(name) = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str) else {
            continue;
        };
        check_manifest(path, name, &manifest, &mut findings);
        let clippy = path.replace("Cargo.toml", "clippy.toml");
        if PURE.contains(&name) && tree.get(&clippy).is_none_or(|text| !text.contains("std::time::SystemTime::now")) {
            findings.add(
                &clippy,
                format!("`{name}` is pure, but nothing bans the clock in it"),
                "copy the bans from crates/core/clippy.toml",
            );
        }
    }
    Ok(findings)
}

fn check_manifest(path: &str, name: &str, manifest: &Table, findings: &mut Findings) {
    let Some(layer) = layer(name) else {
        findings.add(path, format!("`{name}` has no layer"), "give it one in crates/xtask/src/steps/edges.rs");
        return;
    };
    let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
    if inherits != Some(true) {
        findings.add(path, "the workspace's lints are not inherited", "add `[lints]` with `workspace = true`");
    }
    for (dependency, value) in dependencies(manifest) {
        if value.get("workspace").and_then(Value::as_bool) != Some(true) {
            findings.add(
                path,
                format!("`{dependency}` is declared here"),
                "declare it once, in the root's [workspace.dependencies], and write `workspace = true` here",
            );
        }
        if let Some(below) = self::layer(dependency)
            && below >= layer
            // A package whose tests want its own `test-util` depends on itself.
            && dependency != name
            && !BESIDE.contains(&(name, dependency))
        {
            findings.add(
                path,
                format!("`{name}` (layer {layer}) depends on `{dependency}` (layer {below})"),
                "a crate sees lower layers only: move the shared type down, or the code up",
            );
        }
        for (kept, home, why) in KEPT {
            if (dependency == kept || dependency.starts_with(&format!("{kept}-"))) && name != home {
                findings.add(path, format!("`{name}` depends on `{dependency}`, which stays in `{home}`"), why);
            }
        }
        if PURE.contains(&name) && IMPURE.contains(&dependency) {
            findings.add(
                path,
                format!("`{name}` is pure and depends on `{dependency}`"),
                "pass values in; what touches the world is in coordinator, agent or cli",
            );
        }
        if dependency == "anyhow" && !ANYHOW.contains(&name) {
            findings.add(path, format!("`{name}` depends on `anyhow`"), "a library names its errors: use `thiserror`");
        }
    }
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// Every dependency of every kind and target.
fn dependencies(manifest: &Table) -> Vec<(&str, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables =
        std::iter::once(manifest).chain(targets.into_iter().flat_map(Table::values).filter_map(Value::as_table));
    tables
        .flat_map(|table| ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| table.get(kind)))
        .filter_map(|kind| kind?.as_table())
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, body: &str) -> String {
        let manifest = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{body}");
        let clippy = "disallowed-methods = [{ path = \"std::time::SystemTime::now\" }]";
        let tree = Tree::of(&[("crates/x/Cargo.toml", &manifest), ("crates/x/clippy.toml", clippy)]);
        check(&tree).expect("reads").text()
    }

    #[test]
    fn an_edge_downwards_is_fine() {
        assert_eq!(found("heats-core", "[dependencies]\nheats-domain.workspace = true\n"), "");
        assert_eq!(found("heats-wire", "[dependencies]\nheats-core.workspace = true\n"), "");
        assert_eq!(found("heats-core", "[dev-dependencies]\nheats-core.workspace = true\n"), "");
    }

    #[test]
    fn an_edge_upwards_or_sideways_is_found_in_any_table() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let text = found("heats-core", &format!("[{table}]\nheats-replica.workspace = true\n"));
            assert!(text.contains("`heats-core` (layer 2) depends on `heats-replica` (layer 3)"), "{table}: {text}");
        }
        assert!(!found("heats-agent", "[dependencies]\nheats-coordinator.workspace = true\n").is_empty());
    }

    #[test]
    fn openraft_and_its_crates_are_found_outside_replica() {
        assert!(found("heats-coordinator", "[dependencies]\nopenraft-rt.workspace = true\n").contains("stays in"));
        assert_eq!(found("heats-replica", "[dependencies]\nopenraft.workspace = true\n"), "");
    }

    #[test]
    fn a_pure_crate_has_no_runtime_and_bans_the_clock() {
        assert!(found("heats-search", "[dev-dependencies]\ntokio.workspace = true\n").contains("is pure"));
        let manifest = "[package]\nname = \"heats-sim\"\n[lints]\nworkspace = true\n";
        let tree = Tree::of(&[("crates/sim/Cargo.toml", manifest)]);
        assert!(check(&tree).expect("reads").text().contains("bans the clock"));
    }

    #[test]
    fn a_new_package_needs_a_layer_and_a_dependency_one_declaration() {
        assert!(found("heats-new", "").contains("no layer"));
        assert!(found("heats-agent", "[dependencies]\nserde = \"1\"\n").contains("is declared here"));
        assert!(found("heats-agent", "[dependencies]\nanyhow.workspace = true\n").contains("names its errors"));
    }
}
