//! `heats trial`: door 1, for scripts in any language inside a trial. Outside of Heats nothing is reported and
//! nothing is to stop, so that the same script runs by itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heats_domain::units::Span;
use heats_domain::{ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX, is_artifact_name};
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
    /// Keep files for people: the final model, a plot
    Artifact(ArtifactArgs),
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

/// `heats trial artifact`
#[derive(clap::Args, Debug)]
pub struct ArtifactArgs {
    /// The files; each is kept under its own name, in place of what was kept under that before
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Keep the one file under this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
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
        TrialCommand::Artifact(args) => artifact(args),
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

/// Copies the files to where the agent takes them from: complete at once, under their names.
fn artifact(ArtifactArgs { paths, name }: &ArtifactArgs) -> Outcome {
    if name.is_some() && paths.len() > 1 {
        return Err(Failure::usage("`--name` names one file").hint("heats trial artifact out/best.pt --name model.pt"));
    }
    let named = paths.iter().map(|path| Ok((path, artifact_name(path, name.as_deref())?)));
    let files: Vec<(&PathBuf, &str)> = named.collect::<Result<_, Failure>>()?;
    let Some(folder) = variable("HEATS_ARTIFACT_DIR").map(PathBuf::from) else {
        hints::note("not inside a trial of Heats: nothing is kept");
        return Ok(Exit::Ok);
    };
    let unwritable = |error: io::Error| Failure::failed(format!("cannot write in `{}`: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(unwritable)?;
    for (path, name) in files {
        expect_room(&folder, path, name)?;
        let aside = folder.join(format!(".new-{}", std::process::id()));
        let copied = std::fs::copy(path, &aside).and_then(|_bytes| std::fs::rename(&aside, folder.join(name)));
        copied.map_err(|error| {
            // There may be nothing to remove.
            let _left = std::fs::remove_file(&aside);
            unwritable(error)
        })?;
    }
    Ok(Exit::Ok)
}

/// Under which name a file is kept.
fn artifact_name<'a>(path: &'a Path, given: Option<&'a str>) -> Result<&'a str, Failure> {
    let own = || path.file_name().and_then(|own| own.to_str()).unwrap_or_default();
    let name = given.unwrap_or_else(own);
    if !is_artifact_name(name) {
        let why = format!("nothing can be kept under the name `{name}`: it is that of a file, not hidden");
        return Err(Failure::usage(why).hint("heats trial artifact PATH --name NAME"));
    }
    if !path.is_file() {
        let hint = format!("tar -cf {name}.tar {}; heats trial artifact {name}.tar", path.display());
        return Err(Failure::usage(format!("`{}` is no file", path.display())).hint(hint));
    }
    Ok(name)
}

/// Refuses what the coordinator would.
fn expect_room(folder: &Path, path: &Path, name: &str) -> Result<(), Failure> {
    let others = std::fs::read_dir(folder)?.flatten();
    let others = others.filter(|entry| {
        let other = entry.file_name();
        other != *name && other.to_str().is_some_and(is_artifact_name)
    });
    let sizes: Vec<u64> = others.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).collect();
    let bytes = sizes.iter().copied().fold(path.metadata()?.len(), u64::saturating_add);
    if sizes.len() >= ARTIFACTS_MAX {
        return Err(Failure::usage(format!("a trial keeps {ARTIFACTS_MAX} files at most, and `{name}` is one more"))
            .hint("pack several into one: tar -cf plots.tar plots"));
    }
    if bytes > ARTIFACTS_BYTES_MAX {
        let most = crate::words::bytes(ARTIFACTS_BYTES_MAX);
        return Err(Failure::usage(format!("a trial keeps {most} at most, and with `{name}` it would be more"))
            .hint("write it to $HEATS_OUTPUT_DIR, which is not kept by Heats"));
    }
    Ok(())
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
