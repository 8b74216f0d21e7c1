//! What a simulated run comes to.

use std::sync::Arc;

use heats_core::invariants::Violation;
use heats_core::{ApplyError, Ending, Refusal, Sweep, TurnError};

/// A sweep that came to its end.
#[derive(Clone, Debug)]
pub struct SimReport {
    /// The sweep as it ended, with its whole history.
    pub sweep: Arc<Sweep>,
    /// How it ended.
    pub ending: Ending,
    /// How long it took, in virtual milliseconds.
    pub took_ms: u64,
    /// Whenever a trial reported a better value than any before: the virtual milliseconds since the start, and the value.
    pub improvements: Vec<(u64, f64)>,
    /// Steps that were trained, those of lost attempts included.
    pub steps: u64,
    /// Entries that the log has.
    pub entries: u64,
    /// The hash of the state in the end.
    pub state_hash: blake3::Hash,
    /// The hash of every entry: equal for equal runs.
    pub log_hash: blake3::Hash,
    /// What went wrong on the way.
    pub troubles: Troubles,
}

/// How often things went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Troubles {
    /// Agents that died.
    pub deaths: u64,
    /// Streams that were cut.
    pub cuts: u64,
    /// Changes of the leader.
    pub failovers: u64,
    /// Agents whose leases expired.
    pub expired: u64,
    /// Messages that arrived a second time.
    pub repeated: u64,
    /// Messages that were refused as stale.
    pub stale: u64,
}

impl SimReport {
    /// The best trial and its best value.
    pub fn best(&self) -> Option<(u32, f64)> {
        let trial = self.sweep.best()?;
        Some((trial.number, trial.best?.value))
    }
}

/// Why a run came to no end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SimError {
    /// The sweep cannot be started, or its searcher or stopper not be built.
    #[error("the sweep is refused: {0}")]
    Refused(#[from] Refusal),
    /// The leader contradicted itself.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The second state did not take an entry.
    #[error("a follower cannot apply an entry: {0}")]
    Apply(#[from] ApplyError),
    /// An entry did not survive its encoding.
    #[error("entry {index} does not decode")]
    Encoding {
        /// The log index.
        index: u64,
    },
    /// The leader's draft is not what a follower has.
    #[error("after entry {index} the leader's state is not the follower's")]
    Diverged {
        /// The log index.
        index: u64,
    },
    /// An invariant is broken.
    #[error("after entry {index}: {violation}")]
    Broken {
        /// The log index.
        index: u64,
        /// What.
        violation: Violation,
    },
    /// Nothing runs, nothing is about to happen, and the sweep has not ended.
    #[error("after {trials} trials nothing runs and nothing fits: no agent is large enough")]
    Stalled {
        /// The trials so far.
        trials: u32,
    },
    /// The workload went on and on.
    #[error("after {steps} steps the sweep has not ended")]
    TooLong {
        /// The steps so far.
        steps: u64,
    },
}
