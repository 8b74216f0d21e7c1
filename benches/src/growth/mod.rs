//! How the cost of deciding grows with a sweep: suggestions and verdicts of `heats-search`, called as the coordinator calls it,
//! and those of Optuna on a study in memory, which is the quickest that it has.

mod memory;
mod study;

pub(crate) mod ask;
pub(crate) mod verdicts;
