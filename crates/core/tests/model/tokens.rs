//! The rules about tokens, as they are written down: who may join by what, and as whom.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::TokenRole;

use crate::oracle::Answer;

/// A token of the test; its secret is one of few, so that requests repeat.
#[derive(Clone, Debug)]
pub struct Token {
    pub secret: u8,
    pub role: TokenRole,
    pub expires: Option<u64>,
    pub max: u32,
    pub users: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Tokens {
    pub good: BTreeMap<u64, Token>,
    /// The key that each agent joined with.
    pub keys: BTreeMap<u64, u8>,
}

impl Tokens {
    pub fn create(&mut self, now: u64, id: u64, token: Token) -> Answer {
        if let Some((same, _)) = self.good.iter().find(|(_, other)| other.secret == token.secret) {
            return Answer::Token(*same);
        }
        let free = (id..).find(|id| !self.good.contains_key(id)).expect("few tokens");
        self.good.retain(|_, token| token.expires.is_none_or(|at| now < at));
        self.good.insert(free, token);
        Answer::Token(free)
    }

    pub fn revoke(&mut self, id: u64) -> Answer {
        if self.good.remove(&id).is_some() { Answer::Token(id) } else { Answer::Refused("H0016") }
    }

    pub fn join(&mut self, now: u64, id: u64, agent: u64, key: u8) -> Answer {
        let Some(token) = self.good.get_mut(&id) else { return Answer::Refused("H0016") };
        if token.role != TokenRole::Agent || token.expires.is_some_and(|at| at <= now) {
            return Answer::Refused("H0017");
        }
        if self.keys.get(&agent).is_some_and(|known| *known != key) {
            return Answer::Refused("H0019");
        }
        if !token.users.contains(&agent) && token.users.len() >= token.max as usize {
            return Answer::Refused("H0017");
        }
        token.users.insert(agent);
        self.keys.insert(agent, key);
        Answer::Done
    }
}
