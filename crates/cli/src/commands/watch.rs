//! `heats watch`

use crate::context::{Context, OutputArg};
use crate::exit::{self, Exit, Outcome};
use crate::select::Selector;
use crate::{hints, live, view};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP", default_value = "last")]
    sweep: Selector,
    #[command(flatten)]
    on_new_best: live::OnNewBest,
    #[command(flatten)]
    output: OutputArg,
}

/// Watches a sweep until it ends. Ctrl-C leaves it running.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, on_new_best, output } = args;
    let name = super::named::sweep_only(sweep, "watch")?;
    let client = context.client()?;
    let sweep = client.get(name).await?.sweep.unwrap_or_default();
    watch(context, output, &client, &sweep, on_new_best).await
}

/// Watches `sweep`, prints its summary, and ends as the sweep ended and the user's command was run for each new best.
pub(super) async fn watch(
    context: &Context,
    output: &OutputArg,
    client: &heats_client::Client,
    sweep: &heats_wire::v1::Sweep,
    on_new_best: &live::OnNewBest,
) -> Outcome {
    let printer = context.printer(output)?;
    on_new_best.expect_best(view::spec(sweep).as_ref())?;
    let id = super::best::sweep_id(sweep);
    let following = async { tokio::try_join!(live::follow(client, &id, None), on_new_best.run(client, &id)) };
    let (followed, ()) = tokio::select! {
        followed = following => followed?,
        _ = tokio::signal::ctrl_c() => {
            hints::note(&format!("left `{}`: it runs on", sweep.name));
            hints::next(&[
                (format!("heats watch {}", sweep.name), "come back"),
                (format!("heats best {}", sweep.name), "the best so far"),
                (format!("heats cancel {}", sweep.name), "end it"),
            ]);
            return Ok(Exit::Interrupted);
        }
    };
    live::print(&printer, &followed)?;
    let name = &followed.sweep.name;
    hints::next(&[
        (format!("heats best {name} -n 10"), "the ten best trials"),
        (format!("heats trials {name} -o wide"), "all of them"),
        (format!("heats export {name} -f csv"), "into a spreadsheet"),
    ]);
    Ok(exit::of_sweep(&followed.sweep, view::objective(&followed.sweep).is_some()))
}
