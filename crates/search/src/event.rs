//! What happened in a sweep, as far as searching and stopping are concerned.

use heats_domain::Params;

/// One thing that happened, in log order. Losses are the objectives' values turned so that smaller is
/// better; a value that is not a number is `+inf`. A report that lacks an objective is no event.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'a> {
    /// A trial came to be, with this configuration.
    Created {
        /// The trial's number.
        trial: u32,
        /// Its configuration.
        params: &'a Params,
    },
    /// A trial came to be that goes on from another one's checkpoint, in the place of a third one, which has ended.
    Forked {
        /// The trial's number.
        trial: u32,
        /// Whose checkpoint it is.
        parent: u32,
        /// The checkpoint's step: the trial reports later ones only.
        step: u64,
        /// The last loss of the one that it replaces.
        loss: f64,
        /// Its configuration.
        params: &'a Params,
    },
    /// A trial reported at a step that it had not reported before; steps of one trial increase.
    Reported {
        /// The trial's number.
        trial: u32,
        /// How much of the resource it has used.
        step: u64,
        /// The loss at that step; with several objectives, the first's.
        loss: f64,
        /// The losses of the other objectives, in the file's order; empty (and nothing is allocated) for one.
        rest: Vec<f64>,
    },
    /// A trial holds at a rung, by the verdict on its last report, until its rule lets it go on. Most never do: to who
    /// learns from trials, one that holds is as one that was stopped.
    Paused {
        /// The trial's number.
        trial: u32,
        /// The loss of its last report.
        loss: f64,
    },
    /// A trial that held goes on.
    Resumed {
        /// The trial's number.
        trial: u32,
    },
    /// A stopper would have ended a trial at its last report, and it runs on as one of the control group. It still reports,
    /// and ends.
    Spared {
        /// The trial's number.
        trial: u32,
        /// The loss of that report.
        loss: f64,
    },
    /// No more trials are proposed than there are, or than a user says now.
    Limited {
        /// Whether a user says it. Otherwise nothing more was worth a trial: see [`Suggestion`](crate::Suggestion).
        by_user: bool,
    },
    /// A trial ended for good.
    Ended {
        /// The trial's number.
        trial: u32,
        /// How.
        outcome: Outcome,
    },
}

/// How a trial ended. With several objectives a loss is the first's, and what a trial came to is its last report.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outcome {
    /// It ran to its end; its final loss.
    Completed(f64),
    /// A stopper ended it; the loss of its last report.
    Stopped(f64),
    /// It failed, or was cancelled: nothing is known about its configuration.
    Failed,
    /// Its configuration cannot be run.
    Infeasible,
}
