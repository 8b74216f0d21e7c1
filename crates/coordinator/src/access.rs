//! Who may call what: one table, looked at before a service is. Who calls is what the connection and the call itself
//! say; whether a trial is the caller's own is decided where the state is (`core`).

use std::fmt;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use heats_domain::AgentId;
use heats_tls::{Name, Peer, Who};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::status::denied;

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
    Nobody,
}

use Role::{Admin, Agent, Coordinator, Nobody, User};

const EVERYBODY: &[Role] = &[Coordinator, Agent, Admin, User, Nobody];
const PEOPLE: &[Role] = &[Admin, User];

/// What may be called by whom: the first line whose beginning the call has. What has no line may be called by nobody.
const TABLE: &[(&str, &[Role])] = &[
    ("/grpc.health.v1.Health/", EVERYBODY),
    ("/grpc.reflection.v1.ServerReflection/", PEOPLE),
    ("/heats.v1.Raft/", &[Coordinator]),
    ("/heats.v1.Agents/Attach", &[Agent]),
    ("/heats.v1.Cluster/Node", PEOPLE),
    ("/heats.v1.Cluster/", &[Admin]),
    ("/heats.v1.Sweeps/", PEOPLE),
];

impl Caller {
    fn of(peer: Option<&Peer>) -> Self {
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
            Self::Coordinator(_) | Self::Admin(_) | Self::User(_) | Self::Nobody => false,
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
            Self::Nobody => Nobody,
        };
        let allowed = TABLE.iter().find(|(beginning, _)| path.starts_with(beginning)).map_or(&[][..], |(_, who)| who);
        if allowed.contains(&role) { Ok(()) } else { Err(denied(self, path)) }
    }
}

/// Looks at every call before its service does, and tells the service who calls.
#[derive(Clone, Debug)]
pub struct AccessLayer {}

impl AccessLayer {
    /// The layer of this node.
    pub const fn new() -> Self {
        Self {}
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}

/// See [`AccessLayer`].
#[derive(Clone, Debug)]
pub struct Access<S> {
    inner: S,
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
        let caller = Caller::of(request.extensions().get());
        match caller.may_call(request.uri().path()) {
            Ok(()) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
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
    }
}
