//! What an id of Optuna's means: a study, or a sweep that can only be read.

use heats_core::fact::Owner;
use heats_core::study::{Study, StudyTrial};
use heats_core::{Refusal, State, Sweep, Trial};
use heats_wire::optuna as pb;
use tonic::Status;

use super::{convert, sweeps};
use crate::edge::zone::Zone;
use crate::status::refused;

/// What Optuna calls a study.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// One of its own.
    Study(&'a Study),
    /// One that Heats runs.
    Sweep(&'a Sweep),
}

/// What Optuna calls a trial.
#[derive(Clone, Copy)]
pub enum Subjected<'a> {
    /// Of a study.
    OfStudy(&'a StudyTrial),
    /// Of a sweep.
    OfSweep(&'a Sweep, &'a Trial),
}

/// An id of ours; what is below 0 was never given to anything.
fn number(what: &'static str, id: i64) -> Result<u64, Status> {
    u64::try_from(id).map_err(|_| Status::not_found(format!("there is no {what} with the id {id}")))
}

/// The number of a study that can be changed.
///
/// # Errors
/// It is no id, or that of a sweep.
pub fn study(state: &State, id: i64) -> Result<u64, Status> {
    let id = number("study", id)?;
    if sweeps::find(state, id).is_some() { Err(sweeps::is_read_only()) } else { Ok(id) }
}

/// The id of a trial that can be changed.
///
/// # Errors
/// It is no id, or that of a sweep's trial.
pub fn trial(state: &State, id: i64) -> Result<u64, Status> {
    let id = number("trial", id)?;
    if sweeps::find_trial(state, id).is_some() { Err(sweeps::is_read_only()) } else { Ok(id) }
}

impl<'a> Subject<'a> {
    /// What has this id.
    ///
    /// # Errors
    /// Nothing has.
    pub fn find(state: &'a State, id: i64) -> Result<Self, Status> {
        let id = number("study", id)?;
        let study = state.studies.get(id).map(|study| Self::Study(study));
        let found = study.or_else(|| sweeps::find(state, id).map(Self::Sweep));
        found.ok_or_else(|| refused(&Refusal::NoSuchId { what: "study", id }))?.distinct(state)
    }

    /// What has this name: a study, else the newest sweep.
    ///
    /// # Errors
    /// Nothing has.
    pub fn named(state: &'a State, name: &str) -> Result<Self, Status> {
        let study = state.studies.named(name).map(|study| Self::Study(study));
        let sweep = || state.newest_named(name).map(|sweep| Self::Sweep(sweep));
        study.or_else(sweep).ok_or_else(|| refused(&Refusal::NoSuchSweep(name.to_owned())))?.distinct(state)
    }

    /// Itself, where its ids are its own.
    fn distinct(self, state: &State) -> Result<Self, Status> {
        match self {
            Self::Sweep(sweep) if !sweeps::is_distinct(state, sweep) => Err(sweeps::is_ambiguous(sweep)),
            Self::Study(_) | Self::Sweep(_) => Ok(self),
        }
    }

    /// All there are, but sweeps whose ids are not their own.
    pub fn all(state: &'a State) -> impl Iterator<Item = Self> {
        let studies = state.studies.iter().map(|study| Self::Study(study));
        studies.chain(sweeps::distinct(state).map(Self::Sweep))
    }

    /// As Optuna has it.
    pub fn study(self) -> pb::Study {
        match self {
            Self::Study(study) => convert::study(study),
            Self::Sweep(sweep) => sweeps::study(sweep),
        }
    }

    /// Its attributes of one kind.
    pub fn attributes(self, owner: Owner) -> Vec<pb::TextEntry> {
        match (self, owner) {
            (Self::Study(study), owner) => convert::entries(study.attributes(owner)),
            (Self::Sweep(sweep), Owner::User) => sweeps::user_attributes(sweep),
            (Self::Sweep(sweep), Owner::System) => sweeps::system_attributes(sweep),
        }
    }

    /// The id of its trial of this number.
    pub fn trial_id(self, number: i64) -> Option<u64> {
        let number = u32::try_from(number).ok()?;
        match self {
            Self::Study(study) => study.trials.get(number as usize).map(|trial| trial.id),
            Self::Sweep(sweep) => sweep.trial(number).map(|trial| sweeps::trial_id(sweep, trial.number)),
        }
    }

    /// Its trials after one, and before those the ones that are named, if they are its own.
    pub fn trials(self, state: &'a State, after: u64, named: impl Iterator<Item = u64>) -> Vec<Subjected<'a>> {
        let own = |id: u64| match self {
            Self::Study(study) => {
                let (of, trial) = state.studies.trial(id)?;
                (of.number == study.number).then_some(Subjected::OfStudy(trial))
            }
            Self::Sweep(sweep) => sweeps::own_trial(sweep, id).map(|trial| Subjected::OfSweep(sweep, trial)),
        };
        let mut trials: Vec<Subjected<'a>> = named.filter(|id| *id <= after).filter_map(own).collect();
        match self {
            Self::Study(study) => {
                trials.extend(study.trials_after(after).map(|trial| Subjected::OfStudy(trial)));
            }
            Self::Sweep(sweep) => {
                let first = sweeps::first_after(sweep, after);
                let new = (first..sweep.trials.len()).filter_map(|place| sweep.trials.get(place));
                trials.extend(new.map(|trial| Subjected::OfSweep(sweep, trial)));
            }
        }
        trials
    }
}

impl<'a> Subjected<'a> {
    /// What has this id.
    ///
    /// # Errors
    /// Nothing has.
    pub fn find(state: &'a State, id: i64) -> Result<Self, Status> {
        let id = number("trial", id)?;
        let trial = state.studies.trial(id).map(|(_, trial)| Self::OfStudy(trial));
        match trial.or_else(|| sweeps::find_trial(state, id).map(|(sweep, trial)| Self::OfSweep(sweep, trial))) {
            Some(Self::OfSweep(sweep, _)) if !sweeps::is_distinct(state, sweep) => Err(sweeps::is_ambiguous(sweep)),
            Some(found) => Ok(found),
            None => Err(refused(&Refusal::NoSuchId { what: "trial", id })),
        }
    }

    /// As Optuna has it, encoded.
    pub fn encoded(self, zone: &Zone) -> bytes::Bytes {
        match self {
            Self::OfStudy(trial) => convert::trial(trial, zone),
            Self::OfSweep(sweep, trial) => sweeps::trial(sweep, trial, zone),
        }
    }
}
