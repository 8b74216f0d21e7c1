//! A trial, its attempts, the points of its series.

use heats_domain::{Artifact, Checkpoint, FailureKind, Metrics, NotKept, StopReason, TrialState};
use heats_wire::series::Point;
use heats_wire::v1;
use serde_json::{Map, Value};

use crate::output::{Column, Fields, Item, Kind};

/// The name that users see of a trial's state; of a state that this version does not know, its number.
pub fn state(number: i32) -> String {
    TrialState::try_from(number).map_or_else(|_| format!("state {number}"), |state| state.name().to_owned())
}

/// The name that users see of a failure.
pub fn failure(number: i32) -> String {
    FailureKind::try_from(number).map_or_else(|_| format!("failure {number}"), |kind| kind.name().to_owned())
}

fn params(params: Option<&heats_domain::Params>) -> Map<String, Value> {
    params
        .into_iter()
        .flat_map(heats_domain::Params::iter)
        .map(|(name, value)| (name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null)))
        .collect()
}

/// A trial's fields.
pub fn trial(sweep: &str, trial: &v1::TrialSummary) -> Item {
    let name = format!("{sweep}/{}", trial.number);
    let json = Fields::new()
        .with("address", name.as_str())
        .with("number", trial.number)
        .with("state", state(trial.state))
        .with("params", params(trial.params.as_ref()))
        .number("value", value(trial))
        .with("value_step", trial.value_step)
        .number("last_value", trial.last_value)
        .with("last_step", trial.last_step)
        .with("reports", trial.reports)
        .with("attempts", trial.attempts)
        .time("created_at", trial.created_ms)
        .time("started_at", trial.started_ms)
        .time("ended_at", trial.ended_ms)
        .seconds("duration", trial.ran_ms)
        .with("stopped", trial.stopped.as_ref().map(|reason| Value::from(verdict(Fields::new(), reason))))
        .with("spared", trial.spared.as_ref().map(|reason| Value::from(verdict(Fields::new(), reason))))
        .with("failure", trial.failure.map(failure))
        .with("detail", trial.detail.as_str())
        .with("agent", trial.agent.map(|agent| agent.to_string()))
        .with("ending", trial.ending)
        .with("checkpoints", trial.checkpoints.iter().map(|kept| Value::from(checkpoint(kept))).collect::<Vec<_>>())
        .with("artifacts", trial.artifacts.iter().map(|kept| Value::from(artifact(kept))).collect::<Vec<_>>())
        .with("not_kept", not_kept(&trial.not_kept))
        .with("forked_from", trial.forked_from.as_ref().map(|forked| Value::from(forked_from(forked))))
        .with("confirms", trial.confirms)
        .with("confirmed", trial.confirmed.as_ref().map(|confirmed| Value::from(self::confirmed(confirmed))));
    // With several objectives only: a column for each.
    let json = match &trial.point {
        Some(point) => json.with("objectives", metrics(point)).done(),
        None => json.done(),
    };
    Item { name, json }
}

fn checkpoint(kept: &Checkpoint) -> Fields {
    let Checkpoint { sweep: _, trial: _, attempt, step, hash: _, bytes, place } = kept;
    let fields = Fields::new().with("step", *step).with("attempt", *attempt).with("bytes", *bytes);
    fields.with("hash", kept.hash_text()).with("place", place.as_str())
}

/// A file that a trial keeps for people.
pub fn artifact(kept: &Artifact) -> Fields {
    let Artifact { sweep: _, trial: _, attempt, hash: _, bytes, place, name } = kept;
    let fields = Fields::new().with("name", name.as_str()).with("attempt", *attempt).with("bytes", *bytes);
    fields.with("hash", kept.hash_text()).with("place", place.as_str())
}

/// The files that a trial made for people and that are not kept.
pub fn not_kept(files: &[NotKept]) -> Vec<Value> {
    let fields = |NotKept { sweep: _, trial: _, attempt, name, bytes, why, limit }: &NotKept| {
        let fields = Fields::new().with("name", name.as_str()).with("attempt", *attempt).with("bytes", *bytes);
        fields.with("limit", Some(*limit).filter(|limit| *limit > 0)).with("why", why.as_str())
    };
    files.iter().map(|file| Value::from(fields(file))).collect()
}

fn forked_from(forked: &v1::ForkedFrom) -> Fields {
    let v1::ForkedFrom { trial, step, replaces } = *forked;
    Fields::new().with("trial", trial).with("step", step).with("replaces", replaces)
}

/// Which configuration trained a fork from which step to which.
pub fn stretch(stretch: &v1::Stretch) -> Fields {
    let v1::Stretch { trial, from_step, to_step, params: with } = stretch;
    let fields = Fields::new().with("trial", *trial).with("from_step", *from_step).with("to_step", *to_step);
    fields.with("params", params(with.as_ref()))
}

fn confirmed(confirmed: &v1::Confirmed) -> Fields {
    let v1::Confirmed { mean, low, high, runs, of } = *confirmed;
    Fields::new().number("mean", mean).number("low", low).number("high", high).with("runs", runs).with("of", of)
}

fn metrics(Metrics { list }: &Metrics) -> Fields {
    list.iter().fold(Fields::new(), |fields, metric| fields.number(&metric.name, metric.value))
}

/// The best value. Where the trial measured its objective and no value of it was finite, it has none, and the
/// last of them says why: outputs show it as null with a flag, or by its name.
fn value(trial: &v1::TrialSummary) -> Option<f64> {
    trial.value.or_else(|| trial.last_value.filter(|value| !value.is_finite()))
}

/// `fields`, and those of a verdict.
pub fn verdict(fields: Fields, reason: &StopReason) -> Fields {
    let StopReason { rule, step, value, rung, rank, peers, cutoff, winner } = reason;
    fields
        .with("rule", rule.as_str())
        .with("step", *step)
        .number("value", *value)
        .with("rung", *rung)
        .with("rank", *rank)
        .with("peers", *peers)
        .number("cutoff", *cutoff)
        .with("winner", *winner)
}

/// An attempt's fields.
pub fn attempt(sweep: &str, trial: u32, attempt: &v1::Attempt) -> Item {
    let v1::Attempt {
        number,
        agent,
        agent_name,
        grant,
        leased_ms,
        started_ms,
        ended_ms,
        failure: failed,
        ran_ms,
        cpu_ms,
        max_rss,
        detail,
        environment,
        environment_name,
        hardware_name,
        warm,
        cold,
        excused,
        variant,
        members,
        address,
        waits_for,
    } = attempt;
    let members: Vec<Value> = (0..).zip(members).map(|(rank, one)| member(rank, one)).collect();
    let grant = grant.clone().unwrap_or_default();
    let name = format!("{sweep}/{trial}@{number}");
    let json = Fields::new()
        .with("address", name.as_str())
        .with("attempt", *number)
        .with("agent", agent.map(|agent| agent.to_string()))
        .with("agent_name", agent_name.as_str())
        .with("cpus", grant.cpus)
        .with("memory", grant.memory)
        .with("gpus", grant.gpus)
        .with("gpu_parts", grant.gpu_parts)
        .with("disk", grant.disk)
        .time("leased_at", *leased_ms)
        .time("started_at", *started_ms)
        .time("ended_at", *ended_ms)
        .with("failure", failed.map(failure))
        .with("excused", *excused)
        .with("variant", *variant)
        .seconds("duration", *ran_ms)
        .seconds("cpu", *cpu_ms)
        .with("max_rss", *max_rss)
        .with("detail", detail.as_str())
        .with("environment", environment.as_str())
        .with("environment_name", environment_name.map(|name| name.to_string()))
        .with("hardware_name", hardware_name.map(|name| name.to_string()))
        .with("warm", *warm)
        .with("cold", Some(cold.as_str()).filter(|why| !why.is_empty()))
        .with("nodes", members.len().max(1))
        .with("meets_at", Some(address.as_str()).filter(|address| !address.is_empty()))
        .with("members", members)
        .with("waits_for", waits_for.as_ref().map(|waits| Value::from(keeping(waits))))
        .done();
    Item { name, json }
}

/// What the end of an attempt waits for.
pub fn keeping(keeping: &v1::Keeping) -> Fields {
    let v1::Keeping { key: _, step, artifact, bytes, total, waited_ms, limit_ms, why } = keeping;
    Fields::new()
        .with("step", *step)
        .with("artifact", Some(artifact.as_str()).filter(|name| !name.is_empty()))
        .with("bytes", *bytes)
        .with("total", *total)
        .seconds("waited", *waited_ms)
        .seconds("limit", *limit_ms)
        .with("why", why.as_str())
}

/// One process of an attempt that spans machines.
fn member(rank: u32, member: &v1::AttemptMember) -> Value {
    let v1::AttemptMember {
        agent,
        agent_name,
        grant,
        started_ms,
        ended_ms,
        failure: failed,
        ran_ms,
        cpu_ms,
        environment_name,
        hardware_name,
    } = member;
    Fields::new()
        .with("rank", rank)
        .with("agent", agent.map(|agent| agent.to_string()))
        .with("agent_name", agent_name.as_str())
        .with("gpus", grant.clone().unwrap_or_default().gpus)
        .time("started_at", *started_ms)
        .time("ended_at", *ended_ms)
        .with("failure", failed.map(failure))
        .seconds("duration", *ran_ms)
        .seconds("cpu", *cpu_ms)
        .with("environment_name", environment_name.map(|name| name.to_string()))
        .with("hardware_name", hardware_name.map(|name| name.to_string()))
        .into()
}

/// The names of the agents that an attempt runs on, by rank.
pub fn agents_of(attempt: &v1::Attempt) -> String {
    let others = attempt.members.iter().skip(1).map(|member| member.agent_name.as_str());
    std::iter::once(attempt.agent_name.as_str()).chain(others).collect::<Vec<_>>().join(", ")
}

/// A report's fields.
pub fn point(point: &Point) -> Fields {
    let Point { attempt, step, at_ms, metrics: measured } = point;
    Fields::new().with("step", *step).with("attempt", *attempt).time("at", *at_ms).with("metrics", metrics(measured))
}

/// The columns of `heats trials`: one for each parameter among them, and one for each of several objectives.
pub fn trial_columns(trials: &[v1::TrialSummary]) -> Vec<Column> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in trials.iter().filter_map(|trial| trial.params.as_ref()).flat_map(heats_domain::Params::iter) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut columns = vec![Column::new("TRIAL", "number", Kind::Number), Column::new("STATE", "state", Kind::Text)];
    match trials.iter().find_map(|trial| trial.point.as_ref()) {
        Some(Metrics { list }) => columns
            .extend(list.iter().map(|m| Column::new(m.name.clone(), format!("objectives.{}", m.name), Kind::Number))),
        None => columns.push(Column::new("VALUE", "value", Kind::Number)),
    }
    columns.extend([Column::new("STEP", "last_step", Kind::Number), Column::new("TIME", "duration", Kind::Seconds)]);
    if trials.iter().any(|trial| trial.confirmed.is_some()) {
        columns.extend([
            Column::new("CONFIRMED", "confirmed.mean", Kind::Number),
            Column::new("LOW", "confirmed.low", Kind::Number),
            Column::new("HIGH", "confirmed.high", Kind::Number),
            Column::new("RUNS", "confirmed.runs", Kind::Number),
        ]);
    }
    if trials.iter().any(|trial| trial.confirms.is_some()) {
        columns.push(Column::new("CONFIRMS", "confirms", Kind::Number));
    }
    if trials.iter().any(|trial| trial.forked_from.is_some()) {
        columns.extend([
            Column::new("FORK OF", "forked_from.trial", Kind::Number),
            Column::wide("FROM STEP", "forked_from.step", Kind::Number),
            Column::wide("REPLACES", "forked_from.replaces", Kind::Number),
        ]);
    }
    columns.extend(names.into_iter().map(|name| Column::new(name, format!("params.{name}"), Kind::Number)));
    if trials.iter().any(|trial| trial.spared.is_some()) {
        columns.push(Column::wide("SPARED AT", "spared.step", Kind::Number));
    }
    columns.extend([
        Column::wide("AT STEP", "value_step", Kind::Number),
        Column::wide("LAST", "last_value", Kind::Number),
        Column::wide("REPORTS", "reports", Kind::Number),
        Column::wide("ATTEMPTS", "attempts", Kind::Number),
        Column::wide("STOPPED BY", "stopped.rule", Kind::Text),
        Column::wide("RUNG", "stopped.rung", Kind::Number),
        Column::wide("FAILURE", "failure", Kind::Text),
        Column::wide("CREATED", "created_at", Kind::Age),
        Column::wide("STARTED", "started_at", Kind::Age),
        Column::wide("ENDED", "ended_at", Kind::Age),
        Column::wide("AGENT", "agent", Kind::Text),
        Column::wide("DETAIL", "detail", Kind::Text),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Value as Scalar;

    #[test]
    fn each_of_several_objectives_has_a_column() {
        let point = Some([("loss", 0.25), ("val/acc", 0.9)].into_iter().collect());
        let measured = v1::TrialSummary { number: 1, value: Some(0.25), point, ..Default::default() };
        let item = trial("s", &measured);
        assert_eq!(item.text("objectives.val/acc").as_deref(), Some("0.9"));
        let titles = |trials: &[v1::TrialSummary]| {
            trial_columns(trials).into_iter().take(4).map(|column| column.title).collect::<Vec<_>>()
        };
        let other = v1::TrialSummary::default();
        assert_eq!(titles(&[other.clone(), measured]), ["TRIAL", "STATE", "loss", "val/acc"]);
        assert_eq!(titles(&[other]), ["TRIAL", "STATE", "VALUE", "STEP"]);
    }

    #[test]
    fn a_trial_keeps_the_types_of_its_parameters_and_flags_what_is_not_a_number() {
        let summary = v1::TrialSummary {
            number: 12,
            state: TrialState::Stopped as i32,
            params: Some([("lr", Scalar::Float(1.0)), ("width", Scalar::Int(64))].into_iter().collect()),
            last_value: Some(f64::NAN),
            reports: 3,
            created_ms: 1_795_000_000_123,
            ran_ms: 1500,
            failure: Some(FailureKind::OutOfMemory as i32),
            ..Default::default()
        };
        let item = trial("digits", &summary);
        assert_eq!(item.name, "digits/12");
        for (path, text) in [
            ("params.lr", "1.0"),
            ("params.width", "64"),
            ("value", "nan"),
            ("last_value", "nan"),
            ("reports", "3"),
            ("state", "stopped"),
            ("created_at", "2026-11-18T11:06:40.123Z"),
            ("started_at", ""),
            ("duration", "1.5"),
            ("failure", "out_of_memory"),
        ] {
            assert_eq!(item.text(path).as_deref(), Some(text), "{path}");
        }
        assert_eq!((&item.json["value"], &item.json["value_not_finite"]), (&Value::Null, &"nan".into()));
        let finite = v1::TrialSummary { value: Some(0.5), last_value: Some(f64::NAN), ..summary };
        assert_eq!(trial("digits", &finite).text("value").as_deref(), Some("0.5"), "one value was finite");
    }
}
