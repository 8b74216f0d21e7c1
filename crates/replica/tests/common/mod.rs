//! Builders that the tests of this crate share.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;

use heats_core::fact::AgentAttached;
use heats_core::{Entry, Fact};
use heats_domain::{AgentId, Inventory};
use heats_replica::{Alone, Leadership, OpenError, Replica, ReplicaConfig};

/// A node that runs alone, with files small enough that tests fill several.
pub fn config(dir: &Path) -> ReplicaConfig {
    ReplicaConfig { segment_bytes: 64 << 10, ..ReplicaConfig::new(dir, 1, "test:1") }
}

/// Opens a node that runs alone and makes it a cluster.
pub async fn alone(config: ReplicaConfig) -> Result<Replica, OpenError> {
    let replica = Replica::open(config, Arc::new(Alone)).await?;
    replica.bootstrap_single().await.unwrap();
    Ok(replica)
}

/// Waits until the node leads; the term.
pub async fn leading(replica: &Replica) -> u64 {
    let mut leadership = replica.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap().clone();
    match leads {
        Leadership::Leader { term } => term,
        Leadership::Follower { .. } => unreachable!("it was waited for"),
    }
}

/// The entry number `n`: an agent of that number attaches.
pub fn entry(term: u64, n: u64) -> Entry {
    let fact = Fact::AgentAttached(AgentAttached {
        agent: AgentId { bits: n },
        name: format!("agent-{n}"),
        inventory: Inventory::default(),
        version: "1".to_owned(),
    });
    Entry { term, at_ms: n, facts: vec![fact.into()] }
}
