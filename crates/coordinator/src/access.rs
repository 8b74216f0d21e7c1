//! Who may call what: one table, looked at before a service is. Who calls is what the call's token says, where it has
//! one, and otherwise the connection's certificate; whether a trial is the caller's own is decided with the state at hand
//! (`rpc::agents`).

use std::fmt;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use heats_core::{State, TokenRole};
use heats_domain::{AgentId, TokenId};
use heats_replica::{Leadership, Replica};
use heats_tls::{Name, Peer, Who};
use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::decider::AskError;
use crate::edge::clock;
use crate::status::{denied, unanswered, unknown};

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
            Self::Trusted => f.write_str("somebody on this machine"),
            Self::Coordinator(node) => write!(f, "coordinator {node}"),
            Self::Agent(agent) => write!(f, "agent `{agent}`"),
            Self::Admin(name) => write!(f, "admin `{name}`"),
            Self::User(name) => write!(f, "user `{name}`"),
            Self::Newcomer(token) => write!(f, "the bearer of join token `{token}`"),
            Self::Nobody => f.write_str("nobody who is known"),
        }
    }
}

/// A kind of caller, as the table has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Coordinator,
    Agent,
    Admin,
    User,
    Newcomer,
    Nobody,
}

use Role::{Admin, Agent, Coordinator, Newcomer, Nobody, User};

const EVERYBODY: &[Role] = &[Coordinator, Agent, Admin, User, Newcomer, Nobody];
const PEOPLE: &[Role] = &[Admin, User];

/// What may be called by whom: the first line whose beginning the call has. What has no line may be called by nobody.
const TABLE: &[(&str, &[Role])] = &[
    ("/grpc.health.v1.Health/", EVERYBODY),
    ("/grpc.reflection.v1.ServerReflection/", PEOPLE),
    ("/heats.v1.Raft/", &[Coordinator]),
    ("/heats.v1.Agents/Attach", &[Agent]),
    ("/heats.v1.Agents/Join", &[Newcomer]),
    ("/heats.v1.Agents/Renew", &[Agent]),
    ("/heats.v1.Cluster/Node", PEOPLE),
    ("/heats.v1.Cluster/", &[Admin]),
    ("/heats.v1.Tokens/", &[Admin]),
    ("/heats.v1.Sweeps/", PEOPLE),
];

impl Caller {
    /// Whoever shows this certificate, or none.
    fn of_peer(peer: Option<&Peer>) -> Self {
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

    /// Whether it may call `path`.
    fn may_call(&self, path: &str) -> Result<(), Status> {
        let role = match self {
            Self::Trusted => return Ok(()),
            Self::Coordinator(_) => Coordinator,
            Self::Agent(_) => Agent,
            Self::Admin(_) => Admin,
            Self::User(_) => User,
            Self::Newcomer(_) => Newcomer,
            Self::Nobody => Nobody,
        };
        let allowed = TABLE.iter().find(|(beginning, _)| path.starts_with(beginning)).map_or(&[][..], |(_, who)| who);
        if allowed.contains(&role) { Ok(()) } else { Err(denied(self, path)) }
    }
}

/// Looks at every call before its service does, and tells the service who calls.
#[derive(Clone)]
pub struct AccessLayer {
    replica: Replica,
}

impl AccessLayer {
    /// The layer of this node, which knows the tokens.
    pub const fn new(replica: Replica) -> Self {
        Self { replica }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { replica: self.replica.clone(), inner }
    }
}

/// See [`AccessLayer`].
#[derive(Clone)]
pub struct Access<S> {
    replica: Replica,
    inner: S,
}

impl<S> Access<S> {
    /// Who calls.
    fn caller(&self, request: &Request<Body>) -> Result<Caller, Status> {
        let peer = request.extensions().get();
        // In plain text nobody is asked, and a token that is sent all the same says nothing.
        let shown = request.headers().get(AUTHORIZATION).filter(|_| peer != Some(&Peer::PlainText));
        let Some(shown) = shown else { return Ok(Caller::of_peer(peer)) };
        let token = shown.to_str().ok().and_then(|shown| shown.strip_prefix("Bearer "));
        let state = self.replica.state();
        bearer(&state, token.unwrap_or_default(), clock::now_ms()).map_err(|fault| match fault {
            TokenFault::Expired(_) => unknown(&fault),
            // It may have been made a moment ago: the leader knows.
            TokenFault::Unknown => match self.replica.leadership().borrow().clone() {
                Leadership::Leader { .. } => unknown(&fault),
                Leadership::Follower { leader, .. } => {
                    unanswered(&AskError::NotLeader { leader: leader.map(|(_, address)| address) })
                }
            },
        })
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
fn bearer(state: &State, text: &str, now_ms: u64) -> Result<Caller, TokenFault> {
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

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let known = self.caller(&request);
        let allowed = known.and_then(|caller| caller.may_call(request.uri().path()).map(|()| caller));
        match allowed {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use heats_core::fact::TokenCreated;
    use heats_core::{Entry, Fact};
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn paths() -> Vec<String> {
        let files = FileDescriptorSet::decode(heats_wire::DESCRIPTORS).expect("decodes").file;
        let services = files.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
        let methods = services.flat_map(|(file, service)| {
            service.method.iter().map(move |method| format!("/{}.{}/{}", file.package(), service.name(), method.name()))
        });
        methods.collect()
    }

    #[test]
    fn every_call_has_a_line_in_the_table_and_none_but_health_is_for_everybody() {
        let paths = paths();
        assert!(paths.contains(&"/heats.v1.Sweeps/Submit".to_owned()), "{paths:?}");
        for path in paths {
            assert!(TABLE.iter().any(|(beginning, _)| path.starts_with(beginning)), "{path}");
            assert!(Caller::Nobody.may_call(&path).is_err(), "{path}");
        }
    }

    #[test]
    fn each_kind_of_caller_has_its_own() {
        let agent = Caller::Agent(AgentId { bits: 1 });
        let (admin, user, coordinator) = (Caller::Admin("a".into()), Caller::User("u".into()), Caller::Coordinator(1));
        let raft = "/heats.v1.Raft/Exchange";
        assert!(coordinator.may_call(raft).is_ok());
        for other in [&agent, &admin, &user, &Caller::Nobody] {
            assert!(other.may_call(raft).is_err(), "{other:?}");
        }
        assert!(agent.may_call("/heats.v1.Agents/Attach").is_ok());
        assert!(agent.may_call("/heats.v1.Sweeps/Submit").is_err());
        assert!(user.may_call("/heats.v1.Sweeps/Submit").is_ok());
        assert!(user.may_call("/heats.v1.Cluster/Change").is_err());
        assert!(user.may_call("/heats.v1.Agents/Attach").is_err());
        assert!(admin.may_call("/heats.v1.Cluster/Change").is_ok());
        assert!(admin.may_call("/heats.v1.Nothing/Known").is_err());
        assert!(Caller::Trusted.may_call(raft).is_ok());
        let newcomer = Caller::Newcomer(TokenId { bits: 1 });
        assert!(newcomer.may_call("/heats.v1.Agents/Join").is_ok());
        assert!(newcomer.may_call("/heats.v1.Agents/Attach").is_err());
        assert!(user.may_call("/heats.v1.Tokens/Create").is_err());
        assert!(admin.may_call("/heats.v1.Tokens/Create").is_ok());
    }

    fn with_token(role: TokenRole) -> (State, TokenId) {
        let token = TokenId { bits: 7 };
        let hash = heats_core::token::secret_hash("right").as_bytes().to_vec();
        let (name, expires_ms) = ("ann".to_owned(), Some(1_000));
        let fact = TokenCreated { token, name, role: role.into(), hash, expires_ms, uses_max: 1 };
        let entry = Entry { term: 1, at_ms: 0, facts: vec![Fact::TokenCreated(fact).into()] };
        let mut state = State::default();
        state.apply(1, 1, &entry).expect("applies");
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
