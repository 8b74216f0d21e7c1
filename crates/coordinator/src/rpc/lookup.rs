//! What the calls share: the sweep that a user means, and the shape of a stream of answers.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use heats_core::{Refusal, State, Sweep};
use heats_domain::SweepId;
use tonic::Status;

use crate::status::refused;

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The sweep that a user means.
pub fn find<'a>(state: &'a State, text: &str) -> Result<&'a Arc<Sweep>, Status> {
    state.find(text).ok_or_else(|| refused(&Refusal::NoSuchSweep(text.to_owned())))
}

/// Whether the sweep is over, or gone.
pub fn sweep_ended(state: &State, id: SweepId) -> bool {
    state.sweeps.get(&id).is_none_or(|sweep| sweep.is_ended())
}
