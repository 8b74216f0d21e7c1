//! Measures Heats against what it must reach, as ratios within one run: `cargo run -p heats-benches --release -- NAME`.
//! Drives the release build of the command as users do; links nothing of it. `benches/README.md` has the targets.

mod digits;
mod failover;
mod idle;
mod machine;
mod reports;
mod spread;
mod throughput;

use std::process::ExitCode;

use anyhow::Result;

/// A measurement: its name, what it says, and how it is done.
type Bench = (&'static str, &'static str, fn() -> Result<()>);

const BENCHES: [Bench; 5] = [
    ("throughput", "1,000 trials of `true`, against HyperQueue's 1,000 tasks of `true`", throughput::run),
    ("digits", "the digits sweep's wall time against its trials' own, per slot", digits::run),
    ("failover", "the time without a decision after the leader of three coordinators is killed", failover::run),
    ("idle", "the share of a core that an idle coordinator with an agent uses", idle::run),
    ("reports", "how many reports of one trial are recorded per second", reports::run),
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&Bench> = BENCHES.iter().filter(|(name, ..)| names.iter().any(|given| given == name)).collect();
    if chosen.is_empty() || chosen.len() != names.len() {
        eprintln!("usage: cargo run -p heats-benches --release -- NAME...");
        for (name, what, _) in &BENCHES {
            eprintln!("  {name:12}{what}");
        }
        return ExitCode::from(2);
    }
    for (name, what, bench) in chosen {
        println!("{name}: {what}");
        if let Err(error) = machine::describe().and_then(|()| bench()) {
            eprintln!("{name}: {error:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
