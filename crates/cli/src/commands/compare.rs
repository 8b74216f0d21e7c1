//! `heats compare`

use std::collections::{BTreeMap, BTreeSet};

use heats_client::Client;
use heats_domain::Metrics;
use heats_wire::v1;
use serde_json::Value;

use super::best::sweep_id;
use super::series::{Series, last_common};
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Column, Fields, Item, Kind, Listing};
use crate::provenance::Surroundings;
use crate::select::Selector;
use crate::view;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Two trials or more: digits/12 digits/40, or digits/1,3,5
    #[arg(value_name = "SWEEP/TRIALS", required = true)]
    trials: Vec<Selector>,
    #[command(flatten)]
    output: OutputArg,
}

/// What is compared beside the parameters.
const FIELDS: [&str; 9] =
    ["state", "value", "value_step", "last_value", "last_step", "attempts", "duration", "stopped.rule", "failure"];

/// Puts trials side by side: one line for each thing, those that differ first.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { trials: selectors, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let mut trials: Vec<(v1::Sweep, v1::TrialSummary)> = Vec::new();
    let mut ran_in: Vec<Surroundings> = Vec::new();
    for selector in selectors {
        let sweep = client.get(&selector.sweep).await?.sweep.unwrap_or_default();
        for number in super::named::numbers(&client, selector).await? {
            let whole = client.trial(sweep_id(&sweep), number).await?;
            ran_in.push(whole.attempts.last().map(|last| Surroundings::of(&whole, last)).unwrap_or_default());
            trials.push((sweep.clone(), whole.trial.unwrap_or_default()));
        }
    }
    if trials.len() < 2 {
        return Err(Failure::usage("it takes two trials to compare").hint("heats compare digits/12 digits/40"));
    }
    let items: Vec<Item> = trials.iter().map(|(sweep, trial)| view::trial(&sweep.name, trial)).collect();
    let rows = rows(&items, common(&client, &trials).await?.as_ref(), &ran_in);
    let columns = std::iter::once(Column::new("FIELD", "field", Kind::Text))
        .chain(items.iter().map(|item| Column::new(item.name.clone(), item.name.clone(), Kind::Number)))
        .collect();
    let listing = Listing { of: "comparisons", meta: Fields::new().done(), items: rows, columns, now_ms: 0 };
    printer.list(&listing, "")?;
    Ok(Exit::Ok)
}

/// The last step that every trial has reported, with what each measured there: what can be compared fairly.
async fn common(
    client: &Client,
    trials: &[(v1::Sweep, v1::TrialSummary)],
) -> Result<Option<(u64, Vec<Metrics>)>, Failure> {
    let lasts: Option<Vec<u64>> = trials.iter().map(|(_, trial)| trial.last_step).collect();
    let Some(until) = lasts.and_then(|lasts| lasts.into_iter().min()) else { return Ok(None) };
    let from = |after: Option<u64>| {
        trials.iter().map(|(sweep, trial)| Series::between(client, sweep, trial.number, after, until)).collect()
    };
    // It is nearly always the last step of the shortest; only where it is not, all series are read.
    if let Some(before) = until.checked_sub(1)
        && let Some(common) = last_common(from(Some(before))).await?
    {
        return Ok(Some(common));
    }
    last_common(from(None)).await
}

fn rows(trials: &[Item], common: Option<&(u64, Vec<Metrics>)>, ran_in: &[Surroundings]) -> Vec<Item> {
    let names: BTreeSet<String> = trials
        .iter()
        .filter_map(|item| item.json.get("params").and_then(Value::as_object))
        .flat_map(|params| params.keys().cloned())
        .collect();
    let mut rows: Vec<(bool, Item)> = FIELDS
        .iter()
        .map(|field| ((*field).to_owned(), (*field).to_owned()))
        .chain(objectives(trials).into_iter().map(|name| (name.clone(), format!("objectives.{name}"))))
        .chain(names.into_iter().map(|name| (name.clone(), format!("params.{name}"))))
        .map(|(title, path)| row(&title, trials.iter().map(|item| (item.name.as_str(), item.text(&path)))))
        .collect();
    if let Some((step, metrics)) = common {
        rows.extend(at_step(trials, *step, metrics));
    }
    // Of what they ran in, that which is the same in all is left to `heats show`.
    rows.extend(surroundings(trials, ran_in).into_iter().filter(|(same, _)| !same));
    rows.sort_by_key(|(same, _)| *same);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The metrics of several objectives that any of the trials has measured.
fn objectives(trials: &[Item]) -> BTreeSet<String> {
    let objectives = trials.iter().filter_map(|item| item.json.get("objectives").and_then(Value::as_object));
    objectives.flat_map(|metrics| metrics.keys().filter(|key| !key.ends_with("_not_finite")).cloned()).collect()
}

/// One line, and whether all trials have the same in it.
fn row<'a>(title: &str, cells: impl Iterator<Item = (&'a str, Option<String>)>) -> (bool, Item) {
    let cells: Vec<(&str, Option<String>)> = cells.collect();
    let same = cells.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let mut fields = Fields::new().with("field", title).with("same", same);
    for (name, text) in cells {
        fields = fields.with(name, text);
    }
    (same, Item { name: title.to_owned(), json: fields.done() })
}

/// A line for each package, and for each thing that is known of a machine.
fn surroundings(trials: &[Item], ran_in: &[Surroundings]) -> Vec<(bool, Item)> {
    let things: Vec<BTreeMap<String, String>> = ran_in.iter().map(Surroundings::things).collect();
    let names: BTreeSet<&String> = things.iter().flat_map(BTreeMap::keys).collect();
    let cells = |name| trials.iter().zip(&things).map(move |(item, all)| (item.name.as_str(), all.get(name).cloned()));
    names.into_iter().map(|name| row(name, cells(name))).collect()
}

/// A line for each metric that any of the trials has at `step`.
fn at_step(trials: &[Item], step: u64, metrics: &[Metrics]) -> Vec<(bool, Item)> {
    let names: BTreeSet<&str> = metrics.iter().flat_map(|metrics| &metrics.list).map(|m| m.name.as_str()).collect();
    names
        .into_iter()
        .map(|name| {
            let cells = trials.iter().zip(metrics);
            let cells = cells.map(|(item, metrics)| (item.name.as_str(), metrics.get(name).map(crate::words::short)));
            row(&format!("{name} at step {step}"), cells)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use heats_domain::Inventory;

    use super::*;

    #[test]
    fn what_differs_comes_first_and_metrics_are_compared_at_a_step_that_all_reached() {
        let trial = |number, lr: f64| {
            let params = [("lr", heats_domain::Value::Float(lr)), ("epochs", heats_domain::Value::Int(27))];
            let params = Some(params.into_iter().collect());
            view::trial("s", &v1::TrialSummary { number, params, ..Default::default() })
        };
        let measured = |loss: f64| [("loss", loss)].into_iter().collect::<Metrics>();
        let common = (3, vec![measured(0.3), measured(0.6)]);
        let machine = |cpus| {
            let inventory = Inventory { cpus, memory: 1 << 30, ..Inventory::default() };
            Surroundings::here(None, &inventory, &Surroundings::default())
        };
        let rows = rows(&[trial(1, 0.1), trial(2, 0.2)], Some(&common), &[machine(4), machine(8)]);
        let differing: Vec<&str> =
            rows.iter().filter(|row| row.json["same"] == Value::Bool(false)).map(|row| row.name.as_str()).collect();
        assert_eq!(differing, ["lr", "loss at step 3", "processors"]);
        assert!(rows.iter().all(|row| row.name != "memory"), "it is the same");
        assert_eq!(rows[0].name, "lr");
        assert_eq!(rows[1].json["s/2"], Value::from("0.6"));
    }
}
