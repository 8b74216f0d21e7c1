//! Starts an agent in this process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heats_agent::containers::Runtime;
use heats_agent::inventory::GpuSource;
use heats_agent::{
    AdmitError, Agent, AgentConfig, AgentEvent, BusyGpus, Cgroups, CheckpointStorage, JoinToken, OnEvent, Shutdown,
    StartError,
};
use heats_domain::Inventory;
use heats_tls::Security;
use tokio::sync::mpsc;

use super::{SHIM, folder};
use crate::exit::{Exit, Failure};

/// Running trials get this long to end, whatever their sweep allows; the coordinator then gets as long to take the ends
/// over.
pub const STOP_TRIALS: Shutdown = Shutdown::StopTrials { grace: Duration::from_secs(10), wait: Duration::from_secs(3) };

/// What an agent is.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// Which of the data directory's agents it is, from 0.
    pub number: usize,
    /// Its name, for people; the machine's, unless given.
    pub name: Option<String>,
    /// Where coordinators listen.
    pub coordinators: Vec<String>,
    /// How they are reached.
    pub security: Security,
    /// What lets it join them.
    pub join: Option<JoinToken>,
    /// What it offers.
    pub inventory: Inventory,
    /// The machine's GPUs.
    pub gpus: Arc<dyn GpuSource>,
    /// What becomes of those that others use.
    pub busy_gpus: BusyGpus,
    /// Whether trials get control groups.
    pub cgroups: Cgroups,
    /// What runs containers.
    pub containers: Option<Runtime>,
    /// Where it keeps checkpoints.
    pub checkpoints: CheckpointStorage,
    /// How much it keeps of each log, in bytes.
    pub log_limit: u64,
}

/// Starts it; what it tells goes to `events`.
///
/// # Errors
/// Its folder is in use, or cannot be used.
pub async fn start(options: AgentOptions, events: mpsc::UnboundedSender<AgentEvent>) -> Result<Agent, Failure> {
    let AgentOptions {
        data_dir,
        number,
        name,
        coordinators,
        security,
        join,
        inventory,
        gpus,
        busy_gpus,
        cgroups,
        containers,
        checkpoints,
        log_limit,
    } = options;
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
    // The first has no number: most have one agent.
    let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
    let machine = name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let config = AgentConfig {
        data_dir,
        folder: format!("agent{suffix}"),
        name: format!("{machine}{suffix}"),
        coordinators,
        security,
        join,
        inventory,
        gpus,
        busy_gpus,
        cgroups,
        containers,
        checkpoints,
        log_limit,
        shim: vec![program.clone().into_os_string(), OsString::from(SHIM)],
        heats_bin: Some(program),
        orphan_ttl: Some(heats_agent::ORPHAN_TTL),
        on_event: OnEvent::new(move |event| {
            // Nobody listens any more once the process is about to end.
            let _ = events.send(event);
        }),
    };
    Agent::start(config).await.map_err(|error| {
        if let StartError::Admit(error) = error {
            return not_admitted(error);
        }
        let exit = match &error {
            StartError::InUse { .. } => Exit::Conflict,
            StartError::Paths(_)
            | StartError::Journal(_)
            | StartError::Io { .. }
            | StartError::Storage(_)
            | StartError::Admit(_)
            | StartError::NoCoordinator
            | StartError::NoShim => Exit::Failed,
        };
        let failure = Failure::new(exit, error.to_string());
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
        if source.is_some_and(folder::is_full) { failure.hint(folder::FREE_SPACE) } else { failure }
    })
}

/// Why the cluster does not let the agent in, and what to do about it.
fn not_admitted(error: AdmitError) -> Failure {
    const JOIN: &str =
        "`heats agent start --join TOKEN`, with what `heats token create --role agent` prints for an admin";
    let message = error.to_string();
    match error {
        AdmitError::Refused(refused) => Failure { message, ..Failure::from(*refused) },
        AdmitError::NotJoined | AdmitError::Identity(_) => Failure::new(Exit::NotAllowed, message).hint(JOIN),
        AdmitError::OtherName { .. } => Failure::new(Exit::NotAllowed, message)
            .hint("the data directory's `agent/id` and `agent/tls` belong together: start with an empty one"),
        AdmitError::Key(_) => Failure::failed(message),
        AdmitError::Io { ref source, .. } => folder::refused(message, source),
    }
}
