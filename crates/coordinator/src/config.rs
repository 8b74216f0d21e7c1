//! How a coordinator is set up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heats_core::placement::preempt::GRACE_MS;
use heats_tls::{OwnFiles, Security};

use crate::notices::{WebhookSecret, Webhooks};

/// How a node without a cluster comes to one. One that has a cluster stays in it, whatever this says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Founding {
    /// It makes one of its own.
    Alone,
    /// It makes one with these nodes, ids and addresses, each of which is told the same.
    With(BTreeMap<u64, String>),
    /// It waits to be told, or to be added to another's.
    Wait,
}

/// How long an agent can be away before it has to join anew, unless set otherwise.
pub const AGENT_CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// How much is kept of logs, unless set otherwise, in bytes.
pub const LOGS_MAX: u64 = 10 << 30;
/// How much of it is kept of one sweep unless set otherwise, in bytes.
pub const SWEEP_LOGS_MAX: u64 = 2 << 30;

/// Who may reach a coordinator that speaks plain text, and asks nobody who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlainText {
    /// Those on its own machine.
    OnLoopback,
    /// Whoever can reach its address, because its operator said in words that they may.
    Anywhere,
}

/// The settings of one coordinator.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Where the log, snapshots and the catalogue are.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one. What is not a loopback address needs TLS.
    pub listen: SocketAddr,
    /// Where Optuna's clients are listened to, in plain text as they speak it; nowhere unless given.
    pub optuna: Option<SocketAddr>,
    /// How long a trial of Optuna's may be silent before it is failed; for ever unless given. The leader's counts.
    pub optuna_stale: Option<Duration>,
    /// Where others are to reach it, HOST:PORT; where it listens, unless given.
    pub advertise: Option<String>,
    /// How connections are made and taken.
    pub security: Security,
    /// The files of the authority that vouches for agents, its certificate and its key, where agents may join here.
    pub agents_authority: Option<OwnFiles>,
    /// How long the certificates of agents are good.
    pub agent_certificate_life: Duration,
    /// Where plain text will do.
    pub plain_text: PlainText,
    /// This node's number in the cluster, from 1.
    pub node_id: u64,
    /// How it comes to a cluster.
    pub founding: Founding,
    /// How long a silent agent keeps its leases.
    pub lease_ttl: Duration,
    /// How often an agent is asked to say that it is there.
    pub heartbeat: Duration,
    /// How much longer than `lease_ttl` a new leader waits, for agents that have to find it first.
    pub failover_grace: Duration,
    /// How much is kept of the logs of attempts that are over, in bytes: the oldest goes first. The leader's counts.
    pub logs_max: u64,
    /// How much of it is kept of one sweep, in bytes: the oldest goes first, failed attempts' and the best trial's last. The
    /// leader's counts.
    pub sweep_logs_max: u64,
    /// How long a sweep waits for a place before others of a lower priority lose theirs. The leader's counts.
    pub preempt_after: Duration,
    /// Where webhooks may be.
    pub webhooks: Webhooks,
    /// What is sent to them is signed with it, where there is one. The leader's counts.
    pub webhook_secret: Option<WebhookSecret>,
    /// How many log entries there are between two snapshots.
    pub snapshot_every: u64,
}

impl CoordinatorConfig {
    /// A one-node coordinator with its data in `data_dir`.
    pub fn single(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen,
            optuna: None,
            optuna_stale: None,
            advertise: None,
            security: Security::PlainText,
            agents_authority: None,
            agent_certificate_life: AGENT_CERTIFICATE_LIFE,
            plain_text: PlainText::OnLoopback,
            node_id: 1,
            founding: Founding::Alone,
            lease_ttl: Duration::from_secs(15),
            heartbeat: Duration::from_secs(5),
            failover_grace: Duration::from_secs(10),
            logs_max: LOGS_MAX,
            sweep_logs_max: SWEEP_LOGS_MAX,
            preempt_after: Duration::from_millis(GRACE_MS),
            webhooks: Webhooks::Public,
            webhook_secret: None,
            snapshot_every: 50_000,
        }
    }
}
