//! The one gate of the repository: `cargo xtask verify` looks and never writes, `cargo xtask fix` writes.
//!
//! Holds no build logic and no release logic. A step is one file in `steps/` and one line in its registry.

mod bench;
mod findings;
mod mutants;
mod repo;
mod run;
mod step;
mod steps;
mod tally;
mod tree;

use std::process::ExitCode;

use anyhow::Result;

use crate::repo::Repo;
use crate::step::Step;
use crate::tally::Tally;

const USAGE: &str = "\
usage: cargo xtask verify [STEP]...   check everything, or only these steps; never writes to tracked files
       cargo xtask fix [STEP]...      format, apply clippy's suggestions, write generated files
       cargo xtask steps              list the steps
       cargo xtask mutants [NAME]...  break the product in each of the ways of tests/sim/mutations.toml, and see the
                                      simulation find it; takes about half an hour
       cargo xtask bench [NAME]...    measure speed, and keep the figures in benches/results; on a machine with
                                      nothing else to do: see benches/README.md";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["verify", names @ ..] => with_steps(names, verify),
        ["fix", names @ ..] => with_steps(names, fix),
        ["mutants", names @ ..] => told(Repo::open().and_then(|repo| mutants::run(&repo, names))),
        ["bench", names @ ..] => told(Repo::open().and_then(|repo| bench::run(&repo, names))),
        ["steps"] => {
            for step in steps::ALL {
                println!("{:<9} {}", step.name(), step.about());
            }
            ExitCode::SUCCESS
        }
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn with_steps(names: &[&str], act: fn(&Repo, &[&dyn Step]) -> bool) -> ExitCode {
    if let Some(unknown) = names.iter().find(|name| steps::ALL.iter().all(|step| step.name() != **name)) {
        eprintln!("there is no step `{unknown}`: `cargo xtask steps` lists them");
        return ExitCode::from(2);
    }
    let chosen: Vec<&dyn Step> =
        steps::ALL.iter().copied().filter(|step| names.is_empty() || names.contains(&step.name())).collect();
    told(Repo::open().map(|repo| act(&repo, &chosen)))
}

fn told(succeeded: Result<bool>) -> ExitCode {
    match succeeded {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every step, also after one failed, so that everything is seen at once.
fn verify(repo: &Repo, steps: &[&dyn Step]) -> bool {
    let mut total = Tally::default();
    let mut lines = Vec::new();
    for step in steps {
        println!("\n== {}: {}", step.name(), step.about());
        let tally = step.verify(repo).unwrap_or_else(|error| {
            println!("failed: {error:#}");
            Tally::failure()
        });
        let word = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!("== {} {word} ({tally})", step.name());
        lines.push(format!("{:<9} {word:<6} {tally}", step.name()));
        total += tally;
    }
    println!("\n{}", lines.join("\n"));
    if total.ignored > 0 {
        println!("not run: {} (set aside by their authors, or not possible on this machine)", total.ignored);
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total.failed == 0
}

fn fix(repo: &Repo, steps: &[&dyn Step]) -> bool {
    let mut sound = true;
    // Backwards: what clippy rewrites is formatted after it.
    for step in steps.iter().rev() {
        match step.fix(repo) {
            None => {}
            Some(Ok(())) => println!("== {} done", step.name()),
            Some(Err(error)) => {
                println!("== {} failed: {error:#}", step.name());
                sound = false;
            }
        }
    }
    println!("`cargo xtask verify` says what is left");
    sound
}
