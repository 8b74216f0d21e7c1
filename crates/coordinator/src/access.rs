//! Who may call what: one table, looked at before a service is. Whether a trial is the caller's own is not decided here but
//! with the state at hand: see `rpc::agents`.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use heats_replica::{Leadership, Replica};
use heats_tls::Peer;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::info;

use crate::caller::{Caller, TokenFault, bearer};
use crate::decider::AskError;
use crate::edge::clock::Clock;
use crate::status::{denied, unanswered, unknown};

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
    ("/heats.v1.Agents/KeepLogs", &[Agent]),
    ("/heats.v1.Archives/Put", PEOPLE),
    ("/heats.v1.Archives/Get", &[Coordinator, Agent, Admin, User]),
    ("/heats.v1.Archives/Keep", &[Coordinator]),
    ("/heats.v1.Cluster/Node", PEOPLE),
    ("/heats.v1.Cluster/Agent", PEOPLE),
    ("/heats.v1.Cluster/Quotas", PEOPLE),
    ("/heats.v1.Cluster/", &[Admin]),
    ("/heats.v1.Tokens/", &[Admin]),
    ("/heats.v1.Sweeps/", PEOPLE),
    // Coordinators hand on what they cannot answer themselves.
    ("/optuna.StorageService/", &[Coordinator, Admin, User]),
];

/// Whether `caller` may call `path`.
fn may_call(caller: &Caller, path: &str) -> Result<(), Status> {
    let role = match caller {
        Caller::Trusted => return Ok(()),
        Caller::Coordinator(_) => Coordinator,
        Caller::Agent(_) => Agent,
        Caller::Admin(_) => Admin,
        Caller::User(_) => User,
        Caller::Newcomer(_) => Newcomer,
        Caller::Nobody => Nobody,
    };
    let allowed = TABLE.iter().find(|(beginning, _)| path.starts_with(beginning)).map_or(&[][..], |(_, who)| who);
    if allowed.contains(&role) { Ok(()) } else { Err(denied(caller, path)) }
}

/// Looks at every call before its service does, and tells the service who calls.
#[derive(Clone)]
pub struct AccessLayer {
    replica: Replica,
    clock: Arc<dyn Clock>,
}

impl AccessLayer {
    /// The layer of this node, which knows the tokens, and the time by which they expire.
    pub const fn new(replica: Replica, clock: Arc<dyn Clock>) -> Self {
        Self { replica, clock }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { replica: self.replica.clone(), clock: self.clock.clone(), inner }
    }
}

/// See [`AccessLayer`].
#[derive(Clone)]
pub struct Access<S> {
    replica: Replica,
    clock: Arc<dyn Clock>,
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
        bearer(&state, token.unwrap_or_default(), self.clock.now_ms()).map_err(|fault| match fault {
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
        let allowed = known.and_then(|caller| may_call(&caller, request.uri().path()).map(|()| caller));
        match allowed {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(status) => {
                info!(path = request.uri().path(), error = status.message(), "call refused");
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, TokenId};
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
            assert!(may_call(&Caller::Nobody, &path).is_err(), "{path}");
        }
    }

    #[test]
    fn each_kind_of_caller_has_its_own() {
        let agent = Caller::Agent(AgentId { bits: 1 });
        let (admin, user, coordinator) = (Caller::Admin("a".into()), Caller::User("u".into()), Caller::Coordinator(1));
        let raft = "/heats.v1.Raft/Exchange";
        assert!(may_call(&coordinator, raft).is_ok());
        for other in [&agent, &admin, &user, &Caller::Nobody] {
            assert!(may_call(other, raft).is_err(), "{other:?}");
        }
        assert!(may_call(&agent, "/heats.v1.Agents/Attach").is_ok());
        assert!(may_call(&agent, "/heats.v1.Sweeps/Submit").is_err());
        assert!(
            may_call(&agent, "/heats.v1.Archives/Get").is_ok() && may_call(&user, "/heats.v1.Archives/Put").is_ok()
        );
        for (caller, method) in [(&agent, "Put"), (&agent, "Keep"), (&admin, "Keep"), (&coordinator, "Put")] {
            assert!(may_call(caller, &format!("/heats.v1.Archives/{method}")).is_err(), "{caller:?} {method}");
        }
        assert!(may_call(&user, "/heats.v1.Sweeps/Submit").is_ok());
        assert!(may_call(&user, "/heats.v1.Cluster/Change").is_err());
        assert!(may_call(&user, "/heats.v1.Agents/Attach").is_err());
        assert!(may_call(&admin, "/heats.v1.Cluster/Change").is_ok());
        for operating in ["DrainAgent", "UndrainAgent", "ReleaseAgent", "Backup", "SetQuota", "RemoveQuota"]
            .map(|method| format!("/heats.v1.Cluster/{method}"))
        {
            assert!(may_call(&admin, &operating).is_ok(), "{operating}");
            assert!(may_call(&user, &operating).is_err(), "{operating}");
        }
        assert!(may_call(&user, "/heats.v1.Cluster/Agent").is_ok());
        assert!(may_call(&user, "/heats.v1.Cluster/Quotas").is_ok());
        assert!(may_call(&admin, "/heats.v1.Nothing/Known").is_err());
        assert!(may_call(&Caller::Trusted, raft).is_ok());
        let newcomer = Caller::Newcomer(TokenId { bits: 1 });
        assert!(may_call(&newcomer, "/heats.v1.Agents/Join").is_ok());
        assert!(may_call(&newcomer, "/heats.v1.Agents/Attach").is_err());
        assert!(may_call(&user, "/heats.v1.Tokens/Create").is_err());
        assert!(may_call(&admin, "/heats.v1.Tokens/Create").is_ok());
    }
}
