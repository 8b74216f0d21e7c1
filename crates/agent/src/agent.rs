//! The agent as a whole: started in a data directory, it runs what coordinators tell it to until it is shut down.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heats_domain::{AgentId, Inventory};
use heats_tls::Security;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::admission::{AdmitError, JoinToken, Wallet};
use crate::attach::{Attach, Identity, Way};
use crate::attempt::{AttemptDir, Cause};
use crate::cgroup::{Cgroups, Isolation};
use crate::code::Codes;
use crate::containers::Runtime;
use crate::context::{Attempts, Context};
use crate::disk::Disk;
use crate::env::Environments;
use crate::event::OnEvent;
use crate::forkserver::ForkServer;
use crate::gpus::{BusyGpus, Gpus};
use crate::held::{Order, Outbox};
use crate::inventory::GpuSource;
use crate::journal::{Journal, JournalError};
use crate::key::Key;
use crate::lineage::Lineage;
use crate::paths::{Paths, PathsError};
use crate::reach::Reach;
use crate::slots::Slots;
use crate::storage::{Kind, StorageError, Stores};
use crate::supervisor::Origin;
use crate::warm::{Surroundings, Templates};
use crate::watcher::Watcher;
use crate::{handover, inventory, launch, package};

/// How long trials run on without a coordinator, unless [`AgentConfig::orphan_ttl`] says otherwise.
pub const ORPHAN_TTL: Duration = Duration::from_secs(600);

/// What an agent is and where it works.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The data directory, `DATA`. Environments and outputs below it are shared by the agents of one directory.
    pub data_dir: PathBuf,
    /// The agent's own folder in the data directory: `agent`, and another name for each further agent there.
    pub folder: String,
    /// The machine's name, for people.
    pub name: String,
    /// Addresses of coordinators, `HOST:PORT` or URLs; one that leads is found from any of them.
    pub coordinators: Vec<String>,
    /// How coordinators are reached.
    pub security: Security,
    /// What lets the agent join a cluster, where it has not joined yet.
    pub join: Option<JoinToken>,
    /// What the agent offers: see [`crate::inventory::detect`]. Where it has a rendezvous without an address, the agent finds out
    /// by itself at which it is reached.
    pub inventory: Inventory,
    /// The machine's GPUs, those included that another agent on it offers: a trial is told which of them it may use.
    pub gpus: Arc<dyn GpuSource>,
    /// What becomes of a GPU that processes of others use.
    pub busy_gpus: BusyGpus,
    /// Whether trials get control groups.
    pub cgroups: Cgroups,
    /// What runs containers, where anything does.
    pub containers: Option<Runtime>,
    /// The program that runs [`crate::forkserver::main`], and its first arguments: `heats __shim`.
    pub shim: Vec<OsString>,
    /// The program `heats` for `HEATS_BIN` and the trials' `PATH`.
    pub heats_bin: Option<PathBuf>,
    /// How long trials run on while no coordinator is heard of; `None` for ever.
    pub orphan_ttl: Option<Duration>,
    /// Where checkpoints are kept.
    pub checkpoints: Kind,
    /// How much of each log of an attempt is kept, in bytes: its beginning and its end.
    pub log_limit: u64,
    /// Who is told what users wait for.
    pub on_event: OnEvent,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another agent works in the folder.
    #[error("the agent folder `{path}` is in use by {holder}; stop that one, or choose another data directory")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as it says itself.
        holder: String,
    },
    /// The file system refuses.
    #[error("the agent folder `{path}` cannot be used: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Checkpoints cannot be kept where they should be.
    #[error("checkpoints cannot be kept: {0}")]
    Storage(#[from] StorageError),
    /// The cluster does not let it in.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// There is no address to attach to.
    #[error("no coordinator's address was given")]
    NoCoordinator,
    /// There is no program to supervise trials.
    #[error("no program was given that supervises trials")]
    NoShim,
}

/// What becomes of running trials when the agent ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// They run on; the next agent in the folder takes them over.
    KeepTrials,
    /// They get SIGTERM, after their grace period SIGKILL, and are given back, so that they go on elsewhere and no retry is
    /// used up.
    StopTrials {
        /// Not longer than this for each trial, whatever its sweep allows.
        grace: Duration,
        /// How long to wait for a coordinator to take the ends over; the next agent tells those that are left.
        wait: Duration,
    },
}

/// A running agent. Dropped, it ends as with [`Shutdown::KeepTrials`].
#[derive(Debug)]
pub struct Agent {
    id: AgentId,
    context: Arc<Context>,
    security: Security,
    attached: JoinHandle<()>,
    renewing: Option<JoinHandle<()>>,
    watching: JoinHandle<()>,
    tidying: JoinHandle<()>,
    handing_over: JoinHandle<()>,
    closing: watch::Sender<bool>,
    _lock: File,
}

impl Agent {
    /// Starts an agent: takes over what an earlier one left in its folder, then attaches in the background.
    ///
    /// # Errors
    /// Where its folder cannot be used. That no coordinator is there is no error: the agent looks for one.
    pub async fn start(config: AgentConfig) -> Result<Self, StartError> {
        let AgentConfig { data_dir, folder, name, coordinators, security, join, mut inventory, .. } = config;
        if coordinators.is_empty() {
            return Err(StartError::NoCoordinator);
        }
        if config.shim.is_empty() {
            return Err(StartError::NoShim);
        }
        let paths = Paths::new(&data_dir, &folder)?;
        let lock = lock(&paths)?;
        let io = |path: PathBuf| move |source| StartError::Io { path, source };
        let id_file = paths.own("id");
        let id = inventory::id(&id_file, mint).map_err(io(id_file))?;
        let (own, kind) = (paths.storage(), config.checkpoints.clone());
        // A bucket may be far away.
        let opening = tokio::task::spawn_blocking(move || Stores::open(id, &own, &kind));
        let panicked = |error| StorageError::io(&paths.storage(), "opened")(std::io::Error::other(error));
        let stores = Arc::new(opening.await.map_err(panicked)??);
        let lineage_file = paths.own("lineage");
        let wallet = Wallet::new(paths.own("tls"));
        let security = wallet.admit(id, &coordinators, security, join.as_ref()).await?;
        let python = package::unpack(&paths.python()).map_err(io(paths.python()))?;
        let (journal, open) = Journal::open(&paths.own("journal"))?;
        let over = left_over(&paths, &open).map_err(io(paths.attempts()))?;
        // Before anybody is forked, who would be left in the group that the agent leaves.
        let isolation = Arc::new(Isolation::enter(&config.cgroups));
        tracing::info!(%isolation, "how trials are kept apart");
        inventory.facts.insert("isolation".to_owned(), isolation.to_string());
        let records = open.iter().filter_map(|key| AttemptDir::at(paths.attempt(*key)).record().ok());
        let kept: Vec<PathBuf> = records.filter_map(|record| Some(record.group?.path)).collect();
        let (groups, prefix) = (isolation.clone(), format!("{id}."));
        let tidied = tokio::task::spawn_blocking(move || groups.tidy(&prefix, &kept)).await;
        tidied.map_err(|error| io(paths.attempts())(error.into()))?;
        let gpus = Arc::new(Gpus::look(config.gpus, config.busy_gpus, &inventory.gpus).await);
        let common = launch::common(&python, config.heats_bin.as_deref());
        let shims = ForkServer::new(config.shim.clone(), common.clone());
        let templates = Templates::new(
            Surroundings { shim: config.shim, env: common },
            paths.own("templates"),
            config.on_event.clone(),
        );
        let templates = Arc::new(templates.map_err(io(paths.own("templates")))?);
        let code_folder = paths.own("code");
        let reach = Arc::new(Reach::new(security.clone(), &coordinators));
        let codes = Codes::open(code_folder.clone(), reach.clone()).map_err(io(code_folder))?;
        let handed_over = handover::read(&paths.own(handover::FILE));
        let (outbox, outgoing) = Outbox::new();
        let context = Arc::new(Context {
            environments: Environments::new(paths.envs(), config.containers, config.on_event.clone()),
            codes,
            reach,
            log_limit: config.log_limit,
            disk: Disk::new(data_dir, config.on_event.clone()),
            folders: Arc::default(),
            paths,
            python,
            heats_bin: config.heats_bin,
            shims: Arc::new(shims),
            templates: templates.clone(),
            gpus: gpus.clone(),
            isolation,
            id,
            slots: Slots::new(inventory.cpus),
            stores,
            outbox,
            journal,
            watcher: Watcher::start(),
            attempts: Mutex::new(Attempts::new(handed_over)),
            ended: Notify::new(),
            holding: watch::Sender::default(),
        });
        for old in context.keep(over) {
            old.remove(&context.paths);
        }
        // Before Hello: it names them.
        for key in open {
            // Before any order can come: what runs already is counted before anything new may start.
            let cpus = AttemptDir::at(context.paths.attempt(key)).record().map_or(0, |record| record.cpus);
            context.take(key, Origin::Left(context.slots.seize(cpus)));
        }
        let (closing, is_closing) = watch::channel(false);
        let session = rand::random::<u64>().max(1);
        let lineage = Lineage::read(lineage_file.clone()).map_err(io(lineage_file))?;
        let identity = Identity { id, name, inventory, session, lineage };
        let attach = Attach::new(
            context.clone(),
            identity,
            Way { coordinators: coordinators.clone(), security: security.clone() },
            config.orphan_ttl,
            config.on_event.clone(),
            outgoing,
            is_closing,
        );
        let attached = tokio::spawn(attach.run());
        let handing_over = tokio::spawn(handover::run(context.clone()));
        let watching = tokio::spawn(async move { gpus.watch().await });
        let tidying = tokio::spawn(async move { templates.keep_tidy().await });
        let renewing = wallet.holds(&security).map(|own| tokio::spawn(wallet.keep(own, coordinators, config.on_event)));
        Ok(Self { id, context, security, attached, renewing, watching, tidying, handing_over, closing, _lock: lock })
    }

    /// The agent's id: the same after a restart.
    pub const fn id(&self) -> AgentId {
        self.id
    }

    /// How it reaches coordinators.
    pub const fn security(&self) -> &Security {
        &self.security
    }

    /// How many attempts it holds: running, or ended and not taken over by a coordinator yet.
    pub fn holding(&self) -> usize {
        *self.context.holding.borrow()
    }

    /// Waits until the agent has held nothing for `span`.
    pub fn idle(&self, span: Duration) -> impl Future<Output = ()> + use<> {
        let mut holding = self.context.holding.subscribe();
        async move {
            // There is somebody to tell of it as long as the agent lives, and nothing to wait for after that.
            while holding.wait_for(|count| *count == 0).await.is_ok() {
                tokio::select! {
                    () = tokio::time::sleep(span) => return,
                    _busy = holding.wait_for(|count| *count > 0) => {}
                }
            }
        }
    }

    /// Hands the logs of attempts that are over to coordinators now, for `limit` at most: the agent's folder may go with it. What
    /// is left then its successor hands over, where the folder stays.
    pub async fn hand_over(&self, limit: Duration) {
        let _later = tokio::time::timeout(limit, handover::all(&self.context)).await;
    }

    /// Ends the agent.
    pub async fn shutdown(self, how: Shutdown) {
        match how {
            Shutdown::KeepTrials => {}
            Shutdown::StopTrials { grace, wait } => {
                self.closing.send_replace(true);
                let held = self.context.held();
                for held in &held {
                    let own = held.dir.record().map_or(grace, |record| Duration::from_millis(record.stop_grace_ms));
                    let why = "the agent was shut down".to_owned();
                    held.order(Order { cause: Cause::Preempted, grace: grace.min(own), why });
                }
                let over = futures::future::join_all(held.iter().map(|held| held.is_over()));
                // Whoever is left is told by the next agent.
                let _told_later = tokio::time::timeout(grace + wait, over).await;
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.attached.abort();
        self.watching.abort();
        self.tidying.abort();
        self.handing_over.abort();
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
        self.context.let_go();
    }
}

fn mint() -> AgentId {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    AgentId::mint(at_ms, rand::random())
}

/// Makes sure that this is the folder's only agent.
fn lock(paths: &Paths) -> Result<File, StartError> {
    let path = paths.own("lock");
    let io = |source| StartError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let path = path.parent().map_or_else(|| path.clone(), Path::to_owned);
            return Err(StartError::InUse { path, holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    use std::io::Write;
    file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id())).map_err(io)?;
    Ok(file)
}

/// The attempts with a folder and no open entry in the journal: over, the oldest first. A folder in which
/// nothing was ever started is removed.
fn left_over(paths: &Paths, open: &BTreeSet<Key>) -> std::io::Result<Vec<Key>> {
    let mut over = Vec::new();
    for entry in std::fs::read_dir(paths.attempts())? {
        let entry = entry?;
        let Some(Ok(key)) = entry.file_name().to_str().map(str::parse::<Key>) else { continue };
        if open.contains(&key) {
            continue;
        }
        let dir = AttemptDir::at(entry.path());
        if dir.end().is_none() && dir.live().is_err() {
            std::fs::remove_dir_all(entry.path())?;
            continue;
        }
        over.push((entry.metadata()?.modified()?, key));
    }
    over.sort();
    Ok(over.into_iter().map(|(_, key)| key).collect())
}
