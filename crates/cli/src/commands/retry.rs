//! `heats retry`

use heats_wire::v1;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::select::Selector;
use crate::{hints, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Failed trials: digits/3,7; or a sweep, with --failed
    #[arg(value_name = "SWEEP[/TRIALS]")]
    target: Selector,
    /// Every failed trial
    #[arg(long)]
    failed: bool,
}

/// Tries failed trials again.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, failed } = args;
    let client = context.client()?;
    let trials = super::named::numbers(&client, target).await?;
    if trials.is_empty() != *failed {
        let sweep = &target.sweep;
        return Err(Failure::usage("either trials are named, or --failed means all that failed")
            .hint(format!("heats retry {sweep} --failed, or heats retry {sweep}/3,7")));
    }
    let request = v1::RetryRequest { sweep: target.sweep.clone(), trials };
    let v1::RetryResponse { trials, .. } = client.retry(request).await?;
    let numbers: Vec<String> = trials.iter().map(ToString::to_string).collect();
    let sweep = &target.sweep;
    if numbers.is_empty() {
        hints::note("no trial of it has failed");
    } else {
        let which = if numbers.len() <= 10 { format!(": {}", words::list(&numbers)) } else { String::new() };
        let count = words::count(trials.len() as u64, "trial");
        hints::note(&format!("{count} will be tried again{which}"));
    }
    hints::next(&[
        (format!("heats watch {sweep}"), "follow it to its end"),
        (format!("heats trials {sweep} --where 'state == \"failed\"'"), "what is still failed"),
    ]);
    Ok(Exit::Ok)
}
