//! How the attempts of a sweep fare on each agent: what is known when a machine is suspected. A fold over the sweep's own
//! journal, like all of it; what follows from it is decided in `ops::quarantine`.

use heats_domain::FailureKind;
use imbl::Vector;

/// So many of the failures in a row on one agent are remembered, the latest.
pub const STREAK_MAX: usize = 256;

/// How the attempts of one sweep fare on one agent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// Attempts whose process was started.
    pub started: u32,
    /// Attempts whose process could not be started.
    pub start_failed: u32,
    /// Attempts that have reported something new, or ended well, and have not failed since.
    pub worked: u32,
    /// Attempts that failed after they were started: see [`is_own`].
    pub failed: u32,
    /// Trials whose last attempt there ended them well: completed, stopped by a rule, or paused by one.
    pub ended_well: u32,
    /// The log index at which an attempt there worked last.
    pub worked_at: u64,
    /// The attempts that have failed there since, in order.
    pub streak: Vector<Failed>,
}

/// An attempt that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Whose.
    pub trial: u32,
    /// Which.
    pub attempt: u32,
    /// How.
    pub kind: FailureKind,
    /// Wall time of its process, in milliseconds.
    pub ran_ms: u64,
    /// The log index of its end.
    pub index: u64,
}

impl Tally {
    pub(crate) fn note_worked(&mut self, index: u64) {
        self.worked += 1;
        self.worked_at = index;
        self.streak.clear();
    }

    /// An attempt failed, which may have worked before.
    pub(crate) fn note_failed(&mut self, failed: Failed, had_worked: bool) {
        self.worked = self.worked.saturating_sub(u32::from(had_worked));
        match failed.kind {
            FailureKind::StartFailed => self.start_failed += 1,
            _ => self.failed += 1,
        }
        if self.streak.len() == STREAK_MAX {
            self.streak.pop_front();
        }
        self.streak.push_back(failed);
    }
}

/// Whether a failure is the process's own, or its machine's, so that it says something about one of them. Where no metric was
/// reported the program ran to its end, and the others were ended from outside.
pub const fn is_own(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Exit
        | FailureKind::Signal
        | FailureKind::OutOfMemory
        | FailureKind::Timeout
        | FailureKind::StartFailed => true,
        FailureKind::NoMetric | FailureKind::NodeLost | FailureKind::Preempted => false,
    }
}
