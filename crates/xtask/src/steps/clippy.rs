//! The step that runs clippy. The bans of the architecture (no clock, no file system, no unordered map in the
//! pure crates) are in `clippy.toml` beside each crate; `edges` sees that these files are there.

use anyhow::{Result, anyhow};

use super::fmt::require_component;
use crate::repo::Repo;
use crate::run::cargo;
use crate::step::Step;
use crate::tally::Tally;

pub struct Clippy;

impl Step for Clippy {
    fn name(&self) -> &'static str {
        "clippy"
    }

    fn about(&self) -> &'static str {
        "no warning in any target, and no clock, file or chance in the pure crates"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        require_component("clippy", "clippy")?;
        let args = ["clippy", "--locked", "--quiet", "--keep-going", "--workspace", "--all-targets", "--"];
        cargo().args(args).args(["-D", "warnings"]).dir(&repo.root).succeeds().map(Tally::of)
    }

    fn fix(&self, repo: &Repo) -> Option<Result<()>> {
        let args = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"];
        Some(match cargo().args(args).dir(&repo.root).succeeds() {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow!("clippy could not mend everything")),
            Err(error) => Err(error),
        })
    }
}
