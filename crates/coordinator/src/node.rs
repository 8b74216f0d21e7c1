//! One node's parts, without what serves its connections: that is the crate's root, or a simulation.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use heats_replica::Replica;
use heats_tls::Authority;
use heats_wire::v1;
use tokio::time::Instant;
use tonic::Status;

use crate::archives::{Archives, Shelf};
use crate::caller::Caller;
use crate::config::CoordinatorConfig;
use crate::decider::{Decider, Patience};
use crate::edge::clock::Clock;
use crate::leases::Leases;
use crate::optuna::StorageService;
use crate::relays::Relays;
use crate::rpc;
use crate::rpc::cluster::ClusterService;
use crate::rpc::sweeps::SweepsService;
use crate::streams::Streams;

/// What an agent is answered, in order.
pub type ToAgents = Pin<Box<dyn Stream<Item = Result<v1::ToAgent, Status>> + Send>>;

/// A handle to the parts of a running coordinator; a clone is the same node.
#[derive(Clone)]
pub struct Node {
    /// The settings.
    pub(crate) config: CoordinatorConfig,
    /// Where others are to reach it.
    pub(crate) address: String,
    /// The replicated state.
    pub(crate) replica: Replica,
    /// Who decides.
    pub(crate) decider: Decider,
    /// Who is attached.
    pub(crate) streams: Streams,
    /// The lease clock.
    pub(crate) leases: Leases,
    /// Who signs agents, where this node may.
    pub(crate) agents: Option<Arc<Authority>>,
    /// The code of sweeps.
    pub(crate) archives: Archives,
    /// The logs of attempts that are over.
    pub(crate) bundles: Archives,
    /// Logs on their way from agents to users.
    pub(crate) relays: Relays,
    /// The time of day.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Node {
    /// Makes the parts and begins to decide, whenever `replica` leads. `address` is where others are to reach it; `agents`
    /// signs agents, where this node may.
    pub fn start(
        config: CoordinatorConfig,
        address: String,
        replica: Replica,
        agents: Option<Arc<Authority>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let streams = Streams::default();
        let leases = Leases::new(config.lease_ttl, Instant::now());
        let (grace, preempt_after) = (config.failover_grace, config.preempt_after);
        let patience = Patience { grace, preempt_after, optuna_stale: config.optuna_stale };
        let decider = Decider::start(replica.clone(), streams.clone(), leases.clone(), patience, clock.clone());
        let archives = Archives::open(&config, Shelf::Code);
        let bundles = Archives::open(&config, Shelf::Logs);
        let relays = Relays::default();
        Self { config, address, replica, decider, streams, leases, agents, archives, bundles, relays, clock }
    }

    /// Talks to an agent, whoever says to be one, for as long as `messages` come and this node leads.
    ///
    /// # Errors
    /// Where the first message is no Hello, or this node does not lead: the metadata says who does.
    pub async fn attach(
        &self,
        messages: impl Stream<Item = Result<v1::FromAgent, Status>> + Send + Unpin + 'static,
    ) -> Result<ToAgents, Status> {
        rpc::agents::attach(self.clone(), Caller::Trusted, messages).await
    }

    /// The users' calls.
    pub fn sweeps(&self) -> SweepsService {
        SweepsService::new(self.clone())
    }

    /// The calls of programs that speak Optuna's protocol, for a node that leads.
    pub fn studies(&self) -> StorageService {
        StorageService::new(self.clone())
    }

    /// The operators' calls.
    pub fn cluster(&self) -> ClusterService {
        ClusterService::new(self.clone())
    }
}
