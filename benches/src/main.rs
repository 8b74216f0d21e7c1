//! Measures Heats against what it must reach, as ratios within one run: `cargo xtask bench [NAME...]`.
//! Most drive the release build of the command as users do; `durable` and `snapshot` run replicas of their own.
//! `benches/README.md` has the targets.

mod agents;
mod answers;
mod attached;
mod ceiling;
mod cluster;
mod digits;
mod durable;
mod entries;
mod failover;
mod growth;
mod idle;
mod judged;
mod latency;
mod lifecycle;
mod load;
mod machine;
mod million;
mod node;
mod optuna;
mod processes;
mod python;
mod remote;
mod report;
mod reports;
mod rivals;
mod snapshot;
mod spread;
mod submits;
mod three;
mod throughput;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use report::Report;

/// A measurement: its name, what it says, and how it is done.
type Bench = (&'static str, &'static str, fn(&mut Report) -> Result<()>);

const BENCHES: [Bench; 21] = [
    ("throughput", "1,000 trials of `true`, against HyperQueue's 1,000 tasks of `true`", throughput::run),
    ("digits", "the digits sweep's wall time against its trials' own, per slot", digits::run),
    (
        "lifecycle",
        "lives of trials per second through 32 agents' streams, against a queue in PostgreSQL",
        lifecycle::run,
    ),
    ("judged", "the time from a report to its verdict at 10,000 reports per second, against one flush", judged::run),
    ("optuna", "trials per second of programs that use Optuna, by its storage protocol and on PostgreSQL", optuna::run),
    ("ask", "the time of a suggestion that learns from up to 100,000 trials, against Optuna's", growth::ask::run),
    ("verdicts", "the time of a verdict after 30,000 trials, by each rule, against after 100", growth::verdicts::run),
    ("turns", "the time of a turn of the leader while 100,000 sweeps wait, against while 100 do", growth::turns::run),
    ("ceiling", "reports per second of 1,000 agents, against the same log with nothing decided on", ceiling::run),
    ("submits", "durable submissions per second by unary calls, against puts into etcd", submits::run),
    ("durable", "how many entries three replicas make durable per second", durable::run),
    ("failover", "the time without a decision after the leader of three coordinators is killed", failover::run),
    ("slot", "the time from the end of a trial's process to the start of the next one's", agents::slot::run),
    ("verdict", "the time from the report that dooms a trial to SIGTERM in its process", agents::verdict::run),
    ("busy", "the share of a core that an agent uses for 64 trials that report ten times a second", agents::busy::run),
    ("attached", "the share of a core that 10,000 agents with 20,000 leases cost the leader", attached::run),
    ("million", "memory, restart and latency of a cluster that holds a million finished trials", million::run),
    ("idle", "the share of a core that an idle coordinator with an agent uses", idle::run),
    ("reports", "how many reports of one trial are recorded per second", reports::run),
    ("warm", "the digits sweep with warm starts, against the same training bare, Optuna and Ray", warm::run),
    ("snapshot", "the latency of commits while a snapshot of 100,000 trials is taken and sent", snapshot::run),
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let [command, folder, id] = names.as_slice()
        && command == remote::COMMAND
    {
        return ended(command, remote::serve(folder, id));
    }
    if let [command, role, args @ ..] = names.as_slice()
        && command == agents::COMMAND
    {
        return ended(command, agents::serve(role, args));
    }
    let (folder, names) = match names.as_slice() {
        [flag, folder, names @ ..] if flag == "--keep" => (Some(PathBuf::from(folder)), names),
        names => (None, names),
    };
    let named = |bench: &&Bench| names.is_empty() || names.iter().any(|name| name == bench.0);
    let chosen: Vec<&Bench> = BENCHES.iter().filter(named).collect();
    if !names.is_empty() && chosen.len() != names.len() {
        eprintln!("usage: cargo xtask bench [NAME...]");
        for (name, what, _) in &BENCHES {
            eprintln!("  {name:12}{what}");
        }
        return ExitCode::from(2);
    }
    for (name, what, bench) in chosen {
        println!("{name}: {what}");
        let measured = Report::begin(name).and_then(|mut report| {
            bench(&mut report)?;
            folder.as_ref().map_or(Ok(()), |folder| report.keep(folder))
        });
        let code = ended(name, measured);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

fn ended(what: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{what}: {error:?}");
            ExitCode::FAILURE
        }
    }
}
