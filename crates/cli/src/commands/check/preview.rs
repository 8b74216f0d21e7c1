//! The first trials of a sweep, as the searcher would propose them before anything has been measured.

use std::io::{self, Write};

use heats_domain::{Params, SweepSpec, command};
use heats_search::{Ask, Problem, Suggestion};

use crate::exit::Failure;
use crate::output::Fields;
use crate::words;

/// More than anybody reads.
const MOST: u32 = 10_000;

/// One trial.
pub(super) struct Preview {
    number: u32,
    params: Params,
    argv: Vec<String>,
}

/// The first `count` trials; fewer where the space has fewer points.
pub(super) fn first(spec: &SweepSpec, count: u32) -> Result<Vec<Preview>, Failure> {
    let problem = Problem::of(spec, spec.search.seed.unwrap_or(0));
    let searcher = heats_search::build_searcher(&problem, &spec.search.algorithm, &spec.search.params)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let mut previews = Vec::new();
    for number in 0..count.min(MOST).min(spec.budget.trials.unwrap_or(u32::MAX)) {
        let fixed = spec.search.enqueue.get(number as usize).cloned().unwrap_or_default();
        let params = match searcher.suggest(Ask { trial: number }, &fixed) {
            Suggestion::Try(params) => params,
            Suggestion::Exhausted | Suggestion::Enough { .. } => break,
            Suggestion::Infeasible { draws } => {
                return Err(Failure::failed(format!(
                    "no configuration that satisfies the constraints was found in {draws} draws"
                )));
            }
        };
        let trial = command::Trial {
            number,
            seed: 0,
            sweep: spec.name.as_deref().unwrap_or("sweep"),
            args_json_file: "PARAMS.json",
        };
        let argv =
            command::expand(&spec.command, &params, trial).map_err(|error| Failure::failed(error.to_string()))?;
        previews.push(Preview { number, params, argv });
    }
    Ok(previews)
}

impl Preview {
    pub(super) fn fields(&self) -> Fields {
        let params = serde_json::to_value(&self.params).unwrap_or_default();
        Fields::new().with("number", self.number).with("params", params).with("argv", self.argv.clone())
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let argv: Vec<String> = self.argv.iter().map(|word| words::quoted(word)).collect();
        writeln!(out, "\x1b[1mtrial {}\x1b[0m  {}", self.number, self.params)?;
        writeln!(out, "  {}", argv.join(" "))
    }
}
