//! An agent as output.

use heats_wire::v1;
use serde_json::Value;

use crate::output::{Fields, Item};

/// The agent's fields; its name is the id, which other commands take.
pub fn agent(agent: &v1::AgentStatus) -> Item {
    let id = agent.agent.unwrap_or_default().to_string();
    let inventory = agent.inventory.clone().unwrap_or_default();
    let held = agent.held.clone().unwrap_or_default();
    let gpus: Vec<Value> = inventory.gpus.iter().map(|gpu| gpu.model.clone().into()).collect();
    let json = Fields::new()
        .with("id", id.as_str())
        .with("name", agent.name.as_str())
        .with("attached", agent.attached)
        .with("state", if agent.attached { "attached" } else { "away" })
        .with("leases", agent.leases)
        .with("cpus", inventory.cpus)
        .with("cpus_held", held.cpus)
        .with("memory", inventory.memory)
        .with("memory_held", held.memory)
        .with("gpus", gpus)
        .with("gpu_count", inventory.gpus.len())
        .with("gpus_held", held.gpus.len())
        .done();
    Item { name: id, json }
}
