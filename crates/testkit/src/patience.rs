//! Waiting for what the system under test does by itself: often looked at, generously limited, never a bare sleep.

use std::time::{Duration, Instant};

/// How long a test waits for anything. Far more than it takes: only a hang runs into it.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often something is looked at that does not announce itself: a file, a process.
const TICK: Duration = Duration::from_millis(5);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// After [`PATIENCE`], with `what` was waited for.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(TICK);
    }
}
