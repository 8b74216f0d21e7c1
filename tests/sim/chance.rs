//! Where a run's chance comes from: its seed, and nothing else. Libraries ask the operating system for randomness, for
//! timeouts and for the order of their maps; in a run, this answers in its place.

use std::cell::RefCell;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

thread_local! {
    static SYSTEM: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
}

/// From now on, what this thread hears from the operating system's source of randomness follows from `seed`. To be called
/// before anything of the thread has asked.
pub fn decide_by(seed: u64) {
    SYSTEM.set(Some(ChaCha8Rng::seed_from_u64(seed)));
}

/// Takes the place of the C library's function, for the standard library and for everybody else who looks it up by its
/// name (`build.rs` makes the name visible).
///
/// # Safety
/// As of the C library's: `buffer` has room for `length` bytes.
#[expect(unsafe_code, reason = "there is no other way to decide what libraries take for random")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if buffer.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller promises it, and it is not null.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let decided = SYSTEM.try_with(|system| {
        let mut system = system.borrow_mut();
        system.as_mut().map(|rng| rng.fill_bytes(bytes)).is_some()
    });
    if decided != Ok(true) {
        // Threads that take no part in a run.
        return match rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => count as isize,
            Err(_) => -1,
        };
    }
    length as isize
}

/// The run's own dice, apart from what libraries use up.
#[derive(Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// True as often as `odds` says, from 0 to 1.
    pub fn chance(&mut self, odds: f64) -> bool {
        self.0.random_bool(odds.clamp(0.0, 1.0))
    }

    /// One of `things`.
    pub fn pick<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        (!things.is_empty()).then(|| things[self.between(0, things.len() as u64 - 1) as usize])
    }

    /// Another source, whose numbers do not depend on how many this one gives out later.
    pub fn split(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }
}
