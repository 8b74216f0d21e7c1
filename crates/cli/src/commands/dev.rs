//! `heats dev`

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::run::Machine;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::host::{Host, HostOptions, Listen, Signals};
use crate::settings::ADDRESS;
use crate::{hints, live, view};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    machine: Machine,
    /// Where the coordinator listens
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    listen: SocketAddr,
}

/// Keeps a coordinator and agents up until Ctrl-C.
pub fn run(context: &Context, args: &Args) -> Outcome {
    Context::serve(serve(context, args))
}

async fn serve(context: &Context, args: &Args) -> Outcome {
    let Args { machine, listen } = args;
    let mut signals = Signals::listen()?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let options = HostOptions {
        data_dir: context.settings.data_dir(),
        listen: Listen::At(*listen),
        optuna: machine.optuna,
        agents: machine.agents,
        offer: machine.detect(context)?,
        checkpoints: context.settings.checkpoints()?,
    };
    let host = Host::start(options, tell).await?;
    hints::note(&format!(
        "listening on {}, data in {}; {} for trials; Ctrl-C stops",
        host.address(),
        host.data_dir().display(),
        view::offered(host.inventory()),
    ));
    host.optuna().iter().for_each(|address| hints::note(&hints::optuna(*address)));
    hints::next(&[
        ("heats submit FILE".to_owned(), "in another shell here: hand in a sweep"),
        ("heats ls".to_owned(), "what there is"),
        ("heats watch".to_owned(), "follow the newest"),
    ]);
    let outcome = loop {
        tokio::select! {
            Some(event) = told.recv() => {
                if let Some(line) = live::said_by_agent(&event) {
                    hints::note(&line);
                }
            }
            failure = host.failed() => break Err(failure),
            () = signals.next() => {
                hints::note("stopping; Ctrl-C again leaves at once");
                break Ok(Exit::Interrupted);
            }
        }
    };
    signals.or_at_once(host.shutdown()).await;
    if outcome.is_ok() {
        hints::next(&[("heats dev".to_owned(), "go on from here")]);
    }
    outcome
}
