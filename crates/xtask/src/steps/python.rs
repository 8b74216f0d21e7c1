//! The step that checks the Python package: pytest, ruff and mypy, in a virtual environment below the target folder.
//!
//! Installs nothing anywhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::run::{Run, program};
use crate::step::Step;
use crate::tally::{Tally, count};

/// What is installed, pinned: a new release of a linter must not fail an old commit.
pub const REQUIREMENTS: &str = include_str!("../../python-requirements.txt");

pub struct Python;

impl Step for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn about(&self) -> &'static str {
        "the Python package's tests, formatting, lints and types"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let python = environment(&repo.target, "python-venv", REQUIREMENTS)?;
        let folder = repo.root.join("python");
        let module = |args: &[&str]| -> Run {
            program(&python).arg("-m").args(args).dir(&folder).env("PYTHONDONTWRITEBYTECODE", "1")
        };
        let cache = repo.target.join("python-cache");
        let cache = cache.to_string_lossy();
        let mut tally = Tally::default();
        for args in [
            ["ruff", "check", "--cache-dir", &cache].as_slice(),
            &["ruff", "format", "--check", "--cache-dir", &cache],
            &["mypy", "--cache-dir", &cache],
        ] {
            tally += Tally::of(module(args).succeeds()?);
        }
        let done = module(&["pytest", "--quiet", "-p", "no:cacheprovider"]).watch()?;
        let summary =
            done.lines.iter().rev().find(|line| line.contains(" in ")).map_or_else(Tally::default, |l| count(l));
        tally += Tally::of_tests(summary, done.succeeded);
        Ok(tally)
    }

    fn fix(&self, repo: &Repo) -> Option<Result<()>> {
        Some(environment(&repo.target, "python-venv", REQUIREMENTS).and_then(|python| {
            let ruff = |args: &[&str]| {
                program(&python).args(["-m", "ruff"]).args(args).dir(&repo.root.join("python")).succeeds()
            };
            match ruff(&["format"])? & ruff(&["check", "--fix"])? {
                true => Ok(()),
                false => bail!("ruff could not mend everything"),
            }
        }))
    }
}

/// The interpreter of an environment below the target folder that holds exactly `requirements`; made once, and again when
/// they change.
pub fn environment(target: &Path, name: &str, requirements: &str) -> Result<PathBuf> {
    let folder = target.join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("heats-requirements.txt");
    let version = program("python3")
        .args(["-c", "import sys; print(sys.version)"])
        .text()
        .context("Python 3 is needed for these tests")?;
    let wanted = format!("# {}\n{requirements}", version.replace('\n', " ").trim());
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) && python.exists() {
        return Ok(python);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    if !program("python3").args(["-m", "venv"]).arg(&folder).succeeds()? {
        bail!(
            "`python3 -m venv` failed, so nothing was tested; on Debian and Ubuntu, `apt install python3-venv` \
             brings what it needs"
        );
    }
    let list = folder.join("to-install.txt");
    std::fs::write(&list, requirements).with_context(|| format!("cannot write `{}`", list.display()))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    if !program(&python).args(pip).arg(&list).succeeds()? {
        bail!(
            "pip could not install {} into `{}`, so nothing was tested; without a network, set PIP_INDEX_URL or \
             PIP_FIND_LINKS to where the packages are",
            requirements.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(", "),
            folder.display()
        );
    }
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(python)
}
