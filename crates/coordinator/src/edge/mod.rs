//! Where the outside enters: the wall clock and chance. Nothing else in this crate asks the system for either.

pub mod clock;
pub mod entropy;
pub mod zone;
