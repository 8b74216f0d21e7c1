//! What clients may do to studies, by the rules of Optuna's storages: each change becomes a fact, or is refused.

use heats_domain::SweepId;

use super::distribution::Distribution;
use super::json::Json;
use super::{Studies, Study, StudyTrial};
use crate::fact::{
    Fact, Goal, Owner, Stage, StudyAttribute, StudyAttributeSet, StudyCreated, StudyEvent, StudyParam, StudyParamSet,
    StudyRemoved, StudyReported, StudyTrialAttributeSet, StudyTrialBody, StudyTrialCreated, StudyTrialMoved,
};
use crate::ops::Decision;
use crate::refusal::Refusal;
use crate::state::State;

/// The longest name of a study, a parameter or an attribute, in bytes.
pub const NAME_MAX: usize = 1_024;
/// The longest attribute or distribution, in bytes.
pub const TEXT_MAX: usize = 1 << 20;
/// The most bytes that the parameters and attributes of one trial may have together, or the attributes of one study.
pub const TEXTS_MAX: usize = 8 << 20;
/// The most attributes that a study or a trial may have.
pub const ATTRIBUTES_MAX: usize = 10_000;
/// The most parameters of a trial.
pub const PARAMS_MAX: usize = 1_024;
/// The most steps at which a trial may report.
pub const REPORTS_MAX: usize = 100_000;
/// The most objectives of a study.
pub const GOALS_MAX: usize = 64;
/// The most studies.
pub const STUDIES_MAX: usize = 100_000;

const NO_OWNER: &str = "an attribute is the user's or the system's";

/// A change that a client asks for. One with a `request` other than 0 may be asked for again under the same number, and is
/// carried out once.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Make a study.
    Create {
        /// Its id among the sweeps, minted at the edge.
        sweep: SweepId,
        /// Its name.
        name: String,
        /// Which way each objective is to go.
        goals: Vec<Goal>,
        /// The request.
        request: u64,
    },
    /// Forget a study.
    Remove {
        /// Which.
        study: u64,
        /// The request.
        request: u64,
    },
    /// Set an attribute of a study.
    SetAttribute {
        /// Which study.
        study: u64,
        /// The attribute.
        attribute: StudyAttribute,
    },
    /// Make a trial.
    CreateTrial {
        /// Of which study.
        study: u64,
        /// What it is like; without this it begins to run now.
        template: Option<Template>,
        /// The request.
        request: u64,
    },
    /// Set a parameter of a trial.
    SetParam {
        /// Which trial.
        trial: u64,
        /// The parameter.
        param: StudyParam,
    },
    /// Set an attribute of a trial.
    SetTrialAttribute {
        /// Which trial.
        trial: u64,
        /// The attribute.
        attribute: StudyAttribute,
    },
    /// Note an intermediate value.
    Report {
        /// Of which trial.
        trial: u64,
        /// At which step.
        step: i64,
        /// The value.
        value: f64,
    },
    /// Have a trial wait, run or be over.
    Move {
        /// Which trial.
        trial: u64,
        /// Where it is to stand.
        stage: Stage,
        /// Its values; empty leaves what it has.
        values: Vec<f64>,
        /// The request.
        request: u64,
    },
}

/// What a trial is to be like that is not made to run now.
#[derive(Clone, PartialEq, Debug)]
pub struct Template(pub Box<StudyTrialBody>);

/// What came of a [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// It was carried out.
    Done,
    /// A study or a trial of this id was made.
    Made(u64),
    /// Whether the trial stands there because of this: nobody claims a trial that somebody runs.
    Moved(bool),
}

impl Change {
    /// What is wrong with it in any state: to be asked at the edge, so that the leader has less to do.
    ///
    /// # Errors
    /// A text that is too long, or is not what its place takes.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Create { sweep: _, name, goals, request: _ } => {
                is_name("the study's name", name)?;
                let count = goals.len();
                if (1..=GOALS_MAX).contains(&count) {
                    Ok(())
                } else {
                    Err(Refusal::StudyInput(format!("a study has 1 to {GOALS_MAX} objectives, not {count}")))
                }
            }
            Self::Remove { study: _, request: _ } => Ok(()),
            Self::SetAttribute { study: _, attribute } | Self::SetTrialAttribute { trial: _, attribute } => {
                is_attribute(attribute)
            }
            Self::CreateTrial { study: _, template, request: _ } => {
                template.as_ref().map_or(Ok(()), |Template(body)| is_body(body))
            }
            Self::SetParam { trial: _, param } => is_param(param),
            // As in Optuna, any number is an intermediate value, also none.
            Self::Report { trial: _, step: _, value: _ } => Ok(()),
            Self::Move { trial: _, stage, values, request: _ } => has_values(*stage, values),
        }
    }

    /// Decides it. What [`Change::check`] refuses does not come here.
    pub(crate) fn decide(self, state: &State) -> Decision<Done> {
        let studies = &state.studies;
        match self {
            Self::Create { sweep, name, goals, request } => create(state, sweep, name, &goals, request),
            Self::Remove { study, request } => remove(studies, study, request),
            Self::SetAttribute { study, attribute: StudyAttribute { owner, key, value } } => {
                let known = study_of(studies, study)?;
                let owned = Owner::try_from(owner).map_err(|_| Refusal::StudyInput(NO_OWNER.to_owned()))?;
                let before = known.attributes.get(&(owned, key.clone())).map(|(_, value)| key.len() + value.len());
                let count = known.attributes.len() + usize::from(before.is_none());
                let bytes = known.bytes.saturating_sub(before.unwrap_or_default()) + key.len() + value.len();
                has_room(count, bytes, "the study's attributes")?;
                let fact = StudyEvent::AttributeSet(StudyAttributeSet { study, owner, key, value });
                Ok((vec![fact.into()], Done::Done))
            }
            Self::CreateTrial { study, template, request } => create_trial(studies, study, template, request),
            Self::SetParam { trial, param } => {
                let (study, known) = unfinished(studies, trial)?;
                goes_with(study, &param)?;
                let before = known.params.iter().find(|other| other.name == param.name);
                if known.params.len() >= PARAMS_MAX && before.is_none() {
                    return Err(Refusal::StudyFull { what: "a trial's parameters", limit: PARAMS_MAX });
                }
                let before = before.map_or(0, |before| before.name.len() + before.distribution.len());
                let bytes = known.bytes.saturating_sub(before) + param.name.len() + param.distribution.len();
                has_room(0, bytes, "a trial's texts")?;
                Ok((vec![StudyEvent::ParamSet(StudyParamSet { trial, param }).into()], Done::Done))
            }
            Self::SetTrialAttribute { trial, attribute } => {
                let (_, known) = unfinished(studies, trial)?;
                let StudyAttribute { owner, key, value } = &attribute;
                let owned = Owner::try_from(*owner).map_err(|_| Refusal::StudyInput(NO_OWNER.to_owned()))?;
                let before = known.bytes_of(owned, key);
                let count = known.attributes.len() + usize::from(!known.attributes.contains_key(&(owned, key.clone())));
                let bytes = known.bytes.saturating_sub(before) + key.len() + value.len();
                has_room(count, bytes, "a trial's attributes")?;
                let fact = StudyEvent::TrialAttributeSet(StudyTrialAttributeSet { trial, attribute });
                Ok((vec![fact.into()], Done::Done))
            }
            Self::Report { trial, step, value } => {
                let (_, known) = unfinished(studies, trial)?;
                if known.reports.len() >= REPORTS_MAX && !known.reports.contains_key(&step) {
                    return Err(Refusal::StudyFull { what: "a trial's steps", limit: REPORTS_MAX });
                }
                Ok((vec![StudyEvent::Reported(StudyReported { trial, step, value }).into()], Done::Done))
            }
            Self::Move { trial, stage, values, request } => move_trial(studies, trial, stage, values, request),
        }
    }
}

fn create(state: &State, sweep: SweepId, name: String, goals: &[Goal], request: u64) -> Decision<Done> {
    if let Some(study) = state.studies.named(&name) {
        let is_again = request != 0 && study.request == request;
        let taken = Refusal::NameTaken { name, sweep: study.sweep };
        return if is_again { Ok((Vec::new(), Done::Made(study.number))) } else { Err(taken) };
    }
    if let Some(other) = state.live_named(&name) {
        return Err(Refusal::NameTaken { name, sweep: other.id });
    }
    if state.studies.by_number.len() >= STUDIES_MAX {
        return Err(Refusal::StudyFull { what: "studies", limit: STUDIES_MAX });
    }
    let (study, sweep) = (state.studies.last_study + 1, state.free_id(sweep));
    let goals = goals.iter().map(|goal| i32::from(*goal)).collect();
    let fact = StudyEvent::Created(StudyCreated { study, sweep, name, goals, request });
    Ok((vec![fact.into()], Done::Made(study)))
}

fn remove(studies: &Studies, study: u64, request: u64) -> Decision<Done> {
    if studies.was_removed_by(study, request) {
        return Ok((Vec::new(), Done::Done));
    }
    study_of(studies, study)?;
    let (last_study, last_trial) = (studies.last_study, studies.last_trial);
    let fact = StudyEvent::Removed(StudyRemoved { study, last_study, last_trial, request });
    Ok((vec![fact.into()], Done::Done))
}

fn create_trial(studies: &Studies, study: u64, template: Option<Template>, request: u64) -> Decision<Done> {
    let known = study_of(studies, study)?;
    if let Some(trial) = studies.requests.get(&(study, request)).filter(|_| request != 0) {
        return Ok((Vec::new(), Done::Made(*trial)));
    }
    let body = template.map(|Template(body)| *body);
    if let Some(body) = &body {
        for param in &body.params {
            goes_with(known, param)?;
        }
        let stage = Stage::try_from(body.stage).unwrap_or(Stage::Waiting);
        fit_goals(known, stage, &body.values)?;
    }
    let number = known.trials.len();
    let number = u32::try_from(number).map_err(|_| Refusal::StudyFull { what: "a study's trials", limit: number })?;
    let trial = studies.last_trial + 1;
    let fact = StudyEvent::TrialCreated(StudyTrialCreated { study, trial, number, body, request });
    Ok((vec![fact.into()], Done::Made(trial)))
}

fn move_trial(studies: &Studies, trial: u64, stage: Stage, values: Vec<f64>, request: u64) -> Decision<Done> {
    let (study, known) = studies.trial(trial).ok_or(Refusal::NoSuchId { what: "trial", id: trial })?;
    if request != 0 && known.moved_by == request && known.stage == stage {
        return Ok((Vec::new(), Done::Moved(true)));
    }
    if known.stage.is_finished() {
        return Err(Refusal::TrialFinished(trial));
    }
    if stage == Stage::Running && known.stage != Stage::Waiting {
        return Ok((Vec::new(), Done::Moved(false)));
    }
    fit_goals(study, stage, &values)?;
    let fact = StudyTrialMoved { trial, stage: stage.into(), values, request };
    Ok((vec![Fact::from(StudyEvent::TrialMoved(fact))], Done::Moved(true)))
}

fn study_of(studies: &Studies, study: u64) -> Result<&Study, Refusal> {
    studies.get(study).map(AsRef::as_ref).ok_or(Refusal::NoSuchId { what: "study", id: study })
}

fn unfinished(studies: &Studies, trial: u64) -> Result<(&Study, &StudyTrial), Refusal> {
    let (study, known) = studies.trial(trial).ok_or(Refusal::NoSuchId { what: "trial", id: trial })?;
    if known.stage.is_finished() { Err(Refusal::TrialFinished(trial)) } else { Ok((study, known)) }
}

/// A parameter is drawn from the same kind of distribution in all trials of a study.
fn goes_with(study: &Study, param: &StudyParam) -> Result<(), Refusal> {
    let Some(known) = study.distributions.get(&param.name) else { return Ok(()) };
    if **known == *param.distribution {
        return Ok(());
    }
    let read = |text| Distribution::read(text).map_err(Refusal::StudyInput);
    // The text that is kept was read before it was.
    if read(known)?.goes_with(&read(&param.distribution)?) {
        return Ok(());
    }
    Err(Refusal::StudyInput(format!("`{}` has another kind of distribution in this study", param.name)))
}

fn fit_goals(study: &Study, stage: Stage, values: &[f64]) -> Result<(), Refusal> {
    let (have, want) = (values.len(), study.goals.len());
    if have == want || (have == 0 && stage != Stage::Complete) {
        return Ok(());
    }
    Err(Refusal::StudyInput(format!("a trial of this study has {want} values, not {have}")))
}

fn has_room(count: usize, bytes: usize, what: &'static str) -> Result<(), Refusal> {
    if count > ATTRIBUTES_MAX {
        return Err(Refusal::StudyFull { what, limit: ATTRIBUTES_MAX });
    }
    if bytes > TEXTS_MAX { Err(Refusal::TooLarge { what, bytes, limit: TEXTS_MAX }) } else { Ok(()) }
}

fn is_name(what: &'static str, name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_MAX {
        return Err(Refusal::TooLarge { what, bytes: name.len(), limit: NAME_MAX });
    }
    // It would be shown on terminals.
    if name.chars().any(char::is_control) {
        return Err(Refusal::StudyInput(format!("{what} has a control character in it")));
    }
    Ok(())
}

fn is_short(what: &'static str, text: &str) -> Result<(), Refusal> {
    let bytes = text.len();
    if bytes > TEXT_MAX { Err(Refusal::TooLarge { what, bytes, limit: TEXT_MAX }) } else { Ok(()) }
}

fn is_attribute(attribute: &StudyAttribute) -> Result<(), Refusal> {
    let StudyAttribute { owner, key, value } = attribute;
    if Owner::try_from(*owner).is_err() {
        return Err(Refusal::StudyInput(NO_OWNER.to_owned()));
    }
    is_name("an attribute's name", key)?;
    is_short("an attribute", value)?;
    // Every program that opens the study reads it.
    Json::read(value).map(drop).map_err(|error| Refusal::StudyInput(format!("attribute `{key}`: {error}")))
}

fn is_param(param: &StudyParam) -> Result<(), Refusal> {
    let StudyParam { name, value, distribution } = param;
    is_name("a parameter's name", name)?;
    is_short("a distribution", distribution)?;
    let distribution =
        Distribution::read(distribution).map_err(|why| Refusal::StudyInput(format!("`{name}`: {why}")))?;
    distribution.refuses(*value).map_or(Ok(()), |why| Err(Refusal::StudyInput(format!("`{name}`: {why}"))))
}

fn has_values(stage: Stage, values: &[f64]) -> Result<(), Refusal> {
    if values.len() > GOALS_MAX {
        return Err(Refusal::StudyFull { what: "a trial's values", limit: GOALS_MAX });
    }
    if stage == Stage::Complete && (values.is_empty() || values.iter().any(|value| value.is_nan())) {
        return Err(Refusal::StudyInput("a trial that is complete has values, and each is a number".to_owned()));
    }
    Ok(())
}

fn is_body(body: &StudyTrialBody) -> Result<(), Refusal> {
    let StudyTrialBody {
        stage,
        values,
        started_us: _,
        finished_us: _,
        params,
        attributes,
        steps,
        reports,
        moved_by: _,
    } = body;
    let stage = Stage::try_from(*stage).map_err(|_| Refusal::StudyInput("there is no such state".to_owned()))?;
    has_values(stage, values)?;
    for (what, count, limit) in [
        ("a trial's parameters", params.len(), PARAMS_MAX),
        ("a trial's attributes", attributes.len(), ATTRIBUTES_MAX),
        ("a trial's steps", steps.len(), REPORTS_MAX),
    ] {
        if count > limit {
            return Err(Refusal::StudyFull { what, limit });
        }
    }
    if steps.len() != reports.len() || !steps.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::StudyInput("every step has one value".to_owned()));
    }
    params.iter().try_for_each(is_param)?;
    attributes.iter().try_for_each(is_attribute)?;
    let texts = params.iter().map(|param| param.name.len() + param.distribution.len());
    let bytes = texts.chain(attributes.iter().map(|attribute| attribute.key.len() + attribute.value.len())).sum();
    has_room(0, bytes, "a trial's texts")
}
