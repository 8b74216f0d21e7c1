//! An agent, and what it holds, as output.

use std::io::{self, Write};

use heats_domain::SweepId;
use heats_wire::v1;
use serde_json::Value;

use super::hardware::{gang_ports, gpu, map};
use super::{failure, keeping, state};
use crate::output::{Fields, Item};
use crate::words;

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
        .with("gang_address", inventory.rendezvous.as_ref().map(|own| own.address.clone()))
        .with("gang_ports", inventory.rendezvous.as_ref().map(gang_ports))
        .with("version", agent.version.as_str())
        .time("offered_since", agent.recorded_ms)
        .time("attached_since", agent.attached_ms)
        .seconds("silent", agent.silent_ms)
        .with("unable", condition.unable)
        .with("drained", agent.drain.as_ref().map(|drain| Value::from(drained(drain))))
        .with("quarantined", agent.quarantine.as_ref().map(|quarantine| Value::from(quarantined(quarantine))))
        .with(
            "quarantined_gpus",
            agent.gpu_quarantines.iter().map(|one| quarantined(one).into()).collect::<Vec<Value>>(),
        )
        .done();
    Item { name: id, json }
}

/// Why the GPU of this index is not leased now, as a fragment; `None` where it may be.
pub fn unusable(agent: &v1::AgentStatus, index: u32) -> Option<String> {
    let broken = agent.condition.as_ref().and_then(|condition| condition.gpus.iter().find(|gpu| gpu.index == index));
    let quarantine = agent.gpu_quarantines.iter().find(|quarantine| quarantine.gpu == Some(index));
    let left_alone = || quarantine.map(|quarantine| format!("{}: {}", distrusted(quarantine), quarantine.why));
    broken.map(|gpu| gpu.why.clone()).or_else(left_alone)
}

fn drained(drain: &v1::AgentDrain) -> Fields {
    let v1::AgentDrain { reason, by, at_ms, now } = drain;
    Fields::new().with("reason", reason.as_str()).with("by", by.as_str()).time("at", *at_ms).with("now", *now)
}

/// Why an agent is left alone, and for which trials.
pub fn quarantined(quarantine: &v1::AgentQuarantine) -> Fields {
    let v1::AgentQuarantine { agent, agent_name, why, since_ms, until_ms, proven, failures, gpu } = quarantine;
    let failures: Vec<Value> = failures
        .iter()
        .map(|failed| {
            Fields::new().with("address", failed_address(failed)).with("failure", failure(failed.failure)).into()
        })
        .collect();
    Fields::new()
        .with("agent", agent.unwrap_or_default().to_string())
        .with("agent_name", agent_name.as_str())
        .with("gpu", *gpu)
        .with("proven", *proven)
        .with("why", why.as_str())
        .time("since", *since_ms)
        .time("until", *until_ms)
        .with("failures", failures)
}

/// Two lines: how long it is left alone and why, and for which attempts.
pub fn write_quarantine(out: &mut dyn Write, quarantine: &v1::AgentQuarantine, now_ms: u64) -> io::Result<()> {
    let v1::AgentQuarantine { agent: _, agent_name: _, why, since_ms, until_ms, proven: _, failures, gpu: _ } =
        quarantine;
    let next = match until_ms.saturating_sub(now_ms) {
        0 => "one trial at a time is tried there".to_owned(),
        wait => format!("one trial is tried there in {}", words::duration(wait)),
    };
    writeln!(out, "  {:9} {}: {why}; {next}", distrusted(quarantine), words::ago(*since_ms, now_ms))?;
    let failures: Vec<String> = failures.iter().map(failed_address).collect();
    writeln!(out, "            by {}", failures.join(", "))
}

/// What is left alone: `a1`, or `GPU 3 of a1`.
pub fn left_alone(quarantine: &v1::AgentQuarantine) -> String {
    let name = &quarantine.agent_name;
    quarantine.gpu.map_or_else(|| name.clone(), |index| format!("GPU {index} of {name}"))
}

/// The address of an attempt that failed on a quarantined agent: digits/12@2.
fn failed_address(failed: &v1::FailedAttempt) -> String {
    let v1::AttemptKey { sweep, trial, attempt } = failed.key.unwrap_or_default();
    let name =
        if failed.sweep_name.is_empty() { sweep.unwrap_or_default().to_string() } else { failed.sweep_name.clone() };
    format!("{name}/{trial}@{attempt}")
}

/// `quarantined`, or `suspect` where that is not certain.
const fn distrusted(quarantine: &v1::AgentQuarantine) -> &'static str {
    if quarantine.proven { "quarantined" } else { "suspect" }
}

/// How it stands, in a word or two: what keeps trials from it comes first.
fn standing(agent: &v1::AgentStatus) -> &'static str {
    match (agent.attached, agent.drain.is_some()) {
        (true, true) => "drained",
        (true, false) if is_unable(agent) => "unable",
        (true, false) => agent.quarantine.as_ref().map_or("attached", distrusted),
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
    if let Some(quarantine) = &agent.quarantine {
        return Some(format!("is {} ({})", distrusted(quarantine), quarantine.why));
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
    let v1::HeldTrial { key, sweep_name: _, state: number, leased_ms, started_ms, ahead, rank, nodes, waits_for } =
        trial;
    let sweep: SweepId = key.and_then(|key| key.sweep).unwrap_or_default();
    Fields::new()
        .with("address", held_address(trial))
        .with("sweep", sweep.to_string())
        .with("state", state(*number))
        .time("leased_at", *leased_ms)
        .time("started_at", *started_ms)
        .with("ahead", *ahead)
        .with("rank", *rank)
        .with("nodes", *nodes)
        .with("waits_for", waits_for.as_ref().map(|waits| Value::from(keeping(waits))))
        .into()
}
