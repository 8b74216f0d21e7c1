//! How nodes reach each other: openraft's messages as ours, over a [`Transport`] that sees only bytes.
//! The transport itself (gRPC, or a test's memory) is not here.

use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::BasicNode;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias;
use prost::Message;

use crate::codec::{self, Malformed};
use crate::error::TransportError;
use crate::ground::{PIECE, Work};
use crate::pb::{self, Answer, Ask};
use crate::snapshot::{SnapshotFile, digest_of};
use crate::types::{Types, Vote};

/// A future that can be kept and sent to other threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries a request to a peer and its answer back, both opaque. The receiving side hands the request to
/// [`crate::Replica::receive`]. Ordering and delivery are not promised; a call that fails is made again.
pub trait Transport: Send + Sync + 'static {
    /// Asks `target`, which listens at `address`.
    fn call<'a>(
        &'a self,
        target: u64,
        address: &'a str,
        message: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, TransportError>>;
}

/// The transport of a node that has no peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Transport for Alone {
    fn call<'a>(&'a self, target: u64, address: &'a str, _: Bytes) -> BoxFuture<'a, Result<Bytes, TransportError>> {
        let why = "this coordinator was started alone, without a way to reach peers".to_owned();
        Box::pin(async move { Err(TransportError { target, address: address.to_owned(), why }) })
    }
}

/// How much of entries one message carries, in bytes, unless a single entry is larger.
const APPEND_BYTES: usize = 4 << 20;
/// How long a peer may take to make entries durable.
const ENTRIES: Duration = Duration::from_secs(5);
/// How long a peer may take to install a snapshot that it has whole.
const INSTALL: Duration = Duration::from_secs(600);

/// Makes the connections.
pub(crate) struct Network {
    pub(crate) node: u64,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) work: Work,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        let (address, transport) = (node.addr.clone(), Arc::clone(&self.transport));
        Peer { from: self.node, to: target, address, transport, work: self.work }
    }
}

/// One peer.
pub(crate) struct Peer {
    from: u64,
    to: u64,
    address: String,
    transport: Arc<dyn Transport>,
    work: Work,
}

impl Peer {
    /// Every failure is `Unreachable`, because only that makes the engine wait before it tries again.
    async fn ask(&self, ask: Ask, limit: Duration) -> Result<Answer, Unreachable<Types>> {
        let request = pb::Request { from: self.from, to: self.to, ask: Some(ask) };
        let call = self.transport.call(self.to, &self.address, request.encode_to_vec().into());
        let bytes = match tokio::time::timeout(limit, call).await {
            Ok(answered) => answered.map_err(|error| Unreachable::new(&error))?,
            Err(late) => return Err(Unreachable::new(&late)),
        };
        let response = pb::Response::decode(bytes).map_err(|error| Unreachable::new(&error))?;
        match response.answer {
            Some(Answer::Refused(why)) => Err(Unreachable::from_string(why)),
            Some(answer @ (Answer::Vote(_) | Answer::Append(_) | Answer::Snapshot(_) | Answer::Transfer(_))) => {
                Ok(answer)
            }
            None => Err(Unreachable::new(&Malformed::Lacks("answer"))),
        }
    }

    async fn ask_vote(&self, ask: Ask, option: &RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(ask, option.soft_ttl()).await? {
            Answer::Vote(answer) => Ok(VoteResponse {
                vote: codec::to_vote(answer.vote),
                vote_granted: answer.granted,
                last_log_id: answer.last.map(codec::to_log_id),
            }),
            other => Err(mismatch(&other).into()),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: alias::SnapshotOf<Types, SnapshotFile>,
        limit: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let file = Arc::clone(&snapshot.snapshot.file);
        let unread = |error: std::io::Error| Unreachable::from_string(format!("the snapshot does not read: {error}"));
        let (digest, length) = digest_of(&file).map_err(unread)?;
        let header = pb::SnapshotHeader {
            last: snapshot.meta.last_log_id.as_ref().map(codec::log_id),
            membership_at: snapshot.meta.last_membership.log_id().as_ref().map(codec::log_id),
            membership: codec::membership(snapshot.meta.last_membership.membership()),
            // What the file says beyond that is read from it.
            ..pb::SnapshotHeader::default()
        };
        let mut chunk = pb::SnapshotChunk {
            vote: codec::vote(&vote),
            header,
            digest: Bytes::copy_from_slice(&digest),
            length,
            offset: 0,
            data: Bytes::new(),
        };
        // The first asks only how much the peer has from a transfer that broke off.
        loop {
            let last = chunk.offset + chunk.data.len() as u64 >= length;
            let limit = if last { INSTALL } else { limit };
            let answer = match self.ask(Ask::Snapshot(chunk.clone()), limit).await? {
                Answer::Snapshot(answer) => answer,
                other => return Err(mismatch(&other).into()),
            };
            if let Some(vote) = answer.done {
                return Ok(SnapshotResponse::new(codec::to_vote(vote)));
            }
            chunk.offset = answer.have.min(length);
            let size = PIECE.min((length - chunk.offset) as usize);
            let (file, offset) = (Arc::clone(&file), chunk.offset);
            let read = self.work.run(move || {
                let mut data = vec![0; size];
                file.read_exact_at(&mut data, offset).map(|()| data)
            });
            chunk.data = read.await.flatten().map_err(unread)?.into();
        }
    }
}

fn mismatch(answer: &Answer) -> Unreachable<Types> {
    Unreachable::from_string(format!("the peer answered another question: {answer:?}"))
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let entries: Vec<pb::LogEntry> = rpc.entries.iter().map(codec::entry).collect();
        let fits = fits(&entries);
        let cut = (fits < entries.len()).then(|| rpc.entries.get(fits.saturating_sub(1)).map(|entry| entry.log_id));
        let ask = Ask::Append(pb::AppendRequest {
            vote: codec::vote(&rpc.vote),
            previous: rpc.prev_log_id.as_ref().map(codec::log_id),
            entries: entries.into_iter().take(fits).collect(),
            committed: rpc.leader_commit.as_ref().map(codec::log_id),
        });
        // The engine gives a heartbeat up itself as soon as the next one is due. Entries may have a slow link, a slow disk or a busy
        // machine before them, and so may the word behind them that they are committed: where that is given up too early, the engine
        // sends nothing more for a while to a peer that works.
        match self.ask(ask, option.soft_ttl().max(ENTRIES)).await? {
            Answer::Append(answer) => {
                let appended = answer.appended.ok_or(Malformed::Lacks("outcome"));
                Ok(match appended.map_err(|error| Unreachable::new(&error))? {
                    pb::Appended::All(()) => match cut {
                        None => AppendEntriesResponse::Success,
                        Some(sent) => AppendEntriesResponse::PartialSuccess(sent),
                    },
                    pb::Appended::UpTo(cut) => AppendEntriesResponse::PartialSuccess(cut.after.map(codec::to_log_id)),
                    pb::Appended::Conflict(()) => AppendEntriesResponse::Conflict,
                    pb::Appended::HigherVote(vote) => AppendEntriesResponse::HigherVote(codec::to_vote(vote)),
                })
            }
            other => Err(mismatch(&other).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Ask::Vote(vote_request(&rpc)), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Ask::PreVote(vote_request(&rpc)), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: alias::SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        // A piece is a megabyte, not a heartbeat: give it as long as a slow link needs.
        let limit = option.hard_ttl().max(Duration::from_secs(10));
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, limit) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let ask = Ask::Transfer(pb::TransferRequest {
            vote: codec::vote(rpc.from_leader()),
            to: *rpc.to_node_id(),
            last: rpc.last_log_id().map(codec::log_id),
        });
        match self.ask(ask, option.soft_ttl()).await? {
            Answer::Transfer(answer) => {
                let outcome = answer.transferred.ok_or(Malformed::Lacks("outcome"));
                Ok(match outcome.map_err(|error| Unreachable::new(&error))? {
                    pb::Transferred::Accepted(()) => Ok(()),
                    pb::Transferred::VoteChanged(vote) => Err(TransferLeaderError::VoteChanged {
                        expected: *rpc.from_leader(),
                        actual: codec::to_vote(vote),
                    }),
                    pb::Transferred::Behind(cut) => Err(TransferLeaderError::LogNotFlushed {
                        expected: rpc.last_log_id().copied(),
                        actual: cut.after.map(codec::to_log_id),
                    }),
                })
            }
            other => Err(mismatch(&other).into()),
        }
    }
}

/// How many of the entries one message carries: one at least, for an entry cannot be cut.
fn fits(entries: &[pb::LogEntry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        bytes += entry.encoded_len();
        bytes <= APPEND_BYTES
    });
    fit.count().max(entries.len().min(1))
}

fn vote_request(rpc: &VoteRequest<Types>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: codec::vote(&rpc.vote),
        last: rpc.last_log_id.as_ref().map(codec::log_id),
        transfer: rpc.leadership_transfer,
    }
}
