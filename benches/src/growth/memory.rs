//! Optuna on studies in memory.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::answers::{self, Answers};
use crate::machine;
use crate::python::{self, Package};
use crate::report::Report;

const PROGRAM: &str = "benches/src/growth/memory.py";
const OPTUNA: [Package; 1] = [("optuna", "optuna==5.0.0")];

/// A process that suggests and judges as it is told.
pub(super) struct Optuna(Answers);

impl Optuna {
    /// Starts it; `None`, with a sentence, where Optuna cannot be installed.
    ///
    /// # Errors
    /// Where it can be and does not start.
    pub(super) fn start(report: &Report) -> Result<Option<Self>> {
        let python = match python::with(&OPTUNA) {
            Ok(python) => python,
            Err(error) => {
                report.note(&format!("Optuna is left out, it cannot be installed here: {error:#}"));
                return Ok(None);
            }
        };
        let mut program = Command::new(python);
        program.arg(machine::repository().join(PROGRAM));
        Answers::start(program).map(|answers| Some(Self(answers)))
    }

    /// Makes a study of the first `trials` of a file.
    ///
    /// # Errors
    /// Where the program fails.
    pub(super) fn learn(&mut self, history: &Path, trials: u32) -> Result<()> {
        self.seconds(&json!({"history": history, "trials": trials})).map(|_| ())
    }

    /// Seconds that a suggestion takes on the study of so many trials, in the mean of `asks`.
    ///
    /// # Errors
    /// Where the program fails.
    pub(super) fn ask(&mut self, trials: u32, asks: u32) -> Result<f64> {
        self.seconds(&json!({"asks": asks, "trials": trials}))
    }

    /// Seconds that a verdict of `rule` takes on a study of so many trials, in the mean of `verdicts`.
    ///
    /// # Errors
    /// Where the program fails.
    pub(super) fn judge(&mut self, rule: &str, trials: u32, verdicts: u32) -> Result<f64> {
        self.seconds(&json!({"prunes": rule, "trials": trials, "verdicts": verdicts}))
    }

    fn seconds(&mut self, order: &Value) -> Result<f64> {
        answers::number(&self.0.to(order)?, "seconds")
    }
}
