//! Everything that a run carried, as one number: two runs that agree in it did the same.

use std::fmt::Write;
use std::time::Duration;

use heats_core::State;

use crate::net::{Parcel, Place};

/// Shows it as well, on standard error.
const SHOW: &str = "HEATS_SIM_SHOW";

#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    line: String,
    shows: bool,
}

impl Trace {
    pub fn begin() -> Self {
        Self { hasher: blake3::Hasher::new(), line: String::new(), shows: std::env::var_os(SHOW).is_some() }
    }

    pub fn add(&mut self, now: Duration, from: Place, to: Place, parcel: &Parcel) {
        if self.shows {
            eprintln!("{now:?} {from:?} -> {to:?} {parcel:?}");
        }
        self.line.clear();
        // Bytes go in as they are: to spell them out took a tenth of a run.
        let (what, data) = match parcel {
            Parcel::Ask { call, data } => (write!(self.line, "ask {call} {}", data.len()), Some(data)),
            Parcel::Answer { call, data } => (write!(self.line, "answer {call} {}", data.len()), Some(data)),
            other => (write!(self.line, "{other:?}"), None),
        };
        what.and_then(|()| write!(self.line, " {from:?} {to:?} {}", now.as_millis())).expect("writes to memory");
        self.hasher.update(self.line.as_bytes());
        if let Some(data) = data {
            self.hasher.update(data);
        }
    }

    pub fn end(mut self, state: &State) -> String {
        self.hasher.update(state.hash().as_bytes());
        self.hasher.finalize().to_hex().chars().take(16).collect()
    }
}
