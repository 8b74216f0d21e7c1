//! One trial as the state keeps it: where it stands and what its attempts did. Its configuration, its
//! metric series and its verdicts are in the sweep's journal; `records` and `series` say where.

use std::sync::Arc;

use heats_domain::{AgentId, Artifact, Checkpoint, FailureKind, Grant, NotKept, TrialState};
use imbl::Vector;

use crate::checkpoints::Saved;
use crate::fact::Forked;
use crate::gang::Gang;
use crate::series::Series;

/// A trial.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Its number within the sweep.
    pub number: u32,
    /// How many trials before it were proposed: the number that searchers and stoppers know it by, unless it confirms.
    pub ordinal: u32,
    /// The leader that it confirms. It is no part of the search then: see `confirm`.
    pub confirms: Option<u32>,
    /// Where it comes from, for one that goes on from another trial's checkpoint.
    pub forked: Option<Arc<Forked>>,
    /// Where it stands.
    pub state: TrialState,
    /// The places in the sweep's journal of its facts other than reports, in order; the first is its creation.
    pub records: Vector<u32>,
    /// The places of its reports, in order; steps only grow along them. Apart from the others, because there
    /// may be a million of them, and whoever looks for one of the others should not walk over them.
    pub series: Series,
    /// Its attempts so far; attempt `n` is at `n - 1`, and only the last can be live. Shared, since a trial is copied with each
    /// of its reports.
    pub attempts: Vec<Arc<Attempt>>,
    /// How many of `run.retries` its failures have used up.
    pub retries_used: u32,
    /// The last step that it reported: the high-water mark below which reports are repetitions. Before its first report that
    /// is the step of the checkpoint which it was forked from.
    pub last_step: Option<u64>,
    /// The objective's value in the last report that had it; NaN and infinities included. With several objectives, the
    /// first's in the last report that had all.
    pub last_value: Option<f64>,
    /// A rule would have stopped it, and it runs on as one of the control group: see [`crate::Sweep::spared`].
    pub spared: bool,
    /// The best value of the objective that it reported, and its step; always a finite number. With several objectives, the
    /// first's in `point`.
    pub best: Option<Best>,
    /// With several objectives, their values in the last report that had all, in the file's order; empty where one of them was
    /// no finite number, and for one objective. The last and not the best of each: a point stands for one model, and the
    /// values that it had at different steps are those of no model.
    pub point: Vec<f64>,
    /// Its checkpoints that attempts may go on from, in the order in which they were saved.
    pub checkpoints: Vec<Checkpoint>,
    /// The last checkpoint that was saved, whatever became of it.
    pub saved: Option<Saved>,
    /// The files that it keeps for people, in the order in which they were kept; no two have the same name.
    pub artifacts: Vec<Artifact>,
    /// The files that it made for people and that are not kept, as they were said last; no two have the same name.
    pub not_kept: Vec<NotKept>,
}

/// The best value of a trial.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Best {
    /// As reported.
    pub value: f64,
    /// The step that it was reported at.
    pub step: u64,
}

/// One attempt at a trial: one process on one agent, or one on each of several.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempt {
    /// Who got it; of a gang, its rank 0.
    pub agent: AgentId,
    /// What it holds of the agent's inventory while it is live.
    pub grant: Grant,
    /// The place, in the sweep's `resources`, of the variant that it was granted.
    pub variant: u32,
    /// When it was leased, by the leader's clock.
    pub leased_ms: u64,
    /// When its process was started, as far as the leader heard.
    pub started_ms: Option<u64>,
    /// It has reported something new, or ended well: its machine works.
    pub worked: bool,
    /// When and how it ended; it is live until then.
    pub end: Option<AttemptEnd>,
    /// Its members, where it spans machines; rank 0, which `agent`, `grant` and `started_ms` are about, is the first.
    pub gang: Option<Box<Gang>>,
}

/// How an attempt ended, or one member of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttemptEnd {
    /// When, by the leader's clock.
    pub at_ms: u64,
    /// Why it failed, where it did.
    pub failure: Option<FailureKind>,
    /// Wall time of its process.
    pub ran_ms: u64,
    /// Processor time of its process.
    pub cpu_ms: u64,
    /// The failure is put down to the machine: it counts against no retry.
    pub excused: bool,
    /// The trial was tried again for one of its retries.
    pub retried: bool,
}

impl Trial {
    /// How many steps it reported.
    pub fn reports(&self) -> u32 {
        self.series.len() as u32
    }

    /// The number of the last attempt; 0 where there was none.
    pub const fn attempt(&self) -> u32 {
        self.attempts.len() as u32
    }

    /// Whether it may be tried again although it has ended: it failed, if only because its configuration does wherever it is
    /// tried. One that said itself that it cannot be run may not.
    pub fn may_be_asked_for_again(&self) -> bool {
        let has_failed =
            || self.attempts.last().and_then(|attempt| attempt.end).is_some_and(|end| end.failure.is_some());
        self.state == TrialState::Failed || self.state == TrialState::Infeasible && has_failed()
    }

    /// Puts the failure of an attempt down to its machine, so that it counts against no retry.
    pub(crate) fn excuse(&mut self, attempt: u32) -> Result<(), &'static str> {
        let place = (attempt as usize).checked_sub(1);
        let attempt = place.and_then(|place| self.attempts.get_mut(place)).map(Arc::make_mut);
        let end = attempt.and_then(|attempt| attempt.end.as_mut()).ok_or("the attempt has not ended")?;
        if std::mem::replace(&mut end.excused, true) {
            return Err("the attempt was excused before");
        }
        if std::mem::take(&mut end.retried) {
            self.retries_used -= 1;
        }
        Ok(())
    }

    /// The attempt that holds a lease now, with its number.
    pub fn live(&self) -> Option<(u32, &Attempt)> {
        let attempt = self.attempts.last()?;
        attempt.end.is_none().then_some((self.attempt(), attempt))
    }

    /// Whether the process of this rank of its live attempt was started, as far as the leader heard.
    pub fn has_begun(&self, rank: u32) -> bool {
        match rank {
            // A report says as much as the start itself, which may have been lost.
            0 => self.state == TrialState::Running,
            _ => self.live().and_then(|(_, attempt)| attempt.member(rank)).is_some_and(|m| m.started_ms.is_some()),
        }
    }

    /// Whether the processes of its live attempt are to end: it is over, or holds at a rung, or a member of it has failed.
    pub fn is_being_ended(&self) -> bool {
        self.state.is_at_rest() || self.live().is_some_and(|(_, attempt)| attempt.is_breaking_up())
    }
}
