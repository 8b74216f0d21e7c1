//! `heats rm`

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::hints;
use crate::select::Selector;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweeps; each must have ended
    #[arg(value_name = "SWEEP", required = true)]
    sweeps: Vec<Selector>,
}

/// Removes sweeps that have ended, with everything that is known about them.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let client = context.client()?;
    for selector in &args.sweeps {
        let name = super::named::sweep_only(selector, "rm")?;
        // By id: the name may mean an older sweep a moment later.
        let sweep = client.get(name).await?.sweep.unwrap_or_default();
        client.remove(sweep_id(&sweep)).await?;
        hints::note(&format!("removed {} ({})", sweep.name, sweep_id(&sweep)));
    }
    hints::next(&[("heats ls".to_owned(), "what is left"), ("heats submit FILE".to_owned(), "hand in another sweep")]);
    Ok(Exit::Ok)
}
