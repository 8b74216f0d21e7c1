//! `heats export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use heats_wire::v1;
use serde_json::{Map, Value};

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Item;
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

/// Writes every trial, with its whole configuration.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, format, series, to } = args;
    let name = super::named::sweep_only(sweep, "export")?;
    let client = context.client()?;
    let sweep = client.get(name).await?.sweep.unwrap_or_default();
    let trials = client.all_trials(sweep_id(&sweep)).await?;
    let mut items = Vec::new();
    for trial in &trials {
        if *series {
            let whole = client.trial(sweep_id(&sweep), trial.number).await?;
            items.extend(whole.series.iter().map(|point| reported(&sweep, trial, point)));
        } else {
            items.push(view::trial(&sweep.name, trial));
        }
    }
    let of = if *series { "report" } else { "trial" };
    let count = words::count(items.len() as u64, of);
    match to {
        Some(path) => {
            let fail = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
            let mut file = BufWriter::new(File::create(path).map_err(fail)?);
            write(&mut file, *format, of, &items).and_then(|()| file.flush()).map_err(fail)?;
            hints::note(&format!("wrote {count} to {}", path.display()));
        }
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out, *format, of, &items)?;
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

/// A report with the trial's configuration beside it, so that each line stands alone.
fn reported(sweep: &v1::Sweep, trial: &v1::TrialSummary, point: &v1::Point) -> Item {
    let item = view::trial(&sweep.name, trial);
    let mut json = Map::new();
    for field in ["address", "number", "params"] {
        json.extend(item.json.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    json.extend(view::point(point).done());
    Item { name: item.name, json }
}

fn write(out: &mut impl Write, format: Form, of: &str, items: &[Item]) -> io::Result<()> {
    match format {
        Form::Jsonl => items.iter().try_for_each(|item| {
            let mut json = Map::from_iter([("schema".to_owned(), Value::from(format!("heats.{of}/v1")))]);
            json.extend(item.json.clone());
            writeln!(out, "{}", Value::Object(json))
        }),
        Form::Csv => {
            let columns = columns(items);
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(&columns)?;
            for item in items {
                csv.write_record(columns.iter().map(|path| item.text(path).unwrap_or_default()))?;
            }
            csv.flush()
        }
    }
}

/// Every scalar field of any item, in the order of their first appearance; what stands within another (a
/// parameter, a metric, a verdict) by its path. Flags of numbers that are not finite are left out: CSV says `nan` itself.
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
                Value::Null if key == "stopped" => {}
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
        "address" | "number" | "state" | "step" | "attempt" | "at" => 0,
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
        write(&mut out, Form::Csv, "trial", &items).expect("writes");
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
