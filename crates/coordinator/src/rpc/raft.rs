//! What other coordinators say: handed to the replica as it is, and its answer back.

use std::pin::Pin;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use heats_replica::Replica;
use heats_wire::v1::RaftMessage;
use heats_wire::v1::raft_server::{Raft, RaftServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::peers::MESSAGE_MAX;

/// Questions of one peer that are answered at once; beyond that its stream is not read.
const AT_ONCE: usize = 64;

/// The service.
pub struct RaftService {
    replica: Replica,
}

impl RaftService {
    /// The service of this node, ready to be served: it takes messages of the size that [`crate::Peers`] sends.
    pub fn server(replica: Replica) -> RaftServer<Self> {
        RaftServer::new(Self { replica }).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<RaftMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Raft for RaftService {
    type ExchangeStream = Answers;

    async fn exchange(&self, request: Request<Streaming<RaftMessage>>) -> Result<Response<Answers>, Status> {
        let (sender, answers) = mpsc::channel(AT_ONCE);
        tokio::spawn(answer(self.replica.clone(), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

async fn answer(
    replica: Replica,
    mut questions: Streaming<RaftMessage>,
    answers: mpsc::Sender<Result<RaftMessage, Status>>,
) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(answer) = open.next() => if answers.send(Ok(answer)).await.is_err() { return },
            question = questions.message(), if open.len() < AT_ONCE => match question {
                Ok(Some(RaftMessage { number, data })) => {
                    let replica = &replica;
                    open.push(async move { RaftMessage { number, data: replica.receive(data).await } });
                }
                // What is open is for nobody now.
                Ok(None) | Err(_) => return,
            },
            () = answers.closed() => return,
        }
    }
}
