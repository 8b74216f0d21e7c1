//! What the services of one node share.

use std::sync::Arc;

use heats_replica::Replica;
use heats_tls::Authority;

use crate::config::CoordinatorConfig;
use crate::decider::Decider;
use crate::leases::Leases;
use crate::relays::Relays;
use crate::streams::Streams;

/// A handle to the parts of a running coordinator; a clone is the same node.
#[derive(Clone)]
pub struct Node {
    /// The settings.
    pub config: CoordinatorConfig,
    /// Where others are to reach it.
    pub address: String,
    /// The replicated state.
    pub replica: Replica,
    /// Who decides.
    pub decider: Decider,
    /// Who is attached.
    pub streams: Streams,
    /// The lease clock.
    pub leases: Leases,
    /// Who signs agents, where this node may.
    pub agents: Option<Arc<Authority>>,
    /// Logs on their way from agents to users.
    pub relays: Relays,
}
