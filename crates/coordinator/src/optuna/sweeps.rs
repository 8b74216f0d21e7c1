//! Sweeps that Heats runs, as studies that Optuna may read: `optuna.load_study`, its plots and its dashboard.
//!
//! They have no ids of Optuna's own. Those that they get here follow from the sweep's, so that every node gives the same ones
//! for ever: all of a study's counted ids are below them.

use bytes::Bytes;
use heats_core::{State, Sweep, Trial};
use heats_domain::{Direction, Domain, Parameter, TrialState, Value};
use heats_wire::optuna as pb;
use prost::Message;
use serde_json::json;
use tonic::Status;

use crate::edge::zone::Zone;

/// The bit that the id of a sweep has, and that of no study. Below it there is room for what is not the same in two sweeps,
/// and above it none: JavaScript's numbers, in which the dashboard keeps ids, end at 53 bits.
const SWEEP: u64 = 1 << 51;
/// Likewise of its trials; these are too many for JavaScript.
const TRIAL: u64 = 1 << 62;
/// How many bits a trial's number has in its id.
const NUMBER_BITS: u32 = 22;
/// How many bits of a sweep's id are in its trials' ids.
const PART_BITS: u32 = 40;

const fn part(sweep: &Sweep) -> u64 {
    sweep.id.bits & ((1 << PART_BITS) - 1)
}

/// What Optuna calls a sweep's id.
pub const fn id(sweep: &Sweep) -> u64 {
    SWEEP | (sweep.id.bits & (SWEEP - 1))
}

/// What Optuna calls a trial's id.
pub const fn trial_id(sweep: &Sweep, number: u32) -> u64 {
    TRIAL | (part(sweep) << NUMBER_BITS) | (number as u64 & ((1 << NUMBER_BITS) - 1))
}

/// The sweep of an id.
pub fn find(state: &State, of: u64) -> Option<&Sweep> {
    if of < SWEEP {
        return None;
    }
    state.sweeps.values().map(AsRef::as_ref).find(|sweep| id(sweep) == of)
}

/// The trial of an id, and its sweep.
pub fn find_trial(state: &State, id: u64) -> Option<(&Sweep, &Trial)> {
    if id < TRIAL {
        return None;
    }
    let mut sweeps = state.sweeps.values().map(AsRef::as_ref);
    sweeps.find_map(|sweep| Some((sweep, own_trial(sweep, id)?)))
}

/// The trial of an id, where it is this sweep's.
pub fn own_trial(sweep: &Sweep, id: u64) -> Option<&Trial> {
    let number = (id & ((1 << NUMBER_BITS) - 1)) as u32;
    if trial_id(sweep, number) == id { sweep.trial(number) } else { None }
}

/// Whether the ids here are this sweep's alone, and each that of one trial: parts of two sweeps' ids may be the same.
pub fn is_distinct(state: &State, sweep: &Sweep) -> bool {
    let mut sweeps = state.sweeps.values().map(AsRef::as_ref);
    sweep.trials.len() <= 1 << NUMBER_BITS && !sweeps.any(|other| other.id != sweep.id && part(other) == part(sweep))
}

/// All sweeps of which that is so.
pub fn distinct(state: &State) -> impl Iterator<Item = &Sweep> {
    let sweeps = || state.sweeps.values().map(AsRef::as_ref);
    let mut counts = std::collections::BTreeMap::<u64, u32>::new();
    sweeps().for_each(|sweep| *counts.entry(part(sweep)).or_default() += 1);
    let is_alone = move |sweep: &&Sweep| counts.get(&part(sweep)) == Some(&1);
    sweeps().filter(|sweep| sweep.trials.len() <= 1 << NUMBER_BITS).filter(is_alone)
}

/// The refusal of a sweep that is not.
pub fn is_ambiguous(sweep: &Sweep) -> Status {
    Status::failed_precondition(format!(
        "Optuna's ids are too short to tell `{}` ({}) or its trials from others: `heats` can",
        sweep.name, sweep.id
    ))
}

/// The number of the first trial whose id is above `after`.
pub fn first_after(sweep: &Sweep, after: u64) -> usize {
    let first = trial_id(sweep, 0);
    if after < first { 0 } else { usize::try_from(after - first + 1).unwrap_or(usize::MAX) }
}

/// The refusal of a change.
pub fn is_read_only() -> Status {
    Status::failed_precondition("this study is a sweep that Heats runs: Optuna can read it, and `heats` changes it")
}

/// The directions of its objectives; one at least, as Optuna has it.
pub fn directions(sweep: &Sweep) -> Vec<i32> {
    let of = |direction| match direction {
        Direction::Minimize => pb::StudyDirection::Minimize,
        Direction::Maximize => pb::StudyDirection::Maximize,
    };
    let directions: Vec<i32> = sweep.objectives().iter().map(|objective| of(objective.direction()).into()).collect();
    if directions.is_empty() { vec![pb::StudyDirection::Minimize.into()] } else { directions }
}

/// What Optuna keeps about a study beside its trials: the names of the objectives.
pub fn system_attributes(sweep: &Sweep) -> Vec<pb::TextEntry> {
    let names: Vec<&str> = sweep.objectives().iter().map(|objective| objective.metric()).collect();
    let names = json!(names).to_string();
    let named = pb::TextEntry { key: "study:metric_names".to_owned(), value: names };
    if sweep.objectives().is_empty() { Vec::new() } else { vec![named] }
}

/// What programs are told about it.
pub fn user_attributes(sweep: &Sweep) -> Vec<pb::TextEntry> {
    vec![pb::TextEntry { key: "heats_sweep".to_owned(), value: json!(sweep.id.to_string()).to_string() }]
}

/// A study.
pub fn study(sweep: &Sweep) -> pb::Study {
    pb::Study {
        study_id: id(sweep) as i64,
        study_name: sweep.name.clone(),
        directions: directions(sweep),
        user_attributes: user_attributes(sweep),
        system_attributes: system_attributes(sweep),
    }
}

/// A trial, encoded.
pub fn trial(sweep: &Sweep, trial: &Trial, zone: &Zone) -> Bytes {
    let us = |at_ms: u64| zone.write((at_ms as i64).saturating_mul(1_000));
    let values: Vec<f64> =
        if trial.point.is_empty() { trial.best.iter().map(|best| best.value).collect() } else { trial.point.clone() };
    let state = state(trial.state, !values.is_empty());
    let started = trial.attempts.iter().find_map(|attempt| attempt.started_ms);
    let ended = trial.attempts.last().and_then(|attempt| attempt.end).map(|end| end.at_ms);
    let ended = ended.filter(|_| trial.state.is_terminal());
    let params = sweep.params(trial);
    let mut drawn = Vec::new();
    for Parameter { name, domain, when: _ } in &sweep.space.parameters {
        let value = params.as_ref().and_then(|params| params.get(name));
        if let Some((value, distribution)) = value.and_then(|value| distributed(domain, value)) {
            drawn.push((name.clone(), value, distribution));
        }
    }
    let reports = (0..trial.series.len()).filter_map(|place| {
        let (report, _) = sweep.report(trial, place)?;
        let value = sweep.measured(&report.metrics)?.next()?;
        Some(pb::StepEntry { key: i64::try_from(report.step).ok()?, value })
    });
    let told = |key: &str, value: serde_json::Value| pb::TextEntry { key: key.to_owned(), value: value.to_string() };
    let message = pb::Trial {
        trial_id: trial_id(sweep, trial.number) as i64,
        number: i64::from(trial.number),
        state: state.into(),
        values: if state == pb::TrialState::Complete { values } else { Vec::new() },
        datetime_start: started.map(us).unwrap_or_default(),
        datetime_complete: ended.map(us).unwrap_or_default(),
        params: drawn.iter().map(|(key, value, _)| pb::NumberEntry { key: key.clone(), value: *value }).collect(),
        distributions: drawn.into_iter().map(|(key, _, value)| pb::TextEntry { key, value }).collect(),
        user_attributes: vec![
            told("heats_trial", json!(format!("{}/{}", sweep.name, trial.number))),
            told("heats_state", json!(trial.state.name())),
        ],
        system_attributes: Vec::new(),
        intermediate_values: reports.collect(),
    };
    message.encode_to_vec().into()
}

/// Where Optuna would say that a trial stands. A trial that is complete has a value there.
const fn state(state: TrialState, measured: bool) -> pb::TrialState {
    match state {
        TrialState::Waiting => pb::TrialState::Waiting,
        TrialState::Leased | TrialState::Running | TrialState::Paused => pb::TrialState::Running,
        TrialState::Completed if measured => pb::TrialState::Complete,
        TrialState::Stopped => pb::TrialState::Pruned,
        TrialState::Completed | TrialState::Failed | TrialState::Infeasible | TrialState::Cancelled => {
            pb::TrialState::Fail
        }
    }
}

/// A value as Optuna keeps it, and what it was drawn from, as Optuna writes it.
fn distributed(domain: &Domain, value: &Value) -> Option<(f64, String)> {
    let (value, name, attributes) = match domain {
        Domain::Float { low, high, log, step } => {
            let attributes = json!({ "step": step, "low": low, "high": high, "log": log });
            (value.as_f64()?, "FloatDistribution", attributes)
        }
        Domain::Int { low, high, log, step } => {
            let attributes = json!({ "log": log, "step": step, "low": low, "high": high });
            (value.as_f64()?, "IntDistribution", attributes)
        }
        Domain::Choice(choices) => {
            let place = choices.iter().position(|choice| choice == value)?;
            (place as f64, "CategoricalDistribution", json!({ "choices": choices }))
        }
        Domain::Const(choice) => (0.0, "CategoricalDistribution", json!({ "choices": [choice] })),
    };
    Some((value, json!({ "name": name, "attributes": attributes }).to_string()))
}
