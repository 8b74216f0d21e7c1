//! The step that holds the formatting of the Rust code; Python's is in `python`.

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::run::cargo;
use crate::step::Step;
use crate::tally::Tally;

pub struct Fmt;

impl Step for Fmt {
    fn name(&self) -> &'static str {
        "fmt"
    }

    fn about(&self) -> &'static str {
        "Rust code is formatted as rustfmt.toml says"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        require_component("fmt", "rustfmt")?;
        cargo().args(["fmt", "--all", "--", "--check", "--color", "never"]).dir(&repo.root).succeeds().map(Tally::of)
    }

    fn fix(&self, repo: &Repo) -> Option<Result<()>> {
        Some(match cargo().args(["fmt", "--all"]).dir(&repo.root).succeeds() {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow::anyhow!("`cargo fmt` failed")),
            Err(error) => Err(error),
        })
    }
}

/// Says what to install where a part of the toolchain is missing.
pub fn require_component(subcommand: &str, component: &str) -> Result<()> {
    if !cargo().args([subcommand, "--version"]).answers() {
        bail!("`cargo {subcommand}` is not installed: `rustup component add {component}` brings it");
    }
    Ok(())
}
