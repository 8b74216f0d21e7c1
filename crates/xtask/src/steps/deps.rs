//! The step that holds what the dependency tree must never contain, and what must be pinned exactly.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::findings::Findings;
use crate::repo::Repo;
use crate::step::Step;
use crate::tally::Tally;

/// Packages that must not be in the tree, with the reason.
const BANNED: [(&str, &str); 10] = [
    ("openssl-sys", "it needs a system package; TLS is rustls with ring"),
    ("native-tls", "it needs a system package; TLS is rustls with ring"),
    ("aws-lc-sys", "it needs cmake; TLS is rustls with ring"),
    ("cmake", "nobody should have to install it to build Heats"),
    ("bindgen", "it needs libclang"),
    ("protoc-bin-vendored", "protox compiles the protocol without protoc"),
    ("serde_yaml", "it is not maintained; the sweep file's reader is granit-parser"),
    ("serde_yml", "it is not maintained; the sweep file's reader is granit-parser"),
    ("bincode", "it is not maintained and not self-describing; the log is protobuf"),
    ("im", "it is not maintained; `imbl` is its successor"),
];
/// Packages whose behaviour on disk was measured at one version.
const PINNED: [&str; 3] = ["openraft", "raft-log", "sled"];

pub struct Deps;

impl Step for Deps {
    fn name(&self) -> &'static str {
        "deps"
    }

    fn about(&self) -> &'static str {
        "nothing in Cargo.lock needs a system package, and what keeps data is pinned exactly"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let lock = std::fs::read_to_string(repo.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let root = repo.tree.get("Cargo.toml").context("there is no Cargo.toml")?;
        check(&lock, root).map(Findings::report)
    }
}

fn check(lock: &str, root: &str) -> Result<Findings> {
    let mut findings = Findings::default();
    let lock: Table = lock.parse().context("cannot read Cargo.lock")?;
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    for name in packages.filter_map(|package| package.get("name")?.as_str()) {
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            let hint = format!("{why}; `cargo tree --invert {name}` says who brings it");
            findings.add("Cargo.lock", format!("`{name}` is in the tree"), &hint);
        }
    }
    let root: Table = root.parse().context("cannot read Cargo.toml")?;
    let declared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for name in PINNED {
        let entry = declared.and_then(|declared| declared.get(name));
        let version = entry.and_then(|entry| entry.as_str().or_else(|| entry.get("version")?.as_str()));
        if version.is_some_and(|version| !version.starts_with('=')) {
            findings.add(
                "Cargo.toml",
                format!("`{name}` is not pinned exactly"),
                "write `=` before its version: its behaviour on disk was measured at that one",
            );
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lock: &str, root: &str) -> String {
        check(lock, root).expect("reads").text()
    }

    #[test]
    fn a_banned_package_is_found_wherever_it_comes_from() {
        assert!(found("[[package]]\nname = \"openssl-sys\"\n", "").contains("`openssl-sys` is in the tree"));
        assert_eq!(found("[[package]]\nname = \"ring\"\n", ""), "");
    }

    #[test]
    fn what_keeps_data_is_pinned() {
        let root = |sled: &str| format!("[workspace.dependencies]\nsled = {sled}\n");
        assert_eq!(found("", &root("\"=0.34.7\"")), "");
        assert!(found("", &root("\"0.34.7\"")).contains("not pinned"));
        assert!(found("", &root("{ version = \"0.34\" }")).contains("not pinned"));
    }
}
