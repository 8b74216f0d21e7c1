//! `heats coordinator`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use heats_coordinator::{Coordinator, CoordinatorConfig, Founding};
use serde::Deserialize;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::host::{Signals, coordinator, folder, log};
use crate::settings::{ADDRESS, Live};

/// The verbs about this machine's coordinator.
#[derive(clap::Subcommand, Debug)]
pub enum CoordinatorCommand {
    /// Run one coordinator of a cluster until it is told to stop
    Start(StartArgs),
}

/// `heats coordinator start`
#[derive(clap::Args, Debug)]
pub struct StartArgs {
    /// A TOML file with `id`, `listen`, `advertise` and `peers`; what is given otherwise comes first
    #[arg(long, value_name = "FILE", env = "HEATS_COORDINATOR_CONFIG")]
    config: Option<PathBuf>,
    /// This coordinator's number in its cluster; it never changes for a data directory
    #[arg(long, value_name = "N", env = "HEATS_NODE_ID")]
    id: Option<u64>,
    /// Where to listen [default: 127.0.0.1:7177]
    #[arg(long, value_name = "ADDRESS", env = "HEATS_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where others reach it, where that is not where it listens
    #[arg(long, value_name = "HOST:PORT", env = "HEATS_ADVERTISE")]
    advertise: Option<String>,
    /// Each coordinator of a new cluster, this one too; without any it waits for `heats cluster init` or `add`
    #[arg(long = "peer", value_name = "N=HOST:PORT", env = "HEATS_PEERS", value_delimiter = ',', value_parser = peer)]
    peers: Vec<(u64, String)>,
}

/// The file that `--config` names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u64>,
    listen: Option<SocketAddr>,
    advertise: Option<String>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
}

fn peer(text: &str) -> Result<(u64, String), String> {
    let (id, address) = text.split_once('=').ok_or("write N=HOST:PORT, for example 2=10.0.0.2:7177")?;
    Ok((number(id)?, address.trim().to_owned()))
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().ok().filter(|id| *id > 0).ok_or_else(|| format!("`{text}` is not a number from 1"))
}

/// Runs a coordinator until it is told to stop.
pub fn run(context: &Context, command: &CoordinatorCommand) -> Outcome {
    let CoordinatorCommand::Start(args) = command;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let data_dir = folder::make(&context.settings.data_dir())?;
    let config = configured(args, data_dir)?;
    runtime.block_on(serve(config))
}

async fn serve(config: CoordinatorConfig) -> Outcome {
    log::to_stderr();
    let mut signals = Signals::listen()?;
    let coordinator = Coordinator::start(config).await.map_err(coordinator::failure)?;
    let (address, data_dir) = (coordinator.address().to_string(), coordinator.data_dir().clone());
    let live = Live { address: address.clone(), pid: std::process::id() };
    live.write(&data_dir).map_err(|error| Failure::failed(format!("cannot write {}: {error}", data_dir.display())))?;
    hints::note(&format!("listening on {address}, data in {}", data_dir.display()));
    let outcome = tokio::select! {
        why = coordinator.failed() => Err(Failure::failed(format!("the coordinator has stopped: {why}"))),
        () = signals.next() => {
            hints::note("stopping; once more leaves at once");
            Ok(Exit::Ok)
        }
    };
    signals.or_at_once(coordinator.shutdown()).await;
    Live::remove(&data_dir);
    outcome
}

/// What the flags, the environment and the file say together.
fn configured(args: &StartArgs, data_dir: PathBuf) -> Result<CoordinatorConfig, Failure> {
    let StartArgs { config, id, listen, advertise, peers } = args;
    let file = config.as_ref().map_or_else(|| Ok(File::default()), read)?;
    let usual = ADDRESS.parse().map_err(|error| Failure::failed(format!("{ADDRESS}: {error}")))?;
    let listen = listen.or(file.listen).unwrap_or(usual);
    let advertise = advertise.clone().or(file.advertise);
    let mut members: BTreeMap<u64, String> = peers.iter().cloned().collect();
    if members.is_empty() {
        for (id, address) in file.peers {
            members.insert(number(&id).map_err(|why| Failure::usage(format!("peers: {why}")))?, address);
        }
    }
    let Some(node_id) = id.or(file.id) else {
        return Err(Failure::usage("which coordinator is this? Its number is missing")
            .hint("`--id 1`, and 2 and 3 for the others"));
    };
    let founding = if members.is_empty() {
        Founding::Wait
    } else {
        let own = advertise.clone().unwrap_or_else(|| listen.to_string());
        match members.get(&node_id) {
            Some(named) if *named == own => Founding::With(members),
            Some(named) => {
                return Err(Failure::usage(format!(
                    "coordinator {node_id} is to be reached at {named}, and says of itself that it is at {own}"
                ))
                .hint(format!("`--advertise {named}`, where that is the same place")));
            }
            None => {
                return Err(Failure::usage(format!("coordinator {node_id} is not among the peers"))
                    .hint(format!("`--peer {node_id}={own}` as well: the list is the same for all of them")));
            }
        }
    };
    Ok(CoordinatorConfig { node_id, advertise, founding, ..CoordinatorConfig::single(data_dir, listen) })
}

fn read(path: &PathBuf) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(id: Option<u64>, peers: &[(u64, &str)]) -> StartArgs {
        let peers = peers.iter().map(|(id, address)| (*id, (*address).to_owned())).collect();
        StartArgs { config: None, id, listen: None, advertise: None, peers }
    }

    #[test]
    fn a_coordinator_knows_its_number_and_is_among_its_peers() {
        let founding = |args: &StartArgs| configured(args, "d".into()).map(|config| config.founding);
        assert!(founding(&args(None, &[])).is_err());
        assert_eq!(founding(&args(Some(1), &[])).ok(), Some(Founding::Wait));
        let peers = [(1, "127.0.0.1:7177"), (2, "127.0.0.1:7178")];
        assert!(matches!(founding(&args(Some(1), &peers)), Ok(Founding::With(members)) if members.len() == 2));
        let other = founding(&args(Some(2), &peers)).map_err(|failure| failure.message);
        assert!(other.is_err_and(|why| why.contains("is to be reached at 127.0.0.1:7178")));
        assert!(founding(&args(Some(3), &peers)).is_err());
    }

    #[test]
    fn a_file_says_what_the_flags_do_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("c.toml");
        let text = "id = 2\nlisten = '127.0.0.1:9'\npeers = { 1 = '127.0.0.1:8', 2 = '127.0.0.1:9' }\n";
        std::fs::write(&path, text).expect("writes");
        let with_file = StartArgs { config: Some(path.clone()), ..args(None, &[]) };
        let config = configured(&with_file, "d".into()).map_err(|failure| failure.message).expect("reads");
        assert_eq!((config.node_id, config.listen.port()), (2, 9));
        assert!(matches!(config.founding, Founding::With(members) if members[&1] == "127.0.0.1:8"));
        std::fs::write(&path, "idd = 2\n").expect("writes");
        assert!(configured(&with_file, "d".into()).is_err());
    }

    #[test]
    fn the_sample_that_operators_begin_with_is_a_coordinator_of_three() {
        let sample = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/coordinator.toml"));
        let with_sample = StartArgs { config: Some(sample), ..args(None, &[]) };
        let config = configured(&with_sample, "d".into()).map_err(|failure| failure.message).expect("reads");
        assert!(matches!(config.founding, Founding::With(members) if members.len() == 3));
    }
}
