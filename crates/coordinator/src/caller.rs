//! Who calls: what the call's token says, where it has one, and otherwise the certificate of its connection. What follows
//! from it is in `access`.

use std::fmt;

use heats_core::{State, TokenRole};
use heats_domain::{AgentId, TokenId};
use heats_tls::{Name, Peer, Who};

/// Who calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Somebody on a connection in plain text, which asks nobody who they are.
    Trusted,
    /// The coordinator of this number.
    Coordinator(u64),
    /// This agent.
    Agent(AgentId),
    /// Somebody who runs the cluster.
    Admin(String),
    /// Somebody who runs sweeps.
    User(String),
    /// A machine with a token that lets it become an agent.
    Newcomer(TokenId),
    /// Nobody who is known.
    Nobody,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("somebody who was not asked who they are"),
            Self::Coordinator(node) => write!(f, "coordinator {node}"),
            Self::Agent(agent) => write!(f, "agent `{agent}`"),
            Self::Admin(name) => write!(f, "admin `{name}`"),
            Self::User(name) => write!(f, "user `{name}`"),
            Self::Newcomer(token) => write!(f, "the bearer of join token `{token}`"),
            Self::Nobody => f.write_str("nobody who is known"),
        }
    }
}

impl Caller {
    /// Whoever shows this certificate, or none.
    pub fn of_peer(peer: Option<&Peer>) -> Self {
        match peer {
            Some(Peer::PlainText) => Self::Trusted,
            Some(Peer::Named(Name { cluster: _, who })) => match who {
                Who::Coordinator(node) => Self::Coordinator(*node),
                Who::Agent(agent) => Self::Agent(*agent),
                Who::Admin(name) => Self::Admin(name.clone()),
                Who::User(name) => Self::User(name.clone()),
            },
            // A connection that says nothing about its peer is none of ours.
            Some(Peer::Nameless) | None => Self::Nobody,
        }
    }

    /// Whether it may speak for `agent`.
    pub fn is_agent(&self, agent: AgentId) -> bool {
        match self {
            Self::Trusted => true,
            Self::Agent(own) => *own == agent,
            Self::Coordinator(_) | Self::Admin(_) | Self::User(_) | Self::Newcomer(_) | Self::Nobody => false,
        }
    }
}

/// Why a token says nothing about its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// There is none with this secret.
    #[error("the token is not known here: it was revoked, or is one of another cluster")]
    Unknown,
    /// It is too old.
    #[error("the token `{0}` has expired")]
    Expired(TokenId),
}

/// Who bears the token `ID.SECRET`, after which more may follow.
///
/// # Errors
/// See [`TokenFault`].
pub fn bearer(state: &State, text: &str, now_ms: u64) -> Result<Caller, TokenFault> {
    let mut parts = text.split('.');
    let id = parts.next().and_then(|id| id.parse::<TokenId>().ok()).ok_or(TokenFault::Unknown)?;
    let token = state.tokens.get(&id).filter(|token| token.is_of(parts.next().unwrap_or_default()));
    let token = token.ok_or(TokenFault::Unknown)?;
    if token.has_expired(now_ms) {
        return Err(TokenFault::Expired(id));
    }
    let name = match token.created().map(|fact| fact.name.as_str()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        Some(_) | None => id.to_string(),
    };
    Ok(match token.role().ok_or(TokenFault::Unknown)? {
        TokenRole::Agent => Caller::Newcomer(id),
        TokenRole::User => Caller::User(name),
        TokenRole::Admin => Caller::Admin(name),
    })
}

#[cfg(test)]
mod tests {
    use heats_core::fact::TokenCreated;
    use heats_core::{Entry, Fact};

    use super::*;

    fn with_token(role: TokenRole) -> (State, TokenId) {
        let token = TokenId { bits: 7 };
        let hash = heats_core::token::secret_hash("right").as_bytes().to_vec();
        let (name, expires_ms) = ("ann".to_owned(), Some(1_000));
        let fact = TokenCreated { token, name, role: role.into(), hash, expires_ms, uses_max: 1 };
        let entry = Entry { term: 1, number: 0, after: 0, at_ms: 0, facts: vec![Fact::TokenCreated(fact).into()] };
        let mut state = State::default();
        state.apply(1, 1, entry).expect("applies");
        (state, token)
    }

    #[test]
    fn a_token_says_who_its_bearer_is_until_it_expires() {
        let (state, token) = with_token(TokenRole::User);
        let text = format!("{token}.right");
        assert_eq!(bearer(&state, &text, 999), Ok(Caller::User("ann".into())));
        assert_eq!(bearer(&state, &text, 1_000), Err(TokenFault::Expired(token)));
        let (state, token) = with_token(TokenRole::Agent);
        assert_eq!(bearer(&state, &format!("{token}.right.fingerprint"), 1), Ok(Caller::Newcomer(token)));
    }

    #[test]
    fn a_token_without_its_secret_is_no_token() {
        let (state, token) = with_token(TokenRole::Admin);
        for text in [format!("{token}"), format!("{token}."), format!("{token}.wrong"), "right".into(), String::new()] {
            assert_eq!(bearer(&state, &text, 1), Err(TokenFault::Unknown), "{text}");
        }
        assert_eq!(bearer(&State::default(), &format!("{token}.right"), 1), Err(TokenFault::Unknown));
    }
}
