//! `heats agent`

mod drain;
mod hwdetect;
mod release;
pub mod show;

use heats_agent::inventory::Hardware;
use heats_agent::{CheckpointStorage, JoinToken, LOG_LIMIT, LOG_LIMIT_MIN, Shutdown};
use heats_domain::units::{Bytes, Span};
use heats_wire::v1;
use tokio::sync::mpsc;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::host::agent::{self, AgentOptions};
use crate::host::{HardwareArgs, Offer, Renewals, Signals, detect, folder, log};
use crate::output::{Column, Fields, Kind, Listing};
use crate::{hints, live, view, words};

/// The verbs about agents.
#[derive(clap::Subcommand, Debug)]
pub enum AgentCommand {
    /// Offer this machine to a cluster until told to stop; running trials outlive the agent
    Start(StartArgs),
    /// Show what of this machine would be offered, and what not and why
    Hwdetect(hwdetect::Args),
    /// List the agents that are or were attached
    Ls(LsArgs),
    /// Show an agent: what it offers, what it holds, since when, and whether it can start anything
    Show(show::Args),
    /// Start nothing more on an agent; what runs there goes on to its end
    Drain(drain::Args),
    /// Start trials on a drained agent again
    Undrain(drain::UndrainArgs),
    /// Trust a quarantined agent again; it would be tried again by itself, one trial at a time
    Release(release::Args),
}

/// `heats agent start`
#[derive(clap::Args, Debug)]
pub struct StartArgs {
    /// The agent's name, for people [default: the machine's]
    #[arg(long, value_name = "NAME", env = "HEATS_AGENT_NAME")]
    name: Option<String>,
    #[command(flatten)]
    hardware: HardwareArgs,
    /// Join a cluster that asks who its agents are: what `heats token create --role agent` prints; needed once
    #[arg(long, value_name = "TOKEN", env = "HEATS_JOIN", hide_env_values = true)]
    join: Option<String>,
    /// Where checkpoints are kept: `local`, `shared:/FOLDER` that all agents mount, or `s3://BUCKET/PREFIX` [default: local]
    #[arg(long, value_name = "WHERE")]
    checkpoints: Option<CheckpointStorage>,
    /// How much of each log of a trial is kept: half of it from its beginning, half from its end [default: 16MiB]
    #[arg(long, value_name = "SIZE", env = "HEATS_LOG_LIMIT")]
    log_limit: Option<Bytes>,
    /// End running trials when the agent is told to stop; they go on elsewhere
    #[arg(long)]
    stop_trials: bool,
    /// Leave once there has been nothing to do for so long
    #[arg(long, value_name = "TIME")]
    leave_idle: Option<Span>,
}

/// `heats agent ls`
#[derive(clap::Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// Does what the verb says.
pub fn run(context: &Context, command: &AgentCommand) -> Outcome {
    match command {
        AgentCommand::Start(args) => Context::serve(start(context, args)),
        AgentCommand::Hwdetect(args) => hwdetect::run(context, args),
        AgentCommand::Ls(args) => context.block_on(ls(context, args)),
        AgentCommand::Show(args) => context.block_on(show::run(context, args)),
        AgentCommand::Drain(args) => context.block_on(drain::run(context, args)),
        AgentCommand::Undrain(args) => context.block_on(drain::undrain(context, args)),
        AgentCommand::Release(args) => context.block_on(release::run(context, args)),
    }
}

/// How long an agent that is told to stop takes at most to hand over logs.
const HAND_OVER: std::time::Duration = std::time::Duration::from_secs(3);

async fn start(context: &Context, args: &StartArgs) -> Outcome {
    let StartArgs { name, hardware, join, checkpoints, log_limit, stop_trials, leave_idle } = args;
    let log_limit = log_limit.map_or(LOG_LIMIT, |size| size.count);
    if log_limit < LOG_LIMIT_MIN {
        return Err(Failure::usage(format!("`--log-limit` is {} at least", Bytes { count: LOG_LIMIT_MIN })));
    }
    let Offer { hardware, busy_gpus, cgroups, containers } = detect(&context.settings, hardware)?;
    let Hardware { inventory, devices: _, trouble, source } = hardware;
    // A variable that is set to nothing is not set.
    let join = match join.as_deref().filter(|text| !text.is_empty()).map(str::parse::<JoinToken>).transpose() {
        Ok(join) => join,
        Err(why) => return Err(Failure::usage(why)),
    };
    let data_dir = folder::make(&context.settings.data_dir())?;
    log::to_file(&data_dir);
    let mut signals = Signals::listen()?;
    let security = context.settings.credentials()?.security;
    let (tell, mut told) = mpsc::unbounded_channel();
    let coordinators = context.settings.addresses();
    let offered = view::offered(&inventory);
    if let Some(trouble) = trouble {
        hints::warn(&trouble);
    }
    let options = AgentOptions {
        data_dir: data_dir.clone(),
        number: 0,
        name: name.clone(),
        coordinators: coordinators.clone(),
        security,
        join,
        inventory,
        gpus: source,
        busy_gpus,
        cgroups,
        containers,
        checkpoints: checkpoints.clone().map_or_else(|| context.settings.checkpoints(), Ok)?,
        log_limit,
    };
    let agent = agent::start(options, tell).await?;
    let mut renewals = Renewals::listen(agent.security())?;
    hints::note(&format!("offering {offered} to {}, data in {}", words::list(&coordinators), data_dir.display()));
    let idle = leave_idle.map(|span| agent.idle(span.duration()));
    let idle = async {
        match idle {
            Some(idle) => idle.await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(idle);
    loop {
        tokio::select! {
            Some(event) = told.recv() => {
                if let Some(line) = live::said_by_agent(&event) {
                    hints::note(&line);
                }
            }
            () = renewals.next() => {}
            () = signals.next() => break,
            () = &mut idle => {
                hints::note("leaving: there is nothing to do");
                break;
            }
        }
    }
    let running = agent.holding();
    let how = if *stop_trials {
        hints::note("stopping, running trials first; once more leaves at once");
        agent::STOP_TRIALS
    } else {
        if running > 0 {
            let trials = words::count(running as u64, "trial");
            hints::note(&format!("stopping; {trials} run on, and the next agent in {} takes over", data_dir.display()));
        }
        Shutdown::KeepTrials
    };
    signals
        .or_at_once(async {
            // The folder of an agent that leaves may be on a machine that is given back.
            agent.hand_over(HAND_OVER).await;
            agent.shutdown(how).await;
        })
        .await;
    Ok(Exit::Ok)
}

async fn ls(context: &Context, args: &LsArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let v1::StatusResponse { applied_index, agents, .. } = context.client()?.leader_status().await?;
    let listing = Listing {
        of: "agents",
        meta: Fields::new().with("log_index", applied_index).done(),
        items: agents.iter().map(view::agent).collect(),
        columns: vec![
            Column::new("AGENT", "name", Kind::Text),
            Column::new("STATE", "state", Kind::Text),
            Column::new("CPUS", "cpus", Kind::Number),
            Column::new("GPUS", "gpu_count", Kind::Number),
            Column::new("TRIALS", "leases", Kind::Number),
            Column::wide("ID", "id", Kind::Text),
            Column::wide("VERSION", "version", Kind::Text),
            Column::wide("DISK FREE", "disk_free", Kind::Number),
            Column::wide("WHY", "why", Kind::Text),
        ],
        now_ms: 0,
    };
    printer.list(&listing, "no agents yet: `heats agent start` on the machines that are to run trials")?;
    Ok(Exit::Ok)
}
