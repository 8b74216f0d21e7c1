//! `heats ls`

use std::collections::BTreeSet;

use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Item, Listing};
use crate::view;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only sweeps that have not ended
    #[arg(long)]
    live: bool,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    limit: u32,
    /// However many there are
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists sweeps, newest first.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { live, limit, all, output } = args;
    let printer = context.printer(output)?;
    let request = v1::ListRequest { all: !live, limit: if *all { u32::MAX } else { *limit } };
    let v1::ListResponse { log_index, now_ms, sweeps } = context.client()?.list(request).await?;
    let listing = Listing {
        of: "sweeps",
        meta: Fields::new().with("log_index", log_index).done(),
        items: items(&sweeps, now_ms),
        columns: view::sweep_columns(&sweeps),
        now_ms,
    };
    printer.list(&listing, "no sweeps yet: `heats submit FILE`")?;
    Ok(Exit::Ok)
}

/// The sweeps, each under a name that means it: of several that are called the same, the name means the newest, and
/// the others go by their ids.
fn items(sweeps: &[v1::Sweep], now_ms: u64) -> Vec<Item> {
    let mut seen = BTreeSet::new();
    sweeps
        .iter()
        .map(|sweep| {
            let mut item = view::sweep(sweep, now_ms);
            if !seen.insert(sweep.name.as_str()) {
                item.name = super::best::sweep_id(sweep);
            }
            item
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_listed_twice_means_the_newest() {
        let sweep = |bits, name: &str| v1::Sweep {
            id: Some(heats_domain::SweepId { bits }),
            name: name.into(),
            ..Default::default()
        };
        let items = items(&[sweep(3, "digits"), sweep(2, "other"), sweep(1, "digits")], 0);
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["digits", "other", "swp_0000000000001"]);
    }
}
