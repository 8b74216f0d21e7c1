//! `heats simulate`: a sweep in virtual time. What stands in for the training is a benchmark, the record of a finished
//! sweep, or another program that is asked.

mod ask_tell;
mod benchmark;
mod record;
mod replay;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use heats_domain::SweepSpec;

use crate::context::{Context, OutputArg};
use crate::exit::{Failure, Outcome};
use crate::select::Selector;
use crate::sweepfile::{self, Loaded, Overrides};

/// How many agents a benchmark's sweep has where nobody says.
const AGENTS: u32 = 4;

/// See [`run`].
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("training").required(true).args(["benchmark", "from", "ask_tell"]))]
pub struct Args {
    /// The sweep file; `-` for standard input. With --from it may be left out: the recorded sweep's own is taken
    #[arg(value_name = "FILE", required_unless_present = "from")]
    file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// The same as --set, for example `--with early_stop.eta=4` (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    with: Vec<String>,
    /// What stands in for the training: lcbench, rbv2_xgboost, hpobench or hpolib, or a task of one such as lcbench/189909
    #[arg(long, value_name = "NAME", requires = "bench_data")]
    benchmark: Option<String>,
    /// The folder with the benchmarks' files
    #[arg(long = "data-dir", value_name = "DIR", env = "HEATS_BENCH_DATA")]
    bench_data: Option<PathBuf>,
    /// A sweep whose recorded trials stand in for the training
    #[arg(long, value_name = "SWEEP")]
    from: Option<Selector>,
    /// Ask for each value on standard output and be told on standard input, in lines of JSON
    #[arg(long, conflicts_with = "output")]
    ask_tell: bool,
    /// How many agents there are; each runs one trial at a time [default: 4; as many as ran at once with --from; 1 with --ask-tell]
    #[arg(long, value_name = "N")]
    agents: Option<NonZero<u32>>,
    /// End the sweep after so many times as long as one average configuration takes to its end, for example 5x; without it, the
    /// file's own budget counts
    #[arg(long, value_name = "Nx", requires = "benchmark")]
    budget: Option<Times>,
    /// How many sweeps there are on each task, each with a seed of its own
    #[arg(long, value_name = "N", default_value_t = NonZero::<u32>::MIN, requires = "benchmark")]
    seeds: NonZero<u32>,
    #[command(flatten)]
    output: OutputArg,
}

/// A multiple: `5x`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Times(f64);

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
        match number {
            Some(number) if number > 0.0 && number.is_finite() => Ok(Self(number)),
            _ => Err("it is a positive number and an x, for example 5x".to_owned()),
        }
    }
}

/// Runs a sweep in virtual time: what it would find, and how long that would take.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let Args { file, overrides, with, benchmark, bench_data, from, ask_tell: _, agents, budget, seeds, output } = args;
    let printer = context.printer(output)?;
    let mut overrides = overrides.clone();
    overrides.set.extend_from_slice(with);
    let agents = agents.map(NonZero::get);
    if let Some(sweep) = from {
        return replay::run(context, &printer, &replay::Options { file: file.as_deref(), overrides, sweep, agents });
    }
    let file = file.as_deref().ok_or_else(|| Failure::usage("there is no sweep file"))?;
    let Some((benchmark, folder)) = benchmark.as_deref().zip(bench_data.as_deref()) else {
        return ask_tell::run(file, &overrides, agents.unwrap_or(1));
    };
    let options =
        benchmark::Options { benchmark, folder, agents: agents.unwrap_or(AGENTS), budget: *budget, seeds: seeds.get() };
    benchmark::run(&printer, &load(file, &overrides)?, &options)
}

/// What is found in virtual time is told as one value and its regret, by agents that each have room for one trial; and nothing
/// that stands in for a training has a state that another trial could go on from.
fn may_be_simulated(spec: &SweepSpec) -> Result<(), Failure> {
    if heats_search::searchers::members(spec).is_some() {
        let algorithm = &spec.search.algorithm;
        let failure = Failure::usage(format!(
            "`{algorithm}` cannot be simulated: its trials go on from checkpoints of others, and in virtual time there are none"
        ));
        return Err(failure.hint("run it, or simulate another searcher: --set search='{\"algorithm\": \"auto\"}'"));
    }
    if spec.variants().iter().any(|need| need.spans_machines()) {
        return Err(Failure::usage(
            "`heats simulate` knows no trials that span machines: each of its agents runs one trial",
        )
        .hint("give it as many agents as such trials run at once, and --set resources.nodes=1"));
    }
    match spec.objectives().len() {
        0 | 1 => Ok(()),
        several => Err(Failure::usage(format!("`heats simulate` takes one objective, and this sweep has {several}"))
            .hint("set the one that matters: --set objective='{\"minimize\": \"loss\"}'")),
    }
}

fn load(file: &Path, overrides: &Overrides) -> Result<SweepSpec, Failure> {
    let Loaded { spec, .. } = sweepfile::load(file, overrides).map_err(sweepfile::Invalid::say)?;
    may_be_simulated(&spec)?;
    if spec.search.from.is_empty() {
        return Ok(spec);
    }
    let failure = Failure::usage("there is no earlier sweep in a simulation that `search.from` could name");
    Err(failure.hint("remove it, or add `--set search.from=[]`"))
}
