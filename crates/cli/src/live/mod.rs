//! Following a sweep to its end: a live view on a terminal, plain lines elsewhere, and the summary.
//! All of it but the summary goes to standard error.

mod follow;
mod on_new_best;
mod plain;
mod progress;
mod screen;
mod summary;

pub use follow::{follow, said_by_agent};
pub use on_new_best::OnNewBest;
pub(crate) use progress::fresh_runs;
pub use summary::{counted_from, print, write_lineage, write_params, write_sweep};
