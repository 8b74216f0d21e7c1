//! Studies: sweeps that are driven from outside, by programs that speak Optuna's storage protocol.
//!
//! A study shares the sweeps' names and ids, and nothing else of theirs: it has no specification, nothing of it is leased,
//! and no rule of Heats stops its trials. What its clients write is what it is.

mod change;
pub mod distribution;
mod fold;
pub mod json;
pub mod stale;

use std::sync::Arc;

use heats_domain::SweepId;
use imbl::{OrdMap, OrdSet, Vector};

pub use change::{Change, Done, Template};

use crate::fact::{
    Fact, Goal, Owner, Record, Stage, StudyAttribute, StudyAttributeSet, StudyCreated, StudyEvent, StudyParam,
    StudyRemoved, StudyTrialBody, StudyTrialCreated,
};

/// Ids that a new cluster does not give which begins with the state of another one's backup.
const SKIPPED: u64 = 1 << 24;

/// Where the last fact about something is in the log, and the leader's clock then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    log_index: u64,
    at_ms: u64,
}

impl Place {
    const fn of(record: &Record) -> Self {
        Self { log_index: record.log_index, at_ms: record.at_ms }
    }

    fn record(self, event: StudyEvent) -> Arc<Record> {
        Arc::new(Record { log_index: self.log_index, at_ms: self.at_ms, cell: Fact::from(event).into() })
    }
}

/// All studies.
#[derive(Clone, Debug, Default)]
pub struct Studies {
    by_number: OrdMap<u64, Arc<Study>>,
    by_sweep: OrdMap<SweepId, u64>,
    by_name: OrdMap<String, u64>,
    /// The study of each trial, and its number there.
    trials: OrdMap<u64, (u64, u32)>,
    /// The trials that requests with a number made, by their study and that number.
    requests: OrdMap<(u64, u64), u64>,
    last_study: u64,
    last_trial: u64,
    /// The studies that were removed last: they say which numbers are used up, and what need not be removed again.
    removed: Vector<(Place, StudyRemoved)>,
}

impl Studies {
    /// The studies, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Study>> {
        self.by_number.values()
    }

    /// The study of this number.
    pub fn get(&self, study: u64) -> Option<&Arc<Study>> {
        self.by_number.get(&study)
    }

    /// The study with this id among the sweeps.
    pub fn of_sweep(&self, sweep: SweepId) -> Option<&Arc<Study>> {
        self.by_sweep.get(&sweep).and_then(|number| self.get(*number))
    }

    /// The study of this name. There is at most one.
    pub fn named(&self, name: &str) -> Option<&Arc<Study>> {
        self.by_name.get(name).and_then(|number| self.get(*number))
    }

    /// The one whose id among the sweeps is the newest.
    pub fn newest(&self) -> Option<&Arc<Study>> {
        self.by_sweep.get_max().and_then(|(_, number)| self.get(*number))
    }

    /// What makes the next ids ones that nobody can have been given after this state was saved: clients of a cluster that was
    /// lost may come back with theirs.
    pub(crate) fn skip_ids(&self) -> Option<Fact> {
        let (last_study, last_trial) = (self.last_study + SKIPPED, self.last_trial + SKIPPED);
        // No study has the number 0.
        let fact = StudyRemoved { study: 0, last_study, last_trial, request: 0 };
        (self.last_study > 0).then(|| StudyEvent::Removed(fact).into())
    }

    /// The trial of this id, and its study.
    pub fn trial(&self, trial: u64) -> Option<(&Arc<Study>, &Arc<StudyTrial>)> {
        let (study, number) = self.trials.get(&trial)?;
        let study = self.get(*study)?;
        Some((study, study.trials.get(*number as usize)?))
    }

    /// Whether this request removed this study not long ago: studies' numbers are not used again.
    fn was_removed_by(&self, study: u64, request: u64) -> bool {
        let by = |(_, fact): &(Place, StudyRemoved)| (fact.study, fact.request) == (study, request);
        request != 0 && self.removed.iter().any(by)
    }

    /// Everything that the studies follow from: a trial is one record, whatever became of it.
    pub(crate) fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        let removed = self.removed.iter().map(|(place, fact)| place.record(StudyEvent::Removed(*fact)));
        self.by_number.values().flat_map(|study| study.records()).chain(removed)
    }
}

/// One study.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its number: what Optuna calls its id.
    pub number: u64,
    /// Its id among the sweeps.
    pub sweep: SweepId,
    /// Its name.
    pub name: String,
    /// Which way each objective is to go; one at least.
    pub goals: Vec<Goal>,
    /// Its trials, by their numbers. Their ids grow with these.
    pub trials: Vector<Arc<StudyTrial>>,
    /// The numbers of the trials that are not over.
    pub unfinished: OrdSet<u32>,
    /// How many trials there are of each stage.
    pub counts: Counts,
    /// The number of the trial with the best value, where there is one objective.
    pub best: Option<u32>,
    /// Where there are several, the numbers of the complete trials that no other dominates.
    pub front: OrdSet<u32>,
    attributes: OrdMap<(Owner, String), (Place, Arc<str>)>,
    /// How many bytes its attributes are.
    bytes: usize,
    /// What each parameter was drawn from first: later distributions have to go with it.
    distributions: OrdMap<String, Arc<str>>,
    created: Place,
    request: u64,
    /// The log index of the last fact about it.
    changed_at: u64,
}

impl Study {
    /// When it was made, milliseconds since the Unix epoch.
    pub const fn created_ms(&self) -> u64 {
        self.created.at_ms
    }

    /// Its attributes of one kind, by name, each as JSON.
    pub fn attributes(&self, owner: Owner) -> impl Iterator<Item = (&str, &str)> {
        let of_owner = self.attributes.range((owner, String::new())..).take_while(move |((of, _), _)| *of == owner);
        of_owner.map(|((_, key), (_, value))| (key.as_str(), &**value))
    }

    /// The trials whose ids are above `after`, at a cost that does not grow with the others.
    pub fn trials_after(&self, after: u64) -> impl Iterator<Item = &Arc<StudyTrial>> {
        let first = match self.trials.binary_search_by(|trial| trial.id.cmp(&after)) {
            Ok(place) => place + 1,
            Err(place) => place,
        };
        // By its place each: the iterator of a persistent vector comes to the first by walking over all before it.
        (first..self.trials.len()).filter_map(|place| self.trials.get(place))
    }

    /// A value of the first objective so that less is better.
    pub fn loss(&self, value: f64) -> f64 {
        match self.goals.first() {
            Some(Goal::Maximize) => -value,
            Some(Goal::Minimize) | None => value,
        }
    }

    /// A trial's values so that less is better.
    pub fn losses(&self, trial: &StudyTrial) -> Vec<f64> {
        let goals = trial.values.iter().zip(&self.goals);
        goals.map(|(value, goal)| if *goal == Goal::Maximize { -value } else { *value }).collect()
    }

    /// The log index of the last fact about it.
    pub const fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// What it follows from: a fact for itself, for each of its attributes, and for each trial, at the place of the last one.
    pub fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        let created = StudyCreated {
            study: self.number,
            sweep: self.sweep,
            name: self.name.clone(),
            goals: self.goals.iter().map(|goal| i32::from(*goal)).collect(),
            request: self.request,
        };
        let attributes = self.attributes.iter().map(|((owner, key), (place, value))| {
            let (owner, key, value) = (i32::from(*owner), key.clone(), value.to_string());
            place.record(StudyEvent::AttributeSet(StudyAttributeSet { study: self.number, owner, key, value }))
        });
        let trials = self.trials.iter().map(|trial| trial.record(self.number));
        std::iter::once(self.created.record(StudyEvent::Created(created))).chain(attributes).chain(trials)
    }
}

/// How many trials of a study there are of each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts([u32; Stage::ALL.len()]);

impl Counts {
    /// How many there are of one.
    pub const fn of(self, stage: Stage) -> u32 {
        self.0[stage as usize]
    }

    const fn add(&mut self, stage: Stage) {
        self.0[stage as usize] += 1;
    }

    const fn take(&mut self, stage: Stage) {
        self.0[stage as usize] -= 1;
    }
}

/// One trial of a study.
#[derive(Clone, Debug)]
pub struct StudyTrial {
    /// Its id, unlike that of any other trial of any study.
    pub id: u64,
    /// Its number in its study.
    pub number: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Its values; empty where it has none.
    pub values: Vec<f64>,
    /// When it began, microseconds since the Unix epoch.
    pub started_us: Option<i64>,
    /// When it was over, microseconds since the Unix epoch.
    pub finished_us: Option<i64>,
    /// Its parameters, in the order in which they were set.
    pub params: Arc<Vec<StudyParam>>,
    /// Its intermediate values by their steps.
    pub reports: OrdMap<i64, f64>,
    attributes: OrdMap<(Owner, String), Arc<str>>,
    /// How many bytes its parameters and attributes are.
    bytes: usize,
    request: u64,
    moved_by: u64,
    last: Place,
}

/// Whether losses are better than others in one place at least, and worse in none.
pub fn dominates(losses: &[f64], others: &[f64]) -> bool {
    let mut pairs = losses.iter().zip(others);
    pairs.all(|(a, b)| a <= b) && losses != others
}

impl StudyTrial {
    /// How many bytes its text under this key is; 0 without one.
    fn bytes_of(&self, owner: Owner, key: &str) -> usize {
        self.attributes.get(&(owner, key.to_owned())).map_or(0, |value| key.len() + value.len())
    }

    /// Its attributes of one kind, by name, each as JSON.
    pub fn attributes(&self, owner: Owner) -> impl Iterator<Item = (&str, &str)> {
        let of_owner = self.attributes.range((owner, String::new())..).take_while(move |((of, _), _)| *of == owner);
        of_owner.map(|((_, key), value)| (key.as_str(), &**value))
    }

    /// The log index of the last fact about it.
    pub const fn changed_at(&self) -> u64 {
        self.last.log_index
    }

    fn record(&self, study: u64) -> Arc<Record> {
        let attributes = self.attributes.iter().map(|((owner, key), value)| {
            let (owner, key, value) = (i32::from(*owner), key.clone(), value.to_string());
            StudyAttribute { owner, key, value }
        });
        let body = StudyTrialBody {
            stage: self.stage.into(),
            values: self.values.clone(),
            started_us: self.started_us,
            finished_us: self.finished_us,
            params: self.params.to_vec(),
            attributes: attributes.collect(),
            steps: self.reports.keys().copied().collect(),
            reports: self.reports.values().copied().collect(),
            moved_by: self.moved_by,
        };
        let (trial, number, request) = (self.id, self.number, self.request);
        self.last.record(StudyEvent::TrialCreated(StudyTrialCreated {
            study,
            trial,
            number,
            body: Some(body),
            request,
        }))
    }
}
