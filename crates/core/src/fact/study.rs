//! What happened to studies: sweeps whose trials are made and run by programs outside, over Optuna's storage protocol.
//!
//! They are one fact to the rest of the log, [`Fact::Study`](super::Fact::Study), with a list of kinds of its own.

use heats_domain::SweepId;

/// Which way an objective is to go. The numbers are those of Optuna's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Goal {
    /// Less is better.
    Minimize = 0,
    /// More is better.
    Maximize = 1,
}

/// Where a study's trial stands. The numbers are those of Optuna's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Stage {
    /// Somebody runs it.
    Running = 0,
    /// It has its values.
    Complete = 1,
    /// A pruner ended it.
    Pruned = 2,
    /// It ended without values.
    Failed = 3,
    /// It waits for somebody to run it.
    Waiting = 4,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] = [Self::Running, Self::Complete, Self::Pruned, Self::Failed, Self::Waiting];

    /// Its name, as Optuna has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Pruned => "pruned",
            Self::Failed => "fail",
            Self::Waiting => "waiting",
        }
    }

    /// Whether the trial is over and never changes again.
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Complete | Self::Pruned | Self::Failed => true,
            Self::Running | Self::Waiting => false,
        }
    }
}

/// Whose attribute it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Owner {
    /// The program's.
    User = 0,
    /// Optuna's own: its samplers and pruners keep notes there.
    System = 1,
}

/// The box that a study's fact travels in: empty when a newer version wrote one that this one does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyFact {
    /// What happened.
    #[prost(oneof = "StudyEvent", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub event: Option<StudyEvent>,
}

/// One thing that happened to a study.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum StudyEvent {
    /// A study came to be.
    #[prost(message, tag = "1")]
    Created(StudyCreated),
    /// A study and all its trials are gone.
    #[prost(message, tag = "2")]
    Removed(StudyRemoved),
    /// An attribute of a study has this value now.
    #[prost(message, tag = "3")]
    AttributeSet(StudyAttributeSet),
    /// A trial came to be.
    #[prost(message, tag = "4")]
    TrialCreated(StudyTrialCreated),
    /// A trial has this value of a parameter.
    #[prost(message, tag = "5")]
    ParamSet(StudyParamSet),
    /// An attribute of a trial has this value now.
    #[prost(message, tag = "6")]
    TrialAttributeSet(StudyTrialAttributeSet),
    /// A trial has this intermediate value at a step.
    #[prost(message, tag = "7")]
    Reported(StudyReported),
    /// A trial waits, runs or is over.
    #[prost(message, tag = "8")]
    TrialMoved(StudyTrialMoved),
}

impl StudyEvent {
    /// The event's name in event lists: `study_created`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "study_created",
            Self::Removed(_) => "study_removed",
            Self::AttributeSet(_) => "study_attribute_set",
            Self::TrialCreated(_) => "study_trial_created",
            Self::ParamSet(_) => "study_param_set",
            Self::TrialAttributeSet(_) => "study_trial_attribute_set",
            Self::Reported(_) => "study_trial_reported",
            Self::TrialMoved(_) => "study_trial_moved",
        }
    }
}

impl From<StudyEvent> for super::Fact {
    fn from(event: StudyEvent) -> Self {
        Self::Study(StudyFact { event: Some(event) })
    }
}

/// See [`StudyEvent::Created`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyCreated {
    /// Its number: from 1, and never used again.
    #[prost(uint64, tag = "1")]
    pub study: u64,
    /// Its id among the sweeps.
    #[prost(message, required, tag = "2")]
    pub sweep: SweepId,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Which way each objective is to go.
    #[prost(enumeration = "Goal", repeated, tag = "4")]
    pub goals: Vec<i32>,
    /// The request that made it; 0 where it had no number.
    #[prost(uint64, tag = "5")]
    pub request: u64,
}

/// See [`StudyEvent::Removed`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StudyRemoved {
    /// The study.
    #[prost(uint64, tag = "1")]
    pub study: u64,
    /// The last number that any study was given until then: numbers are not used again.
    #[prost(uint64, tag = "2")]
    pub last_study: u64,
    /// Likewise of trials.
    #[prost(uint64, tag = "3")]
    pub last_trial: u64,
    /// The request that asked for it; 0 where it had no number.
    #[prost(uint64, tag = "100")]
    pub request: u64,
}

/// See [`StudyEvent::AttributeSet`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StudyAttributeSet {
    /// The study.
    #[prost(uint64, tag = "1")]
    pub study: u64,
    /// Whose attribute it is.
    #[prost(enumeration = "Owner", tag = "2")]
    pub owner: i32,
    /// Its name.
    #[prost(string, tag = "3")]
    pub key: String,
    /// Its value, as JSON.
    #[prost(string, tag = "4")]
    pub value: String,
}

/// See [`StudyEvent::TrialCreated`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyTrialCreated {
    /// The study.
    #[prost(uint64, tag = "1")]
    pub study: u64,
    /// The trial's id: from 1, growing along the log, and never used again in whatever study.
    #[prost(uint64, tag = "2")]
    pub trial: u64,
    /// The trial's number: the number of the study's trials before it.
    #[prost(uint32, tag = "3")]
    pub number: u32,
    /// What it is like; without this it begins to run now.
    #[prost(message, optional, tag = "4")]
    pub body: Option<StudyTrialBody>,
    /// The request that made it; 0 where it had no number.
    #[prost(uint64, tag = "5")]
    pub request: u64,
}

/// All that is known about a trial.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyTrialBody {
    /// Where it stands.
    #[prost(enumeration = "Stage", tag = "1")]
    pub stage: i32,
    /// Its values, one for each objective; empty where it has none.
    #[prost(double, repeated, tag = "2")]
    pub values: Vec<f64>,
    /// When it began, microseconds since the Unix epoch.
    #[prost(int64, optional, tag = "3")]
    pub started_us: Option<i64>,
    /// When it was over, microseconds since the Unix epoch.
    #[prost(int64, optional, tag = "4")]
    pub finished_us: Option<i64>,
    /// Its parameters, in the order in which they were set.
    #[prost(message, repeated, tag = "5")]
    pub params: Vec<StudyParam>,
    /// Its attributes.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<StudyAttribute>,
    /// The steps at which it reported, growing.
    #[prost(sint64, repeated, tag = "7")]
    pub steps: Vec<i64>,
    /// The intermediate value at each of `steps`.
    #[prost(double, repeated, tag = "8")]
    pub reports: Vec<f64>,
    /// The request that moved it where it stands; 0 where none did, or it had no number.
    #[prost(uint64, tag = "9")]
    pub moved_by: u64,
}

/// A parameter of a trial.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyParam {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value as Optuna keeps it: of a choice, its place.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// What it was drawn from, as Optuna's JSON.
    #[prost(string, tag = "3")]
    pub distribution: String,
}

/// An attribute.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StudyAttribute {
    /// Whose it is.
    #[prost(enumeration = "Owner", tag = "1")]
    pub owner: i32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Its value, as JSON.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// See [`StudyEvent::ParamSet`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyParamSet {
    /// The trial's id.
    #[prost(uint64, tag = "1")]
    pub trial: u64,
    /// The parameter.
    #[prost(message, required, tag = "2")]
    pub param: StudyParam,
}

/// See [`StudyEvent::TrialAttributeSet`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StudyTrialAttributeSet {
    /// The trial's id.
    #[prost(uint64, tag = "1")]
    pub trial: u64,
    /// The attribute.
    #[prost(message, required, tag = "2")]
    pub attribute: StudyAttribute,
}

/// See [`StudyEvent::Reported`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyReported {
    /// The trial's id.
    #[prost(uint64, tag = "1")]
    pub trial: u64,
    /// The step.
    #[prost(sint64, tag = "2")]
    pub step: i64,
    /// The value, in place of an earlier one at this step.
    #[prost(double, tag = "3")]
    pub value: f64,
}

/// See [`StudyEvent::TrialMoved`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StudyTrialMoved {
    /// The trial's id.
    #[prost(uint64, tag = "1")]
    pub trial: u64,
    /// Where it stands now.
    #[prost(enumeration = "Stage", tag = "2")]
    pub stage: i32,
    /// Its values; empty leaves what it has.
    #[prost(double, repeated, tag = "3")]
    pub values: Vec<f64>,
    /// The request that moved it; 0 where it had no number.
    #[prost(uint64, tag = "4")]
    pub request: u64,
}
