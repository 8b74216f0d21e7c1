//! A search space of eight parameters of all kinds, and a history of it as long as is wanted: the same trials for everybody who
//! is measured. Half of them are drawn evenly, half from a tenth of every number's range around the best, as after a search
//! that has learned.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use heats_domain::{Domain, Parameter, Params, Space, Value};
use heats_search::rng::{Purpose, stream};
use heats_search::{Problem, Suggestion, draw};
use serde_json::json;

/// Where the best value of each number lies, of its range.
const BEST: f64 = 0.3;
/// How much of a range the trials lie in that are near the best.
const NEAR: f64 = 0.1;

/// A trial that has ended.
pub(super) struct Finished {
    pub(super) params: Params,
    pub(super) loss: f64,
}

/// The problem that the trials are of.
pub(super) fn problem() -> Problem {
    let float = |low, high, log| Domain::Float { low, high, log, step: None };
    let int = |low, high, log| Domain::Int { low, high, log, step: 1 };
    let choice = |names: &[&str]| Domain::Choice(names.iter().map(|name| Value::Str((*name).to_owned())).collect());
    let parameters = [
        ("lr", float(1e-5, 1.0, true)),
        ("weight_decay", float(1e-6, 1e-1, true)),
        ("dropout", float(0.0, 0.6, false)),
        ("momentum", float(0.5, 0.99, false)),
        ("layers", int(1, 12, false)),
        ("width", int(16, 1_024, true)),
        ("optimizer", choice(&["sgd", "adam", "adamw", "lamb"])),
        ("activation", choice(&["relu", "gelu", "tanh"])),
    ];
    let parameter = |(name, domain): (&str, Domain)| Parameter { name: name.to_owned(), domain, when: None };
    let space = Space { parameters: parameters.into_iter().map(parameter).collect(), constraints: Vec::new() };
    Problem { space, seed: 1, trials: None, rungs: Vec::new(), objectives: 1, priors: Vec::new() }
}

/// The trial of this number.
///
/// # Errors
/// Where the space is not what it is.
pub(super) fn finished(problem: &Problem, number: u32) -> Result<Finished> {
    let mut rng = stream(problem.seed, number, Purpose::Configuration);
    let drawn = draw::configuration(&problem.space, &Params::default(), &mut rng, |_| false);
    let Suggestion::Try(mut params) = drawn else { anyhow::bail!("{drawn:?}") };
    let mut loss = 0.0;
    for Parameter { name, domain, when: _ } in &problem.space.parameters {
        let mut place = params.get(name).and_then(|value| domain.unit(value)).context("a value of the domain")?;
        let is_number = !matches!(domain, Domain::Choice(_));
        if is_number && number % 2 == 1 {
            place = BEST + NEAR * (place - 0.5);
            params.insert(name.clone(), domain.at(place));
        }
        loss += (place - BEST).powi(2);
    }
    Ok(Finished { params, loss })
}

/// Writes so many trials into a file, a line of JSON each, below a line with the space.
///
/// # Errors
/// Where the file cannot be written.
pub(super) fn write(problem: &Problem, trials: u32, file: &Path) -> Result<()> {
    let mut lines = BufWriter::new(std::fs::File::create(file).context("cannot make a file")?);
    let domains = problem.space.parameters.iter().map(|parameter| {
        let domain = match &parameter.domain {
            Domain::Float { low, high, log, step: _ } => json!({"kind": "float", "low": low, "high": high, "log": log}),
            Domain::Int { low, high, log, step: _ } => json!({"kind": "int", "low": low, "high": high, "log": log}),
            Domain::Choice(values) => json!({ "choices": values }),
            Domain::Const(value) => json!({ "choices": [value] }),
        };
        (parameter.name.clone(), domain)
    });
    writeln!(lines, "{}", json!(domains.collect::<serde_json::Map<_, _>>()))?;
    for number in 0..trials {
        let Finished { params, loss } = finished(problem, number)?;
        writeln!(lines, "{}", json!({"params": params, "loss": loss}))?;
    }
    Ok(lines.flush()?)
}
