//! Requests from the wire as the core's own types.

use heats_core::ops::attempts::{End, Finish, Key};
use heats_core::ops::control::{Edit, Verb};
use heats_core::ops::start::Start;

use crate::v1;

/// Why a message means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("the message lacks `{0}`")]
    Missing(&'static str),
    /// A number is not one that the protocol names.
    #[error("{value} is not a value of `{field}`")]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// Columns of points differ in length.
    #[error("the columns of a series do not fit together")]
    Columns,
}

/// The value of a required field.
pub fn required<T>(value: Option<T>, field: &'static str) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::Missing(field))
}

impl TryFrom<v1::AttemptKey> for Key {
    type Error = ConvertError;

    fn try_from(message: v1::AttemptKey) -> Result<Self, ConvertError> {
        let v1::AttemptKey { sweep, trial, attempt } = message;
        Ok(Self { sweep: required(sweep, "sweep")?, trial, attempt })
    }
}

impl From<Key> for v1::AttemptKey {
    fn from(key: Key) -> Self {
        let Key { sweep, trial, attempt } = key;
        Self { sweep: Some(sweep), trial, attempt }
    }
}

/// The start as rank 0's: an agent does not say which member of an attempt it has, and need not be believed.
impl TryFrom<v1::Started> for Start {
    type Error = ConvertError;

    fn try_from(message: v1::Started) -> Result<Self, ConvertError> {
        let v1::Started { key, environment, environment_name: name, found, warm, cold } = message;
        Ok(Self { key: required(key, "key")?.try_into()?, rank: 0, environment, name, found, warm, cold })
    }
}

/// The end, likewise.
impl TryFrom<v1::Finished> for Finish {
    type Error = ConvertError;

    fn try_from(message: v1::Finished) -> Result<Self, ConvertError> {
        let v1::Finished { key, end, ran_ms, cpu_ms, max_rss, detail } = message;
        let key = required(key, "key")?.try_into()?;
        Ok(Self { key, rank: 0, end: required(end, "end")?.try_into()?, ran_ms, cpu_ms, max_rss, detail })
    }
}

impl TryFrom<v1::End> for End {
    type Error = ConvertError;

    fn try_from(message: v1::End) -> Result<Self, ConvertError> {
        use v1::end::Kind;
        let v1::End { kind, code, signal } = message;
        let kind = Kind::try_from(kind).map_err(|_| ConvertError::Unknown { field: "end.kind", value: kind })?;
        Ok(match kind {
            Kind::Exited => Self::Exited(code),
            Kind::Signaled => Self::Signaled(signal),
            Kind::OutOfMemory => Self::OutOfMemory,
            Kind::TimedOut => Self::TimedOut,
            Kind::StartFailed => Self::StartFailed,
            Kind::Lost => Self::Lost,
            Kind::Stopped => Self::Stopped,
            Kind::Infeasible => Self::Infeasible,
            Kind::Preempted => Self::Preempted,
        })
    }
}

impl From<v1::Verb> for Verb {
    fn from(verb: v1::Verb) -> Self {
        match verb {
            v1::Verb::Pause => Self::Pause,
            v1::Verb::Resume => Self::Resume,
            v1::Verb::Stop => Self::Stop,
            v1::Verb::Cancel => Self::Cancel,
        }
    }
}

impl From<&v1::EditRequest> for Edit {
    fn from(request: &v1::EditRequest) -> Self {
        let v1::EditRequest { sweep: _, trials, more_trials, parallel, priority } = request;
        Self { trials: *trials, more_trials: *more_trials, parallel: *parallel, priority: *priority }
    }
}
