//! `heats best`

use std::io::{self, Write};

use heats_wire::v1;
use serde_json::Value;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Item, Listing};
use crate::select::Selector;
use crate::{hints, live, view};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP")]
    sweep: Selector,
    /// How many: one where it is not given; of a sweep with several objectives, the whole front
    #[arg(short = 'n', long, value_name = "N")]
    number: Option<u32>,
    /// The Pareto front: the trials that no other is better than in one objective without being worse in another
    #[arg(long)]
    pareto: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists the best trials, best first; of several objectives, the front by the first of them. A sweep without a ranked trial
/// ends with 8.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, number, pareto, output } = args;
    let name = super::named::sweep_only(sweep, "best")?;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let v1::GetResponse { now_ms, sweep, .. } = client.get(name).await?;
    let sweep = sweep.unwrap_or_default();
    let spec = view::spec(&sweep);
    let several = spec.as_ref().is_some_and(|spec| spec.objectives().len() > 1);
    let limit = match (several, number) {
        // As many as the coordinator gives.
        (true, number) => number.unwrap_or(0),
        // Of one objective, the front is the best trial.
        (false, number) => {
            if *pareto {
                1
            } else {
                number.unwrap_or(1)
            }
        }
    };
    let request = v1::TrialsRequest { sweep: sweep_id(&sweep), best_first: true, limit, ..Default::default() };
    let v1::TrialsResponse { log_index, trials, .. } = client.trials(request).await?;
    let objective = view::objective(&sweep).filter(|_| !several);
    let meta = Fields::new()
        .with("log_index", log_index)
        .with("sweep", sweep.name.as_str())
        .with("metric", objective.as_ref().map(|objective| objective.metric().to_owned()))
        .with("direction", objective.as_ref().map(|objective| objective.direction().to_string()))
        .with("objectives", view::objectives(spec.as_ref()))
        .with("front", sweep.front.as_ref().map(|front| Value::from(view::front(spec.as_ref(), front))))
        .done();
    let mut items: Vec<Item> = trials.iter().map(|trial| view::trial(&sweep.name, trial)).collect();
    let mut lineages: Vec<(u32, Vec<v1::Stretch>)> = Vec::new();
    // What a fork came to is not its own configuration's alone.
    for (trial, item) in trials.iter().zip(&mut items).filter(|(trial, _)| trial.forked_from.is_some()) {
        let v1::TrialResponse { lineage, .. } = client.trial(sweep_id(&sweep), trial.number).await?;
        item.json.insert("lineage".into(), lineage.iter().map(|one| Value::from(view::stretch(one))).collect());
        lineages.push((trial.number, lineage));
    }
    let listing = Listing { of: "trials", meta, items, columns: view::trial_columns(&trials), now_ms };
    printer.list(&listing, &format!("no trial of `{}` has a finite value yet", sweep.name))?;
    if printer.is_for_people() {
        let mut out = io::stdout().lock();
        for (number, lineage) in &lineages {
            writeln!(out, "\ntrial {number} is a fork; these configurations made it, one after the other:")?;
            live::write_lineage(&mut out, lineage, "  ")?;
        }
    }
    if let (Some(front), true) = (&sweep.front, printer.is_for_people()) {
        hints::note(&format!(
            "the front of {}: none of these is better than another in one objective without being worse in another{}",
            view::front_short(front),
            live::counted_from(front, spec.as_ref())
        ));
    }
    Ok(if trials.is_empty() { Exit::NoBest } else { Exit::Ok })
}

/// The id, so that a later call means the same sweep whatever is submitted in between.
pub(super) fn sweep_id(sweep: &v1::Sweep) -> String {
    sweep.id.map_or_else(|| sweep.name.clone(), |id| id.to_string())
}
