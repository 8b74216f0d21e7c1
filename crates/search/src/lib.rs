//! Searchers propose configurations; stoppers end trials that are not worth their compute.
//!
//! Both are folds over what happened in one sweep, in log order: [`Event`]s go in, a suggestion or a
//! verdict comes out, and the same events and seed always give the same answer. Neither knows of
//! agents, leases, attempts or time, and neither is ever stored: a new leader folds the history again.

pub mod conformance;
pub mod event;
pub mod searcher;
pub mod searchers;
pub mod stopper;
pub mod stoppers;

pub use event::{Event, Outcome};
pub use searcher::{Ask, Problem, Searcher, Suggestion};
pub use stopper::{Judged, Setting, Stopper, Verdict};
