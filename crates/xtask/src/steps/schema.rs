//! The step that keeps the published schema of the sweep file equal to what the command prints.

use anyhow::{Context, Result};

use crate::repo::Repo;
use crate::run::program;
use crate::step::Step;
use crate::tally::Tally;

const FILE: &str = "docs/sweep.schema.json";

pub struct Schema;

impl Step for Schema {
    fn name(&self) -> &'static str {
        "schema"
    }

    fn about(&self) -> &'static str {
        "docs/sweep.schema.json is what `heats schema` prints"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let printed = printed(repo)?;
        let kept = std::fs::read_to_string(repo.root.join(FILE)).unwrap_or_default();
        if kept == printed {
            return Ok(Tally::success());
        }
        let line = 1 + kept.lines().zip(printed.lines()).take_while(|(kept, printed)| kept == printed).count();
        println!("{FILE}:{line}: the schema has changed\n    `cargo xtask fix schema` writes it");
        Ok(Tally::failure())
    }

    fn fix(&self, repo: &Repo) -> Option<Result<()>> {
        Some(printed(repo).and_then(|schema| {
            std::fs::write(repo.root.join(FILE), schema).with_context(|| format!("cannot write `{FILE}`"))
        }))
    }
}

fn printed(repo: &Repo) -> Result<String> {
    program(repo.build()?).args(["schema"]).text()
}
