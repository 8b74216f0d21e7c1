//! Tokens: made and revoked by admins, and used by agents that join.

use heats_domain::{AgentId, TokenId};

use super::Decision;
use crate::fact::{AgentJoined, Fact, TokenCreated, TokenRevoked, TokenRole, TokenUsed};
use crate::refusal::Refusal;
use crate::state::State;

/// The most tokens at once.
pub const TOKENS_MAX: usize = 10_000;
/// The longest name of a token, in bytes.
pub const NAME_MAX: usize = 128;
/// The most agents that may join by one token.
pub const USES_MAX: u32 = 100_000;

/// A token that is to be made.
#[derive(Clone, PartialEq, Debug)]
pub struct Create {
    /// Its id.
    pub token: TokenId,
    /// Its name, for people.
    pub name: String,
    /// What its bearer may do.
    pub role: TokenRole,
    /// The hash of its secret. The same one twice is the same request twice.
    pub hash: blake3::Hash,
    /// How long it is good, in milliseconds; for ever, where this is `None`.
    pub ttl_ms: Option<u64>,
    /// How many agents may join by it.
    pub uses_max: u32,
}

impl Create {
    /// Makes the token; expired ones go.
    pub fn decide(self, state: &State, now_ms: u64) -> Decision<TokenId> {
        let Self { token, name, role, hash, ttl_ms, uses_max } = self;
        if name.len() > NAME_MAX {
            return Err(Refusal::TooLarge { what: "the token's name", bytes: name.len(), limit: NAME_MAX });
        }
        let is_same = |fact: &TokenCreated| fact.hash == hash.as_bytes();
        let same = state.tokens.iter().find(|(_, token)| token.created().is_some_and(is_same));
        if let Some((id, _)) = same {
            return Ok((Vec::new(), *id));
        }
        let expired = state.tokens.iter().filter(|(_, token)| token.has_expired(now_ms));
        let mut facts: Vec<Fact> = expired
            .map(|(id, _)| Fact::TokenRevoked(TokenRevoked { token: *id, why: "it had expired".to_owned() }))
            .collect();
        if state.tokens.len() - facts.len() >= TOKENS_MAX {
            return Err(Refusal::TokensFull(TOKENS_MAX));
        }
        // Two in one millisecond with the same random bits.
        let mut token = token;
        while state.tokens.contains_key(&token) {
            token.bits = token.bits.wrapping_add(1);
        }
        facts.push(Fact::TokenCreated(TokenCreated {
            token,
            name,
            role: role.into(),
            hash: hash.as_bytes().to_vec(),
            expires_ms: ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms)),
            uses_max: uses_max.clamp(1, USES_MAX),
        }));
        Ok((facts, token))
    }
}

/// Revokes a token, which is named by its id, or by its name where only one has it.
pub fn revoke(state: &State, text: &str) -> Decision<TokenId> {
    let missing = || Refusal::NoSuchToken(text.to_owned());
    let token = match text.parse::<TokenId>() {
        Ok(id) if state.tokens.contains_key(&id) => id,
        Ok(_) => return Err(missing()),
        Err(_) => {
            let is_named = |name: &str| name == text;
            let mut named =
                state.tokens.iter().filter(|(_, token)| token.created().is_some_and(|fact| is_named(&fact.name)));
            match (named.next(), named.next()) {
                (Some((id, _)), None) => *id,
                (_, Some(_)) | (None, None) => return Err(missing()),
            }
        }
    };
    Ok((vec![Fact::TokenRevoked(TokenRevoked { token, why: "an admin revoked it".to_owned() })], token))
}

/// An agent that joins by a token, whose secret it knows.
#[derive(Clone, PartialEq, Debug)]
pub struct Join {
    /// The token.
    pub token: TokenId,
    /// Who.
    pub agent: AgentId,
    /// The SHA-256 of its public key.
    pub key: [u8; 32],
}

impl Join {
    /// Lets the agent join. The same agent with the same key may do so again and uses the token up no further.
    pub fn decide(self, state: &State, now_ms: u64) -> Decision<()> {
        let Self { token: id, agent, key } = self;
        let token = state.tokens.get(&id).ok_or_else(|| Refusal::NoSuchToken(id.to_string()))?;
        let spent = |why| Refusal::TokenSpent { token: id, why };
        let created = token.created().filter(|_| token.role() == Some(TokenRole::Agent));
        let created = created.ok_or_else(|| spent("is not for agents"))?;
        if token.has_expired(now_ms) {
            return Err(spent("has expired"));
        }
        let known = state.agent_key(agent);
        if known.is_some_and(|known| known != key) {
            return Err(Refusal::OtherKey(agent));
        }
        let mut facts = Vec::new();
        if !token.was_used_by(agent) {
            if token.uses() >= created.uses_max {
                return Err(spent("was used as often as it may be"));
            }
            facts.push(Fact::TokenUsed(TokenUsed { token: id, agent }));
        }
        if known.is_none() {
            facts.push(Fact::AgentJoined(AgentJoined { agent, key: key.to_vec() }));
        }
        Ok((facts, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leading::{Op, Reply};
    use crate::testing::Cluster;
    use crate::token::secret_hash;

    const HOUR_MS: u64 = 3_600_000;

    fn create(role: TokenRole, secret: &str) -> Create {
        let token = TokenId { bits: secret.len() as u64 };
        let hash = secret_hash(secret);
        Create { token, name: secret.len().to_string(), role, hash, ttl_ms: Some(HOUR_MS), uses_max: 2 }
    }

    fn made(cluster: &mut Cluster, create: Create) -> TokenId {
        match cluster.op(Op::CreateToken(create)) {
            Ok(Reply::Token(token)) => token,
            other => panic!("{other:?}"),
        }
    }

    fn join(cluster: &mut Cluster, token: TokenId, agent: u64, key: u8) -> Result<Reply, Refusal> {
        cluster.op(Op::Join(Join { token, agent: AgentId { bits: agent }, key: [key; 32] }))
    }

    #[test]
    fn a_token_is_known_by_its_secret_and_the_secret_is_recorded_nowhere() {
        let mut cluster = Cluster::default();
        let secret = "a-secret-that-is-long";
        let id = made(&mut cluster, create(TokenRole::User, secret));
        cluster.end_turn();
        let token = &cluster.applied.tokens[&id];
        assert!(token.is_of(secret) && !token.is_of("another") && !token.is_of(""));
        let recorded = format!("{:?}", cluster.entries);
        assert!(recorded.contains("TokenCreated") && !recorded.contains(secret), "{recorded}");
    }

    #[test]
    fn a_request_that_is_repeated_makes_no_second_token() {
        let mut cluster = Cluster::default();
        let first = made(&mut cluster, create(TokenRole::User, "s"));
        let again = Create { token: TokenId { bits: 99 }, ..create(TokenRole::User, "s") };
        assert_eq!(made(&mut cluster, again), first);
        let other = Create { token: first, ..create(TokenRole::User, "other") };
        assert_ne!(made(&mut cluster, other), first, "an id that is taken is not given twice");
    }

    #[test]
    fn a_join_token_lets_so_many_agents_join_and_no_more() {
        let mut cluster = Cluster::default();
        let token = made(&mut cluster, create(TokenRole::Agent, "s"));
        assert_eq!(join(&mut cluster, token, 1, 1), Ok(Reply::Done));
        assert_eq!(join(&mut cluster, token, 1, 1), Ok(Reply::Done), "the same again uses nothing up");
        assert_eq!(join(&mut cluster, token, 2, 2), Ok(Reply::Done));
        cluster.end_turn();
        cluster.fail_over();
        assert!(matches!(join(&mut cluster, token, 3, 3), Err(Refusal::TokenSpent { .. })));
        assert_eq!(join(&mut cluster, token, 2, 2), Ok(Reply::Done));
    }

    #[test]
    fn a_join_token_is_good_for_an_hour_and_a_revoked_one_for_nothing() {
        let mut cluster = Cluster::default();
        let token = made(&mut cluster, create(TokenRole::Agent, "s"));
        cluster.pass(HOUR_MS - 1);
        assert_eq!(join(&mut cluster, token, 1, 1), Ok(Reply::Done));
        cluster.pass(1);
        assert!(matches!(join(&mut cluster, token, 2, 2), Err(Refusal::TokenSpent { .. })));
        let other = made(&mut cluster, create(TokenRole::Agent, "other"));
        assert!(!cluster.applied.tokens.contains_key(&token), "a new one makes the expired go");
        assert_eq!(cluster.op(Op::RevokeToken(other.to_string())), Ok(Reply::Token(other)));
        assert!(matches!(join(&mut cluster, other, 2, 2), Err(Refusal::NoSuchToken(_))));
    }

    #[test]
    fn nobody_joins_by_a_token_of_another_role_or_as_an_agent_that_has_another_key() {
        let mut cluster = Cluster::default();
        let user = made(&mut cluster, create(TokenRole::User, "s"));
        assert!(matches!(join(&mut cluster, user, 1, 1), Err(Refusal::TokenSpent { .. })));
        let token = made(&mut cluster, create(TokenRole::Agent, "other"));
        join(&mut cluster, token, 1, 1).expect("joins");
        assert_eq!(join(&mut cluster, token, 1, 2), Err(Refusal::OtherKey(AgentId { bits: 1 })));
    }

    #[test]
    fn a_token_is_revoked_by_its_name_only_where_one_has_it() {
        let mut cluster = Cluster::default();
        let first = made(&mut cluster, create(TokenRole::User, "a"));
        made(&mut cluster, create(TokenRole::User, "b"));
        assert!(matches!(cluster.op(Op::RevokeToken("1".into())), Err(Refusal::NoSuchToken(_))), "two are called 1");
        cluster.op(Op::RevokeToken(first.to_string())).expect("is there");
        cluster.op(Op::RevokeToken("1".into())).expect("only one is left");
    }

    #[test]
    fn tokens_survive_a_snapshot_with_who_used_them() {
        let mut cluster = Cluster::default();
        let token = made(&mut cluster, create(TokenRole::Agent, "s"));
        join(&mut cluster, token, 1, 1).expect("joins");
        join(&mut cluster, token, 2, 2).expect("joins");
        cluster.end_turn();
        let state = &cluster.applied;
        let records: Vec<_> = state.records().map(|record| record.as_ref().clone()).collect();
        let again = State::from_records(state.applied, state.turn, records).expect("reads");
        assert_eq!(again.hash(), state.hash());
        assert_eq!(again.tokens[&token].uses(), 2);
        assert_eq!(again.agent_key(AgentId { bits: 2 }), Some(&[2; 32][..]));
    }
}
