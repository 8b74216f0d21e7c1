//! The step that holds the storage protocol against Optuna itself: its own test suite, by its own client, against real
//! coordinators.

use anyhow::Result;

use crate::repo::Repo;
use crate::run::program;
use crate::step::Step;
use crate::steps::python::environment;
use crate::tally::{Tally, count};

const REQUIREMENTS: &str = include_str!("../../../../tests/optuna/requirements.txt");

pub struct Optuna;

impl Step for Optuna {
    fn name(&self) -> &'static str {
        "optuna"
    }

    fn about(&self) -> &'static str {
        "Optuna's own storage tests pass against a coordinator and against three"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let python = match environment(&repo.target, "optuna-venv", REQUIREMENTS) {
            Ok(python) => python,
            Err(error) => {
                println!("not run: Optuna cannot be installed here: {error:#}");
                return Ok(Tally { ignored: 1, ..Tally::default() });
            }
        };
        let heats = repo.build()?;
        let tests = program(&python)
            .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider", "tests/optuna"])
            .dir(&repo.root)
            .env("HEATS", heats)
            .env("PYTHONPATH", repo.root.join("python"))
            // The usual implementation has maps without an order, in which the order of parameters is lost on the way to the
            // client, as it is with Optuna's own server; this one keeps what was sent.
            .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let done = tests.watch()?;
        let summary = done.lines.iter().rev().find(|line| line.contains(" in "));
        Ok(Tally::of_tests(summary.map_or_else(Tally::default, |line| count(line)), done.succeeded))
    }
}
