//! Who gets a place: what fits where, in which order sweeps are asked, how much each may have, whose place is taken away,
//! and why nothing fits.
//!
//! Decides on what it is shown; records nothing. `dispatch` says which trial of a sweep is next.

pub mod explain;
pub mod fit;
pub mod line;
pub mod order;
pub mod places;
pub mod preempt;
pub mod quota;
pub mod usage;

pub use fit::{Condition, Free, Suited, failing, grant};
pub use line::Line;
pub use places::{Found, Places, Wish};
pub use usage::Usage;
