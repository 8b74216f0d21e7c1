//! Builds the command and its benchmarks for release, has them measured, and keeps what came of it in `benches/results`.

use anyhow::Result;

use crate::repo::Repo;
use crate::run::{cargo, program};

/// Measures what `names` name, or everything; whether all of it could be measured.
///
/// # Errors
/// Where cargo cannot be started.
pub fn run(repo: &Repo, names: &[&str]) -> Result<bool> {
    let build = ["build", "--locked", "--quiet", "--release", "-p", "heats", "-p", "heats-benches"];
    if !cargo().args(build).dir(&repo.root).succeeds()? {
        return Ok(false);
    }
    let results = repo.root.join("benches/results");
    let benches = repo.target.join("release").join(format!("heats-benches{}", std::env::consts::EXE_SUFFIX));
    program(benches).arg("--keep").arg(results).args(names).dir(&repo.root).succeeds()
}
