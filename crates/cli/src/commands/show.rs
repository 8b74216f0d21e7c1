//! `heats show`

mod early_stopping;

use std::io::{self, Write};
use std::str::FromStr;

use heats_client::Client;
use heats_domain::AgentId;
use heats_wire::series::{Point, points};
use heats_wire::v1;
use serde_json::Value;

use super::best::sweep_id;
use super::series::{Series, write_csv};
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Format, Item, Printer};
use crate::provenance::Surroundings;
use crate::select::Selector;
use crate::{live, view, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A sweep, a trial, an attempt, or an agent: digits, digits/12, digits/12@2, agt_...
    #[arg(value_name = "ID", default_value = "last")]
    id: String,
    #[command(flatten)]
    output: OutputArg,
}

/// How many points of a trial's series people are shown.
const SAMPLE: u32 = 12;

/// Shows whatever the id names.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { id, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    if id.starts_with(AgentId::PREFIX) {
        return super::agent::show::one(&client, &printer, id).await;
    }
    let selector = Selector::from_str(id).map_err(|error| Failure::usage(error.to_string()))?;
    match (super::named::one(&client, &selector).await?, selector.attempt) {
        (None, _) => sweep(&client, &printer, &selector.sweep).await,
        (Some(trial), attempt) => self::trial(&client, &printer, &selector.sweep, trial, attempt).await,
    }
}

async fn sweep(client: &Client, printer: &Printer, name: &str) -> Outcome {
    let v1::GetResponse { log_index, now_ms, sweep, early_stopping, quarantines } = client.assessed(name).await?;
    let sweep = sweep.unwrap_or_default();
    let mut item = view::sweep(&sweep, now_ms);
    if let Some(told) = &early_stopping {
        item.json.insert("early_stopping".into(), early_stopping::fields(told).into());
    }
    item.json.insert(
        "quarantined_agents".into(),
        quarantines.iter().map(|one| Value::from(view::quarantined(one))).collect(),
    );
    item.json.insert("spec".into(), serde_json::from_str(&sweep.spec).unwrap_or(Value::Null));
    let meta = Fields::new().with("log_index", log_index).done();
    printer.one("sweep", &meta, &item, |out| {
        live::write_sweep(out, &sweep, now_ms)?;
        let text = |path: &str| item.text(path).unwrap_or_default();
        if let Some(told) = &early_stopping {
            early_stopping::write(out, &text("early_stop"), told)?;
        }
        for quarantine in &quarantines {
            writeln!(out, "  machine   {} is left alone", view::left_alone(quarantine))?;
            view::write_quarantine(out, quarantine, now_ms)?;
        }
        writeln!(out, "  search    {}, early stop {}, seed {}", text("search"), text("early_stop"), text("seed"))?;
        for (place, one) in sweep.learned.iter().enumerate() {
            writeln!(out, "  {:9} {}", if place == 0 { "learned" } else { "" }, words::learned(one))?;
        }
        writeln!(out, "  submitted {} ({})", text("submitted_at"), words::ago(sweep.submitted_ms, now_ms))?;
        writeln!(out, "  folder    {}", sweep.base_dir)?;
        if !sweep.code.is_empty() {
            writeln!(out, "  code      archive {}", sweep.code)?;
        }
        for v1::Hook { webhook, on, delivered, given_up, waiting } in &sweep.notify {
            let host = webhook.split('/').nth(2).unwrap_or_default();
            let now = match (given_up.as_str(), waiting) {
                ("", None) => String::new(),
                ("", Some(event)) => format!(", is being told of `{event}`"),
                (why, _) => format!(", \x1b[31mgiven up\x1b[0m: {why}"),
            };
            writeln!(out, "  notify    {host} of {}: told {delivered} times{now}", on.join(", "))?;
        }
        writeln!(out, "  id        {}", sweep_id(&sweep))
    })?;
    Ok(Exit::Ok)
}

async fn trial(client: &Client, printer: &Printer, sweep: &str, number: u32, attempt: Option<u32>) -> Outcome {
    let sweep = client.get(sweep).await?.sweep.unwrap_or_default();
    let whole = client.sampled_trial(sweep_id(&sweep), number, SAMPLE).await?;
    let attempts: Vec<Item> = whole.attempts.iter().map(|one| view::attempt(&sweep.name, number, one)).collect();
    let ran_in: Vec<Surroundings> = whole.attempts.iter().map(|one| Surroundings::of(&whole, one)).collect();
    let meta = Fields::new().with("log_index", whole.log_index).done();
    if let Some(wanted) = attempt {
        let place = whole.attempts.iter().position(|one| one.number == wanted).ok_or_else(|| {
            let message = format!("trial `{}/{number}` has no attempt {wanted}", sweep.name);
            Failure::new(Exit::NotFound, message)
                .hint(format!("it has {}", words::count(whole.attempts.len() as u64, "attempt")))
        })?;
        let mut item = attempts[place].clone();
        item.json.insert("surroundings".into(), ran_in[place].fields().into());
        printer.one("attempt", &meta, &item, |out| {
            write_attempt(out, &item, &ran_in[place])?;
            write_wait(out, &whole.attempts[place])
        })?;
        return Ok(Exit::Ok);
    }
    let summary = whole.trial.clone().unwrap_or_default();
    let mut item = view::trial(&sweep.name, &summary);
    item.json.insert("seed".into(), whole.seed.into());
    item.json.insert("saw_index".into(), whole.saw_index.into());
    item.json.insert("enqueued".into(), whole.enqueued.into());
    item.json.insert("forks".into(), whole.forks.clone().into());
    item.json.insert("lineage".into(), whole.lineage.iter().map(|one| Value::from(view::stretch(one))).collect());
    item.json.insert("attempt_list".into(), attempts.iter().map(|one| Value::Object(one.json.clone())).collect());
    item.json.insert("environments".into(), view::environments(&whole));
    item.json.insert("hardware".into(), view::machines(&whole));
    if *printer.format() == Format::Csv {
        // A line for each report: columns have no room for both the reports and the rest.
        let mut out = io::BufWriter::new(io::stdout().lock());
        write_csv(&mut out, client, &sweep, &[summary]).await?;
        out.flush()?;
        return Ok(Exit::Ok);
    }
    let Some(mut long) = printer.long("trial", &meta, &item, "series")? else {
        let sample = points(&whole.sample).map_err(|error| Failure::failed(error.to_string()))?;
        printer
            .one("trial", &meta, &item, |out| write_trial(out, &item, &whole, attempts.iter().zip(&ran_in), &sample))?;
        return Ok(Exit::Ok);
    };
    let mut series = Series::of(client, &sweep, &summary);
    while let Some(points) = series.next().await? {
        let points: Vec<Value> = points.iter().map(|point| view::point(point).into()).collect();
        long.piece(&points)?;
    }
    long.end()?;
    Ok(Exit::Ok)
}

fn write_trial<'a>(
    out: &mut dyn Write,
    item: &Item,
    whole: &v1::TrialResponse,
    attempts: impl Iterator<Item = (&'a Item, &'a Surroundings)>,
    sample: &[Point],
) -> io::Result<()> {
    let trial = &whole.trial.clone().unwrap_or_default();
    let text = |path: &str| item.text(path).unwrap_or_default();
    writeln!(out, "\x1b[1m{}\x1b[0m {}", item.name, text("state"))?;
    if let Some(point) = &trial.point {
        let step = text("value_step");
        writeln!(out, "  point     {} at step {step}, the last report of all objectives", view::pairs(point))?;
    } else if trial.value.is_some() {
        writeln!(out, "  value     {} at step {}", text("value"), text("value_step"))?;
    } else if trial.last_value.is_some() {
        writeln!(
            out,
            "  value     none: not one that it reported is a finite number, and the last is {}",
            text("value")
        )?;
    }
    if trial.last_step.is_some() && trial.point.is_none() {
        writeln!(out, "  last      {} at step {}", text("last_value"), text("last_step"))?;
    }
    if let Some(reason) = &trial.stopped {
        writeln!(out, "  stopped   by {reason}")?;
    }
    if let Some(reason) = &trial.spared {
        writeln!(out, "  spared    as one of the control group; it would have been stopped by {reason}")?;
    }
    if !trial.detail.is_empty() {
        writeln!(out, "  detail    {}", trial.detail.replace('\n', "\n            "))?;
    }
    if let Some(params) = &trial.params {
        live::write_params(out, params, "  ")?;
    }
    live::write_lineage(out, &whole.lineage, "  ")?;
    if !whole.forks.is_empty() {
        let forks: Vec<String> = whole.forks.iter().map(u32::to_string).collect();
        writeln!(out, "  forks     {}", forks.join(", "))?;
    }
    writeln!(out, "  seed      {}", text("seed"))?;
    for kept in &trial.checkpoints {
        writeln!(
            out,
            "  kept      step {} of attempt {}, {}, in {}",
            kept.step,
            kept.attempt,
            words::bytes(kept.bytes),
            kept.place
        )?;
    }
    for kept in &trial.artifacts {
        writeln!(out, "  artifact  {}, {}, in {}", kept.name, words::bytes(kept.bytes), kept.place)?;
    }
    for file in &trial.not_kept {
        writeln!(out, "  artifact  {}", words::not_kept(file))?;
    }
    for ((attempt, ran_in), message) in attempts.zip(&whole.attempts) {
        write_attempt(out, attempt, ran_in)?;
        write_wait(out, message)?;
    }
    write_sample(out, &item.name, trial, sample)
}

/// A few points of the series, and how to get all.
fn write_sample(out: &mut dyn Write, name: &str, trial: &v1::TrialSummary, sample: &[Point]) -> io::Result<()> {
    if sample.is_empty() {
        return Ok(());
    }
    let hidden = (trial.reports as usize).saturating_sub(sample.len());
    let more = match hidden {
        0 => String::new(),
        _ => format!(", {} of them here; the other {hidden} too: `heats show {name} -o csv`", sample.len()),
    };
    writeln!(out, "  {}{more}", words::count(u64::from(trial.reports), "report"))?;
    let width = sample.last().map_or(0, |point| point.step.to_string().len()).max(6);
    for point in sample {
        let metrics = point.metrics.list.iter();
        let words: Vec<String> =
            metrics.map(|metric| format!("{}={}", metric.name, words::short(metric.value))).collect();
        let best = match (trial.value_step == Some(point.step), &trial.point) {
            (true, None) => "  (best)",
            (true, Some(_)) => "  (its point)",
            (false, _) => "",
        };
        writeln!(out, "    step {:>width$}  {}{best}", point.step, words.join(" "))?;
    }
    Ok(())
}

/// One process of an attempt that spans machines.
fn write_member(out: &mut dyn Write, member: &Value) -> io::Result<()> {
    let text = |key: &str| member.get(key).and_then(Value::as_str).unwrap_or_default();
    let ending = match (text("failure"), text("ended_at")) {
        ("", "") => "live".to_owned(),
        ("", _) => "ended".to_owned(),
        (failure, _) => format!("failed ({failure})"),
    };
    let gpus = member.get("gpus").filter(|gpus| gpus.as_array().is_some_and(|gpus| !gpus.is_empty()));
    let gpus = gpus.map_or_else(String::new, |gpus| format!(", gpus {gpus}"));
    writeln!(out, "    rank {} {ending} on {}{gpus}", member["rank"], text("agent_name"))
}

/// What the attempt's end waits for, where it does.
fn write_wait(out: &mut dyn Write, attempt: &v1::Attempt) -> io::Result<()> {
    attempt.waits_for.as_ref().map_or(Ok(()), |waits| writeln!(out, "    {}", words::waits_for(waits)))
}

fn write_attempt(out: &mut dyn Write, attempt: &Item, ran_in: &Surroundings) -> io::Result<()> {
    let text = |path: &str| attempt.text(path).unwrap_or_default();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let failure = text("failure");
    let ending = match (failure.is_empty(), text("ended_at").is_empty()) {
        (false, _) if attempt.json["excused"] == true => format!("failed ({failure}) because of its machine,"),
        (false, _) => format!("failed ({failure})"),
        (true, true) => "live".to_owned(),
        (true, false) => "ended".to_owned(),
    };
    let members = attempt.json.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let on = match members.len() {
        0 => or(text("agent_name"), &text("agent")),
        nodes => format!("{nodes} machines, which meet at {}", text("meets_at")),
    };
    writeln!(out, "  attempt {} {ending} on {on}", text("attempt"))?;
    for member in members {
        write_member(out, member)?;
    }
    let milliseconds = |path: &str| (text(path).parse::<f64>().unwrap_or(0.0) * 1000.0) as u64;
    if !text("started_at").is_empty() {
        writeln!(
            out,
            "    started {}, ran {}, processor {}, memory {}",
            text("started_at"),
            words::duration(milliseconds("duration")),
            words::duration(milliseconds("cpu")),
            words::bytes(text("max_rss").parse().unwrap_or(0))
        )?;
    }
    let gpus = text("gpus");
    let gpus = if gpus == "[]" { String::new() } else { format!(", gpus {gpus}") };
    let environment = ran_in.environment_line().unwrap_or_else(|| or(text("environment"), "the agent's own"));
    writeln!(out, "    cpus {}{gpus}, environment {environment}", text("cpus"))?;
    match text("cold") {
        _ if attempt.json["warm"] == true => writeln!(out, "    warm: forked from a process that had its imports")?,
        why if why.is_empty() => {}
        why => writeln!(out, "    cold, although its sweep asks for warm starts: {why}")?,
    }
    if let Some(machine) = ran_in.hardware_line() {
        writeln!(out, "    machine {machine}")?;
    }
    if !text("detail").is_empty() {
        writeln!(out, "    {}", text("detail").replace('\n', "\n    "))?;
    }
    Ok(())
}
