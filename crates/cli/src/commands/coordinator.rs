//! `heats coordinator`

mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heats_coordinator::{
    AGENT_CERTIFICATE_LIFE, Coordinator, CoordinatorConfig, Founding, LOGS_MAX, PlainText, SWEEP_LOGS_MAX,
    WebhookSecret, Webhooks,
};
use heats_domain::units::{Bytes, Span};
use heats_tls::Identity;
use serde::Deserialize;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::host::{Renewals, Signals, coordinator, folder, log};
use crate::settings::{ADDRESS, Live};
use tls::{SECURITY, TlsArgs};

/// The verbs about this machine's coordinator.
#[derive(clap::Subcommand, Debug)]
pub enum CoordinatorCommand {
    /// Run one coordinator of a cluster until it is told to stop
    Start(StartArgs),
}

/// `heats coordinator start`
#[derive(clap::Args, Debug)]
pub struct StartArgs {
    /// A TOML file with `id`, `listen`, `optuna`, `optuna_stale`, `advertise`, `peers`, `keep_logs`, `keep_sweep_logs`, `preempt_after`, `webhooks`, `webhook_secret` and `[tls]`; what is given otherwise comes first
    #[arg(long, value_name = "FILE", env = "HEATS_COORDINATOR_CONFIG")]
    config: Option<PathBuf>,
    /// This coordinator's number in its cluster; it never changes for a data directory
    #[arg(long, value_name = "N", env = "HEATS_NODE_ID")]
    id: Option<u64>,
    /// Where to listen [default: 127.0.0.1:7177]
    #[arg(long, value_name = "ADDRESS", env = "HEATS_LISTEN")]
    listen: Option<SocketAddr>,
    /// Serve Optuna's clients there, in plain text as they speak it: `GrpcStorageProxy(host=HOST, port=PORT)`
    #[arg(long, value_name = "ADDRESS", env = "HEATS_OPTUNA")]
    optuna: Option<SocketAddr>,
    /// Fail a running trial of Optuna's once its client has written nothing about it for so long [default: never]
    #[arg(long, value_name = "TIME", env = "HEATS_OPTUNA_STALE")]
    optuna_stale: Option<Span>,
    /// Where others reach it, where that is not where it listens
    #[arg(long, value_name = "HOST:PORT", env = "HEATS_ADVERTISE")]
    advertise: Option<String>,
    /// Each coordinator of a new cluster, this one too; without any it waits for `heats cluster init` or `add`
    #[arg(long = "peer", value_name = "N=HOST:PORT", env = "HEATS_PEERS", value_delimiter = ',', value_parser = peer)]
    peers: Vec<(u64, String)>,
    /// How much is kept of the logs of trials that are over; the oldest goes first [default: 10GiB]
    #[arg(long, value_name = "SIZE", env = "HEATS_KEEP_LOGS")]
    keep_logs: Option<Bytes>,
    /// How much of it is kept of one sweep; the oldest goes first, failed attempts' and the best trial's last [default: 2GiB]
    #[arg(long, value_name = "SIZE", env = "HEATS_KEEP_SWEEP_LOGS")]
    keep_sweep_logs: Option<Bytes>,
    /// How long a sweep waits for a place before others of a lower priority lose theirs [default: 30s]
    #[arg(long, value_name = "TIME", env = "HEATS_PREEMPT_AFTER")]
    preempt_after: Option<Span>,
    /// Where webhooks of sweeps may be: off, public (the public internet only), or any [default: public]
    #[arg(long, value_name = "WHERE", env = "HEATS_WEBHOOKS")]
    webhooks: Option<Webhooks>,
    /// A file with the secret that notices to webhooks are signed with, of at least 16 bytes; without it they are not signed
    #[arg(long, value_name = "FILE", env = "HEATS_WEBHOOK_SECRET")]
    webhook_secret: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Listen in plain text where others can reach it: whoever can may run any command on your agents, and read all
    #[arg(long, env = "HEATS_INSECURE_PLAIN_TEXT", help_heading = SECURITY)]
    insecure_plain_text: bool,
}

/// A certificate that expires sooner than this is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// The file that `--config` names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u64>,
    listen: Option<SocketAddr>,
    optuna: Option<SocketAddr>,
    optuna_stale: Option<Span>,
    advertise: Option<String>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    keep_logs: Option<Bytes>,
    keep_sweep_logs: Option<Bytes>,
    preempt_after: Option<Span>,
    webhooks: Option<String>,
    webhook_secret: Option<PathBuf>,
    #[serde(default)]
    tls: TlsArgs,
    #[serde(default)]
    insecure_plain_text: bool,
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
    let data_dir = folder::make(&context.settings.data_dir())?;
    let config = configured(args, data_dir)?;
    Context::serve(serve(config))
}

async fn serve(config: CoordinatorConfig) -> Outcome {
    log::to_stderr();
    let mut signals = Signals::listen()?;
    let (security, listen, optuna) = (config.security.clone(), config.listen, config.optuna);
    let mut renewals = Renewals::listen(&security)?;
    let coordinator = Coordinator::start(config).await.map_err(coordinator::failure)?;
    let (address, data_dir) = (coordinator.address().to_string(), coordinator.data_dir().clone());
    let live = Live { address: address.clone(), pid: std::process::id(), tls: security.identity().is_some() };
    live.write(&data_dir).map_err(|error| Failure::failed(format!("cannot write {}: {error}", data_dir.display())))?;
    hints::note(&format!("listening on {address}, data in {}", data_dir.display()));
    if let Some(address) = coordinator.optuna() {
        hints::note(&hints::optuna(address));
    }
    if optuna.is_some_and(|address| !address.ip().is_loopback()) {
        hints::warn(
            "Optuna's clients are not asked who they are: whoever reaches that address reads and changes studies",
        );
    }
    if security.identity().is_none() && !listen.ip().is_loopback() {
        hints::warn(
            "in plain text, and nobody is asked who they are: whoever reaches this address runs what they like on your agents",
        );
    }
    if let Some(left) = security.identity().and_then(Identity::expires_in).filter(|left| *left < SOON) {
        hints::warn(&format!(
            "this coordinator\'s certificate expires in {} h: `heats tls issue --renew`, then SIGHUP",
            left.as_secs() / 3_600
        ));
    }
    let outcome = loop {
        tokio::select! {
            why = coordinator.failed() => break Err(Failure::failed(format!("the coordinator has stopped: {why}"))),
            () = renewals.next() => {}
            () = signals.next() => {
                hints::note("stopping; once more leaves at once");
                break Ok(Exit::Ok);
            }
        }
    };
    signals.or_at_once(coordinator.shutdown()).await;
    Live::remove(&data_dir);
    outcome
}

/// What the flags, the environment and the file say together.
fn configured(args: &StartArgs, data_dir: PathBuf) -> Result<CoordinatorConfig, Failure> {
    let StartArgs {
        config,
        id,
        listen,
        optuna,
        optuna_stale,
        advertise,
        peers,
        keep_logs,
        keep_sweep_logs,
        preempt_after,
        webhooks,
        webhook_secret,
        tls,
        insecure_plain_text,
    } = args;
    let file = config.as_ref().map_or_else(|| Ok(File::default()), read)?;
    let tls = tls.or(file.tls);
    let agents_authority = tls.agents_authority()?;
    let agent_certificate_life = tls.agent_certificate_life.map_or(AGENT_CERTIFICATE_LIFE, |life| life.duration());
    let security = tls.security()?;
    let plain_text =
        if *insecure_plain_text || file.insecure_plain_text { PlainText::Anywhere } else { PlainText::OnLoopback };
    let usual = ADDRESS.parse().map_err(|error| Failure::failed(format!("{ADDRESS}: {error}")))?;
    let listen = listen.or(file.listen).unwrap_or(usual);
    let optuna = optuna.or(file.optuna);
    let optuna_stale = optuna_stale.or(file.optuna_stale).map(|silent| silent.duration());
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
    let named = file.webhooks.as_deref().map(str::parse).transpose();
    let named = named.map_err(|why: String| Failure::usage(format!("webhooks: {why}")))?;
    let webhooks = webhooks.or(named).unwrap_or(Webhooks::Public);
    let webhook_secret = webhook_secret.clone().or(file.webhook_secret);
    let webhook_secret = webhook_secret.as_deref().map(WebhookSecret::read).transpose();
    let webhook_secret = webhook_secret.map_err(|error| Failure::usage(error.to_string()))?;
    let logs_max = keep_logs.or(file.keep_logs).map_or(LOGS_MAX, |size| size.count);
    let sweep_logs_max = keep_sweep_logs.or(file.keep_sweep_logs).map_or(SWEEP_LOGS_MAX, |size| size.count);
    let single = CoordinatorConfig::single(data_dir, listen);
    let preempt_after = preempt_after.or(file.preempt_after).map_or(single.preempt_after, Span::duration);
    Ok(CoordinatorConfig {
        node_id,
        optuna,
        optuna_stale,
        advertise,
        founding,
        security,
        agents_authority,
        agent_certificate_life,
        plain_text,
        logs_max,
        sweep_logs_max,
        preempt_after,
        webhooks,
        webhook_secret,
        ..single
    })
}

fn read(path: &PathBuf) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let mut file: File =
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if let Some(folder) = path.parent() {
        file.webhook_secret = file.webhook_secret.map(|secret| folder.join(secret));
        file.tls.seen_from(folder);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(id: Option<u64>, peers: &[(u64, &str)]) -> StartArgs {
        let peers = peers.iter().map(|(id, address)| (*id, (*address).to_owned())).collect();
        StartArgs {
            config: None,
            id,
            listen: None,
            optuna: None,
            optuna_stale: None,
            advertise: None,
            peers,
            keep_logs: None,
            keep_sweep_logs: None,
            preempt_after: None,
            webhooks: None,
            webhook_secret: None,
            tls: TlsArgs::default(),
            insecure_plain_text: false,
        }
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
    fn certificates_that_a_file_names_are_looked_for_in_its_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("c.toml");
        let with_file = StartArgs { config: Some(path.clone()), ..args(Some(1), &[]) };
        let why = || configured(&with_file, "d".into()).map(|_| ()).map_err(|failure| failure.message);
        std::fs::write(&path, "[tls]\ndir = 'tls'\n").expect("writes");
        let missing = dir.path().join("tls/ca.pem").display().to_string();
        assert!(why().is_err_and(|why| why.contains(&missing)), "{missing}");
        std::fs::write(&path, "[tls]\nca = 'ca.pem'\n").expect("writes");
        assert!(why().is_err_and(|why| why.contains("`--tls-cert` is missing")));
        std::fs::write(&path, "insecure_plain_text = true\n").expect("writes");
        let config = configured(&with_file, "d".into()).map_err(|failure| failure.message).expect("reads");
        assert_eq!(config.plain_text, PlainText::Anywhere);
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
        std::fs::write(&path, format!("optuna = '127.0.0.1:13000'\noptuna_stale = '10m'\n{text}")).expect("writes");
        let config = configured(&with_file, "d".into()).map_err(|failure| failure.message).expect("reads");
        assert_eq!(config.optuna.map(|address| address.port()), Some(13_000));
        assert_eq!(config.optuna_stale, Some(Duration::from_secs(600)));
        std::fs::write(&path, "idd = 2\n").expect("writes");
        assert!(configured(&with_file, "d".into()).is_err());
    }

    #[test]
    fn the_sample_that_operators_begin_with_is_a_coordinator_of_three() {
        let sample = include_str!("../../../../deploy/coordinator.toml");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("coordinator.toml");
        let with_sample = StartArgs { config: Some(path.clone()), ..args(None, &[]) };
        let configured = || configured(&with_sample, "d".into()).map_err(|failure| failure.message);
        // Its certificates are somebody's own: where they are looked for is what it says.
        std::fs::write(&path, sample.replace("/etc/heats/tls", "tls")).expect("writes");
        let missing = dir.path().join("tls/ca.pem").display().to_string();
        assert!(configured().is_err_and(|why| why.contains(&missing)));
        let (settings, _tls) = sample.split_once("[tls]").expect("it has certificates");
        std::fs::write(&path, settings).expect("writes");
        let config = configured().expect("reads");
        assert!(matches!(config.founding, Founding::With(members) if members.len() == 3));
    }
}
