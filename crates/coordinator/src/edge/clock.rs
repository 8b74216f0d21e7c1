//! The wall clock. It stamps facts for people; it never decides a lease (see `leases`).

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day; in a simulation, one that is wrong or jumps.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch; 0 for a clock that is set before it.
    fn now_ms(&self) -> u64;
}

/// The machine's own.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}
