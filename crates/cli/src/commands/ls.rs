//! `heats ls`

use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Listing};
use crate::view;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only sweeps that have not ended
    #[arg(long)]
    live: bool,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists sweeps, newest first.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { live, limit, output } = args;
    let printer = context.printer(output)?;
    let request = v1::ListRequest { all: !live, limit: *limit };
    let v1::ListResponse { log_index, now_ms, sweeps } = context.client()?.list(request).await?;
    let listing = Listing {
        of: "sweeps",
        meta: Fields::new().with("log_index", log_index).done(),
        items: sweeps.iter().map(|sweep| view::sweep(sweep, now_ms)).collect(),
        columns: view::sweep_columns(),
        now_ms,
    };
    printer.list(&listing, "no sweeps yet: `heats submit FILE`")?;
    Ok(Exit::Ok)
}
