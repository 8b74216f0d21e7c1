//! How often a trial is tried again, by the kind of its failure. What follows from it is decided in `core`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FailureKind;

/// How often a trial is tried again after failures of one kind, in place of `run.retries`. A kind that is named is counted by
/// itself; those that are not share `run.retries`. An attempt that was lost, given back or failed because of its machine counts
/// for none of them, and a trial that never reported its objective is not tried again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// After it left with an exit code other than 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u32>,
    /// After a signal that Heats did not send ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u32>,
    /// After it was killed for its memory: a number, or `next_variant` for once on each later variant of `resources` that asks
    /// for no less memory. Without the key, those variants come first, and then `run.retries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
    /// After it ran longer than `run.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// After it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_failed: Option<u32>,
}

/// What follows once a trial was killed for its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OutOfMemory {
    /// It is tried again so often, with what it was given before.
    Times(u32),
    /// It is tried again with more.
    Variants(Variants),
}

/// Which variants of `resources` a trial that ran out of memory is tried again with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variants {
    /// Each later one that asks for no less memory, once.
    NextVariant,
}

impl Retry {
    /// How often a trial may be tried again after failures of this kind, where the kind has a number of its own.
    pub const fn of(&self, kind: FailureKind) -> Option<u32> {
        match kind {
            FailureKind::Exit => self.exit,
            FailureKind::Signal => self.signal,
            FailureKind::OutOfMemory => match self.out_of_memory {
                Some(OutOfMemory::Times(times)) => Some(times),
                // With no variant left, more of the same would end the same.
                Some(OutOfMemory::Variants(Variants::NextVariant)) => Some(0),
                None => None,
            },
            FailureKind::Timeout => self.timeout,
            FailureKind::StartFailed => self.start_failed,
            FailureKind::NoMetric => Some(0),
            FailureKind::NodeLost | FailureKind::Preempted => None,
        }
    }

    /// Whether a trial that ran out of memory is tried again with a later variant first.
    pub const fn tries_variants(&self) -> bool {
        !matches!(self.out_of_memory, Some(OutOfMemory::Times(_)))
    }

    /// The numbers that are given, by their keys.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let Self { exit, signal, out_of_memory, timeout, start_failed } = self;
        let memory = match out_of_memory {
            Some(OutOfMemory::Times(times)) => Some(*times),
            Some(OutOfMemory::Variants(Variants::NextVariant)) | None => None,
        };
        let all = [
            ("exit", *exit),
            ("signal", *signal),
            ("out_of_memory", memory),
            ("timeout", *timeout),
            ("start_failed", *start_failed),
        ];
        all.into_iter().filter_map(|(key, times)| Some((key, times?)))
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
