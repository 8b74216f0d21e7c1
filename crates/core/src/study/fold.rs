//! How studies take one fact in. Decides nothing: what contradicts the state is an error.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use super::{Counts, Place, Studies, Study, StudyTrial, dominates};
use crate::fact::{
    Goal, Owner, Record, Stage, StudyAttributeSet, StudyCreated, StudyEvent, StudyParamSet, StudyRemoved,
    StudyReported, StudyTrialAttributeSet, StudyTrialBody, StudyTrialCreated, StudyTrialMoved,
};

const NO_STUDY: &str = "there is no such study";
const NO_TRIAL: &str = "there is no such trial";
/// How many removals are remembered, for requests that are made again because their answer was lost.
const REMOVED_KEPT: usize = 64;

impl Studies {
    /// Folds one fact in.
    pub(crate) fn record(&mut self, event: &StudyEvent, record: &Arc<Record>) -> Result<(), &'static str> {
        let place = Place::of(record);
        match event {
            StudyEvent::Created(fact) => self.created(fact, place),
            StudyEvent::Removed(fact) => self.removed(fact, place),
            StudyEvent::AttributeSet(StudyAttributeSet { study, owner, key, value }) => {
                let study = self.by_number.get_mut(study).map(Arc::make_mut).ok_or(NO_STUDY)?;
                study.changed_at = study.changed_at.max(place.log_index);
                study.bytes += key.len() + value.len();
                let text = (place, value.as_str().into());
                if let Some((_, before)) = study.attributes.insert((owner_of(*owner)?, key.clone()), text) {
                    study.bytes = study.bytes.saturating_sub(key.len() + before.len());
                }
                Ok(())
            }
            StudyEvent::TrialCreated(fact) => self.trial_created(fact, place),
            StudyEvent::ParamSet(StudyParamSet { trial, param }) => {
                let (study, trial) = self.unfinished(*trial, place)?;
                study.first_drawn(&param.name, &param.distribution);
                let trial = study.trials.get_mut(trial as usize).map(Arc::make_mut).ok_or(NO_TRIAL)?;
                trial.bytes += param.name.len() + param.distribution.len();
                let params = Arc::make_mut(&mut trial.params);
                match params.iter_mut().find(|known| known.name == param.name) {
                    Some(known) => {
                        trial.bytes = trial.bytes.saturating_sub(known.name.len() + known.distribution.len());
                        *known = param.clone();
                    }
                    None => params.push(param.clone()),
                }
                Ok(())
            }
            StudyEvent::TrialAttributeSet(StudyTrialAttributeSet { trial, attribute }) => {
                let (study, trial) = self.unfinished(*trial, place)?;
                let trial = study.trials.get_mut(trial as usize).map(Arc::make_mut).ok_or(NO_TRIAL)?;
                trial.set_attribute(owner_of(attribute.owner)?, &attribute.key, &attribute.value);
                Ok(())
            }
            StudyEvent::Reported(StudyReported { trial, step, value }) => {
                let (study, trial) = self.unfinished(*trial, place)?;
                let trial = study.trials.get_mut(trial as usize).map(Arc::make_mut).ok_or(NO_TRIAL)?;
                trial.reports.insert(*step, *value);
                Ok(())
            }
            StudyEvent::TrialMoved(fact) => self.moved(fact, place),
        }
    }

    fn created(&mut self, fact: &StudyCreated, place: Place) -> Result<(), &'static str> {
        let StudyCreated { study: number, sweep, name, goals, request } = fact;
        if self.by_number.contains_key(number) || self.by_sweep.contains_key(sweep) || self.by_name.contains_key(name) {
            return Err("the study exists");
        }
        let goals: Result<Vec<Goal>, _> = goals.iter().map(|goal| Goal::try_from(*goal)).collect();
        let study = Study {
            number: *number,
            sweep: *sweep,
            name: name.clone(),
            goals: goals.map_err(|_| "this version does not know which way an objective is to go")?,
            trials: Vector::new(),
            unfinished: OrdSet::new(),
            counts: Counts::default(),
            best: None,
            front: OrdSet::new(),
            attributes: OrdMap::new(),
            bytes: 0,
            distributions: OrdMap::new(),
            created: place,
            request: *request,
            changed_at: place.log_index,
        };
        self.by_sweep.insert(*sweep, *number);
        self.by_name.insert(name.clone(), *number);
        self.by_number.insert(*number, Arc::new(study));
        self.last_study = self.last_study.max(*number);
        Ok(())
    }

    fn removed(&mut self, fact: &StudyRemoved, place: Place) -> Result<(), &'static str> {
        let StudyRemoved { study, last_study, last_trial, request: _ } = fact;
        self.last_study = self.last_study.max(*last_study);
        self.last_trial = self.last_trial.max(*last_trial);
        self.removed.push_back((place, *fact));
        if self.removed.len() > REMOVED_KEPT {
            self.removed.pop_front();
        }
        // In a snapshot the study is gone already.
        let Some(study) = self.by_number.remove(study) else { return Ok(()) };
        self.by_sweep.remove(&study.sweep);
        self.by_name.remove(&study.name);
        for trial in &study.trials {
            self.trials.remove(&trial.id);
            self.requests.remove(&(study.number, trial.request));
        }
        Ok(())
    }

    fn trial_created(&mut self, fact: &StudyTrialCreated, place: Place) -> Result<(), &'static str> {
        let StudyTrialCreated { study, trial: id, number, body, request } = fact;
        if self.trials.contains_key(id) {
            return Err("the trial exists");
        }
        let study = self.by_number.get_mut(study).map(Arc::make_mut).ok_or(NO_STUDY)?;
        if study.trials.len() != *number as usize || study.trials.last().is_some_and(|last| last.id >= *id) {
            return Err("the trial's number or id is not the next one");
        }
        let trial = match body {
            Some(body) => StudyTrial::like(*id, *number, *request, body, place)?,
            None => StudyTrial::new(*id, *number, *request, place),
        };
        study.changed_at = study.changed_at.max(place.log_index);
        for param in trial.params.iter() {
            study.first_drawn(&param.name, &param.distribution);
        }
        study.counts.add(trial.stage);
        if trial.stage.is_finished() {
            study.consider(&trial);
        } else {
            study.unfinished.insert(*number);
        }
        if *request != 0 {
            self.requests.insert((study.number, *request), *id);
        }
        self.trials.insert(*id, (study.number, *number));
        study.trials.push_back(Arc::new(trial));
        self.last_trial = self.last_trial.max(*id);
        Ok(())
    }

    /// The study of a trial that is not over, and the trial's number; this is the last fact about it.
    fn unfinished(&mut self, trial: u64, place: Place) -> Result<(&mut Study, u32), &'static str> {
        let (study, number) = self.trials.get(&trial).copied().ok_or(NO_TRIAL)?;
        let study = self.by_number.get_mut(&study).map(Arc::make_mut).ok_or(NO_STUDY)?;
        let trial = study.trials.get_mut(number as usize).map(Arc::make_mut).ok_or(NO_TRIAL)?;
        if trial.stage.is_finished() {
            return Err("the trial is finished");
        }
        trial.last = place;
        study.changed_at = study.changed_at.max(place.log_index);
        Ok((study, number))
    }

    fn moved(&mut self, fact: &StudyTrialMoved, place: Place) -> Result<(), &'static str> {
        let StudyTrialMoved { trial, stage, values, request } = fact;
        let stage = Stage::try_from(*stage).map_err(|_| "this version does not know where the trial stands")?;
        let (study, number) = self.unfinished(*trial, place)?;
        let trial = study.trials.get_mut(number as usize).map(Arc::make_mut).ok_or(NO_TRIAL)?;
        study.counts.take(trial.stage);
        study.counts.add(stage);
        trial.stage = stage;
        trial.moved_by = *request;
        if !values.is_empty() {
            trial.values.clone_from(values);
        }
        if stage == Stage::Running {
            trial.started_us = Some(micros(place.at_ms));
        }
        if stage.is_finished() {
            trial.finished_us = Some(micros(place.at_ms));
            let finished = trial.clone();
            study.unfinished.remove(&number);
            study.consider(&finished);
        }
        Ok(())
    }
}

impl Study {
    fn first_drawn(&mut self, name: &str, distribution: &str) {
        if !self.distributions.contains_key(name) {
            self.distributions.insert(name.to_owned(), distribution.into());
        }
    }

    /// A trial is over: it may be the best.
    fn consider(&mut self, trial: &StudyTrial) {
        if trial.stage != Stage::Complete {
            return;
        }
        let [value] = trial.values.as_slice() else { return self.consider_for_front(trial) };
        let best = self.best.and_then(|best| Some((best, *self.trials.get(best as usize)?.values.first()?)));
        // Of two equals it is the one with the lower number, in whatever order they ended.
        let is_before = |(number, best): (u32, f64)| {
            let order = self.loss(*value).total_cmp(&self.loss(best));
            order.then(trial.number.cmp(&number)).is_lt()
        };
        if best.is_none_or(is_before) {
            self.best = Some(trial.number);
        }
    }

    fn consider_for_front(&mut self, trial: &StudyTrial) {
        let losses = self.losses(trial);
        let known = self.front.iter().filter_map(|number| self.trials.get(*number as usize));
        let mut beaten = Vec::new();
        for other in known {
            let others = self.losses(other);
            if dominates(&others, &losses) {
                return;
            }
            if dominates(&losses, &others) {
                beaten.push(other.number);
            }
        }
        for number in beaten {
            self.front.remove(&number);
        }
        self.front.insert(trial.number);
    }
}

impl StudyTrial {
    fn new(id: u64, number: u32, request: u64, place: Place) -> Self {
        Self {
            id,
            number,
            stage: Stage::Running,
            values: Vec::new(),
            started_us: Some(micros(place.at_ms)),
            finished_us: None,
            params: Arc::default(),
            reports: OrdMap::new(),
            attributes: OrdMap::new(),
            bytes: 0,
            request,
            moved_by: 0,
            last: place,
        }
    }

    fn like(id: u64, number: u32, request: u64, body: &StudyTrialBody, place: Place) -> Result<Self, &'static str> {
        let StudyTrialBody { stage, values, started_us, finished_us, params, attributes, steps, reports, moved_by } =
            body;
        let mut trial = Self {
            stage: Stage::try_from(*stage).map_err(|_| "this version does not know where the trial stands")?,
            values: values.clone(),
            started_us: *started_us,
            finished_us: *finished_us,
            params: Arc::new(params.clone()),
            reports: steps.iter().copied().zip(reports.iter().copied()).collect(),
            bytes: params.iter().map(|param| param.name.len() + param.distribution.len()).sum(),
            moved_by: *moved_by,
            ..Self::new(id, number, request, place)
        };
        for attribute in attributes {
            trial.set_attribute(owner_of(attribute.owner)?, &attribute.key, &attribute.value);
        }
        Ok(trial)
    }

    fn set_attribute(&mut self, owner: Owner, key: &str, value: &str) {
        self.bytes += key.len() + value.len();
        if let Some(before) = self.attributes.insert((owner, key.to_owned()), value.into()) {
            self.bytes = self.bytes.saturating_sub(key.len() + before.len());
        }
    }
}

fn owner_of(owner: i32) -> Result<Owner, &'static str> {
    Owner::try_from(owner).map_err(|_| "this version does not know whose attribute it is")
}

const fn micros(at_ms: u64) -> i64 {
    (at_ms as i64).saturating_mul(1_000)
}
