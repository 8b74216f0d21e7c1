//! Everything that a run carried, as one number: two runs that agree in it did the same.

use std::time::Duration;

use heats_core::State;

use crate::net::{Parcel, Place};

#[derive(Debug, Default)]
pub struct Trace(blake3::Hasher);

impl Trace {
    pub fn add(&mut self, now: Duration, from: Place, to: Place, parcel: &Parcel) {
        self.0.update(format!("{now:?} {from:?} {to:?} {parcel:?}").as_bytes());
    }

    pub fn end(mut self, state: &State) -> String {
        self.0.update(state.hash().as_bytes());
        self.0.finalize().to_hex().chars().take(16).collect()
    }
}
