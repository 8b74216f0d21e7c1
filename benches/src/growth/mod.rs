//! How the cost of deciding grows: with a sweep, suggestions and verdicts of `heats-search`, called as the coordinator calls it,
//! and those of Optuna on a study in memory, which is the quickest that it has; with the sweeps that wait, the leader's turns.

mod memory;
mod study;

pub(crate) mod ask;
pub(crate) mod turns;
pub(crate) mod verdicts;
