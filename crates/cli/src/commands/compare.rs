//! `heats compare`

use std::collections::BTreeSet;

use heats_wire::v1;
use serde_json::Value;

use super::best::sweep_id;
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Column, Fields, Item, Kind, Listing};
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
    let mut trials: Vec<(Item, v1::TrialResponse)> = Vec::new();
    for selector in selectors {
        let sweep = client.get(&selector.sweep).await?.sweep.unwrap_or_default();
        for number in super::named::numbers(&client, selector).await? {
            let whole = client.trial(sweep_id(&sweep), number).await?;
            trials.push((view::trial(&sweep.name, &whole.trial.clone().unwrap_or_default()), whole));
        }
    }
    if trials.len() < 2 {
        return Err(Failure::usage("it takes two trials to compare").hint("heats compare digits/12 digits/40"));
    }
    let rows = rows(&trials);
    let columns = std::iter::once(Column::new("FIELD", "field", Kind::Text))
        .chain(trials.iter().map(|(item, _)| Column::new(item.name.clone(), item.name.clone(), Kind::Number)))
        .collect();
    let listing = Listing { of: "comparisons", meta: Fields::new().done(), items: rows, columns, now_ms: 0 };
    printer.list(&listing, "")?;
    Ok(Exit::Ok)
}

fn rows(trials: &[(Item, v1::TrialResponse)]) -> Vec<Item> {
    let names: BTreeSet<String> = trials
        .iter()
        .filter_map(|(item, _)| item.json.get("params").and_then(Value::as_object))
        .flat_map(|params| params.keys().cloned())
        .collect();
    let mut rows: Vec<(bool, Item)> = FIELDS
        .iter()
        .map(|field| ((*field).to_owned(), (*field).to_owned()))
        .chain(names.into_iter().map(|name| (name.clone(), format!("params.{name}"))))
        .map(|(title, path)| row(&title, trials.iter().map(|(item, _)| (item.name.as_str(), item.text(&path)))))
        .collect();
    rows.extend(steps(trials));
    rows.sort_by_key(|(same, _)| *same);
    rows.into_iter().map(|(_, row)| row).collect()
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

/// The metrics at the last step that every trial has reported: what can be compared fairly.
fn steps(trials: &[(Item, v1::TrialResponse)]) -> Vec<(bool, Item)> {
    let of = |whole: &v1::TrialResponse| whole.series.iter().map(|point| point.step).collect::<BTreeSet<u64>>();
    let common = trials.iter().map(|(_, whole)| of(whole)).reduce(|a, b| a.intersection(&b).copied().collect());
    let Some(step) = common.and_then(|steps| steps.last().copied()) else { return Vec::new() };
    let at = |whole: &v1::TrialResponse| {
        whole
            .series
            .iter()
            .rfind(|point| point.step == step)
            .and_then(|point| point.metrics.clone())
            .unwrap_or_default()
    };
    let names: BTreeSet<String> =
        trials.iter().flat_map(|(_, whole)| at(whole).list).map(|metric| metric.name).collect();
    names
        .into_iter()
        .map(|name| {
            let cells =
                trials.iter().map(|(item, whole)| (item.name.as_str(), at(whole).get(&name).map(crate::words::short)));
            row(&format!("{name} at step {step}"), cells)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_comes_first_and_metrics_are_compared_at_a_step_that_all_reached() {
        let trial = |number, lr: f64, last: u64| {
            let params = [("lr", heats_domain::Value::Float(lr)), ("epochs", heats_domain::Value::Int(27))];
            let summary = v1::TrialSummary { number, params: Some(params.into_iter().collect()), ..Default::default() };
            let point = |step| v1::Point {
                step,
                metrics: Some([("loss", step as f64 * lr)].into_iter().collect()),
                ..Default::default()
            };
            let whole = v1::TrialResponse { series: (1..=last).map(point).collect(), ..Default::default() };
            (view::trial("s", &summary), whole)
        };
        let rows = rows(&[trial(1, 0.1, 3), trial(2, 0.2, 9)]);
        let differing: Vec<&str> =
            rows.iter().filter(|row| row.json["same"] == Value::Bool(false)).map(|row| row.name.as_str()).collect();
        assert_eq!(differing, ["lr", "loss at step 3"]);
        assert_eq!(rows[0].name, "lr");
        assert_eq!(rows[1].json["s/2"], Value::from("0.6"));
    }
}
