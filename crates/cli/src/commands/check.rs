//! `heats check`

mod preview;
mod sample;

use std::io::Write;
use std::path::PathBuf;

use heats_domain::SweepSpec;
use heats_domain::document::Faults;
use serde_json::Value;

use crate::code::{self, Packed};
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Item, Printer};
use crate::sweepfile::{self, Invalid, Loaded, Overrides};
use crate::{hints, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep file; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Show the first trials: their configurations and commands
    #[arg(long, value_name = "N")]
    show_trials: Option<u32>,
    /// Show what would be read as reports from a log of the script's output
    #[arg(long, value_name = "FILE")]
    sample_log: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

/// Looks for every error in a sweep file; starts nothing and writes nothing.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let Args { file, overrides, show_trials, sample_log, output } = args;
    let printer = context.printer(output)?;
    let loaded = match sweepfile::load(file, overrides) {
        Ok(loaded) => loaded,
        Err(Invalid::Faults(name, faults)) if !printer.is_for_people() => {
            return invalid(&printer, &name, &faults);
        }
        Err(invalid) => return Err(invalid.say()),
    };
    let Loaded { spec, base_dir, .. } = &loaded;
    let packed = code::pack(spec, base_dir)?;
    let notes: Vec<String> = heats_search::notes(spec)
        .into_iter()
        .map(|note| match note.hint {
            Some(hint) => format!("{} ({hint})", note.message),
            None => note.message,
        })
        .collect();
    let previews = show_trials.map_or(Ok(Vec::new()), |count| preview::first(spec, count))?;
    let sample = sample_log.as_ref().map(|path| sample::read(path, spec)).transpose()?;
    let json = Fields::new()
        .with("valid", true)
        .with("errors", Vec::<Value>::new())
        .with("notes", notes.clone())
        .with("trials", previews.iter().map(|preview| Value::from(preview.fields())).collect::<Vec<_>>())
        .with("code", packed.as_ref().map(code_fields))
        .with("sample", sample.as_ref().map(|sample| Value::from(sample.fields())))
        .done();
    let item = Item { name: file.display().to_string(), json };
    printer.one("check", &Fields::new().done(), &item, |out| {
        writeln!(out, "{} is valid: {}", item.name, sentence(spec))?;
        if let Some(packed) = &packed {
            writeln!(out, "its code is sent along: {}", packed.sentence())?;
        }
        previews.iter().try_for_each(|preview| preview.write(out))?;
        sample.iter().try_for_each(|sample| sample.write(out))
    })?;
    notes.iter().for_each(|note| hints::warn(note));
    if printer.is_for_people() {
        let file = words::quoted(&item.name);
        let mut next = vec![(format!("heats run {file}"), "run it on this machine")];
        if show_trials.is_none() {
            next.push((format!("heats check {file} --show-trials 5"), "see the first configurations"));
        }
        next.push((format!("heats submit {file}"), "hand it to a coordinator"));
        hints::next(&next);
    }
    match sample {
        Some(sample) if sample.lacks_objective() => Ok(Exit::Failed),
        Some(_) | None => Ok(Exit::Ok),
    }
}

/// What is sent along, as data.
fn code_fields(packed: &Packed) -> Value {
    let files: Vec<Value> = packed.entries.iter().map(|entry| entry.path.display().to_string().into()).collect();
    Fields::new()
        .with("archive", packed.name.as_str())
        .with("bytes", packed.bytes())
        .with("packed_bytes", packed.data.len() as u64)
        .with("files", files)
        .into()
}

/// The errors as data.
fn invalid(printer: &Printer, name: &str, faults: &Faults) -> Outcome {
    let errors = faults.list().iter().map(|fault| {
        let span = fault.span.as_ref();
        Value::from(
            Fields::new()
                .with("path", fault.path.to_string())
                .with("line", span.map(|span| span.line))
                .with("column", span.map(|span| span.column))
                .with("message", fault.message.as_str())
                .with("hint", fault.hint.clone()),
        )
    });
    let json = Fields::new().with("valid", false).with("errors", errors.collect::<Vec<_>>()).done();
    let item = Item { name: name.to_owned(), json };
    printer.one("check", &Fields::new().done(), &item, |out: &mut dyn Write| writeln!(out, "{faults}"))?;
    Err(Failure::silent(Exit::InvalidFile))
}

/// `digits, 7 parameters, tpe, asha, 60 trials`
fn sentence(spec: &SweepSpec) -> String {
    let parameters = words::count(spec.space().searched().count() as u64, "parameter");
    let trials = spec.budget.trials.map_or_else(
        || "as many trials as the space has points".to_owned(),
        |trials| words::count(u64::from(trials), "trial"),
    );
    let objectives: Vec<String> =
        spec.objectives().iter().map(|objective| format!("{} {}", objective.direction(), objective.metric())).collect();
    let objective = if objectives.is_empty() { "no objective".to_owned() } else { words::list(&objectives) };
    let stop = match spec.early_stop.algorithm.as_str() {
        "none" => "no early stopping".to_owned(),
        other => format!("{other} stops"),
    };
    let confirm =
        spec.objective().and_then(|objective| objective.confirm.as_ref()).map_or_else(String::new, |confirm| {
            format!(
                ", then the best {} run again with {}",
                confirm.top,
                words::count(u64::from(confirm.seeds), "fresh seed")
            )
        });
    format!("{objective} over {parameters}, {} proposes, {stop}, {trials}{confirm}", spec.search.algorithm)
}
