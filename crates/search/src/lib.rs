//! Searchers propose configurations; stoppers end trials that are not worth their compute.
//!
//! Both are folds over what happened in one sweep, in log order: [`Event`]s go in, a suggestion or a
//! verdict comes out, and the same events and seed always give the same answer. Neither knows of
//! agents, leases, attempts or time, and neither is ever stored: a new leader folds the history again.

pub mod around;
pub mod blocks;
pub mod check;
pub mod cma;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod deck;
pub mod draw;
pub mod event;
pub mod front;
pub mod gp;
pub mod kde;
pub mod lattice;
pub mod parzen;
pub mod pbt;
pub mod plug;
pub mod prior;
pub mod ranked;
pub mod rng;
pub mod searcher;
pub mod searchers;
pub mod standing;
pub mod stopper;
pub mod stoppers;

pub use check::{Misfit, check, notes};
pub use event::{Event, Outcome};
pub use plug::{About, Complaint, PlugError};
pub use prior::{Past, Prior};
pub use searcher::{Ask, Problem, Searcher, Suggestion};
pub use searchers::build_searcher;
pub use stopper::{Fork, Judged, Promotion, Setting, Stopper, Verdict};
pub use stoppers::build_stopper;
