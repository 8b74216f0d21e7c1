//! The wall clock. It stamps facts for people; it never decides a lease (see `leases`).

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 for a clock that is set before it.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
