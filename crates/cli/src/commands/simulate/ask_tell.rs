//! `heats simulate --ask-tell`: another program evaluates what the sweep proposes. Lines of JSON in both directions:
//! `docs/search.md` has the protocol.

use std::io::{BufRead, Write};
use std::path::Path;

use heats_domain::StopReason;
use heats_sim::dialogue::{Dialogue, DialogueError, Question};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, Outcome};
use crate::output::Fields;
use crate::sweepfile::Overrides;

/// A line of the input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tell: Tell,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tell {
    trial: u32,
    #[serde(default)]
    step: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    value: Option<f64>,
    #[serde(default)]
    failed: bool,
}

/// A value that is given; null is one that is no finite number.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or(f64::NAN)))
}

/// Asks and is told until the sweep is over, or the input is.
pub(super) fn run(file: &Path, overrides: &Overrides, places: u32) -> Outcome {
    if file == Path::new("-") {
        return Err(Failure::usage("with `--ask-tell` the values come from standard input, and the sweep file cannot")
            .hint("name the file"));
    }
    let spec = super::load(file, overrides)?;
    let mut dialogue = Dialogue::open(&spec, places).map_err(|error| unusable(&error))?;
    let mut input = std::io::stdin().lock();
    let mut out = std::io::stdout().lock();
    for number in 1.. {
        for Question { trial, params, after } in dialogue.ask().map_err(|error| unusable(&error))? {
            let mut asked = json!({ "trial": trial, "params": params });
            if let Some(after) = after {
                asked["after"] = after.into();
            }
            say(&mut out, &json!({ "ask": asked }))?;
        }
        if dialogue.is_over() {
            break;
        }
        let mut line = String::new();
        let read =
            input.read_line(&mut line).map_err(|error| Failure::failed(format!("cannot read the input: {error}")))?;
        if read == 0 {
            break;
        }
        let answer = told(&mut dialogue, &line).map_err(|why| {
            Failure::failed(format!("line {number} of the input: {why}"))
                .hint(r#"{"tell": {"trial": 0, "value": 1.25}}"#)
        })?;
        if let Some(answer) = answer {
            say(&mut out, &answer)?;
        }
    }
    let best = dialogue.best();
    let done = Fields::new().number("best", best.map(|(_, value)| value)).with("trial", best.map(|(trial, _)| trial));
    say(&mut out, &json!({ "done": Value::from(done) }))?;
    Ok(if best.is_some() { Exit::Ok } else { Exit::NoBest })
}

/// Takes in one line; what is answered to it, or what is wrong with it.
fn told(dialogue: &mut Dialogue, line: &str) -> Result<Option<Value>, String> {
    let Line { tell: Tell { trial, step, value, failed } } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let done = |outcome: Result<(), DialogueError>| outcome.map(|()| None).map_err(|error| error.to_string());
    match (failed, step, value) {
        (true, None, None) => done(dialogue.fail(trial)),
        (true, _, _) => Err("a trial that failed has neither a step nor a value".to_owned()),
        (false, None, value) => done(dialogue.complete(trial, value)),
        (false, Some(_), None) => Err("a step comes with a value".to_owned()),
        (false, Some(step), Some(value)) => {
            let reason = dialogue.tell(trial, step, value).map_err(|error| error.to_string())?;
            Ok(Some(match reason {
                None => json!({ "go_on": { "trial": trial, "step": step } }),
                Some(StopReason { rule, rung, .. }) => {
                    json!({ "stop": { "trial": trial, "step": step, "rule": rule, "rung": rung } })
                }
            }))
        }
    }
}

fn say(out: &mut impl Write, line: &Value) -> Result<(), Failure> {
    writeln!(out, "{line}")?;
    // The other side waits for it.
    Ok(out.flush()?)
}

fn unusable(error: &DialogueError) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        DialogueError::Unranked => {
            failure.hint("objective: { minimize: NAME }: a direction is needed, the name is not used")
        }
        DialogueError::NotOpen { .. }
        | DialogueError::Step { .. }
        | DialogueError::NoValue { .. }
        | DialogueError::Sim(_) => failure,
    }
}
