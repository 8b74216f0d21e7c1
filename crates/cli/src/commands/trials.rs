//! `heats trials`

use std::cmp::Ordering;
use std::collections::BTreeSet;

use heats_domain::expr::EvalError;
use heats_domain::{Expr, Params, SweepSpec, Value};
use heats_wire::v1;

use super::best::sweep_id;
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Listing};
use crate::select::{Selector, Trials};
use crate::{view, words};

/// What `--where` and `--sort` know of a trial beside its parameters.
const BUILT_IN: [&str; 9] =
    ["number", "state", "value", "value_step", "last_value", "step", "attempts", "duration", "failure"];

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep, or some of its trials: digits/1,3,5-8
    #[arg(value_name = "SWEEP[/TRIALS]")]
    sweep: Selector,
    /// Only trials for which this holds, in CEL: 'state == "completed" && lr < 0.01'
    #[arg(long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// In this order: a parameter, the objective, or number, state, value, step, ...; `-` before it turns it round
    #[arg(long, value_name = "[-]FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists trials.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep: selector, condition, sort, limit, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let v1::GetResponse { log_index, now_ms, sweep, .. } = client.get(&selector.sweep).await?;
    let sweep = sweep.unwrap_or_default();
    let mut trials = if selector.trials == Trials::Unnamed {
        client.all_trials(sweep_id(&sweep)).await?
    } else {
        let numbers = super::named::numbers(&client, selector).await?;
        let request = v1::TrialsRequest { sweep: sweep_id(&sweep), numbers, ..Default::default() };
        client.trials(request).await?.trials
    };
    let known = fields(&sweep, &trials);
    let metric = view::objective(&sweep).map(|objective| objective.metric().to_owned());
    if let Some(condition) = condition {
        trials = kept(trials, condition, &known, metric.as_deref())?;
    }
    if let Some(sort) = sort {
        sorted(&mut trials, sort, &known, metric.as_deref())?;
    }
    trials.truncate(limit.unwrap_or(usize::MAX));
    let listing = Listing {
        of: "trials",
        meta: Fields::new().with("log_index", log_index).with("sweep", sweep.name.as_str()).done(),
        items: trials.iter().map(|trial| view::trial(&sweep.name, trial)).collect(),
        columns: view::trial_columns(&trials),
        now_ms,
    };
    printer.list(&listing, "no such trials")?;
    Ok(Exit::Ok)
}

/// Every name that a condition or an order may mention.
fn fields(sweep: &v1::Sweep, trials: &[v1::TrialSummary]) -> BTreeSet<String> {
    let spec = view::spec(sweep);
    let of_space = spec.iter().flat_map(|spec| spec.space.parameters.iter().map(|(name, _)| name.clone()));
    let of_trials = trials.iter().filter_map(|trial| trial.params.as_ref()).flat_map(Params::iter);
    let objectives = spec.iter().flat_map(SweepSpec::objectives).map(|objective| objective.metric().to_owned());
    of_space
        .chain(of_trials.map(|(name, _)| name.to_owned()))
        .chain(objectives)
        .chain(BUILT_IN.map(str::to_owned))
        .collect()
}

fn unknown(name: &str, known: &BTreeSet<String>) -> Failure {
    let hint = words::nearest(name, known.iter().map(String::as_str)).map_or_else(
        || format!("one of {}", known.iter().cloned().collect::<Vec<_>>().join(", ")),
        |nearest| format!("did you mean `{nearest}`?"),
    );
    Failure::usage(format!("a trial of this sweep has no `{name}`")).hint(hint)
}

/// What an expression sees of a trial. A parameter comes before a field of the same name. NaN is no value: it
/// compares with nothing.
fn seen(trial: &v1::TrialSummary, metric: Option<&str>) -> Params {
    let real = |number: Option<f64>| number.filter(|number| !number.is_nan()).map(Value::Float);
    let number = |number: Option<u64>| number.map(|number| Value::Int(number.min(i64::MAX as u64) as i64));
    let values = [
        ("number", Some(Value::Int(i64::from(trial.number)))),
        ("state", Some(Value::Str(view::state(trial.state)))),
        ("value", real(trial.value)),
        ("value_step", number(trial.value_step)),
        ("last_value", real(trial.last_value)),
        ("step", number(trial.last_step)),
        ("attempts", Some(Value::Int(i64::from(trial.attempts)))),
        ("duration", Some(Value::Float(trial.ran_ms as f64 / 1000.0))),
        ("failure", trial.failure.map(|failure| Value::Str(view::failure(failure)))),
    ];
    let mut seen: Params = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if let (Some(metric), Some(value)) = (metric, real(trial.value)) {
        seen.insert(metric, value);
    }
    for metric in trial.point.iter().flat_map(|point| &point.list) {
        seen.insert(metric.name.as_str(), Value::Float(metric.value));
    }
    for (name, value) in trial.params.iter().flat_map(Params::iter) {
        seen.insert(name, value.clone());
    }
    seen
}

fn kept(
    trials: Vec<v1::TrialSummary>,
    condition: &str,
    known: &BTreeSet<String>,
    metric: Option<&str>,
) -> Result<Vec<v1::TrialSummary>, Failure> {
    let expr = Expr::parse(condition)
        .map_err(|error| Failure::usage(error.to_string()).hint("for example: 'value > 0.9 && opt == \"adamw\"'"))?;
    if let Some(name) = expr.mentions().iter().find(|name| !known.contains(*name)) {
        return Err(unknown(name, known));
    }
    let mut kept = Vec::new();
    for trial in trials {
        match expr.holds(&seen(&trial, metric)) {
            Ok(true) => kept.push(trial),
            // Not measured, or not active in this trial: the condition says nothing about it.
            Ok(false) | Err(EvalError::Missing(_)) => {}
            Err(error @ EvalError::Undefined { .. }) => {
                return Err(Failure::usage(format!("trial {}: {error}", trial.number)));
            }
        }
    }
    Ok(kept)
}

fn sorted(
    trials: &mut [v1::TrialSummary],
    sort: &str,
    known: &BTreeSet<String>,
    metric: Option<&str>,
) -> Result<(), Failure> {
    let (name, backwards) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    if !known.contains(name) {
        return Err(unknown(name, known));
    }
    trials.sort_by_cached_key(|trial| Key { value: seen(trial, metric).get(name).cloned(), backwards });
    Ok(())
}

/// A place in the order. Trials without the field come last whichever way the order goes.
struct Key {
    value: Option<Value>,
    backwards: bool,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let forwards = match (&self.value, &other.value) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (None, None) => a.to_string().cmp(&b.to_string()),
                // Numbers before words.
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            },
        };
        if self.backwards { forwards.reverse() } else { forwards }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials() -> Vec<v1::TrialSummary> {
        let trial = |number, lr: f64, value: Option<f64>| v1::TrialSummary {
            number,
            params: Some([("lr", Value::Float(lr))].into_iter().collect()),
            value,
            state: heats_domain::TrialState::Completed as i32,
            ..Default::default()
        };
        vec![trial(0, 0.1, Some(0.5)), trial(1, 0.3, None), trial(2, 0.2, Some(f64::NAN)), trial(3, 0.4, Some(0.9))]
    }

    fn known() -> BTreeSet<String> {
        ["lr", "acc"].into_iter().chain(BUILT_IN).map(str::to_owned).collect()
    }

    fn numbers(trials: &[v1::TrialSummary]) -> Vec<u32> {
        trials.iter().map(|trial| trial.number).collect()
    }

    #[test]
    fn an_order_may_be_turned_round_and_what_has_no_value_comes_last() {
        let order = |sort: &str| {
            let mut trials = trials();
            sorted(&mut trials, sort, &known(), Some("acc")).expect(sort);
            numbers(&trials)
        };
        assert_eq!(order("lr"), [0, 2, 1, 3]);
        assert_eq!(order("-acc"), [3, 0, 1, 2]);
        assert_eq!(order("value"), [0, 3, 1, 2]);
        let error = sorted(&mut trials(), "lrr", &known(), None).expect_err("is refused");
        assert_eq!(error.hint.as_deref(), Some("did you mean `lr`?"));
    }

    #[test]
    fn a_condition_keeps_what_it_holds_for() {
        let keep = |condition: &str| kept(trials(), condition, &known(), Some("acc")).map(|trials| numbers(&trials));
        assert_eq!(keep("lr < 0.25"), Ok(vec![0, 2]));
        assert_eq!(keep("acc > 0.6 && state == \"completed\""), Ok(vec![3]));
        assert!(keep("wdith > 3").is_err() && keep("lr <").is_err() && keep("lr").is_err());
    }
}
