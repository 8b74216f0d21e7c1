//! Builders that the tests of this crate share.

use std::path::Path;
use std::sync::Arc;

use heats_core::fact::{
    AgentAttached, AttemptEnded, SweepSubmitted, TrialCreated, TrialLeased, TrialReported, TrialSettled,
};
use heats_core::{Entry, Fact};
use heats_domain::{AgentId, Grant, Inventory, SweepId, TrialState};
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
        places: Vec::new(),
    });
    Entry { term, number: 0, after: 0, at_ms: n, facts: vec![fact.into()] }
}

/// The sweep that [`trial_entries`] is about.
pub const SWEEP: SweepId = SweepId { bits: 42 };

/// A sweep is submitted.
pub fn sweep_entry(term: u64) -> Entry {
    let spec = r#"{"command": ["true"], "space": {"x": {"float": [0.0, 1.0]}}, "objective": {"minimize": "loss"},
        "search": {"algorithm": "random", "seed": 7}, "early_stop": {"algorithm": "none"}, "budget": {"trials": 1000}}"#;
    let fact = Fact::SweepSubmitted(SweepSubmitted {
        sweep: SWEEP,
        name: "a".to_owned(),
        spec: spec.to_owned(),
        seed: 7,
        request: 1,
        base_dir: "/".to_owned(),
        priors: Vec::new(),
        code: String::new(),
        user: String::new(),
        provenance: "{}".to_owned(),
    });
    Entry { term, number: 0, after: 0, at_ms: 1, facts: vec![fact.into()] }
}

/// The life of trial `trial` on agent 1: created and leased, three reports, ended; five entries.
pub fn trial_entries(term: u64, trial: u32) -> Vec<Entry> {
    let (sweep, attempt, agent) = (SWEEP, 1, AgentId { bits: 1 });
    let mut entries = vec![vec![
        Fact::TrialCreated(TrialCreated { sweep, trial, ..Default::default() }),
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial,
            attempt,
            agent,
            grant: Grant::default(),
            ahead: false,
            from: None,
            variant: 0,
            members: Vec::new(),
            port: 0,
        }),
    ]];
    entries.extend((1..=3).map(|step| {
        let metrics = [("loss", 1.0 / step as f64)].into_iter().collect();
        vec![Fact::TrialReported(TrialReported { sweep, trial, attempt, step, metrics })]
    }));
    entries.push(vec![
        Fact::AttemptEnded(AttemptEnded { sweep, trial, attempt, ran_ms: 5, ..Default::default() }),
        Fact::TrialSettled(TrialSettled { sweep, trial, state: TrialState::Completed.into(), ..Default::default() }),
    ]);
    let facts = |facts: Vec<Fact>| facts.into_iter().map(Into::into).collect();
    entries
        .into_iter()
        .map(|list| Entry { term, number: 0, after: 0, at_ms: 1_000 + u64::from(trial), facts: facts(list) })
        .collect()
}
