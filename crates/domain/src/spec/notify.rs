//! Who outside of the cluster is told what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is told about what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// What happened.
    pub on: Vec<NotifyOn>,
    /// Where to post it: an address that begins with `https://` or `http://`.
    pub webhook: String,
}

/// What can be told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyOn {
    /// The sweep has ended by itself, or was stopped.
    Finished,
    /// The sweep has failed, or was cancelled.
    Failed,
    /// A trial is better than all before it.
    NewBest,
}

impl NotifyOn {
    /// The name that the sweep file has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::NewBest => "new_best",
        }
    }
}
