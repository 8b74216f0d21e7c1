//! The step that builds everything and runs the Rust tests: with nextest where it is installed, else with cargo.

use anyhow::Result;

use crate::repo::Repo;
use crate::run::{Run, cargo};
use crate::step::Step;
use crate::tally::{Tally, count};

pub struct Tests;

impl Step for Tests {
    fn name(&self) -> &'static str {
        "tests"
    }

    fn about(&self) -> &'static str {
        "the Rust tests pass"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        // Tests of whole processes start the command.
        repo.build()?;
        let (run, summary) = if cargo().args(["nextest", "--version"]).answers() {
            (cargo().args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]), "Summary [")
        } else {
            println!("nextest is not installed (`cargo install cargo-nextest` brings it): using `cargo test`");
            let args = ["test", "--locked", "--workspace", "--bins", "--lib", "--tests", "--no-fail-fast"];
            (cargo().args(args), "test result:")
        };
        counted(run, repo, summary)
    }
}

/// Runs a test runner and adds up the counts in its summary lines.
pub fn counted(run: Run, repo: &Repo, summary: &str) -> Result<Tally> {
    // Snapshots that differ fail; none is written.
    let done = run.dir(&repo.root).env("INSTA_UPDATE", "no").watch()?;
    let mut tally = Tally::default();
    for line in done.lines.iter().filter(|line| line.trim_start().starts_with(summary)) {
        tally += count(line);
    }
    Ok(Tally::of_tests(tally, done.succeeded))
}
