//! Everything that a run carried, as one number: two runs that agree in it did the same.

use std::time::Duration;

use heats_core::State;

use crate::net::{Parcel, Place};

/// Shows it as well, on standard error.
const SHOW: &str = "HEATS_SIM_SHOW";

#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    shows: bool,
}

impl Trace {
    pub fn begin() -> Self {
        Self { hasher: blake3::Hasher::new(), shows: std::env::var_os(SHOW).is_some() }
    }

    pub fn add(&mut self, now: Duration, from: Place, to: Place, parcel: &Parcel) {
        let line = format!("{now:?} {from:?} -> {to:?} {parcel:?}");
        if self.shows {
            eprintln!("{line}");
        }
        self.hasher.update(line.as_bytes());
    }

    pub fn end(mut self, state: &State) -> String {
        self.hasher.update(state.hash().as_bytes());
        self.hasher.finalize().to_hex().chars().take(16).collect()
    }
}
