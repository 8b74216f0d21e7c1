//! How the attempts of a sweep fare on each machine, and on each of its GPUs: what is known when one is suspected. A fold over the
//! sweep's own journal, like all of it; what follows from it is decided in `ops::quarantine`.

use heats_domain::{AgentId, FailureKind, Grant};
use imbl::Vector;

use crate::trial::Attempt;

/// So many of the failures in a row on one part are remembered, the latest.
pub const STREAK_MAX: usize = 256;

/// What may be at fault where attempts fail: a machine, or one GPU of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Part {
    /// Whose machine.
    pub agent: AgentId,
    /// Which of its GPUs, by index; the machine as a whole where there is none.
    pub gpu: Option<u32>,
}

impl Part {
    /// A machine.
    pub const fn machine(agent: AgentId) -> Self {
        Self { agent, gpu: None }
    }

    /// One GPU of a machine.
    pub const fn gpu(agent: AgentId, index: u32) -> Self {
        Self { agent, gpu: Some(index) }
    }

    /// The machine, and those of its GPUs that are granted.
    pub fn of(agent: AgentId, grant: &Grant) -> impl Iterator<Item = Self> {
        std::iter::once(Self::machine(agent)).chain(grant.gpus.iter().map(move |index| Self::gpu(agent, *index)))
    }

    /// Whether a grant of its machine takes something of it.
    pub fn is_in(self, grant: &Grant) -> bool {
        self.gpu.is_none_or(|index| grant.gpus.contains(&index))
    }
}

impl Attempt {
    /// What may be at fault where it fails; nothing where it spans machines, for it may be any of them, or what is between.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.only_agent().into_iter().flat_map(|agent| Part::of(agent, &self.grant))
    }

    /// What works where it has ended well: the GPUs of its only machine, and then all the machines that it spans.
    pub fn all_parts(&self) -> impl Iterator<Item = Part> {
        self.parts().filter(|part| part.gpu.is_some()).chain(self.agents().map(Part::machine))
    }
}

/// How the attempts of one sweep fare on one part.
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
