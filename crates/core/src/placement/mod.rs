//! Who gets a place: what fits where, in which order sweeps are asked, and why nothing fits.
//!
//! Decides on what it is shown; records nothing. `dispatch` says which trial of a sweep is next.

pub mod fit;
pub mod places;

pub use fit::{Condition, Free, Suited, failing, grant};
pub use places::Places;
