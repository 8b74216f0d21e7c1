//! The way of a call to the leader. Optuna's clients know one address and cannot be told another, so the node that they
//! reached asks for them, and asks again while the lead changes.
//!
//! That is safe because every call that goes on has a number, the client's own or one that is made here: a write that was
//! carried out, and whose answer was lost, is not carried out twice.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use heats_replica::Leadership;
use heats_tls::{Dialer, Expect};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower_service::Service;
use tracing::debug;

use super::REQUEST_MAX;
use crate::edge::entropy;
use crate::node::Node;
use crate::peers;

/// The metadata key of a request's number: 8 bytes, most significant first, not all 0.
pub const REQUEST_KEY: &str = "heats-request-bin";
/// The header of a call that another node has handed on: it goes no further.
const HANDED_ON: HeaderName = HeaderName::from_static("heats-handed-on");
/// The header by which a node says that it does not lead.
const LEADER: &str = "heats-leader";
/// How long a call waits for somebody to lead.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a call waits before it is tried again, where nothing is heard of a new leader.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of requests that may be on their way at once: what is decided together has to fit into one entry of the log.
const ON_THEIR_WAY: usize = 64 << 20;
/// What gRPC puts before a message.
const PREFIX: usize = 5;

/// A service, and the way to the leader's.
#[derive(Clone)]
pub struct Relay<S> {
    node: Node,
    inner: S,
    /// To the other nodes, as they were last seen: by number and address.
    channels: Arc<Mutex<BTreeMap<(u64, String), Channel>>>,
    room: Arc<Semaphore>,
}

impl<S> Relay<S> {
    /// What `node` answers by `inner` while it leads.
    pub fn new(node: Node, inner: S) -> Self {
        Self { node, inner, channels: Arc::default(), room: Arc::new(Semaphore::new(ON_THEIR_WAY)) }
    }

    async fn channel(&self, node: u64, address: &str) -> Result<Channel, String> {
        let key = (node, address.to_owned());
        // No code that holds the lock can panic halfway through a change.
        let known = self.channels.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let dialer = Dialer::new(self.node.config.security.clone(), Expect::Coordinator(node));
        let channel = peers::channel(address, &dialer).await?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // One node has one address: earlier ones are not asked any more.
        channels.retain(|(other, _), _| *other != node);
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    /// Asks another node; its whole answer, or why there is none.
    async fn ask(&self, (node, address): &(u64, String), call: Request<Body>) -> Result<Response<Body>, String> {
        let mut channel = self.channel(*node, address).await?;
        let ready = std::future::poll_fn(|cx| Service::poll_ready(&mut channel, cx)).await;
        ready.map_err(|error| error.to_string())?;
        let response = channel.call(call).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        // A refusal is headers alone: an empty frame after them would be another answer.
        let (trailers, data) = (body.trailers().cloned(), body.to_bytes());
        let body = if data.is_empty() && trailers.is_none() {
            Body::empty()
        } else {
            Body::new(Full::new(data).with_trailers(std::future::ready(trailers.map(Ok))))
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// A call that can be made again.
struct Call {
    head: http::request::Parts,
    body: Bytes,
}

impl Call {
    async fn read(call: Request<Body>) -> Result<Self, Status> {
        let (mut head, body) = call.into_parts();
        let body = Limited::new(body, REQUEST_MAX + PREFIX).collect().await.map_err(|error| {
            Status::resource_exhausted(format!("a request has at most {REQUEST_MAX} bytes: {error}"))
        })?;
        if !head.headers.contains_key(REQUEST_KEY) {
            let number = MetadataValue::from_bytes(&entropy::bits().max(1).to_be_bytes());
            let number = HeaderValue::from_bytes(number.as_encoded_bytes());
            head.headers.insert(REQUEST_KEY, number.map_err(|error| Status::internal(error.to_string()))?);
        }
        Ok(Self { head, body: body.to_bytes() })
    }

    fn again(&self) -> Request<Body> {
        Request::from_parts(self.head.clone(), Body::new(Full::new(self.body.clone())))
    }

    fn handed_on(&self) -> Request<Body> {
        let mut call = self.again();
        call.headers_mut().insert(HANDED_ON, HeaderValue::from_static("1"));
        call
    }
}

impl<S> Relay<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn carry(self, call: Request<Body>) -> Response<Body> {
        let call = match Call::read(call).await {
            Ok(call) => call,
            Err(status) => return status.into_http(),
        };
        let size = u32::try_from(call.body.len()).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let Ok(_room) = self.room.acquire_many(size).await else { return nobody_leads("it stops").into_http() };
        if call.head.headers.contains_key(HANDED_ON) {
            return self.here(&call).await;
        }
        let until = Instant::now() + PATIENCE;
        let mut leadership = self.node.replica.leadership();
        loop {
            let leads = leadership.borrow_and_update().clone();
            let why = match &leads {
                Leadership::Leader { .. } => {
                    let response = self.here(&call).await;
                    if !is_to_be_asked_elsewhere(&response) {
                        return response;
                    }
                    "the lead changes".to_owned()
                }
                Leadership::Follower { leader: Some(leader), .. } => {
                    // A leader that was deposed may never answer.
                    let answer = tokio::select! {
                        answer = self.ask(leader, call.handed_on()) => answer,
                        _changed = leadership.changed() => Err("the lead changes".to_owned()),
                    };
                    match answer {
                        Ok(response) if !is_to_be_asked_elsewhere(&response) => return response,
                        Ok(_) => format!("{} does not lead", leader.1),
                        Err(why) => why,
                    }
                }
                Leadership::Follower { leader: None, .. } => "no leader is known".to_owned(),
            };
            if Instant::now() + PAUSE >= until {
                return nobody_leads(&why).into_http();
            }
            debug!(path = call.head.uri.path(), %why, "asking again");
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return nobody_leads("it stops").into_http() },
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn here(&self, call: &Call) -> Response<Body> {
        let mut inner = self.inner.clone();
        match inner.call(call.again()).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn nobody_leads(why: &str) -> Status {
    Status::unavailable(format!("no coordinator could be found that leads: {why}"))
}

/// Whether a node that does not lead, or is about to stop, says so: that is no answer to the caller.
fn is_to_be_asked_elsewhere(response: &Response<Body>) -> bool {
    let status = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
    let stops = status.is_some_and(|code| code == (Code::Unavailable as i32).to_string());
    stops || response.headers().contains_key(LEADER)
}

impl<S> Service<Request<Body>> for Relay<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A generated service always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.carry(call).await) })
    }
}

impl<S: NamedService> NamedService for Relay<S> {
    const NAME: &'static str = S::NAME;
}
