//! `heats events`

use std::io::Write;

use futures::StreamExt;
use heats_wire::v1;
use serde_json::Value;

use super::best::sweep_id;
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Column, Fields, Format, Item, Kind, Listing};
use crate::select::Selector;
use crate::{hints, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A sweep, or one of its trials
    #[arg(value_name = "SWEEP[/TRIAL]", default_value = "last")]
    target: Selector,
    /// Go on with what will happen, until the sweep ends
    #[arg(short, long)]
    follow: bool,
    /// From this log index on
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    #[command(flatten)]
    output: OutputArg,
}

/// Prints what happened, in the order in which it happened.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, follow, from, output } = args;
    let printer = context.printer(output)?;
    let streams = matches!(printer.format(), Format::Table | Format::Wide | Format::Jsonl);
    if *follow && !streams {
        return Err(Failure::usage("a document has an end, and what is followed has none yet").hint("-o jsonl"));
    }
    let client = context.client()?;
    let sweep = client.get(&target.sweep).await?.sweep.unwrap_or_default();
    let trial = super::named::one(&client, target).await?;
    let request = v1::EventsRequest { sweep: sweep_id(&sweep), trial, from_index: *from, follow: *follow };
    let mut batches = client.events(request);
    let mut items = Vec::new();
    let mut next = *from;
    loop {
        let batch = tokio::select! {
            batch = batches.next() => batch,
            _ = tokio::signal::ctrl_c() => {
                hints::next(&[(format!("heats events {} -f --from {next}", sweep.name), "go on from here")]);
                return Ok(Exit::Interrupted);
            }
        };
        let Some(batch) = batch else { break };
        let v1::EventBatch { log_index, events } = batch?;
        next = log_index + 1;
        for event in &events {
            match printer.format() {
                Format::Table | Format::Wide => line(&sweep.name, event, *printer.format() == Format::Wide)?,
                Format::Jsonl => json_line(&sweep.name, event)?,
                Format::Json | Format::Yaml | Format::Csv | Format::Name | Format::Value(_) => {
                    items.push(item(&sweep.name, event));
                }
            }
        }
    }
    if !streams {
        let meta = Fields::new().with("sweep", sweep.name.as_str()).with("next_index", next).done();
        printer.list(&Listing { of: "events", meta, items, columns: columns(), now_ms: 0 }, "")?;
    }
    Ok(Exit::Ok)
}

fn line(sweep: &str, event: &v1::Event, wide: bool) -> std::io::Result<()> {
    let v1::Event { log_index, at_ms, kind, trial, attempt: _, text, json: _ } = event;
    let whom = trial.map_or_else(|| sweep.to_owned(), |trial| format!("{sweep}/{trial}"));
    let mut out = anstream::stdout().lock();
    let kind = if wide { format!("{kind:16}  ") } else { String::new() };
    writeln!(out, "{}  {log_index:>6}  {kind}\x1b[1m{whom}\x1b[0m  {text}", words::timestamp(*at_ms))
}

fn json_line(sweep: &str, event: &v1::Event) -> std::io::Result<()> {
    let mut json = serde_json::Map::new();
    json.insert("schema".into(), "heats.event/v1".into());
    json.extend(item(sweep, event).json);
    writeln!(std::io::stdout().lock(), "{}", Value::Object(json))
}

fn item(sweep: &str, event: &v1::Event) -> Item {
    let v1::Event { log_index, at_ms, kind, trial, attempt, text, json } = event;
    let name = trial.map_or_else(|| sweep.to_owned(), |trial| format!("{sweep}/{trial}"));
    let json = Fields::new()
        .with("log_index", *log_index)
        .time("at", *at_ms)
        .with("kind", kind.as_str())
        .with("trial", *trial)
        .with("attempt", *attempt)
        .with("text", text.as_str())
        .with("fact", serde_json::from_str::<Value>(json).unwrap_or(Value::Null))
        .done();
    Item { name, json }
}

fn columns() -> Vec<Column> {
    ["log_index", "at", "kind", "trial", "attempt", "text"].map(|path| Column::new(path, path, Kind::Text)).into()
}
