//! Starts of trials that say whether they were warm.

use heats_core::fact::{Fact, TrialStarted};
use heats_domain::{Digest, SweepId};

pub const V22: &[u8] = include_bytes!("entry-v22.bin");

/// The fields that versions before did not have.
pub fn started() -> Vec<Fact> {
    let start = |attempt, warm, cold: &str| {
        let (sweep, cold) = (SweepId { bits: 5 }, cold.to_owned());
        let name = |low| Some(Digest { high: 0x0123_4567_89ab_cdef, low });
        let (environment_name, hardware_name) = (name(1), name(2));
        let environment = "cpython 3.12.1".into();
        Fact::TrialStarted(TrialStarted {
            sweep,
            trial: 7,
            attempt,
            environment,
            environment_name,
            hardware_name,
            rank: 0,
            warm,
            cold,
        })
    };
    vec![start(2, true, ""), start(3, false, "its imports have started a thread")]
}
