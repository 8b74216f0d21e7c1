//! An agent, and what it holds, as output.

use heats_domain::SweepId;
use heats_wire::v1;
use serde_json::Value;

use super::hardware::{gpu, map};
use super::state;
use crate::output::{Fields, Item};

/// The agent's fields; its name is the id, which other commands take.
pub fn agent(agent: &v1::AgentStatus) -> Item {
    let id = agent.agent.unwrap_or_default().to_string();
    let inventory = agent.inventory.clone().unwrap_or_default();
    let held = agent.held.clone().unwrap_or_default();
    let condition = agent.condition.clone().unwrap_or_default();
    let gpus: Vec<Value> =
        inventory.gpus.iter().map(|one| gpu(one).with("unusable", unusable(agent, one.index)).into()).collect();
    let json = Fields::new()
        .with("id", id.as_str())
        .with("name", agent.name.as_str())
        .with("attached", agent.attached)
        .with("state", standing(agent))
        .with("why", barred(agent).unwrap_or_default())
        .with("leases", agent.leases)
        .with("cpus", inventory.cpus)
        .with("cpus_held", held.cpus)
        .with("memory", inventory.memory)
        .with("memory_held", held.memory)
        .with("gpus", gpus)
        .with("gpu_count", inventory.gpus.len())
        .with("gpus_held", held.gpus.len())
        .with("disk_free", agent.condition.as_ref().map(|condition| condition.disk_free))
        .with("disk_total", agent.condition.as_ref().map(|condition| condition.disk_total))
        .with("disk", inventory.disk)
        .with("labels", map(&inventory.labels))
        .with("facts", map(&inventory.facts))
        .with("version", agent.version.as_str())
        .time("offered_since", agent.recorded_ms)
        .time("attached_since", agent.attached_ms)
        .seconds("silent", agent.silent_ms)
        .with("unable", condition.unable)
        .with("drained", agent.drain.as_ref().map(|drain| Value::from(drained(drain))))
        .done();
    Item { name: id, json }
}

/// Why the GPU of this index is not leased now, as a fragment; `None` where it may be.
pub fn unusable(agent: &v1::AgentStatus, index: u32) -> Option<&str> {
    let gpus = &agent.condition.as_ref()?.gpus;
    gpus.iter().find(|gpu| gpu.index == index).map(|gpu| gpu.why.as_str())
}

fn drained(drain: &v1::AgentDrain) -> Fields {
    let v1::AgentDrain { reason, by, at_ms, now } = drain;
    Fields::new().with("reason", reason.as_str()).with("by", by.as_str()).time("at", *at_ms).with("now", *now)
}

/// How it stands, in a word or two: what keeps trials from it comes first.
fn standing(agent: &v1::AgentStatus) -> &'static str {
    match (agent.attached, agent.drain.is_some()) {
        (true, true) => "drained",
        (true, false) if is_unable(agent) => "unable",
        (true, false) => "attached",
        (false, true) => "away, drained",
        (false, false) => "away",
    }
}

fn is_unable(agent: &v1::AgentStatus) -> bool {
    agent.condition.as_ref().is_some_and(|condition| !condition.unable.is_empty())
}

/// Why nothing starts on an agent whatever it has free, as a fragment; `None` where something may.
pub fn barred(agent: &v1::AgentStatus) -> Option<String> {
    if let Some(drain) = &agent.drain {
        let why = if drain.reason.is_empty() { String::new() } else { format!(" ({})", drain.reason) };
        return Some(format!("is drained{why}"));
    }
    let condition = agent.condition.as_ref()?;
    (!condition.unable.is_empty()).then(|| format!("can start nothing: {}", condition.unable))
}

/// The address of a trial that an agent holds, with its attempt: digits/12@2.
pub fn held_address(trial: &v1::HeldTrial) -> String {
    let v1::AttemptKey { sweep: _, trial: number, attempt } = trial.key.unwrap_or_default();
    format!("{}/{number}@{attempt}", trial.sweep_name)
}

/// A trial that an agent holds.
pub fn held(trial: &v1::HeldTrial) -> Value {
    let v1::HeldTrial { key, sweep_name: _, state: number, leased_ms, started_ms, ahead } = trial;
    let sweep: SweepId = key.and_then(|key| key.sweep).unwrap_or_default();
    Fields::new()
        .with("address", held_address(trial))
        .with("sweep", sweep.to_string())
        .with("state", state(*number))
        .time("leased_at", *leased_ms)
        .time("started_at", *started_ms)
        .with("ahead", *ahead)
        .into()
}
