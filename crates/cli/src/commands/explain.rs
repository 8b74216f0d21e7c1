//! `heats explain`

mod sweep;
mod trial;

use heats_wire::v1;

use super::best::sweep_id;
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Item};
use crate::select::Selector;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A sweep, or one of its trials
    #[arg(value_name = "SWEEP[/TRIAL]", default_value = "last")]
    target: Selector,
    #[command(flatten)]
    output: OutputArg,
}

/// Says why: why a sweep waits or ended; why a trial has its configuration, why it was stopped, why it failed.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let v1::GetResponse { log_index, now_ms, sweep, .. } = client.get(&target.sweep).await?;
    let sweep = sweep.unwrap_or_default();
    let status = client.status().await?;
    let (name, sentences) = match super::named::one(&client, target).await? {
        None => (sweep.name.clone(), self::sweep::sentences(&sweep, &status.agents)),
        Some(number) => {
            let whole = client.trial(sweep_id(&sweep), number).await?;
            (format!("{}/{number}", sweep.name), self::trial::sentences(&sweep, &whole, &status.agents, now_ms))
        }
    };
    let json = Fields::new().with("address", name.as_str()).with("why", sentences.clone()).done();
    let meta = Fields::new().with("log_index", log_index).done();
    printer.one("explanation", &meta, &Item { name: name.clone(), json }, |out| {
        writeln!(out, "\x1b[1m{name}\x1b[0m")?;
        sentences.iter().try_for_each(|sentence| writeln!(out, "  {}", sentence.replace('\n', "\n    ")))
    })?;
    Ok(Exit::Ok)
}
