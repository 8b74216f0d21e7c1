//! Random streams: one for each purpose and trial, so that no draw depends on how many came before it.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for. Two purposes never share a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The configuration of one trial.
    Configuration,
    /// The order in which a finite space is dealt.
    Shuffle,
    /// The scrambling of a low-discrepancy sequence.
    Scramble,
    /// The bracket that a trial belongs to.
    Bracket,
    /// Whether a trial is one of a random share.
    Share,
    /// Whether a trial is one of the control group.
    Audit,
    /// Where the lowest bound of a regret is looked for.
    Regret,
    /// Whom a member of a population copies, and what it explores from there.
    Exploit,
}

impl Purpose {
    const fn code(self) -> u8 {
        match self {
            Self::Configuration => 1,
            Self::Shuffle => 2,
            Self::Scramble => 3,
            Self::Bracket => 4,
            Self::Share => 5,
            Self::Audit => 6,
            Self::Regret => 7,
            Self::Exploit => 8,
        }
    }
}

/// The stream of `trial` under the sweep's `seed`.
pub fn stream(seed: u64, trial: u32, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&trial.to_le_bytes());
    key[12] = purpose.code();
    ChaCha8Rng::from_seed(key)
}

/// The stream of the whole sweep under its `seed`.
pub fn sweep_stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    // No trial reaches this number: budgets end below it.
    stream(seed, u32::MAX, purpose)
}
