//! `heats trial`: door 1, for scripts in any language inside a trial. Outside of Heats nothing is reported and
//! nothing is to stop, so that the same script runs by itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heats_domain::units::Span;
use serde_json::{Map, Value, json};

use crate::door::{self, Ask, DoorError, Repeat};
use crate::exit::{Exit, Failure, Outcome};
use crate::{hints, words};

/// The verbs of a trial.
#[derive(clap::Subcommand, Debug)]
pub enum TrialCommand {
    /// Print the parameters as JSON, or one value
    Params(ParamsArgs),
    /// Report metrics: `heats trial report loss=$L --step $i || break`; ends with 10 when the trial is to stop
    Report(ReportArgs),
    /// End with 10 when the trial is to stop, with 0 when not
    ShouldStop(StopArgs),
    /// Say that a checkpoint is complete
    Checkpoint(CheckpointArgs),
    /// Say that this configuration cannot be run
    Infeasible(InfeasibleArgs),
}

/// `heats trial params`
#[derive(clap::Args, Debug)]
pub struct ParamsArgs {
    /// Only this parameter's value, without quotes
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The value outside of Heats, or where the parameter is not active
    #[arg(long, value_name = "VALUE", requires = "name")]
    default: Option<String>,
}

/// `heats trial report`
#[derive(clap::Args, Debug)]
pub struct ReportArgs {
    /// What was measured
    #[arg(value_name = "NAME=NUMBER", required = true)]
    metrics: Vec<String>,
    /// How far the trial is; one more than the last report's where it is not given
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Wait for the verdict on this very report
    #[arg(long)]
    wait: bool,
}

/// `heats trial should-stop`
#[derive(clap::Args, Debug)]
pub struct StopArgs {
    /// Wait up to this long for a reason to stop, for example 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

/// `heats trial checkpoint`
#[derive(clap::Args, Debug)]
pub struct CheckpointArgs {
    /// The folder of the checkpoint, in $HEATS_CHECKPOINT_DIR
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The step that it was taken after
    #[arg(long, value_name = "N")]
    step: u64,
}

/// `heats trial infeasible`
#[derive(clap::Args, Debug)]
pub struct InfeasibleArgs {
    /// Why
    #[arg(value_name = "WHY", default_value = "")]
    why: String,
}

/// Does what a script inside a trial asks for.
pub fn run(command: &TrialCommand) -> Outcome {
    match command {
        TrialCommand::Params(args) => params(args),
        TrialCommand::Report(args) => report(args),
        TrialCommand::ShouldStop(args) => should_stop(args),
        TrialCommand::Checkpoint(args) => checkpoint(args),
        TrialCommand::Infeasible(args) => infeasible(args),
    }
}

fn params(ParamsArgs { name, default }: &ParamsArgs) -> Outcome {
    let given = match variable("HEATS_PARAMS_FILE") {
        Some(path) => {
            let fail = |why: String| Failure::failed(format!("cannot read the parameters from {path}: {why}"));
            let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
            serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|error| fail(error.to_string()))?
        }
        None => Map::new(),
    };
    let mut out = std::io::stdout().lock();
    let Some(name) = name else {
        writeln!(out, "{}", Value::Object(given))?;
        return Ok(Exit::Ok);
    };
    let value = match given.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => default.clone(),
    };
    match value {
        Some(value) => {
            writeln!(out, "{value}")?;
            Ok(Exit::Ok)
        }
        None => {
            let hint = words::nearest(name, given.keys().map(String::as_str))
                .map_or_else(|| "--default VALUE".to_owned(), |nearest| format!("did you mean `{nearest}`?"));
            Err(Failure::new(Exit::NotFound, format!("the trial has no parameter `{name}`")).hint(hint))
        }
    }
}

fn report(ReportArgs { metrics, step, wait }: &ReportArgs) -> Outcome {
    let mut numbers = Map::new();
    for text in metrics {
        let usage = || {
            Failure::usage(format!("`{text}` is not NAME=NUMBER")).hint("heats trial report loss=0.12 acc=0.9 --step 3")
        };
        let (name, number) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(usage)?;
        let number: f64 = number.trim().parse().map_err(|_| usage())?;
        // JSON has no NaN and no infinities: they travel as texts.
        let value = serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number);
        numbers.insert(name.to_owned(), value);
    }
    let mut body =
        Map::from_iter([("metrics".to_owned(), Value::Object(numbers)), ("wait".to_owned(), (*wait).into())]);
    if let Some(step) = step {
        body.insert("step".to_owned(), (*step).into());
    }
    let repeat = if step.is_some() { Repeat::Safe } else { Repeat::Never };
    let wait = Duration::from_secs(if *wait { 30 } else { 0 });
    verdict(&Ask { method: "POST", target: "/v1/report", body: Some(&body.into()), wait, repeat })
}

fn should_stop(StopArgs { wait }: &StopArgs) -> Outcome {
    let wait = wait.map_or(Duration::ZERO, Span::duration);
    let target = format!("/v1/stop?wait={}ms", wait.as_millis());
    verdict(&Ask { method: "GET", target: &target, body: None, wait, repeat: Repeat::Safe })
}

fn checkpoint(CheckpointArgs { path, step }: &CheckpointArgs) -> Outcome {
    let path = std::path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let body = json!({ "step": step, "path": path.display().to_string() });
    verdict(&post("/v1/checkpoint", &body))
}

fn infeasible(InfeasibleArgs { why }: &InfeasibleArgs) -> Outcome {
    verdict(&post("/v1/infeasible", &json!({ "why": why })))?;
    // Whoever says that it cannot be run knows that it stops.
    Ok(Exit::Ok)
}

const fn post<'a>(target: &'a str, body: &'a Value) -> Ask<'a> {
    Ask { method: "POST", target, body: Some(body), wait: Duration::ZERO, repeat: Repeat::Safe }
}

/// Asks the agent, and ends with 10 where it says that the trial is to stop.
fn verdict(ask: &Ask<'_>) -> Outcome {
    let Some(socket) = variable("HEATS_API_SOCK") else {
        hints::note("not inside a trial of Heats: nobody is told, and nothing is to stop");
        return Ok(Exit::Ok);
    };
    let answer = door::ask(Path::new(&socket), ask).map_err(|error| match error {
        DoorError::Refused { .. } => Failure::usage(error.to_string()),
        DoorError::Away { .. } => Failure::new(Exit::Unavailable, error.to_string()),
        DoorError::NotHttp { .. } => Failure::failed(error.to_string()),
    })?;
    if answer.get("action").and_then(Value::as_str) == Some("stop") {
        return Ok(Exit::Stop);
    }
    Ok(Exit::Ok)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
