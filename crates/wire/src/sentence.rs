//! Facts in words, and their fields as JSON: what `heats events` and `heats explain` print.

use heats_core::fact::{AgentQuarantined, AgentReleased, Decides, Forked, GpuReleased, LeasedMember};
use heats_core::{Fact, Prior};
use heats_domain::{Artifact, Checkpoint, FailureKind, Metrics, NotKept, Object, StopReason};
use serde_json::{Value, json};

use crate::study;

/// One sentence about the fact.
pub fn sentence(fact: &Fact) -> String {
    match fact {
        Fact::SweepSubmitted(f) => {
            let learned: Vec<String> = f.priors.iter().map(learned).collect();
            let learns =
                if learned.is_empty() { String::new() } else { format!(", and learns from {}", learned.join(", ")) };
            format!("sweep `{}` was submitted with seed {}{learns}", f.name, f.seed)
        }
        Fact::Study(f) => f.event.as_ref().map(study::sentence).unwrap_or_default(),
        Fact::SweepPaused(_) => "a user paused the sweep".into(),
        Fact::SweepResumed(_) => "a user resumed the sweep".into(),
        Fact::SweepDrained(f) => format!("no more trials are created: {}", f.why),
        Fact::SweepEdited(f) if !f.why.is_empty() => f.why.clone(),
        Fact::SweepEdited(f) => {
            let limit = |name, value: Option<u32>| value.map(|value| format!("{name} = {value}"));
            let limits: Vec<String> =
                [limit("trials", f.trials), limit("parallel", f.parallel)].into_iter().flatten().collect();
            format!("a user set {}", limits.join(", "))
        }
        Fact::SweepEnded(f) => format!("the sweep ended ({}): {}", f.ending().name(), f.why),
        Fact::SweepReopened(_) => "the sweep goes on".into(),
        Fact::SweepRemoved(_) => "the sweep was removed".into(),
        Fact::PointEnqueued(f) => format!("a user enqueued {}", f.params),
        Fact::TrialCreated(f) => {
            let whose = match (f.confirms, &f.forked, f.enqueued) {
                (Some(leader), _, _) => format!("to confirm trial {leader}"),
                (None, Some(Forked { from, replaces }), _) => {
                    format!(
                        "from the checkpoint of step {} of trial {}, in the place of trial {replaces}",
                        from.step, from.trial
                    )
                }
                (None, None, true) => "from an enqueued point".into(),
                (None, None, false) => "by the searcher".into(),
            };
            format!("trial {} was created {whose}: {}", f.trial, f.params)
        }
        Fact::TrialLeased(f) => {
            let from = f.from.as_ref().map(|from| match from.trial == f.trial {
                true => format!(", from its checkpoint of step {}", from.step),
                false => format!(", from the checkpoint of step {} of trial {}", from.step, from.trial),
            });
            let from = from.unwrap_or_default();
            let others: String = f.members.iter().map(|member| format!(", `{}`", member.agent)).collect();
            format!("trial {} was leased to `{}`{others} as attempt {}{from}", f.trial, f.agent, f.attempt)
        }
        Fact::TrialPlaced(f) => format!("attempt {} of trial {}, leased ahead, has its place", f.attempt, f.trial),
        Fact::TrialStarted(f) if f.rank > 0 => {
            format!("rank {} of trial {} started (attempt {})", f.rank, f.trial, f.attempt)
        }
        Fact::TrialStarted(f) => {
            let how = match (f.warm, f.cold.as_str()) {
                (true, _) => ", warm".to_owned(),
                (false, "") => String::new(),
                (false, why) => format!(", cold: {why}"),
            };
            format!("trial {} started (attempt {}{how})", f.trial, f.attempt)
        }
        Fact::TrialReported(f) => format!("trial {} reported at step {}: {}", f.trial, f.step, pairs(&f.metrics)),
        Fact::TrialSettled(f) => match &f.reason {
            Some(reason) => format!("trial {} was {} by {reason}", f.trial, f.state()),
            None if f.why.is_empty() => format!("trial {} is {}", f.trial, f.state()),
            None => format!("trial {} is {}: {}", f.trial, f.state(), f.why),
        },
        Fact::TrialResumed(f) => format!("trial {} goes on by {}", f.trial, f.reason),
        Fact::TrialSpared(f) => {
            format!("trial {} was spared, as one of the control group: it would be stopped by {}", f.trial, f.reason)
        }
        Fact::CheckpointSaved(f) => {
            let Checkpoint { trial, step, bytes, place, .. } = &f.checkpoint;
            format!("trial {trial} has a checkpoint of step {step}: {bytes} bytes in `{place}`")
        }
        Fact::ArtifactKept(f) => {
            let Artifact { trial, name, bytes, place, .. } = &f.artifact;
            format!("trial {trial} keeps `{name}`: {bytes} bytes in `{place}`")
        }
        Fact::ArtifactDropped(f) => {
            format!("`{}` of trial {} is not kept: {}", f.artifact.name, f.artifact.trial, f.why)
        }
        Fact::ArtifactNotKept(f) => {
            let NotKept { sweep: _, trial, attempt: _, name, bytes, why, limit: _ } = &f.not_kept;
            format!("`{name}` of trial {trial}, of {bytes} bytes, is not kept: {why}")
        }
        Fact::CheckpointDropped(f) => {
            format!(
                "the checkpoint of step {} of trial {} is not kept: {}",
                f.checkpoint.step, f.checkpoint.trial, f.why
            )
        }
        Fact::CheckpointErased(f) => {
            let Object { trial, step, place, artifact, .. } = &f.object;
            let what =
                if artifact.is_empty() { format!("the checkpoint of step {step}") } else { format!("`{artifact}`") };
            format!("{what} of trial {trial} is gone from `{place}`")
        }
        Fact::LogsKept(f) => format!("the logs of {} attempts are kept: {} bytes", f.attempts.len(), f.length),
        Fact::LogsDropped(f) => format!("logs are kept no longer: {}", f.why),
        Fact::NoticeDelivered(f) => format!("webhook {} has taken notice {}", f.hook, f.place),
        Fact::HookGivenUp(f) => format!("webhook {} is given up: {}", f.hook, f.why),
        Fact::NoticeRead(f) => format!("`{}` has dealt with notice {}", f.reader, f.place),
        Fact::AttemptEnded(f) => {
            let how = match f.failure.and_then(|code| FailureKind::try_from(code).ok()) {
                Some(kind) => format!("failed ({kind})"),
                None => "ended".into(),
            };
            format!("attempt {} of trial {} {how} after {:.3} s", f.attempt, f.trial, f.ran_ms as f64 / 1_000.0)
        }
        Fact::MemberEnded(f) => {
            let after = f.ran_ms as f64 / 1_000.0;
            let (rank, attempt, trial) = (f.rank, f.attempt, f.trial);
            let how = f.failure.and_then(|code| FailureKind::try_from(code).ok());
            let how = how.map_or_else(|| "ended".to_owned(), |kind| format!("failed ({kind})"));
            let others = if f.decides.is_some() { ", and the attempt ends with it" } else { "" };
            format!("rank {rank} of attempt {attempt} of trial {trial} {how} after {after:.3} s{others}")
        }
        Fact::AgentAttached(f) => format!("agent `{}` ({}) attached", f.agent, f.name),
        Fact::TokenCreated(f) => format!("token `{}` ({}) was made for {}", f.token, f.name, f.role().name()),
        Fact::TokenUsed(f) => format!("agent `{}` joined by token `{}`", f.agent, f.token),
        Fact::TokenRevoked(f) => format!("token `{}` is good for nothing any more: {}", f.token, f.why),
        Fact::AgentJoined(f) => format!("agent `{}` is known by its key", f.agent),
        Fact::AgentDrained(f) => {
            let why = if f.reason.is_empty() { String::new() } else { format!(": {}", f.reason) };
            format!("{} drained agent `{}`{why}", if f.by.is_empty() { "a user" } else { &f.by }, f.agent)
        }
        Fact::AgentQuarantined(f) => left_alone(&format!("agent `{}`", f.agent), f),
        Fact::AgentReleased(f) => trusted_again(&format!("agent `{}`", f.agent), f),
        Fact::GpuQuarantined(f) => {
            left_alone(&format!("GPU {} of agent `{}`", f.gpu, f.quarantine.agent), &f.quarantine)
        }
        Fact::GpuReleased(f) => trusted_again(&format!("GPU {} of agent `{}`", f.gpu, f.release.agent), &f.release),
        Fact::AttemptExcused(f) => {
            format!("the failure of attempt {} of trial {} is put down to its machine", f.attempt, f.trial)
        }
        Fact::ClusterRestored(f) => {
            format!("the cluster was made from a backup of everything up to log index {}", f.index)
        }
        Fact::QuotaSet(f) => {
            let limits = [
                f.parallel.map(|n| format!(", at most {n} trials at once")),
                f.gpus.map(|n| format!(", at most {n} GPUs at once")),
                f.gpu_hours.map(|hours| format!(", at most {hours} GPU-hours")),
            ];
            let limits: String = limits.into_iter().flatten().collect();
            format!("{} `{}` has a weight of {}{limits}", f.scope().name(), f.name, f.weight)
        }
        Fact::QuotaRemoved(f) => format!("{} `{}` has no quota any more", f.scope().name(), f.name),
        Fact::TrialRecalled(f) => format!(
            "the place of trial {} (attempt {}) is for sweep `{}`, which has a higher priority",
            f.trial, f.attempt, f.by
        ),
        Fact::AgentUndrained(f) => format!("agent `{}` is not drained any more", f.agent),
        Fact::EnvironmentRecorded(f) => format!("environment {} was found: {}", f.name, f.environment.summary),
        Fact::HardwareRecorded(f) => format!("a trial ran on machine {}", f.name),
    }
}

/// What a sweep took over from an earlier one.
/// `what` is quarantined, or suspected.
fn left_alone(what: &str, quarantine: &AgentQuarantined) -> String {
    let AgentQuarantined { agent: _, since_ms: _, until_ms: _, delay_ms, proven, why, failures: _ } = quarantine;
    let how = if *proven { "is quarantined" } else { "is suspected" };
    format!("{what} {how}, and left alone for {} s: {why}", delay_ms / 1_000)
}

/// `what` is in no quarantine any more.
fn trusted_again(what: &str, release: &AgentReleased) -> String {
    let AgentReleased { agent: _, why, by } = release;
    if by.is_empty() { format!("{what} is trusted again: {why}") } else { format!("{by} had {what} trusted again") }
}

fn quarantine(fact: &AgentQuarantined, gpu: Option<u32>) -> Value {
    let AgentQuarantined { agent, since_ms, until_ms, delay_ms, proven, why, failures } = fact;
    let failures = failures.iter().map(|failed| {
        let kind = failed.failure().name();
        json!({"sweep": failed.sweep, "trial": failed.trial, "attempt": failed.attempt, "failure": kind})
    });
    json!({"agent": agent, "gpu": gpu, "proven": proven, "since_ms": since_ms, "until_ms": until_ms,
           "delay_ms": delay_ms, "why": why, "failures": failures.collect::<Vec<_>>()})
}

fn learned(prior: &Prior) -> String {
    format!("{} trials of `{}`", prior.trials.len(), prior.name)
}

fn pairs(metrics: &Metrics) -> String {
    metrics.list.iter().map(|m| format!("{}={}", m.name, m.value)).collect::<Vec<_>>().join(" ")
}

/// A number as JSON has it; what is not finite becomes a text, so that it is not lost.
pub fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn verdict(reason: &StopReason) -> Value {
    let StopReason { rule, step, value, rung, rank, peers, cutoff, winner } = reason;
    json!({"rule": rule, "step": step, "value": number(*value), "rung": rung, "rank": rank, "peers": peers,
           "cutoff": cutoff.map(number), "winner": winner})
}

/// What one of the members of rank 1 and above got.
fn member(member: &LeasedMember) -> Value {
    json!({"agent": member.agent, "gpus": member.grant.gpus})
}

/// A checkpoint or an artifact without its trial, which the event has already.
fn object(object: Object) -> Value {
    let Object { sweep: _, trial: _, attempt, step, hash: _, bytes, place, artifact } = &object;
    let what = if artifact.is_empty() { ("step", json!(step)) } else { ("name", json!(artifact)) };
    json!({"attempt": attempt, (what.0): what.1, "hash": object.hash_text(), "bytes": bytes, "place": place})
}

/// The same, and why it is not kept.
fn dropped(dropped: Object, why: &str) -> Value {
    let mut fields = object(dropped);
    fields["why"] = json!(why);
    fields
}

/// The fact's fields.
pub fn fields(fact: &Fact) -> Value {
    match fact {
        Fact::SweepSubmitted(f) => {
            let from: Vec<Value> = f
                .priors
                .iter()
                .map(|prior| {
                    json!({
                        "sweep": prior.sweep, "name": prior.name, "trials": prior.trials.len(),
                        "unfit": prior.unfit, "left_out": prior.left_out,
                    })
                })
                .collect();
            json!({"name": f.name, "seed": f.seed, "base_dir": f.base_dir, "code": f.code, "from": from})
        }
        Fact::SweepPaused(_)
        | Fact::SweepResumed(_)
        | Fact::SweepReopened(_)
        | Fact::SweepRemoved(_)
        | Fact::AttemptExcused(_)
        | Fact::TrialPlaced(_) => json!({}),
        Fact::SweepDrained(f) => json!({"ending": f.ending().name(), "why": f.why}),
        Fact::SweepEdited(f) => json!({"trials": f.trials, "parallel": f.parallel, "why": f.why}),
        Fact::SweepEnded(f) => json!({"ending": f.ending().name(), "why": f.why}),
        Fact::PointEnqueued(f) => json!({"params": f.params}),
        Fact::TrialCreated(f) => {
            let forked_from = f
                .forked
                .as_ref()
                .map(|Forked { from, replaces }| json!({"trial": from.trial, "step": from.step, "replaces": replaces}));
            json!({"params": f.params, "saw_index": f.saw_index, "enqueued": f.enqueued, "confirms": f.confirms,
                "forked_from": forked_from})
        }
        Fact::TrialLeased(f) => {
            json!({"agent": f.agent, "cpus": f.grant.cpus, "memory": f.grant.memory, "gpus": f.grant.gpus,
                "gpu_parts": f.grant.gpu_parts, "disk": f.grant.disk, "ahead": f.ahead, "variant": f.variant,
                "from": f.from.as_ref().cloned().map(|from| object(from.into())),
                "members": f.members.iter().map(member).collect::<Vec<_>>(), "port": f.port})
        }
        Fact::TrialStarted(f) => json!({
            "environment": f.environment, "environment_name": f.environment_name, "hardware_name": f.hardware_name,
            "rank": f.rank, "warm": f.warm, "cold": f.cold,
        }),
        Fact::TrialReported(f) => {
            let metrics: serde_json::Map<String, Value> =
                f.metrics.list.iter().map(|m| (m.name.clone(), number(m.value))).collect();
            json!({"step": f.step, "metrics": metrics})
        }
        Fact::TrialSettled(f) => {
            let reason = f.reason.as_ref().map(verdict);
            json!({"state": f.state().name(), "reason": reason, "retry_used": f.retry_used, "why": f.why})
        }
        Fact::TrialResumed(f) => json!({"reason": verdict(&f.reason)}),
        Fact::TrialSpared(f) => json!({"reason": verdict(&f.reason)}),
        Fact::CheckpointSaved(f) => object(f.checkpoint.clone().into()),
        Fact::CheckpointDropped(f) => dropped(f.checkpoint.clone().into(), &f.why),
        Fact::ArtifactKept(f) => object(f.artifact.clone().into()),
        Fact::ArtifactDropped(f) => dropped(f.artifact.clone().into(), &f.why),
        Fact::ArtifactNotKept(f) => {
            let NotKept { sweep: _, trial: _, attempt, name, bytes, why, limit } = &f.not_kept;
            let limit = Some(limit).filter(|limit| **limit > 0);
            json!({"attempt": attempt, "name": name, "bytes": bytes, "why": why, "limit": limit})
        }
        Fact::CheckpointErased(f) => object(f.object.clone()),
        Fact::LogsKept(f) => {
            let attempts: Vec<String> = f.attempts.iter().map(|l| format!("{}@{}", l.trial, l.attempt)).collect();
            json!({"bundle": f.bundle, "bytes": f.length, "agent": f.agent, "attempts": attempts})
        }
        Fact::LogsDropped(f) => json!({"bundle": f.bundle, "why": f.why}),
        Fact::NoticeDelivered(f) => json!({"hook": f.hook, "notice": f.place}),
        Fact::HookGivenUp(f) => json!({"hook": f.hook, "why": f.why}),
        Fact::NoticeRead(f) => json!({"reader": f.reader, "notice": f.place}),
        Fact::AttemptEnded(f) => {
            let failure = f.failure.and_then(|code| FailureKind::try_from(code).ok()).map(FailureKind::name);
            json!({"failure": failure, "ran_ms": f.ran_ms, "cpu_ms": f.cpu_ms, "max_rss": f.max_rss, "detail": f.detail,
                   "excused": f.excused})
        }
        Fact::MemberEnded(f) => {
            let failure = f.failure.and_then(|code| FailureKind::try_from(code).ok()).map(FailureKind::name);
            let decides = f.decides.and_then(|code| Decides::try_from(code).ok()).map(Decides::name);
            json!({"rank": f.rank, "decides": decides, "failure": failure, "ran_ms": f.ran_ms, "cpu_ms": f.cpu_ms,
                "max_rss": f.max_rss, "detail": f.detail})
        }
        // The hash of a secret is nobody's business.
        Fact::TokenCreated(f) => {
            json!({"token": f.token, "name": f.name, "role": f.role().name(), "expires_ms": f.expires_ms,
                   "uses_max": f.uses_max})
        }
        Fact::TokenUsed(f) => json!({"token": f.token, "agent": f.agent}),
        Fact::TokenRevoked(f) => json!({"token": f.token, "why": f.why}),
        Fact::AgentJoined(f) => json!({"agent": f.agent}),
        Fact::AgentAttached(f) => {
            json!({"agent": f.agent, "name": f.name, "inventory": f.inventory, "version": f.version})
        }
        Fact::AgentDrained(f) => json!({"agent": f.agent, "reason": f.reason, "by": f.by, "now": f.now}),
        Fact::AgentQuarantined(f) => quarantine(f, None),
        Fact::GpuQuarantined(f) => quarantine(&f.quarantine, Some(f.gpu)),
        Fact::AgentReleased(f) => json!({"agent": f.agent, "why": f.why, "by": f.by}),
        Fact::GpuReleased(GpuReleased { gpu, release: f }) => {
            json!({"agent": f.agent, "gpu": gpu, "why": f.why, "by": f.by})
        }
        Fact::QuotaSet(f) => json!({
            "scope": f.scope().name(), "name": f.name, "weight": f.weight, "parallel": f.parallel, "gpus": f.gpus,
            "gpu_hours": f.gpu_hours,
        }),
        Fact::QuotaRemoved(f) => json!({"scope": f.scope().name(), "name": f.name}),
        Fact::TrialRecalled(f) => json!({"by": f.by}),
        Fact::AgentUndrained(f) => json!({"agent": f.agent}),
        Fact::EnvironmentRecorded(f) => json!({"name": f.name, "environment": f.environment}),
        Fact::HardwareRecorded(f) => json!({"name": f.name, "hardware": f.hardware}),
        Fact::ClusterRestored(f) => json!({"index": f.index}),
        Fact::Study(f) => f.event.as_ref().map(study::fields).unwrap_or_default(),
    }
}
