//! How the processes of a sweep's trials are treated, and what is kept of what they write.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Retry, is_false, one};
use crate::units::Span;

/// How a trial's process is treated.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The longest that one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often a trial that failed is tried again.
    #[serde(default = "two")]
    pub retries: u32,
    /// How often after failures of one kind.
    #[serde(default, skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,
    /// The time between SIGTERM and SIGKILL.
    #[serde(default = "stop_grace")]
    pub stop_grace: Span,
    /// Pay the imports of a Python script once per agent: its trials are forked from a process that has them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub warm: bool,
    /// The modules that this process imports, such as `sklearn.linear_model`; without any, those that the script itself imports
    /// at its top level. Modules of its own are imported before only where they are named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<String>,
    /// What an exit code means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exit_codes: BTreeMap<String, ExitMeaning>,
    /// More environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            timeout: None,
            retries: two(),
            retry: Retry::default(),
            stop_grace: stop_grace(),
            warm: false,
            imports: Vec::new(),
            exit_codes: BTreeMap::new(),
            env: BTreeMap::new(),
        }
    }
}

const fn two() -> u32 {
    2
}

const fn stop_grace() -> Span {
    Span { ms: 10_000 }
}

/// Which checkpoints are kept; all others are removed from where they are stored. Those of the trial that leads are never
/// among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// Of so many trials, those with the best values, checkpoints are kept when they have ended: the latest, and that of the
    /// step with the best value.
    #[serde(default = "one")]
    pub best: u32,
    /// So many of the latest checkpoints of a trial that may go on, at least 1: that from which it would go on, and that of the
    /// step with its best value, are kept beside them.
    #[serde(default = "one")]
    pub latest: u32,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { best: one(), latest: one() }
    }
}

impl Checkpoints {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an exit code means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitMeaning {
    /// Try again; does not use up a retry. Code 75 has this meaning by default.
    Retry,
    /// The configuration cannot be run. Code 65 has this meaning by default.
    Infeasible,
    /// Failed, and not to be tried again.
    Fail,
}
