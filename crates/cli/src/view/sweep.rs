//! A sweep.

use heats_domain::spec::Objective;
use heats_domain::{Metrics, SweepSpec};
use heats_wire::v1;
use serde_json::{Value, json};

use super::trial;
use crate::output::{Column, Fields, Item, Kind};
use crate::words;

/// The specification that a sweep was submitted with; `None` where this version cannot read it.
pub fn spec(sweep: &v1::Sweep) -> Option<SweepSpec> {
    serde_json::from_str(&sweep.spec).ok()
}

/// The objective that ranks the sweep's trials; of several, the first.
pub fn objective(sweep: &v1::Sweep) -> Option<Objective> {
    spec(sweep)?.objective().cloned()
}

/// The objectives, as data.
pub fn objectives(spec: Option<&SweepSpec>) -> Vec<Value> {
    let each =
        |objective: &Objective| json!({ "metric": objective.metric(), "direction": objective.direction().to_string() });
    spec.map_or(&[][..], SweepSpec::objectives).iter().map(each).collect()
}

/// The front of several objectives, as data.
pub fn front(spec: Option<&SweepSpec>, front: &v1::Front) -> Fields {
    let v1::Front { size, worst, hypervolume } = front;
    let objectives = spec.map_or(&[][..], SweepSpec::objectives);
    let worst =
        objectives.iter().zip(worst).fold(Fields::new(), |fields, (o, worst)| fields.number(o.metric(), *worst));
    Fields::new().with("size", *size).with("worst", worst).number("hypervolume", *hypervolume)
}

/// `5 trials, hypervolume 1.3`
pub fn front_short(front: &v1::Front) -> String {
    let volume = front.hypervolume.map_or_else(String::new, |volume| format!(", hypervolume {}", words::short(volume)));
    format!("{}{volume}", words::count(u64::from(front.size), "trial"))
}

/// `loss=0.1 speed=5`
pub fn pairs(metrics: &Metrics) -> String {
    metrics.list.iter().map(|m| format!("{}={}", m.name, words::short(m.value))).collect::<Vec<_>>().join(" ")
}

/// The name that users see of where a sweep stands.
pub const fn status(status: v1::SweepStatus) -> &'static str {
    match status {
        v1::SweepStatus::Running => "running",
        v1::SweepStatus::Paused => "paused",
        v1::SweepStatus::Draining => "draining",
        v1::SweepStatus::Finished => "finished",
        v1::SweepStatus::Stopped => "stopped",
        v1::SweepStatus::Failed => "failed",
        v1::SweepStatus::Cancelled => "cancelled",
    }
}

/// Whether nothing about the sweep changes any more by itself.
pub const fn is_over(status: v1::SweepStatus) -> bool {
    match status {
        v1::SweepStatus::Running | v1::SweepStatus::Paused | v1::SweepStatus::Draining => false,
        v1::SweepStatus::Finished | v1::SweepStatus::Stopped | v1::SweepStatus::Failed | v1::SweepStatus::Cancelled => {
            true
        }
    }
}

/// How many trials there will be, fresh runs of leaders included as far as there are some; `None` without a limit.
pub fn planned(sweep: &v1::Sweep) -> Option<u32> {
    Some(sweep.trials_max? + sweep.counts.unwrap_or_default().confirming)
}

/// What the fresh runs of the best trial have shown, with their mean; `None` unless it is the best for that.
pub fn winner(sweep: &v1::Sweep) -> Option<(&v1::Confirmed, f64)> {
    let confirmed = sweep.best.first()?.confirmed.as_ref()?;
    let mean = confirmed.mean?;
    (sweep.status() == v1::SweepStatus::Finished).then_some((confirmed, mean))
}

/// A sweep's fields.
pub fn sweep(sweep: &v1::Sweep, now_ms: u64) -> Item {
    let counts = sweep.counts.unwrap_or_default();
    let done = counts.completed + counts.stopped + counts.failed + counts.infeasible + counts.cancelled;
    let ledger = sweep.ledger.unwrap_or_default();
    let spec = spec(sweep);
    // None of several objectives is the one, and no trial need be the best.
    let objective =
        spec.as_ref().map(SweepSpec::objectives).and_then(|all| if let [one] = all { Some(one) } else { None });
    // What early stopping saved, at as many GPUs as a trial has.
    let gpus = spec.as_ref().and_then(|spec| spec.variants().first()).map(|need| need.gpus).filter(|gpus| *gpus > 0.0);
    let stopped_by: Vec<Value> = sweep
        .stopped_by
        .iter()
        .map(|count| json!({ "rule": count.rule, "rung": count.rung, "trials": count.trials }))
        .collect();
    let learned: Vec<Value> = sweep
        .learned
        .iter()
        .map(|one| {
            json!({
                "id": one.sweep.map(|id| id.to_string()), "name": one.name, "trials": one.trials, "unfit": one.unfit,
                "left_out": one.left_out,
            })
        })
        .collect();
    let notify: Vec<Value> = sweep
        .notify
        .iter()
        .map(|hook| {
            let v1::Hook { webhook, on, delivered, given_up, waiting } = hook;
            let given_up = Some(given_up).filter(|why| !why.is_empty());
            json!({ "webhook": webhook, "on": on, "delivered": delivered, "waiting": waiting, "given_up": given_up })
        })
        .collect();
    let best = sweep
        .best
        .first()
        .filter(|_| sweep.front.is_none())
        .map_or(Value::Null, |best| Value::Object(trial(&sweep.name, best).json));
    let json = Fields::new()
        .with("id", sweep.id.map(|id| id.to_string()))
        .with("name", sweep.name.as_str())
        .with("status", status(sweep.status()))
        .with("why", sweep.why.as_str())
        .with("notify", notify)
        .time("submitted_at", sweep.submitted_ms)
        .time("ended_at", sweep.ended_ms)
        .seconds("duration", sweep.ended_ms.unwrap_or(now_ms).saturating_sub(sweep.submitted_ms))
        .with("trials_max", sweep.trials_max)
        .with("done", done)
        .with(
            "counts",
            Fields::new()
                .with("created", counts.created)
                .with("waiting", counts.waiting)
                .with("leased", counts.leased)
                .with("running", counts.running)
                .with("paused", counts.paused)
                .with("completed", counts.completed)
                .with("stopped", counts.stopped)
                .with("failed", counts.failed)
                .with("infeasible", counts.infeasible)
                .with("cancelled", counts.cancelled)
                .with("enqueued", counts.enqueued)
                .with("confirming", counts.confirming),
        )
        .with("metric", objective.map(|objective| objective.metric().to_owned()))
        .with("direction", objective.map(|objective| objective.direction().to_string()))
        .with("best", best)
        .with("objectives", objectives(spec.as_ref()))
        .with("front", sweep.front.as_ref().map(|found| Value::from(front(spec.as_ref(), found))))
        .with("search", spec.as_ref().map(|spec| spec.search.algorithm.clone()))
        .with("early_stop", spec.as_ref().map(|spec| spec.early_stop.algorithm.clone()))
        .with("resource", spec.as_ref().and_then(|spec| spec.early_stop.resource.clone()))
        .with("stopped_by", stopped_by)
        .with("learned", learned)
        .with(
            "ledger",
            Fields::new()
                .seconds("attempts", ledger.attempt_ms)
                .seconds("cpu", ledger.cpu_ms)
                .seconds("gpu", ledger.gpu_ms)
                .with("steps", ledger.steps)
                .with("steps_saved", ledger.steps_saved)
                .seconds("saved", ledger.ms_saved)
                .number("gpu_hours_saved", gpus.map(|gpus| gpus * ledger.ms_saved as f64 / 3_600_000.0)),
        )
        .with("live_leases", sweep.live_leases)
        .with("seed", sweep.seed)
        .with("base_dir", sweep.base_dir.as_str())
        .with("code", sweep.code.as_str())
        .with("provenance", serde_json::from_str::<Value>(&sweep.provenance).unwrap_or(Value::Null))
        .done();
    Item { name: sweep.name.clone(), json }
}

/// The columns of `heats ls`.
pub fn sweep_columns(sweeps: &[v1::Sweep]) -> Vec<Column> {
    let mut columns = vec![
        Column::new("NAME", "name", Kind::Text),
        Column::new("STATUS", "status", Kind::Text),
        Column::new("DONE", "done", Kind::Number),
        Column::new("TRIALS", "trials_max", Kind::Number),
        Column::new("RUNNING", "counts.running", Kind::Number),
        Column::new("FAILED", "counts.failed", Kind::Number),
        Column::new("METRIC", "metric", Kind::Text),
        Column::new("BEST", "best.value", Kind::Number),
        Column::new("CONFIRMED", "best.confirmed.mean", Kind::Number),
        Column::new("TRIAL", "best.number", Kind::Number),
        Column::new("SUBMITTED", "submitted_at", Kind::Age),
        Column::wide("DURATION", "duration", Kind::Seconds),
        Column::wide("SEARCH", "search", Kind::Text),
        Column::wide("EARLY STOP", "early_stop", Kind::Text),
        Column::wide("STOPPED", "counts.stopped", Kind::Number),
        Column::wide("ID", "id", Kind::Text),
        Column::wide("FOLDER", "base_dir", Kind::Text),
        Column::wide("WHY", "why", Kind::Text),
    ];
    if sweeps.iter().flat_map(|sweep| &sweep.best).all(|best| best.confirmed.is_none()) {
        columns.retain(|column| column.path != "best.confirmed.mean");
    }
    if sweeps.iter().any(|sweep| sweep.front.is_some()) {
        let after_best =
            columns.iter().position(|column| column.path == "best.number").map_or(columns.len(), |i| i + 1);
        columns.insert(after_best, Column::new("FRONT", "front.size", Kind::Number));
    }
    columns
}
