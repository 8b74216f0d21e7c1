//! The step that checks every sweep file which users are given: the examples, and the templates of `heats init`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::run::program;
use crate::step::Step;
use crate::tally::Tally;

/// Folders of folders, each with a sweep file: the examples, and the templates of `heats init`.
const FOLDERS: [&str; 2] = ["examples", "crates/cli/templates"];

pub struct Examples;

impl Step for Examples {
    fn name(&self) -> &'static str {
        "examples"
    }

    fn about(&self) -> &'static str {
        "every sweep file that users are given passes `heats check`"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let heats = repo.build()?;
        let mut tally = Tally::default();
        for folder in FOLDERS {
            for file in sweep_files(&repo.root.join(folder))? {
                let name = file.strip_prefix(&repo.root).unwrap_or(&file).to_owned();
                tally += Tally::of(program(&heats).arg("check").arg(name).dir(&repo.root).succeeds()?);
            }
        }
        Ok(tally)
    }
}

/// `sweep.yaml` of every folder in `parent`; one without is an error.
fn sweep_files(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(parent).with_context(|| format!("cannot list `{}`", parent.display()))?;
    for entry in entries {
        let folder = entry.with_context(|| format!("cannot list `{}`", parent.display()))?.path();
        if !folder.is_dir() || folder.ends_with("heats-local") {
            continue;
        }
        let file = folder.join("sweep.yaml");
        if !file.is_file() {
            bail!("`{}` has no sweep.yaml", folder.display());
        }
        files.push(file);
    }
    files.sort();
    Ok(files)
}
