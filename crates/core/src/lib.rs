//! The pure core: facts, the state that follows from them, and the operations that decide them.
//!
//! No tokio, no file system, no network, no clock: time is passed in, and everything is a function.

pub mod fact;
pub mod invariants;
pub mod state;
pub mod sweep;
pub mod trial;

pub use fact::{Entry, Fact, FactCell, Record};
pub use state::{ApplyError, State};
pub use sweep::{Status, Sweep};
pub use trial::Trial;
