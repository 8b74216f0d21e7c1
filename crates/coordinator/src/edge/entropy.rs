//! The system's randomness: ids and seeds come from here.

use heats_domain::{SweepId, TokenId};

use super::clock::Clock;

/// 64 random bits.
#[expect(clippy::disallowed_methods, reason = "the edge takes chance from the system")]
pub fn bits() -> u64 {
    rand::random()
}

/// A new token's id.
pub fn token_id(clock: &dyn Clock) -> TokenId {
    TokenId::mint(clock.now_ms(), bits())
}

/// A new sweep's id.
pub fn sweep_id(clock: &dyn Clock) -> SweepId {
    SweepId::mint(clock.now_ms(), bits())
}
