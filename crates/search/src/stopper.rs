//! What an early-stopping rule is.

use heats_domain::{Direction, Params, StopReason};

use crate::Event;

/// The report that is judged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Judged<'a> {
    /// The trial's number.
    pub trial: u32,
    /// The step of the report.
    pub step: u64,
    /// Its loss, as in [`Event::Reported`].
    pub loss: f64,
    /// Its other losses, likewise.
    pub rest: &'a [f64],
}

/// What becomes of the trial.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It ends here, for this reason.
    Stop(StopReason),
    /// It would end here, for this reason, and goes on as one of the control group. No rule says so itself: see
    /// `stoppers::audit`.
    Spare(StopReason),
    /// It holds here, for this reason, until the rule promotes it.
    Pause(StopReason),
    /// It ends here, and a copy of another one takes its place.
    Fork(Box<Fork>),
}

impl Verdict {
    /// Why the trial does not simply go on, where it does not.
    pub const fn reason(&self) -> Option<&StopReason> {
        match self {
            Self::Continue => None,
            Self::Stop(reason) | Self::Spare(reason) | Self::Pause(reason) => Some(reason),
            Self::Fork(fork) => Some(&fork.reason),
        }
    }
}

/// A trial is to be replaced by one that goes on from the latest checkpoint of another one.
#[derive(Clone, PartialEq, Debug)]
pub struct Fork {
    /// Whose checkpoint.
    pub parent: u32,
    /// The configuration of the new trial.
    pub params: Params,
    /// Why the old one ends.
    pub reason: StopReason,
    /// What becomes of the old one where nobody can take its place: there is no checkpoint, or the budget is used.
    pub instead: Verdict,
}

/// A trial that holds at a rung is to go on.
#[derive(Clone, PartialEq, Debug)]
pub struct Promotion {
    /// The trial's number.
    pub trial: u32,
    /// Why.
    pub reason: StopReason,
}

/// An early-stopping rule: a fold over the events of its sweep.
pub trait Stopper: Send {
    /// Takes one event in.
    fn observe(&mut self, event: &Event<'_>);

    /// Judges a report that has **not** been observed yet: it is observed right after, whatever the verdict.
    fn judge(&self, report: Judged<'_>) -> Verdict;

    /// The trial that holds and should go on next, for rules that pause. It is asked for whenever a place is free, and a
    /// trial that goes on is observed as [`Event::Resumed`]. `more` is whether the sweep may still create trials: a rule
    /// that waits for the trials of a bracket need not wait for those that will never be.
    fn promotion(&self, more: bool) -> Option<Promotion> {
        let _ = more;
        None
    }
}

/// What a stopper is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The (first) objective's direction, so that reasons can show values as they were reported.
    pub direction: Direction,
    /// How many trials the sweep may create, where it has a limit.
    pub trials: Option<u32>,
    /// The sweep's seed.
    pub seed: u64,
}
