//! The calls of `proto/heats/v1/sweeps.proto`, each with a deadline and the retries that it allows.

use std::sync::Arc;
use std::time::Duration;

use heats_tls::Distrust;
use heats_wire::v1::sweeps_client::SweepsClient;
use heats_wire::{READ_KEY, READ_STALE, v1};
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tracing::debug;

use crate::backoff::{Backoff, random};
use crate::cluster::cluster;
use crate::credentials::{Bearer, Credentials};
use crate::error::{ClientError, Verdict, judge, never_connected};
use crate::pool::{Node, Pool};
use crate::stream::{self, Resumed};

/// How long a coordinator is waited for before another one is asked.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// A page of 10,000 trials with long parameters fits; a peer that sends more is not one of ours.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// How patient a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How long one call may take, its retries included, before the cluster counts as unavailable.
    pub patience: Duration,
    /// How long one try may take.
    pub deadline: Duration,
    /// Whether questions are answered by whichever coordinator is asked, from what it has. Otherwise the leader answers,
    /// and nothing that was acknowledged is missing.
    pub stale: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30), deadline: Duration::from_secs(10), stale: false }
    }
}

/// Whether a request that may have been carried out may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// Twice is more than once.
    Never,
}

/// A connection to a cluster: any number of coordinators, of which one leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
    options: Options,
}

impl Client {
    /// A client of the coordinators at `addresses` (`HOST:PORT`). Connects when it is first used, so it has
    /// to be made within a tokio runtime, and an address where nobody listens shows at the first call.
    ///
    /// # Errors
    /// A text that is not an address.
    pub fn connect(addresses: Vec<String>) -> Result<Self, ClientError> {
        Self::connect_with(addresses, Options::default())
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// A text that is not an address.
    pub fn connect_with(addresses: Vec<String>, options: Options) -> Result<Self, ClientError> {
        Self::connect_as(addresses, options, Credentials::default())
    }

    /// The same for a cluster that asks who calls.
    ///
    /// # Errors
    /// A text that is not an address.
    pub fn connect_as(addresses: Vec<String>, options: Options, credentials: Credentials) -> Result<Self, ClientError> {
        Ok(Self { pool: Arc::new(Pool::new(&addresses, credentials)?), options })
    }

    /// How patient it is.
    pub const fn options(&self) -> Options {
        self.options
    }

    /// Submits a sweep, once: a `request` of 0 is replaced by a random one, and retries carry the same.
    pub async fn submit(&self, mut request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ClientError> {
        let mut repeat = Repeat::Safe;
        if request.request == 0 {
            match random() {
                Some(id) => request.request = id.max(1),
                // Without an id of its own the request cannot be told from another one.
                None => repeat = Repeat::Never,
            }
        }
        self.call(repeat, request, |mut to, request| async move { to.submit(request).await }).await
    }

    /// Sweeps, newest first.
    pub async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.list(request).await }).await
    }

    /// One sweep, by name, by id, or `last`.
    pub async fn get(&self, sweep: impl Into<String>) -> Result<v1::GetResponse, ClientError> {
        self.sweep(v1::GetRequest { sweep: sweep.into(), assess: false }).await
    }

    /// A sweep, and whether its early stopping is right.
    pub async fn assessed(&self, sweep: impl Into<String>) -> Result<v1::GetResponse, ClientError> {
        self.sweep(v1::GetRequest { sweep: sweep.into(), assess: true }).await
    }

    async fn sweep(&self, request: v1::GetRequest) -> Result<v1::GetResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.get(request).await }).await
    }

    /// One page of trials.
    pub async fn trials(&self, request: v1::TrialsRequest) -> Result<v1::TrialsResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.trials(request).await }).await
    }

    /// Every trial of a sweep, by number, page after page.
    pub async fn all_trials(&self, sweep: impl Into<String>) -> Result<Vec<v1::TrialSummary>, ClientError> {
        let mut request = v1::TrialsRequest { sweep: sweep.into(), ..Default::default() };
        let mut trials = Vec::new();
        loop {
            let page = self.trials(request.clone()).await?;
            trials.extend(page.trials);
            match page.next.filter(|next| *next > request.from) {
                Some(next) => request.from = next,
                None => return Ok(trials),
            }
        }
    }

    /// One trial with its attempts.
    pub async fn trial(&self, sweep: impl Into<String>, trial: u32) -> Result<v1::TrialResponse, ClientError> {
        self.sampled_trial(sweep, trial, 0).await
    }

    /// One trial with its attempts, and at most `sample` points of its series.
    pub async fn sampled_trial(
        &self,
        sweep: impl Into<String>,
        trial: u32,
        sample: u32,
    ) -> Result<v1::TrialResponse, ClientError> {
        let request = v1::TrialRequest { sweep: sweep.into(), trial, sample };
        self.call(Repeat::Safe, request, |mut to, request| async move { to.trial(request).await }).await
    }

    /// Pauses, resumes, stops or cancels. Each says where the sweep shall stand, so twice is as good as once.
    pub async fn control(&self, request: v1::ControlRequest) -> Result<v1::ControlResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.control(request).await }).await
    }

    /// Changes a sweep's limits. A relative change is sent once only.
    pub async fn edit(&self, request: v1::EditRequest) -> Result<v1::EditResponse, ClientError> {
        let repeat = if request.more_trials.is_some() { Repeat::Never } else { Repeat::Safe };
        self.call(repeat, request, |mut to, request| async move { to.edit(request).await }).await
    }

    /// Asks for a point to be tried next. Sent once only: a second copy would be a second trial.
    pub async fn enqueue(&self, request: v1::EnqueueRequest) -> Result<v1::EnqueueResponse, ClientError> {
        self.call(Repeat::Never, request, |mut to, request| async move { to.enqueue(request).await }).await
    }

    /// Tries failed trials again. Sent once only: a trial may fail again between two copies.
    pub async fn retry(&self, request: v1::RetryRequest) -> Result<v1::RetryResponse, ClientError> {
        self.call(Repeat::Never, request, |mut to, request| async move { to.retry(request).await }).await
    }

    /// Removes an ended sweep. Sent once only: the name may mean an older sweep afterwards.
    pub async fn remove(&self, sweep: impl Into<String>) -> Result<v1::RemoveResponse, ClientError> {
        let request = v1::RemoveRequest { sweep: sweep.into() };
        self.call(Repeat::Never, request, |mut to, request| async move { to.remove(request).await }).await
    }

    /// The cluster and its agents.
    pub async fn status(&self) -> Result<v1::StatusResponse, ClientError> {
        let request = v1::StatusRequest {};
        self.call(Repeat::Safe, request, |mut to, request| async move { to.status(request).await }).await
    }

    /// What happened, batch by batch. A cut stream goes on after the last index that was received.
    pub fn events(&self, request: v1::EventsRequest) -> Resumed<v1::EventBatch> {
        stream::events(self.clone(), request)
    }

    /// What a trial reported, chunk by chunk. A cut stream goes on after the last step that was received.
    pub fn series(&self, request: v1::SeriesRequest) -> Resumed<v1::SeriesChunk> {
        stream::series(self.clone(), request)
    }

    /// Summaries of a sweep whenever it changed, until it has ended.
    pub fn watch(&self, request: v1::WatchRequest) -> Resumed<v1::GetResponse> {
        stream::watch(self.clone(), request)
    }

    /// The first new best that a reader has not read; without one after some seconds where there is none.
    pub async fn next_notice(&self, request: v1::NextNoticeRequest) -> Result<v1::NextNoticeResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.next_notice(request).await }).await
    }

    /// Notes what a reader has dealt with. Twice is as good as once.
    pub async fn read_notice(&self, request: v1::ReadNoticeRequest) -> Result<v1::ReadNoticeResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut to, request| async move { to.read_notice(request).await }).await
    }

    /// Log lines. A cut stream goes on after the last byte that was received of each attempt.
    pub fn logs(&self, request: v1::LogsRequest) -> Resumed<v1::LogLine> {
        stream::logs(self.clone(), request)
    }

    /// What a trial keeps under a name. A cut stream goes on after the last byte that was received.
    pub fn artifact(&self, request: v1::ArtifactRequest) -> Resumed<v1::ArtifactPiece> {
        stream::artifact(self.clone(), request)
    }

    async fn call<Req, Resp, Send, Answer>(&self, repeat: Repeat, request: Req, send: Send) -> Result<Resp, ClientError>
    where
        Req: Clone,
        Send: Fn(Sweeps, Request<Req>) -> Answer,
        Answer: Future<Output = Result<Response<Resp>, Status>>,
    {
        self.ask(repeat, request, |node, request| send(self.sweeps(node), request)).await
    }

    /// Sends `request` to whoever leads, until it is answered or the patience is used up.
    pub(crate) async fn ask<Req, Resp, Send, Answer>(
        &self,
        repeat: Repeat,
        request: Req,
        send: Send,
    ) -> Result<Resp, ClientError>
    where
        Req: Clone,
        Send: Fn(&Node, Request<Req>) -> Answer,
        Answer: Future<Output = Result<Response<Resp>, Status>>,
    {
        let mut tries = self.tries();
        loop {
            let node = self.living(&mut tries).await?;
            let mut message = Request::new(request.clone());
            let deadline = self.options.deadline.min(tries.left().max(Duration::from_millis(100)));
            message.set_timeout(deadline);
            let status = match answered(deadline, send(&node, message)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            tries.after(self, &node.address, &status, repeat == Repeat::Safe).await?;
        }
    }

    /// Whom to ask. Where there is a choice, somebody who has given a sign of life: a machine that stands still still has
    /// its connections accepted, and whoever asked it at once would wait for the whole of a deadline.
    pub(crate) async fn living(&self, tries: &mut Tries) -> Result<Node, ClientError> {
        loop {
            let none = || ClientError::Unavailable { addresses: Vec::new(), why: "no address is known".to_owned() };
            let node = self.pool.current().ok_or_else(none)?;
            if self.pool.size() < 2 || node.is_living() {
                return Ok(node);
            }
            let silent = match tokio::time::timeout(SIGN_OF_LIFE, cluster(&node).node(v1::NodeRequest {})).await {
                Ok(Err(status)) if never_connected(&status) || node.met_tls() => status,
                // Whatever it says, it is there.
                Ok(_) => {
                    node.lives();
                    return Ok(node);
                }
                Err(_elapsed) => Status::deadline_exceeded(format!("no sign of life within {SIGN_OF_LIFE:?}")),
            };
            tries.after(self, &node.address, &silent, true).await?;
        }
    }

    pub(crate) fn sweeps(&self, node: &Node) -> Sweeps {
        SweepsClient::with_interceptor(node.channel.clone(), self.reading(node))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn reading(&self, node: &Node) -> Reading {
        Reading { stale: self.options.stale, bearer: node.bearer.clone() }
    }

    pub(crate) fn follow(&self, leader: &str) -> Result<(), ClientError> {
        Ok(self.pool.follow(leader)?)
    }

    pub(crate) fn tries(&self) -> Tries {
        let since = Instant::now();
        Tries {
            since,
            until: since + self.options.patience,
            backoff: Backoff::new(),
            redirects: 0,
            leaderless: false,
            distrusted: 0,
        }
    }
}

/// The calls about sweeps, each of which says how it may be answered.
pub(crate) type Sweeps = SweepsClient<InterceptedService<Channel, Reading>>;

/// Says of every question how it may be answered, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    stale: bool,
    bearer: Bearer,
}

impl Interceptor for Reading {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if self.stale {
            request.metadata_mut().insert(READ_KEY, AsciiMetadataValue::from_static(READ_STALE));
        }
        self.bearer.call(request)
    }
}

/// What comes within `deadline`.
pub(crate) async fn answered<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_elapsed| Status::deadline_exceeded(format!("no answer within {deadline:?}"));
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

/// The patience that is left for one call.
#[derive(Debug)]
pub(crate) struct Tries {
    since: Instant,
    until: Instant,
    backoff: Backoff,
    redirects: u32,
    /// Somebody answered, and did not know of a leader.
    leaderless: bool,
    /// So many in a row did not trust this client, or were not trusted by it.
    distrusted: usize,
}

/// Two nodes that name each other are waited for like nodes that name nobody.
const REDIRECTS_AT_ONCE: u32 = 3;

impl Tries {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits until the next try, or says why there is none.
    pub(crate) async fn after(
        &mut self,
        client: &Client,
        address: &str,
        status: &Status,
        repeatable: bool,
    ) -> Result<(), ClientError> {
        let mut silent = false;
        let met_tls = client.pool.met_tls(address);
        let verdict = if met_tls { Verdict::Distrusted(Distrust::SpeaksTls) } else { judge(status, address) };
        // One whose certificate has expired is passed over; where all are so, waiting changes nothing.
        self.distrusted = if matches!(verdict, Verdict::Distrusted(_)) { self.distrusted + 1 } else { 0 };
        let why = match verdict {
            Verdict::Distrusted(fault) if self.distrusted >= client.pool.size() => {
                return Err(ClientError::Distrusted { address: address.to_owned(), fault });
            }
            Verdict::Distrusted(fault) => {
                client.pool.doubt(address);
                client.pool.move_on(address);
                fault.to_string()
            }
            Verdict::Final(error) => return Err(error),
            Verdict::Broken(why) | Verdict::Silent(why) if !repeatable => {
                return Err(ClientError::Unknown { address: address.to_owned(), why });
            }
            Verdict::Redirect(leader) => {
                debug!(address, %leader, "redirected to the leader");
                client.pool.follow(&leader)?;
                // Until that one answers: a follower names the last leader that it knows until there is another.
                self.leaderless = true;
                self.redirects += 1;
                if self.redirects <= REDIRECTS_AT_ONCE {
                    return Ok(());
                }
                format!("it names {leader} as the leader, which does not lead")
            }
            Verdict::NoLeader(why) => {
                self.leaderless = true;
                client.pool.move_on(address);
                why
            }
            Verdict::NotSent(why) | Verdict::Broken(why) => {
                client.pool.doubt(address);
                client.pool.move_on(address);
                why
            }
            Verdict::Silent(why) => {
                client.pool.doubt(address);
                client.pool.move_on(address);
                silent = true;
                why
            }
        };
        let wait = self.backoff.next();
        if self.left() <= wait {
            return Err(if self.leaderless {
                ClientError::NoLeader { addresses: client.pool.addresses() }
            } else if silent {
                ClientError::Silent { address: address.to_owned(), waited: self.since.elapsed() }
            } else {
                ClientError::Unavailable { addresses: client.pool.addresses(), why }
            });
        }
        debug!(address, %why, wait_ms = wait.as_millis() as u64, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
