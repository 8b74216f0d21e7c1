//! What stands in for the training.

use heats_core::ops::attempts::End;
use heats_domain::{Metrics, Params};

/// The attempt whose process is asked.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The trial's number.
    pub trial: u32,
    /// The attempt, from 1. Each begins again at step 1, but for what [`Workload::resume`] leaves out.
    pub attempt: u32,
    /// Its configuration.
    pub params: &'a Params,
    /// Its seed.
    pub seed: u64,
}

/// What a process does next.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// It trains for `took_ms` and reports.
    Trained {
        /// The step that it reports: one higher than the last, where training is not measured in something else.
        at: u64,
        /// Virtual milliseconds.
        took_ms: u64,
        /// What it reports.
        metrics: Metrics,
    },
    /// It exits with 0.
    Done,
    /// It comes to another end.
    Ended {
        /// Virtual milliseconds until then.
        after_ms: u64,
        /// How.
        end: End,
    },
}

/// A training script, as a function. For a run to be repeatable it must answer equal questions equally.
pub trait Workload {
    /// What the process does at `step`, counted from 1.
    fn step(&mut self, running: &Running<'_>, step: u64) -> Step;

    /// How many steps a process leaves out that goes on from a pause, because the checkpoint of the one before it has them.
    /// `reported` is the last step that the trial reported, as it was reported.
    fn resume(&mut self, running: &Running<'_>, reported: u64) -> u64 {
        let _ = (running, reported);
        0
    }
}

impl<F: FnMut(&Running<'_>, u64) -> Step> Workload for F {
    fn step(&mut self, running: &Running<'_>, step: u64) -> Step {
        self(running, step)
    }
}
