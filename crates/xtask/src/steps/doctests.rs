//! The step that runs the examples in the documentation comments, which nextest does not.

use anyhow::Result;

use super::tests::counted;
use crate::repo::Repo;
use crate::run::cargo;
use crate::step::Step;
use crate::tally::Tally;

pub struct Doctests;

impl Step for Doctests {
    fn name(&self) -> &'static str {
        "doctests"
    }

    fn about(&self) -> &'static str {
        "the examples in documentation comments work"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let args = ["test", "--locked", "--workspace", "--doc", "--no-fail-fast", "--quiet"];
        counted(cargo().args(args), repo, "test result:")
    }
}
