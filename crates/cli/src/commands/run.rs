//! `heats run`

mod choose;

use std::path::PathBuf;

use futures::StreamExt;
use heats_client::Client;
use heats_wire::v1;
use tokio::sync::mpsc;

use crate::code;
use crate::context::{Context, OutputArg};
use crate::exit::{self, Exit, Failure, Outcome};
use crate::host::{HardwareArgs, Host, HostOptions, Listen, Offer, Signals, detect};
use crate::sweepfile::{self, Loaded, Overrides};
use crate::{hints, live, room, view, words};

use choose::Choice;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Begin anew: cancel this file's sweep that has not ended, instead of going on with it
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    on_new_best: live::OnNewBest,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    output: OutputArg,
}

/// What of the machine is offered to trials.
#[derive(clap::Args, Debug)]
pub struct Machine {
    /// How many agents share the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub agents: u32,
    /// GPUs to offer: auto (those that the machine has), none, or pretended ones, to try out a sweep that asks for some:
    /// fake:4 [default: auto]
    #[arg(long, value_name = "GPUS")]
    pub gpus: Option<String>,
    /// Serve Optuna's clients there: `optuna.storages.GrpcStorageProxy(host=HOST, port=PORT)`
    #[arg(long, value_name = "ADDRESS")]
    pub optuna: Option<std::net::SocketAddr>,
}

impl Machine {
    /// Looks at it.
    ///
    /// # Errors
    /// A flag or setting that cannot be read.
    pub fn detect(&self, context: &Context) -> Result<Offer, Failure> {
        detect(&context.settings, &HardwareArgs { gpus: self.gpus.clone(), ..HardwareArgs::default() })
    }
}

/// Runs a sweep to its end on this machine. The same command again goes on where it was interrupted.
pub fn run(context: &Context, args: &Args) -> Outcome {
    // Before anything is written.
    let loaded = sweepfile::load(&args.file, &args.overrides).map_err(sweepfile::Invalid::say)?;
    Context::serve(serve(context, args, &loaded))
}

async fn serve(context: &Context, args: &Args, loaded: &Loaded) -> Outcome {
    let Args { file, overrides: _, new, on_new_best, machine, output } = args;
    let printer = context.printer(output)?;
    on_new_best.expect_best(Some(&loaded.spec))?;
    // Nobody else will bring a larger machine.
    let offer = machine.detect(context)?;
    let offered = &offer.hardware.inventory;
    room::expect(&loaded.spec, offered, machine.agents)?;
    let gpus = offered.gpus.len() as u64;
    if gpus > 0 && loaded.spec.variants().iter().all(|need| need.gpus == 0.0) {
        let has = words::count(gpus, "GPU");
        hints::note(&format!("this machine has {has}, and the sweep asks for none: `resources: {{ gpus: 1 }}` does"));
    }
    let mut signals = Signals::listen()?;
    let (tell, told) = mpsc::unbounded_channel();
    let options = HostOptions {
        data_dir: context.settings.data_dir(),
        listen: Listen::Anywhere,
        optuna: machine.optuna,
        agents: machine.agents,
        offer,
        checkpoints: context.settings.checkpoints()?,
    };
    let host = Host::start(options, tell).await?;
    host.optuna().iter().for_each(|address| hints::note(&hints::optuna(*address)));
    let client = host.client()?;
    let again = again(file);
    let outcome = tokio::select! {
        outcome = async {
            let sweep = begin(&client, loaded, *new).await?;
            let id = super::best::sweep_id(&sweep);
            let (followed, ()) =
                tokio::try_join!(live::follow(&client, &id, Some(told)), on_new_best.run(&client, &id))?;
            Ok(followed)
        } => outcome,
        failure = host.failed() => Err(failure),
        () = signals.next() => {
            let holding = host.holding();
            let trials = if holding > 0 { format!(" {} first", words::count(holding as u64, "trial")) } else { String::new() };
            hints::note(&format!("stopping{trials}; Ctrl-C again leaves at once"));
            signals.or_at_once(host.shutdown()).await;
            hints::next(&[(again, "go on from here"), ("heats dev".to_owned(), "look at what there is, and go on")]);
            return Ok(Exit::Interrupted);
        }
    };
    signals.or_at_once(host.shutdown()).await;
    let followed = outcome?;
    live::print(&printer, &followed)?;
    let name = &followed.sweep.name;
    hints::next(&[
        ("heats dev".to_owned(), "keep the coordinator up, to look closer"),
        (format!("heats best {name} -n 10"), "then, in another shell: the ten best trials"),
        (format!("heats export {name} -f csv"), "and all of them into a spreadsheet"),
    ]);
    Ok(exit::of_sweep(&followed.sweep, view::objective(&followed.sweep).is_some()))
}

/// The command that goes on.
fn again(file: &std::path::Path) -> String {
    let mut words: Vec<String> =
        std::env::args().map(|word| words::quoted(&word)).filter(|word| word != "--new").collect();
    match words.first_mut() {
        Some(program) => {
            if program.ends_with("/heats") {
                *program = "heats".to_owned();
            }
            words.join(" ")
        }
        None => format!("heats run {}", words::quoted(&file.display().to_string())),
    }
}

/// The sweep to follow: the one of this file that has not ended, or a new one.
async fn begin(client: &Client, loaded: &Loaded, new: bool) -> Result<v1::Sweep, Failure> {
    let live = client.list(v1::ListRequest { all: false, limit: 0 }).await?.sweeps;
    match choose::choose(&live, loaded, new)? {
        Choice::Resume(sweep) => {
            let counts = sweep.counts.unwrap_or_default();
            let over = counts.completed + counts.stopped + counts.failed + counts.infeasible + counts.cancelled;
            let of = view::planned(&sweep).map_or_else(String::new, |max| format!(" of {max}"));
            hints::note(&format!("going on with `{}`: {over}{of} trials are over", sweep.name));
            others(&live, std::slice::from_ref(&*sweep));
            changed_code(&sweep, loaded)?;
            if sweep.status() == v1::SweepStatus::Paused {
                hints::note("it was paused: resuming it");
                let request = v1::ControlRequest {
                    sweep: super::best::sweep_id(&sweep),
                    trial: None,
                    verb: v1::Verb::Resume.into(),
                };
                client.control(request).await?;
            }
            Ok(*sweep)
        }
        Choice::Submit { cancel } => {
            for old in &cancel {
                hints::note(&format!("cancelling `{}`, which had not ended", old.name));
                let id = super::best::sweep_id(old);
                let request = v1::ControlRequest { sweep: id.clone(), trial: None, verb: v1::Verb::Cancel.into() };
                match client.control(request).await {
                    // Its last trials may have ended since it was listed.
                    Ok(_) | Err(heats_client::ClientError::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                // Its name is free once the last of its trials has ended.
                let mut until_its_end = client.watch(v1::WatchRequest { sweep: id, min_interval_ms: 0 });
                while until_its_end.next().await.transpose()?.is_some() {}
            }
            let submitted = super::submit::send(client, loaded).await?;
            let id = submitted.sweep.unwrap_or_default().to_string();
            let sweep = client.get(id).await?.sweep.unwrap_or_default();
            others(&live, &[&cancel[..], std::slice::from_ref(&sweep)].concat());
            Ok(sweep)
        }
    }
}

/// Says that the code is not what the sweep was submitted with: it goes on with that.
fn changed_code(sweep: &v1::Sweep, loaded: &Loaded) -> Result<(), Failure> {
    let now = code::pack(&loaded.spec, &loaded.base_dir)?.map(|packed| packed.name.to_string()).unwrap_or_default();
    if now != sweep.code {
        hints::warn(
            "the code has changed since the sweep was submitted, and its trials run the code of then; `--new` begins anew",
        );
    }
    Ok(())
}

/// Says which other sweeps than `ours` share the machine.
fn others(live: &[v1::Sweep], ours: &[v1::Sweep]) {
    let names: Vec<String> = live
        .iter()
        .filter(|sweep| ours.iter().all(|our| our.id != sweep.id) && sweep.status() == v1::SweepStatus::Running)
        .map(|sweep| format!("`{}`", sweep.name))
        .collect();
    if !names.is_empty() {
        hints::warn(&format!(
            "{} had not ended and goes on beside it; `heats pause` holds it, `heats cancel` ends it",
            words::list(&names)
        ));
    }
}
