//! `heats best`

use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Listing};
use crate::select::Selector;
use crate::view;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP")]
    sweep: Selector,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    number: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists the best trials, best first. A sweep without a ranked trial ends with 8.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, number, output } = args;
    let name = super::named::sweep_only(sweep, "best")?;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let v1::GetResponse { now_ms, sweep, .. } = client.get(name).await?;
    let sweep = sweep.unwrap_or_default();
    let request = v1::TrialsRequest { sweep: sweep_id(&sweep), best_first: true, limit: *number, ..Default::default() };
    let v1::TrialsResponse { log_index, trials, .. } = client.trials(request).await?;
    let objective = view::objective(&sweep);
    let meta = Fields::new()
        .with("log_index", log_index)
        .with("sweep", sweep.name.as_str())
        .with("metric", objective.as_ref().map(|objective| objective.metric().to_owned()))
        .with("direction", objective.as_ref().map(|objective| objective.direction().to_string()))
        .done();
    let listing = Listing {
        of: "trials",
        meta,
        items: trials.iter().map(|trial| view::trial(&sweep.name, trial)).collect(),
        columns: view::trial_columns(&trials),
        now_ms,
    };
    printer.list(&listing, &format!("no trial of `{}` has a finite value yet", sweep.name))?;
    Ok(if trials.is_empty() { Exit::NoBest } else { Exit::Ok })
}

/// The id, so that a later call means the same sweep whatever is submitted in between.
pub(super) fn sweep_id(sweep: &v1::Sweep) -> String {
    sweep.id.map_or_else(|| sweep.name.clone(), |id| id.to_string())
}
