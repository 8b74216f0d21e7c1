//! The client against coordinators that refuse, redirect, break and return. What the calls mean is tested with the
//! real coordinator in `/tests`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use heats_client::{Client, ClientError, Options};
use heats_wire::series;
use heats_wire::v1;
use heats_wire::v1::sweeps_server::{Sweeps, SweepsServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = stream::BoxStream<'static, Result<T, Status>>;

/// What a node does with the calls that these tests make.
#[derive(Clone)]
enum Behaviour {
    Leads,
    Names(String),
    FailsFirst(u32),
    SaysNothing,
}

#[derive(Clone)]
struct Node {
    behaviour: Behaviour,
    calls: Arc<AtomicU32>,
    requests: Arc<Mutex<Vec<u64>>>,
}

impl Node {
    async fn turn(&self) -> Result<(), Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match &self.behaviour {
            Behaviour::Leads => Ok(()),
            Behaviour::Names(leader) => {
                let mut status = Status::new(Code::FailedPrecondition, "does not lead");
                status.metadata_mut().insert("heats-leader", leader.parse().expect("ascii"));
                Err(status)
            }
            Behaviour::FailsFirst(times) if call < *times => Err(Status::unavailable("starts")),
            Behaviour::FailsFirst(_) => Ok(()),
            Behaviour::SaysNothing => std::future::pending().await,
        }
    }
}

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of these tests"))
}

#[tonic::async_trait]
impl Sweeps for Node {
    type EventsStream = Stream<v1::EventBatch>;
    type WatchStream = Stream<v1::GetResponse>;
    type ArtifactStream = Stream<v1::ArtifactPiece>;
    type LogsStream = Stream<v1::LogLine>;
    type SeriesStream = Stream<v1::SeriesChunk>;

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        self.requests.lock().expect("lock").push(request.into_inner().request);
        self.turn().await?;
        Ok(Response::new(v1::SubmitResponse { name: "digits".into(), ..Default::default() }))
    }

    async fn enqueue(&self, _: Request<v1::EnqueueRequest>) -> Answer<v1::EnqueueResponse> {
        self.turn().await?;
        Ok(Response::new(v1::EnqueueResponse { log_index: 1, waiting: 1 }))
    }

    /// Two batches per answer, then a cut, until the third.
    async fn events(&self, request: Request<v1::EventsRequest>) -> Answer<Self::EventsStream> {
        let from = request.into_inner().from_index;
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let batch = |log_index| {
            let events = vec![v1::Event { log_index, ..Default::default() }];
            Ok(v1::EventBatch { log_index, events })
        };
        let mut items = vec![batch(from), batch(from + 1)];
        if call < 2 {
            items.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(stream::iter(items).boxed()))
    }

    /// Two points per answer, then a cut; then an end that is none; then the rest.
    async fn series(&self, request: Request<v1::SeriesRequest>) -> Answer<Self::SeriesStream> {
        let call = self.calls.load(Ordering::SeqCst);
        self.turn().await?;
        let from = request.into_inner().after_step.map_or(0, |step| step + 1);
        let chunk = |step, last| {
            let points = v1::Points { steps: vec![step], times_ms: vec![0], ..Default::default() };
            Ok(v1::SeriesChunk { log_index: 1, points: vec![points], last })
        };
        let mut items = vec![chunk(from, false), chunk(from + 1, call == 2)];
        if call == 0 {
            items.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(stream::iter(items).boxed()))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        self.turn().await?;
        Ok(Response::new(v1::ListResponse::default()))
    }
    async fn get(&self, _: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let mut status = Status::new(Code::NotFound, "there is no sweep `x`");
        status.metadata_mut().insert("heats-hint", "`heats ls` lists them".parse().expect("ascii"));
        Err(status)
    }
    async fn trials(&self, _: Request<v1::TrialsRequest>) -> Answer<v1::TrialsResponse> {
        unused()
    }
    async fn trial(&self, _: Request<v1::TrialRequest>) -> Answer<v1::TrialResponse> {
        unused()
    }
    /// Nothing happens for as long as the request says, then a cut; the next time there is something.
    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        if self.calls.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(Response::new(stream::iter([Ok(v1::GetResponse::default())]).boxed()));
        }
        let quiet = Duration::from_millis(request.into_inner().min_interval_ms.into());
        let cut = tokio::time::sleep(quiet).map(|()| Err(Status::unavailable("cut")));
        Ok(Response::new(stream::once(cut).boxed()))
    }
    async fn logs(&self, _: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        unused()
    }
    async fn artifact(&self, _: Request<v1::ArtifactRequest>) -> Answer<Self::ArtifactStream> {
        unused()
    }
    async fn next_notice(&self, _: Request<v1::NextNoticeRequest>) -> Answer<v1::NextNoticeResponse> {
        unused()
    }
    async fn read_notice(&self, _: Request<v1::ReadNoticeRequest>) -> Answer<v1::ReadNoticeResponse> {
        unused()
    }
    async fn control(&self, _: Request<v1::ControlRequest>) -> Answer<v1::ControlResponse> {
        unused()
    }
    async fn edit(&self, _: Request<v1::EditRequest>) -> Answer<v1::EditResponse> {
        unused()
    }
    async fn retry(&self, _: Request<v1::RetryRequest>) -> Answer<v1::RetryResponse> {
        unused()
    }
    async fn remove(&self, _: Request<v1::RemoveRequest>) -> Answer<v1::RemoveResponse> {
        unused()
    }
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        unused()
    }
}

/// Starts a node; its address and itself.
async fn start(behaviour: Behaviour) -> (String, Node) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    let node = Node { behaviour, calls: Arc::default(), requests: Arc::default() };
    let server = tonic::transport::Server::builder()
        .add_service(SweepsServer::new(node.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    (address, node)
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    listener.local_addr().expect("bound").to_string()
}

#[tokio::test]
async fn a_follower_sends_the_client_to_the_leader() {
    let (leader, leading) = start(Behaviour::Leads).await;
    let (follower, following) = start(Behaviour::Names(leader)).await;
    let client = Client::connect(vec![follower]).expect("addresses");
    for _ in 0..2 {
        client.enqueue(v1::EnqueueRequest::default()).await.expect("the leader takes it");
    }
    assert_eq!(following.calls.load(Ordering::SeqCst), 1, "the client remembers who leads");
    assert_eq!(leading.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_submission_is_retried_with_the_same_request() {
    let (address, node) = start(Behaviour::FailsFirst(3)).await;
    let client = Client::connect(vec![address]).expect("addresses");
    let answer = client.submit(v1::SubmitRequest::default()).await.expect("comes through");
    assert_eq!(answer.name, "digits");
    let requests = node.requests.lock().expect("lock").clone();
    assert_eq!(requests.len(), 4);
    assert!(requests[0] != 0 && requests.iter().all(|id| *id == requests[0]), "{requests:?}");
}

#[tokio::test]
async fn what_must_not_happen_twice_is_not_sent_twice() {
    let (address, node) = start(Behaviour::FailsFirst(1)).await;
    let client = Client::connect(vec![address]).expect("addresses");
    let error = client.enqueue(v1::EnqueueRequest::default()).await.expect_err("it broke");
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!(node.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_passed_over() {
    let (address, _) = start(Behaviour::Leads).await;
    let client = Client::connect(vec![nobody().await, address]).expect("addresses");
    client.enqueue(v1::EnqueueRequest::default()).await.expect("nothing was sent to the first");
}

#[tokio::test]
async fn patience_ends_with_the_addresses_and_the_reason() {
    let address = nobody().await;
    let options = Options { patience: Duration::from_millis(200), ..Options::default() };
    let client = Client::connect_with(vec![address.clone()], options).expect("addresses");
    let error = client.list(v1::ListRequest::default()).await.expect_err("nobody is there");
    let ClientError::Unavailable { addresses, why } = error else { panic!("{error}") };
    assert_eq!(addresses, [address]);
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_hint() {
    let (address, _) = start(Behaviour::Leads).await;
    let client = Client::connect(vec![address]).expect("addresses");
    let error = client.get("x").await.expect_err("is not there");
    let ClientError::NotFound(refusal) = &error else { panic!("{error}") };
    assert_eq!(refusal.hint.as_deref(), Some("`heats ls` lists them"));
    assert_eq!(error.to_string(), "there is no sweep `x`");
}

#[tokio::test]
async fn events_go_on_after_a_cut_without_a_gap_or_a_repeat() {
    let (address, _) = start(Behaviour::Leads).await;
    let client = Client::connect(vec![address]).expect("addresses");
    let events = client.events(v1::EventsRequest { from_index: 1, ..Default::default() });
    let indices: Vec<u64> = events.map(|batch| batch.expect("resumes").log_index).collect().await;
    assert_eq!(indices, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_series_goes_on_after_a_cut_or_an_early_end_without_a_gap_or_a_repeat() {
    let (address, _) = start(Behaviour::Leads).await;
    let client = Client::connect(vec![address]).expect("addresses");
    let chunks: Vec<_> = client.series(v1::SeriesRequest::default()).collect().await;
    let steps = chunks.into_iter().flat_map(|chunk| series::points(&chunk.expect("resumes").points).expect("fit"));
    assert_eq!(steps.map(|point| point.step).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_node_that_says_nothing_is_told_from_one_that_is_not_there() {
    let (address, _) = start(Behaviour::SaysNothing).await;
    let options = Options { patience: Duration::from_millis(300), deadline: Duration::from_millis(100), stale: false };
    let client = Client::connect_with(vec![address.clone()], options).expect("addresses");
    let silent = |error: &ClientError| matches!(error, ClientError::Silent { address: of, .. } if *of == address);
    let error = client.list(v1::ListRequest::default()).await.expect_err("nobody answers");
    assert!(silent(&error), "{error}");
    let error = client.series(v1::SeriesRequest::default()).next().await.expect("an item").expect_err("nobody answers");
    assert!(silent(&error), "{error}");
    let error = client.enqueue(v1::EnqueueRequest::default()).await.expect_err("nobody answers");
    assert!(matches!(error, ClientError::Unknown { .. }), "it may have been carried out: {error}");
}

#[tokio::test]
async fn a_stream_that_was_quiet_for_longer_than_the_patience_is_resumed_like_any_other() {
    let (address, _) = start(Behaviour::Leads).await;
    let options = Options { patience: Duration::from_millis(200), ..Options::default() };
    let client = Client::connect_with(vec![address], options).expect("addresses");
    let request = v1::WatchRequest { min_interval_ms: 400, ..Default::default() };
    let first = client.watch(request).next().await.expect("an item");
    first.expect("is asked again, with all the patience that there is");
}

#[tokio::test]
async fn a_node_that_stands_still_is_passed_over_even_by_what_is_sent_once_only() {
    // The kernel takes its connections, and nobody says anything.
    let still = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let (address, node) = start(Behaviour::Leads).await;
    let addresses = vec![still.local_addr().expect("bound").to_string(), address];
    // Whoever waited for a deadline would wait for ever.
    let options = Options { patience: Duration::from_secs(3600), deadline: Duration::from_secs(3600), stale: false };
    let client = Client::connect_with(addresses, options).expect("addresses");
    client.enqueue(v1::EnqueueRequest::default()).await.expect("the other one takes it");
    assert_eq!(node.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nodes_that_all_stand_still_are_said_to() {
    let mut standing = Vec::new();
    for _ in 0..2 {
        standing.push(TcpListener::bind("127.0.0.1:0").await.expect("binds"));
    }
    let addresses = standing.iter().map(|node| node.local_addr().expect("bound").to_string()).collect();
    let options = Options { patience: Duration::from_secs(1), ..Options::default() };
    let client = Client::connect_with(addresses, options).expect("addresses");
    let error = client.list(v1::ListRequest::default()).await.expect_err("nobody answers");
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
}
