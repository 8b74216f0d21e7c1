//! A token that is good: as it was made, and who joined by it. Knows hashes only; what a bearer may call is the
//! coordinator's table (`access`).

use std::sync::Arc;

use heats_domain::{AgentId, TokenId};
use imbl::OrdMap;

use crate::fact::{Fact, Record, TokenCreated, TokenRole};

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    created: Arc<Record>,
    uses: OrdMap<AgentId, Arc<Record>>,
}

impl Token {
    pub(crate) fn new(created: Arc<Record>) -> Self {
        Self { created, uses: OrdMap::new() }
    }

    pub(crate) fn used(&mut self, agent: AgentId, record: Arc<Record>) {
        self.uses.insert(agent, record);
    }

    /// As it was made; `None` never, for a token of the state.
    pub fn created(&self) -> Option<&TokenCreated> {
        match self.created.cell.fact.as_ref()? {
            Fact::TokenCreated(fact) => Some(fact),
            _ => None,
        }
    }

    /// When it was made, milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.created.at_ms
    }

    /// What its bearer may do; `None` for what a newer version made.
    pub fn role(&self) -> Option<TokenRole> {
        TokenRole::try_from(self.created()?.role).ok()
    }

    /// How many agents joined by it.
    pub fn uses(&self) -> u32 {
        u32::try_from(self.uses.len()).unwrap_or(u32::MAX)
    }

    /// Whether this agent joined by it.
    pub fn was_used_by(&self, agent: AgentId) -> bool {
        self.uses.contains_key(&agent)
    }

    /// Whether it is too old at `now_ms`.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.created().and_then(|fact| fact.expires_ms).is_some_and(|expires_ms| expires_ms <= now_ms)
    }

    /// Whether it is the token of this secret. Takes as long for a wrong one as for a nearly right one.
    pub fn is_of(&self, secret: &str) -> bool {
        let hash = self.created().and_then(|fact| blake3::Hash::from_slice(&fact.hash).ok());
        // Hashes of this type are compared in constant time.
        hash.is_some_and(|hash| hash == secret_hash(secret))
    }

    /// What it follows from.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        std::iter::once(&self.created).chain(self.uses.values())
    }

    /// Its id.
    pub fn id(&self) -> Option<TokenId> {
        self.created().map(|fact| fact.token)
    }
}

/// What is recorded of a secret. Secrets are 256 random bits: no slower hash would make them harder to guess.
pub fn secret_hash(secret: &str) -> blake3::Hash {
    blake3::hash(secret.as_bytes())
}
