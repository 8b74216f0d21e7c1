//! Parzen estimators over the unit cube of a search space, as Optuna's TPE builds them.

pub mod axis;
pub mod crowd;
pub mod history;
pub mod mixture;
pub mod normal;
