//! The way to the other coordinators: one stream to each, opened when it is first needed and again after it broke. Sees
//! only bytes: what they mean is the replica's. Over TLS, a node that answers in another's place is not spoken to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heats_replica::{BoxFuture, Transport, TransportError};
use heats_tls::{Dialer, Expect, Security};
use heats_wire::v1::RaftMessage;
use heats_wire::v1::raft_client::RaftClient;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tracing::debug;

/// The largest consensus message, in bytes: entries are sent in pieces of some megabytes, but one is never cut.
pub const MESSAGE_MAX: usize = 256 << 20;
/// Questions that may wait for one peer.
const WAITING: usize = 64;
/// Longer than a round trip, shorter than an election.
const CONNECT: Duration = Duration::from_millis(400);
/// A peer that is gone without a word is noticed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(1);

struct Question {
    data: Bytes,
    answer: oneshot::Sender<Result<Bytes, String>>,
}

/// The streams to the other coordinators.
#[derive(Debug)]
pub struct Peers {
    security: Security,
    links: Mutex<BTreeMap<(u64, String), mpsc::Sender<Question>>>,
}

impl Peers {
    /// To be reached as `security` says.
    pub fn new(security: Security) -> Self {
        Self { security, links: Mutex::default() }
    }

    fn link(&self, target: u64, address: &str) -> mpsc::Sender<Question> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (questions, queue) = mpsc::channel(WAITING);
            let dialer = Dialer::new(self.security.clone(), Expect::Coordinator(target));
            tokio::spawn(run(address.to_owned(), dialer, queue));
            questions
        };
        links.entry((target, address.to_owned())).or_insert_with(new).clone()
    }
}

impl Transport for Peers {
    fn call<'a>(
        &'a self,
        target: u64,
        address: &'a str,
        message: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, TransportError>> {
        let questions = self.link(target, address);
        Box::pin(async move {
            let lost = |why| TransportError { target, address: address.to_owned(), why };
            let gone = || lost("this coordinator is shutting down".to_owned());
            let (answer, answered) = oneshot::channel();
            questions.send(Question { data: message, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?.map_err(lost)
        })
    }
}

/// Asks one peer what is asked of it, for as long as anybody may ask.
async fn run(address: String, dialer: Dialer, mut queue: mpsc::Receiver<Question>) {
    while let Some(first) = queue.recv().await {
        let why = match connect(&address, &dialer).await {
            Ok(stream) => {
                let lost = talk(stream, first, &mut queue).await;
                debug!(address, error = lost, "the stream to a peer has ended");
                continue;
            }
            Err(why) => why,
        };
        // Whoever waits is told at once; the replica decides when to try again.
        for question in std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv().ok())) {
            // Nobody waits for it any more.
            let _ = question.answer.send(Err(why.clone()));
        }
    }
}

struct Stream {
    to_peer: mpsc::Sender<RaftMessage>,
    from_peer: Streaming<RaftMessage>,
}

async fn connect(address: &str, dialer: &Dialer) -> Result<Stream, String> {
    let opened = async {
        let channel = channel(address, dialer).await?;
        let (to_peer, messages) = mpsc::channel(WAITING);
        let from_peer = client(channel).exchange(ReceiverStream::new(messages)).await;
        Ok(Stream { to_peer, from_peer: from_peer.map_err(|status| status.to_string())?.into_inner() })
    };
    // A peer that is stopped still has its connections accepted.
    tokio::time::timeout(CONNECT * 2, opened).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

/// A connection of its own to another coordinator, which breaks soon after that one is gone.
pub async fn channel(address: &str, dialer: &Dialer) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    endpoint.connect_with_connector(dialer.clone()).await.map_err(|error| sources(&error))
}

fn client(channel: Channel) -> RaftClient<Channel> {
    RaftClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
}

/// An error with what caused it: the outermost says only that something failed.
fn sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Carries questions and answers until the stream is lost; why it was.
async fn talk(stream: Stream, first: Question, queue: &mut mpsc::Receiver<Question>) -> String {
    let Stream { to_peer, mut from_peer } = stream;
    let mut open: BTreeMap<u64, oneshot::Sender<Result<Bytes, String>>> = BTreeMap::new();
    let mut number = 0;
    let mut next = Some(first);
    let why = loop {
        if let Some(Question { data, answer }) = next.take() {
            number += 1;
            // Questions that nobody waits for any more, where a peer is slow.
            open.retain(|_, answer| !answer.is_closed());
            open.insert(number, answer);
            if to_peer.send(RaftMessage { number, data }).await.is_err() {
                break "the stream was closed".to_owned();
            }
        }
        tokio::select! {
            question = queue.recv() => match question {
                Some(question) => next = Some(question),
                None => break "this coordinator is shutting down".to_owned(),
            },
            answer = from_peer.message() => match answer {
                Ok(Some(RaftMessage { number, data })) => {
                    if let Some(waiting) = open.remove(&number) {
                        // Too late for whoever asked.
                        let _ = waiting.send(Ok(data));
                    }
                }
                Ok(None) => break "it has ended the stream".to_owned(),
                Err(status) => break sources(&status),
            },
        }
    };
    for (_, answer) in open {
        let _ = answer.send(Err(why.clone()));
    }
    why
}
