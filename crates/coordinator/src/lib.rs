//! A coordinator: one node of the cluster, from its log to its gRPC services.
//!
//! While it leads it decides (`decider`), has configurations suggested (`suggesters`), watches leases
//! (`leases`) and tells the agents (`streams`). The single-machine mode is this with one node.

mod access;
mod admission;
mod archives;
mod caller;
mod config;
mod decider;
mod edge;
mod leases;
mod node;
mod notices;
mod optuna;
mod peers;
mod relays;
mod rpc;
mod settler;
mod status;
mod streams;
mod suggesters;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heats_replica::{BootstrapError, Leadership, OpenError, Replica, ReplicaConfig};
use heats_tls::{Authority, AuthorityError, Security, Who};
use heats_wire::v1::agents_server::AgentsServer;
use heats_wire::v1::archives_server::ArchivesServer;
use heats_wire::v1::cluster_server::ClusterServer;
use heats_wire::v1::sweeps_server::SweepsServer;
use heats_wire::v1::tokens_server::TokensServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

pub use config::{AGENT_CERTIFICATE_LIFE, CoordinatorConfig, Founding, LOGS_MAX, PlainText, SWEEP_LOGS_MAX};
pub use edge::clock::{Clock, SystemClock};
pub use heats_replica::{BackupError, FirstNode, Summary, examine, restore};
pub use node::{Node, ToAgents};
pub use notices::{SecretError, WebhookSecret, Webhooks};
pub use optuna::StorageService;
pub use peers::Peers;
pub use rpc::cluster::ClusterService;
pub use rpc::raft::RaftService;
pub use rpc::sweeps::SweepsService;

use access::AccessLayer;
use rpc::agents::AgentsService;
use rpc::archives::ArchivesService;
use rpc::tokens::TokensService;

/// How long calls that are being answered may take to end when the coordinator stops.
const CLOSE: Duration = Duration::from_millis(500);
/// The largest message that is read, in bytes.
const MESSAGE_MAX: usize = 4 << 20;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would listen where others can reach it, in plain text and without asking who they are.
    #[error("`{0}` is not a loopback address: this coordinator speaks plain text and asks nobody who they are")]
    NotLoopback(SocketAddr),
    /// It has a certificate, and not its own.
    #[error("this is coordinator {node}, and its certificate says: {told}")]
    OtherName {
        /// Its number.
        node: u64,
        /// Whom the certificate names.
        told: String,
    },
    /// Nobody could trust it where it says that it is.
    #[error("others are to reach this coordinator at `{host}`, and its certificate is for other places")]
    OtherHost {
        /// Where.
        host: String,
    },
    /// The authority that vouches for agents cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The one-node cluster cannot be made.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The descriptors of the protocol do not read.
    #[error("cannot offer reflection: {0}")]
    Reflection(String),
}

impl StartError {
    /// Who has the data directory, where that is why.
    pub fn holder(&self) -> Option<&str> {
        match self {
            Self::Open(OpenError::Locked { holder, .. }) => Some(holder),
            Self::Open(_)
            | Self::NotLoopback(_)
            | Self::OtherName { .. }
            | Self::OtherHost { .. }
            | Self::Authority(_)
            | Self::Bootstrap(_)
            | Self::Listen { .. }
            | Self::Reflection(_) => None,
        }
    }
}

/// A running coordinator.
pub struct Coordinator {
    address: SocketAddr,
    optuna: Option<SocketAddr>,
    data_dir: PathBuf,
    replica: Replica,
    stop: watch::Sender<bool>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    for_optuna: Option<JoinHandle<()>>,
    beside: [JoinHandle<()>; 3],
}

impl Coordinator {
    /// Opens the data directory, makes the one-node cluster where it is new, and serves.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: CoordinatorConfig) -> Result<Self, StartError> {
        may_listen(&config)?;
        let agents = config.agents_authority.as_ref().map(|files| Authority::load(&files.certificate, &files.key));
        let agents = agents.transpose()?.map(Arc::new);
        let listen_error = |source| StartError::Listen { address: config.listen, source };
        let listener = heats_tls::listen(config.listen).map_err(listen_error)?;
        let for_optuna = match config.optuna {
            Some(address) => Some(optuna::listen(address).map_err(|source| StartError::Listen { address, source })?),
            None => None,
        };
        let optuna = for_optuna.as_ref().map(|(_, address)| *address);
        let address = listener.local_addr().map_err(listen_error)?;
        let advertised = config.advertise.clone().unwrap_or_else(|| address.to_string());
        if let Some(identity) = config.security.identity() {
            let host = advertised.rsplit_once(':').map_or(advertised.as_str(), |(host, _)| host);
            if !identity.is_for(host) {
                return Err(StartError::OtherHost { host: host.to_owned() });
            }
        }
        let replica_config = ReplicaConfig {
            snapshot_every: config.snapshot_every,
            ..ReplicaConfig::new(&config.data_dir, config.node_id, advertised.clone())
        };
        let replica = Replica::open(replica_config, Arc::new(Peers::new(config.security.clone()))).await?;

        let data_dir = config.data_dir.clone();
        let founding = config.founding.clone();
        let node = Node::start(config, advertised, replica.clone(), agents, Arc::new(SystemClock));
        let streams = node.streams.clone();
        let [code, logs] = [&node.archives, &node.bundles].map(|kept| tokio::spawn(kept.clone().tend(replica.clone())));
        let beside = [code, logs, tokio::spawn(notices::tell(node.clone()))];
        let (stop, mut stopping) = watch::channel(false);
        let for_optuna = for_optuna.map(|(listener, _)| optuna::serve(node.clone(), listener, stopping.clone()));
        let server = serve(node, listener, async move {
            // An error means that the coordinator was dropped, which stops it too.
            let _ = stopping.wait_for(|stop| *stop).await;
            streams.cut_all();
        })?;
        // Peers can be answered from here on: they vote for whoever makes the cluster.
        match founding {
            Founding::Alone => replica.bootstrap_single().await?,
            Founding::With(members) => replica.bootstrap(members).await?,
            Founding::Wait => {}
        }
        Ok(Self { address, optuna, data_dir, replica, stop, server, for_optuna, beside })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens to Optuna's clients, where it does.
    pub const fn optuna(&self) -> Option<SocketAddr> {
        self.optuna
    }

    /// Where its data is.
    pub const fn data_dir(&self) -> &PathBuf {
        &self.data_dir
    }

    /// Waits until the node has stopped itself, and says why: a disk that is full or lies, an entry that
    /// this version does not know. The process should end then.
    pub async fn failed(&self) -> String {
        let mut failure = self.replica.failed();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            Err(_) => "the log was closed".into(),
        }
    }

    /// Hands the lead over where it leads and others can, stops serving and closes the log.
    pub async fn shutdown(self) {
        self.hand_over().await;
        self.beside.iter().for_each(JoinHandle::abort);
        self.stop.send_replace(true);
        let mut server = self.server;
        // Streams that users follow have no end of their own: they resume at the next coordinator.
        match tokio::time::timeout(CLOSE, &mut server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => error!(%error, "the server did not end well"),
            Ok(Err(error)) => error!(%error, "the server's task did not end well"),
            Err(_) => server.abort(),
        }
        // What is asked of it now is asked elsewhere: nobody waits for such a call to end.
        if let Some(for_optuna) = self.for_optuna {
            for_optuna.abort();
        }
        self.replica.shutdown().await;
    }

    /// Nobody waits for an election then.
    async fn hand_over(&self) {
        let mut leadership = self.replica.leadership();
        if !matches!(*leadership.borrow(), Leadership::Leader { .. }) {
            return;
        }
        // The one that holds most, of those that were heard of last.
        let heir = self.replica.members().into_iter().filter(|member| member.voter && member.silent_for.is_some());
        let Some(heir) = heir.max_by_key(|member| (member.matched, std::cmp::Reverse(member.silent_for))) else {
            return;
        };
        if self.replica.transfer_leader(heir.node).await.is_ok() {
            let other = leadership.wait_for(|now| matches!(now, Leadership::Follower { leader: Some(_), .. }));
            // Late, the others elect one.
            let _late = tokio::time::timeout(HAND_OVER, other).await;
        }
    }
}

/// Whether the coordinator may listen where it is told to, as who it is told to be.
fn may_listen(config: &CoordinatorConfig) -> Result<(), StartError> {
    let node = config.node_id;
    let in_plain_text = |address: SocketAddr| match config.plain_text {
        PlainText::OnLoopback if !address.ip().is_loopback() => Err(StartError::NotLoopback(address)),
        PlainText::OnLoopback | PlainText::Anywhere => Ok(()),
    };
    // Optuna's clients speak nothing else.
    config.optuna.map_or(Ok(()), in_plain_text)?;
    match &config.security {
        Security::PlainText => in_plain_text(config.listen),
        Security::Tls(identity) => match identity.name().map(|name| name.who) {
            Some(Who::Coordinator(named)) if named == node => Ok(()),
            Some(other) => Err(StartError::OtherName { node, told: other.to_string() }),
            None => Err(StartError::OtherName { node, told: "nobody".to_owned() }),
        },
    }
}

/// How long a new leader may take to be there before a coordinator stops without one.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Serves the node's services on `listener` until `stopped`.
fn serve(
    node: Node,
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<Result<(), tonic::transport::Error>>, StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(heats_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| StartError::Reflection(error.to_string()))?;
    let agents = AgentsServer::new(AgentsService::new(node.clone())).max_decoding_message_size(MESSAGE_MAX);
    let raft = RaftService::server(node.replica.clone());
    let security = node.config.security.clone();
    let tokens = TokensServer::new(TokensService::new(node.clone())).max_decoding_message_size(MESSAGE_MAX);
    let access = AccessLayer::new(node.replica.clone(), node.clock.clone());
    let archives = ArchivesServer::new(ArchivesService::new(node.clone())).max_decoding_message_size(MESSAGE_MAX);
    let cluster = ClusterServer::new(ClusterService::new(node.clone())).max_decoding_message_size(MESSAGE_MAX);
    // For nodes that hand on what they were asked.
    let for_optuna = optuna::service(node.clone());
    let sweeps = SweepsServer::new(SweepsService::new(node))
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(usize::MAX);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .layer(access)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(raft)
        .add_service(cluster)
        .add_service(tokens)
        .add_service(agents)
        .add_service(archives)
        .add_service(for_optuna)
        .add_service(sweeps);
    let connections = heats_tls::incoming(listener, security);
    Ok(tokio::spawn(async move {
        health.set_serving::<SweepsServer<SweepsService>>().await;
        health.set_serving::<AgentsServer<AgentsService>>().await;
        router.serve_with_incoming_shutdown(connections, stopped).await
    }))
}
