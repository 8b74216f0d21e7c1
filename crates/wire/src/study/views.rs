//! Studies as users of `heats` see them: as sweeps, whose trials their clients make.

use heats_core::State;
use heats_core::fact::{Goal, Owner, Stage, TrialReported};
use heats_core::study::distribution::Distribution;
use heats_core::study::json::Json;
use heats_core::study::{Study, StudyTrial};
use heats_domain::{Metrics, Params, TrialState, Value};
use serde_json::json;

use crate::series::Columns;
use crate::v1;

/// What stands in a study's place of a search algorithm: its clients search.
pub const ALGORITHM: &str = "optuna";
/// What Optuna keeps the names of objectives under, where a program gave them some.
const METRIC_NAMES: &str = "study:metric_names";
/// How many trials of a front a study's summary has.
const BEST_MAX: usize = 10;

/// A study's summary.
pub fn sweep(study: &Study) -> v1::Sweep {
    let of = |stage| study.counts.of(stage);
    let best = best(study, BEST_MAX);
    v1::Sweep {
        id: Some(study.sweep),
        name: study.name.clone(),
        status: v1::SweepStatus::Running.into(),
        submitted_ms: study.created_ms(),
        spec: spec(study),
        counts: Some(v1::Counts {
            created: study.trials.len() as u32,
            waiting: of(Stage::Waiting),
            running: of(Stage::Running),
            completed: of(Stage::Complete),
            stopped: of(Stage::Pruned),
            failed: of(Stage::Failed),
            ..Default::default()
        }),
        front: (!study.front.is_empty()).then(|| v1::Front { size: study.front.len() as u32, ..Default::default() }),
        best,
        ledger: Some(v1::Ledger::default()),
        ..Default::default()
    }
}

/// What a specification would say of it, as far as it has one: its objectives, and who looks for good configurations.
fn spec(study: &Study) -> String {
    let objectives = names(study).into_iter().zip(&study.goals).map(|(name, goal)| match goal {
        Goal::Minimize => json!({ "minimize": name }),
        Goal::Maximize => json!({ "maximize": name }),
    });
    let objectives: Vec<_> = objectives.collect();
    let objective = if let [one] = objectives.as_slice() { one.clone() } else { objectives.into() };
    let by = json!({ "algorithm": ALGORITHM });
    json!({ "command": [ALGORITHM], "objective": objective, "search": by, "early_stop": by }).to_string()
}

/// What the objectives are called: as the program says, or `value`.
fn names(study: &Study) -> Vec<String> {
    let count = study.goals.len();
    let given = study.attributes(Owner::System).find(|(key, _)| *key == METRIC_NAMES);
    let given: Option<Vec<String>> = given.and_then(|(_, value)| serde_json::from_str(value).ok());
    match given.filter(|names| names.len() == count && names.iter().all(|name| !name.is_empty())) {
        Some(names) => names,
        None if count == 1 => vec!["value".to_owned()],
        None => (0..count).map(|place| format!("value_{place}")).collect(),
    }
}

/// The best trials first, at most so many: of several objectives the front.
fn best(study: &Study, limit: usize) -> Vec<v1::TrialSummary> {
    if study.goals.len() == 1 {
        let best = study.best.and_then(|best| study.trials.get(best as usize));
        return best.into_iter().map(|trial| summary(study, trial)).collect();
    }
    front(study).into_iter().take(limit).map(|trial| summary(study, trial)).collect()
}

/// The trials by their values, best first; of several objectives, the front by the first of them.
pub fn ranked(study: &Study) -> Vec<&StudyTrial> {
    if study.goals.len() > 1 {
        return front(study);
    }
    let complete = study.trials.iter().filter(|trial| trial.stage == Stage::Complete);
    let mut ranked: Vec<(f64, &StudyTrial)> =
        complete.filter_map(|trial| Some((study.loss(*trial.values.first()?), trial.as_ref()))).collect();
    ranked.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(one.number.cmp(&other.number)));
    ranked.into_iter().map(|(_, trial)| trial).collect()
}

/// The complete trials that no other dominates, by their values.
fn front(study: &Study) -> Vec<&StudyTrial> {
    let front = study.front.iter().filter_map(|number| study.trials.get(*number as usize));
    let mut front: Vec<(Vec<f64>, &StudyTrial)> = front.map(|trial| (study.losses(trial), trial.as_ref())).collect();
    front.sort_by(|(a, one), (b, other)| {
        let order = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        order.unwrap_or_else(|| one.number.cmp(&other.number))
    });
    front.into_iter().map(|(_, trial)| trial).collect()
}

/// A trial's summary.
pub fn summary(study: &Study, trial: &StudyTrial) -> v1::TrialSummary {
    let ms = |at_us: Option<i64>| at_us.and_then(|at_us| u64::try_from(at_us / 1_000).ok());
    let (started_ms, ended_ms) = (ms(trial.started_us), ms(trial.finished_us));
    let single = study.goals.len() == 1;
    let last = trial.reports.get_max();
    v1::TrialSummary {
        number: trial.number,
        state: state(trial.stage).into(),
        params: Some(params(trial)),
        value: trial.values.first().copied().filter(|_| single),
        last_step: last.and_then(|(step, _)| u64::try_from(*step).ok()),
        last_value: last.map(|(_, value)| *value).filter(|_| single),
        reports: trial.reports.len() as u32,
        created_ms: started_ms.unwrap_or_default(),
        started_ms,
        ended_ms,
        ran_ms: started_ms.zip(ended_ms).map_or(0, |(from, to)| to.saturating_sub(from)),
        point: (!single && !trial.values.is_empty()).then(|| {
            let names = names(study);
            names.iter().map(String::as_str).zip(trial.values.iter().copied()).collect()
        }),
        ..Default::default()
    }
}

const fn state(stage: Stage) -> TrialState {
    match stage {
        Stage::Running => TrialState::Running,
        Stage::Complete => TrialState::Completed,
        Stage::Pruned => TrialState::Stopped,
        Stage::Failed => TrialState::Failed,
        Stage::Waiting => TrialState::Waiting,
    }
}

/// A trial's configuration: what it drew, and of one that waits, what its client fixed.
fn params(trial: &StudyTrial) -> Params {
    let drawn = trial.params.iter().filter_map(|param| {
        // It was read before it was kept.
        let distribution = Distribution::read(&param.distribution).ok()?;
        Some((param.name.as_str(), distribution.shown(param.value)))
    });
    let mut params: Params = drawn.collect();
    let fixed = trial.attributes(Owner::System).find(|(key, _)| *key == "fixed_params");
    if let Some((_, Ok(Json::Map(fixed)))) = fixed.map(|(key, text)| (key, Json::read(text))) {
        for (name, value) in fixed.into_iter().filter(|_| trial.stage == Stage::Waiting) {
            params.insert(name, shown(&value));
        }
    }
    params
}

fn shown(value: &Json<'_>) -> Value {
    Distribution::Categorical(vec![value.clone()]).shown(0.0)
}

/// A trial; its series is apart.
pub fn trial(state: &State, study: &Study, trial: &StudyTrial) -> v1::TrialResponse {
    v1::TrialResponse { log_index: state.applied, trial: Some(summary(study, trial)), ..Default::default() }
}

/// What a trial reported after one step and up to another. Steps below 0, which Optuna allows, have no place in a series.
pub fn series(trial: &StudyTrial, after: Option<u64>, until: Option<u64>) -> Columns {
    let steps = trial.reports.iter().filter_map(|(step, value)| Some((u64::try_from(*step).ok()?, *value)));
    columns(
        trial,
        steps.filter(|(step, _)| after.is_none_or(|after| *step > after) && until.is_none_or(|to| *step <= to)),
    )
}

/// These values of a trial at their steps. When each was reported is not kept: all are of the moment of its begin.
pub fn columns(trial: &StudyTrial, reports: impl Iterator<Item = (u64, f64)>) -> Columns {
    let mut columns = Columns::default();
    let at_ms = trial.started_us.map_or(0, |at_us| u64::try_from(at_us / 1_000).unwrap_or_default());
    for (step, value) in reports {
        let metrics: Metrics = [("value", value)].into_iter().collect();
        columns.push(&TrialReported { attempt: 1, step, metrics, ..Default::default() }, at_ms);
    }
    columns
}
