//! Studies and trials as Optuna's messages, and back.

use bytes::Bytes;
use heats_core::fact::{Goal, Owner, Stage, StudyAttribute, StudyParam, StudyTrialBody};
use heats_core::study::{Study, StudyTrial};
use heats_wire::optuna as pb;
use prost::Message;
use tonic::Status;

use crate::edge::zone::Zone;

/// An id as Optuna writes it. There are never as many as would not fit.
pub const fn id(id: u64) -> i64 {
    id as i64
}

/// A study.
pub fn study(study: &Study) -> pb::Study {
    pb::Study {
        study_id: id(study.number),
        study_name: study.name.clone(),
        directions: study.goals.iter().map(|goal| i32::from(*goal)).collect(),
        user_attributes: entries(study.attributes(Owner::User)),
        system_attributes: entries(study.attributes(Owner::System)),
    }
}

/// Attributes, or others by name.
pub fn entries<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<pb::TextEntry> {
    attributes.map(|(key, value)| pb::TextEntry { key: key.to_owned(), value: value.to_owned() }).collect()
}

/// A trial, encoded.
pub fn trial(trial: &StudyTrial, zone: &Zone) -> Bytes {
    let time = |at_us: Option<i64>| at_us.map(|at_us| zone.write(at_us)).unwrap_or_default();
    let params = trial.params.iter().map(|param| pb::NumberEntry { key: param.name.clone(), value: param.value });
    let drawn =
        trial.params.iter().map(|param| pb::TextEntry { key: param.name.clone(), value: param.distribution.clone() });
    let reports = trial.reports.iter().map(|(step, value)| pb::StepEntry { key: *step, value: *value });
    let message = pb::Trial {
        trial_id: id(trial.id),
        number: i64::from(trial.number),
        state: trial.stage.into(),
        values: trial.values.clone(),
        datetime_start: time(trial.started_us),
        datetime_complete: time(trial.finished_us),
        params: params.collect(),
        distributions: drawn.collect(),
        user_attributes: entries(trial.attributes(Owner::User)),
        system_attributes: entries(trial.attributes(Owner::System)),
        intermediate_values: reports.collect(),
    };
    message.encode_to_vec().into()
}

/// What a new trial is to be like.
///
/// # Errors
/// A time that is none, or a parameter without a distribution.
pub fn body(template: pb::Trial, zone: &Zone) -> Result<StudyTrialBody, Status> {
    let pb::Trial {
        trial_id: _,
        number: _,
        state,
        values,
        datetime_start,
        datetime_complete,
        params,
        distributions,
        user_attributes,
        system_attributes,
        intermediate_values,
    } = template;
    let time = |text: &str| match text {
        "" => Ok(None),
        text => zone.read(text).map(Some).ok_or_else(|| Status::invalid_argument(format!("`{text}` is not a time"))),
    };
    if params.len() != distributions.len() {
        return Err(Status::invalid_argument("every parameter has one distribution"));
    }
    let mut drawn: std::collections::BTreeMap<String, String> =
        distributions.into_iter().map(|pb::TextEntry { key, value }| (key, value)).collect();
    let params = params.into_iter().map(|pb::NumberEntry { key: name, value }| match drawn.remove(&name) {
        Some(distribution) => Ok(StudyParam { name, value, distribution }),
        None => Err(Status::invalid_argument(format!("parameter `{name}` has no distribution of its own"))),
    });
    let of = |owner: Owner| move |pb::TextEntry { key, value }| StudyAttribute { owner: owner.into(), key, value };
    let attributes = user_attributes.into_iter().map(of(Owner::User));
    let attributes = attributes.chain(system_attributes.into_iter().map(of(Owner::System)));
    let mut reports = intermediate_values;
    reports.sort_by_key(|report| report.key);
    Ok(StudyTrialBody {
        stage: state,
        values,
        started_us: time(&datetime_start)?,
        finished_us: time(&datetime_complete)?,
        params: params.collect::<Result<_, _>>()?,
        attributes: attributes.collect(),
        steps: reports.iter().map(|report| report.key).collect(),
        reports: reports.iter().map(|report| report.value).collect(),
        moved_by: 0,
    })
}

/// Which way objectives are to go.
///
/// # Errors
/// A number that means neither.
pub fn goals(directions: &[i32]) -> Result<Vec<Goal>, Status> {
    let goals = directions.iter().map(|goal| Goal::try_from(*goal));
    goals.collect::<Result<_, _>>().map_err(|_| Status::invalid_argument("a direction is 0 or 1"))
}

/// Where a trial is to stand.
///
/// # Errors
/// A number that means nothing.
pub fn stage(state: i32) -> Result<Stage, Status> {
    Stage::try_from(state).map_err(|_| Status::invalid_argument(format!("there is no state {state}")))
}
