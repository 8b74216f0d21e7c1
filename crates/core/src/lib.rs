//! The pure core: facts, the state that follows from them, and the operations that decide them.
//!
//! No tokio, no file system, no network, no clock: time is passed in, and everything is a function.

pub mod artifacts;
pub mod assessment;
pub mod checkpoints;
pub mod confirm;
pub mod dispatch;
pub mod fact;
pub mod front;
pub mod gang;
pub mod health;
pub mod history;
pub mod invariants;
pub mod journal;
pub mod leading;
pub mod logs;
pub mod notices;
pub mod ops;
pub mod placement;
pub mod prior;
pub mod provenance;
pub mod refusal;
pub mod retention;
pub mod series;
pub mod state;
pub mod statistics;
pub mod study;
pub mod sweep;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod token;
pub mod trial;

pub use confirm::Confirmation;
pub use fact::{Ending, Entry, Fact, FactCell, Record, TokenRole};
pub use journal::{Journal, Page, Piece, Run};
pub use leading::{Leading, Op, Reply, TurnError};
pub use prior::{Prior, PriorTrial};
pub use refusal::Refusal;
pub use state::{ApplyError, State, Turn};
pub use sweep::{Status, Sweep};
pub use token::Token;
pub use trial::Trial;
