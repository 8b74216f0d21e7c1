//! How long to wait between tries: full jitter, so that clients that failed together do not return together.

use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that grow from 50 ms to 2 s, each drawn between nothing and its bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
}

impl Backoff {
    /// From the beginning.
    pub(crate) const fn new() -> Self {
        Self { bound: FIRST }
    }

    /// The next wait; the bound doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST);
        // Without entropy there is no jitter, and the bound itself is a wait as well.
        random().map_or(bound, |random| bound.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64))
    }
}

/// 64 bits from the operating system.
pub(crate) fn random() -> Option<u64> {
    SysRng.try_next_u64().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_drawn_below_a_bound_that_doubles_up_to_two_seconds() {
        let mut backoff = Backoff::new();
        for bound_ms in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next();
            assert!(wait < Duration::from_millis(bound_ms), "{wait:?} of {bound_ms} ms");
        }
        let waits: Vec<Duration> = (0..8).map(|_| backoff.next()).collect();
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]), "{waits:?}");
    }
}
