//! `heats export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use heats_client::Client;
use heats_wire::v1;
use serde_json::{Map, Value};

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{CsvLines, Item};
use crate::select::Selector;
use crate::{hints, view, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP")]
    sweep: Selector,
    /// The format
    #[arg(short, long, value_name = "FORMAT", default_value = "csv")]
    format: Form,
    /// One line for each report instead of one for each trial
    #[arg(long)]
    series: bool,
    /// Into this file instead of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Form {
    /// Comma-separated, one column for each parameter
    Csv,
    /// One JSON document per line
    Jsonl,
}

/// Writes every trial, with its whole configuration; or every report, as it comes.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, format: _, series, to } = args;
    let name = super::named::sweep_only(sweep, "export")?;
    let client = context.client()?;
    let sweep = client.get(name).await?.sweep.unwrap_or_default();
    let trials = client.all_trials(sweep_id(&sweep)).await?;
    let of = if *series { "report" } else { "trial" };
    match to {
        Some(path) => {
            let fail = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
            let mut file = BufWriter::new(File::create(path).map_err(fail)?);
            let written = match write(&mut file, &client, &sweep, &trials, args).await {
                Ok(count) => file.flush().map(|()| count).map_err(fail),
                Err(failure) => Err(failure),
            };
            let count = written.inspect_err(|_| hints::warn(&format!("{} is not whole", path.display())))?;
            hints::note(&format!("wrote {} to {}", words::count(count, of), path.display()));
        }
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out, &client, &sweep, &trials, args).await?;
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

/// Writes what was asked for; how many things that were.
async fn write(
    out: &mut impl Write,
    client: &Client,
    sweep: &v1::Sweep,
    trials: &[v1::TrialSummary],
    args: &Args,
) -> Result<u64, Failure> {
    match (args.series, args.format) {
        (true, Form::Csv) => super::series::write_csv(out, client, sweep, trials).await,
        (true, Form::Jsonl) => super::series::write_lines(out, client, sweep, trials).await,
        (false, form) => {
            let items: Vec<Item> = trials.iter().map(|trial| view::trial(&sweep.name, trial)).collect();
            write_trials(out, form, &items)?;
            Ok(items.len() as u64)
        }
    }
}

fn write_trials(out: &mut impl Write, format: Form, items: &[Item]) -> io::Result<()> {
    match format {
        Form::Jsonl => items.iter().try_for_each(|item| {
            let mut json = Map::from_iter([("schema".to_owned(), Value::from("heats.trial/v1"))]);
            json.extend(item.json.clone());
            writeln!(out, "{}", Value::Object(json))
        }),
        Form::Csv => {
            let columns = columns(items);
            let mut csv = CsvLines::new(out);
            csv.line(&columns)?;
            for item in items {
                csv.line(columns.iter().map(|path| item.text(path).unwrap_or_default()))?;
            }
            csv.flush()
        }
    }
}

/// Every scalar field of any item, in the order of their first appearance; what stands within another (a
/// parameter, a verdict) by its path. Flags of numbers that are not finite are left out: CSV says `nan` itself.
fn columns(items: &[Item]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut add = |path: String| {
        if !path.ends_with("_not_finite") && seen.insert(path.clone()) {
            columns.push(path);
        }
    };
    for item in items {
        for (key, value) in &item.json {
            match value {
                Value::Object(inner) => inner.keys().for_each(|inner| add(format!("{key}.{inner}"))),
                Value::Null if ["stopped", "spared", "confirmed"].contains(&key.as_str()) => {}
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    add(key.clone())
                }
            }
        }
    }
    // A verdict's columns are there whether or not a trial was stopped: scripts may count on them.
    if items.iter().any(|item| item.json.contains_key("stopped")) {
        for field in ["rule", "step", "value", "rung", "rank", "peers", "cutoff"] {
            add(format!("stopped.{field}"));
        }
    }
    // Parameters that only some trials have stand together with the others.
    let place = |path: &String| match path.split_once('.').map_or(path.as_str(), |(head, _)| head) {
        "address" | "number" | "state" => 0,
        "params" => 1,
        "stopped" => 3,
        _ => 2,
    };
    columns.sort_by_key(place);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Value as Scalar;

    #[test]
    fn csv_has_a_column_for_every_parameter_of_any_trial() {
        let trial = |number, params: Vec<(&str, Scalar)>, value| {
            let params = Some(params.into_iter().collect());
            view::trial("s", &v1::TrialSummary { number, params, value, ..Default::default() })
        };
        let items = [
            trial(0, vec![("lr", Scalar::Float(0.1))], Some(f64::NAN)),
            trial(
                1,
                vec![("lr", Scalar::Float(0.2)), ("momentum", Scalar::Float(0.9)), ("opt", Scalar::Str("a,b".into()))],
                Some(0.5),
            ),
        ];
        let mut out = Vec::new();
        write_trials(&mut out, Form::Csv, &items).expect("writes");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("address,number,state,params.lr,params.momentum,params.opt,value,"), "{text}");
        assert!(
            lines[0].ends_with(
                ",stopped.rule,stopped.step,stopped.value,stopped.rung,stopped.rank,stopped.peers,stopped.cutoff"
            ),
            "{text}"
        );
        assert!(lines[1].starts_with("s/0,0,waiting,0.1,,,nan,"), "{text}");
        assert!(lines[2].starts_with("s/1,1,waiting,0.2,0.9,\"a,b\",0.5,"), "{text}");
    }
}
