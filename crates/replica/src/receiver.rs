//! The answering side: decodes a peer's request, hands it to the engine, encodes the answer. Nothing that a
//! peer sends can stop the node: what cannot be carried out is refused with a sentence.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{Raft, Snapshot};
use prost::Message;
use tokio::sync::Mutex;

use crate::codec;
use crate::ground::Work;
use crate::machine::Machine;
use crate::pb::{self, Answer, Ask};
use crate::snapshot::{self, SnapshotFile, SnapshotStore};
use crate::types::Types;

/// See the module.
pub(crate) struct Receiver {
    pub(crate) node: u64,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) store: SnapshotStore,
    pub(crate) work: Work,
    /// One snapshot is taken in at a time.
    pub(crate) incoming: Mutex<()>,
}

impl Receiver {
    /// Answers a request.
    pub(crate) async fn receive(&self, message: Bytes) -> Bytes {
        let answer = self.answer(message).await.unwrap_or_else(Answer::Refused);
        pb::Response { answer: Some(answer) }.encode_to_vec().into()
    }

    async fn answer(&self, message: Bytes) -> Result<Answer, String> {
        let request = pb::Request::decode(message).map_err(|error| format!("the request does not decode: {error}"))?;
        if request.to != self.node {
            return Err(format!("this is node {}, not node {}", self.node, request.to));
        }
        match request.ask.ok_or("the request asks nothing that this version knows")? {
            Ask::Vote(ask) => self.raft.vote(vote_request(ask)).await.map(vote_answer).map_err(told),
            Ask::PreVote(ask) => self.raft.pre_vote(vote_request(ask)).await.map(vote_answer).map_err(told),
            Ask::Append(ask) => self.append(ask).await,
            Ask::Snapshot(chunk) => self.snapshot(chunk).await,
            Ask::Transfer(ask) => self.transfer(ask).await,
        }
    }

    async fn append(&self, ask: pb::AppendRequest) -> Result<Answer, String> {
        let entries: Result<Vec<_>, _> = ask.entries.into_iter().map(codec::to_entry).collect();
        let request = AppendEntriesRequest {
            vote: codec::to_vote(ask.vote),
            prev_log_id: ask.previous.map(codec::to_log_id),
            entries: entries.map_err(told)?,
            leader_commit: ask.committed.map(codec::to_log_id),
        };
        let appended = match self.raft.append_entries(request).await.map_err(told)? {
            AppendEntriesResponse::Success => pb::Appended::All(()),
            AppendEntriesResponse::PartialSuccess(upto) => {
                pb::Appended::UpTo(pb::Cut { after: upto.as_ref().map(codec::log_id) })
            }
            AppendEntriesResponse::Conflict => pb::Appended::Conflict(()),
            AppendEntriesResponse::HigherVote(vote) => pb::Appended::HigherVote(codec::vote(&vote)),
        };
        Ok(Answer::Append(pb::AppendResponse { appended: Some(appended) }))
    }

    async fn transfer(&self, ask: pb::TransferRequest) -> Result<Answer, String> {
        let request = TransferLeaderRequest::new(codec::to_vote(ask.vote), ask.to, ask.last.map(codec::to_log_id));
        let transferred = match self.raft.handle_transfer_leader(request).await.map_err(told)? {
            Ok(()) => pb::Transferred::Accepted(()),
            Err(TransferLeaderError::VoteChanged { actual, .. }) => pb::Transferred::VoteChanged(codec::vote(&actual)),
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                pb::Transferred::Behind(pb::Cut { after: actual.as_ref().map(codec::log_id) })
            }
        };
        Ok(Answer::Transfer(pb::TransferResponse { transferred: Some(transferred) }))
    }

    /// Takes a piece of a snapshot in, and installs the whole once it is there and reads.
    async fn snapshot(&self, chunk: pb::SnapshotChunk) -> Result<Answer, String> {
        let _one = self.incoming.lock().await;
        let path = self.store.incoming(&chunk.digest, chunk.length);
        let (vote, length) = (chunk.vote, chunk.length);
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        let (store, part) = (self.store.clone(), path.clone());
        let extended = self.work.run(move || store.extend(&part, chunk.offset, &chunk.data));
        let have = extended.await.map_err(told)?.map_err(told)?;
        if have < length || end != length {
            return Ok(Answer::Snapshot(pb::SnapshotResponse { have, done: None }));
        }
        // Read before it is handed over: to the engine, a snapshot that does not read is fatal.
        let store = self.store.clone();
        let read = self.work.run_aside(move || open_whole(&store, path)).await.map_err(told)??;
        let response = self.raft.install_full_snapshot(codec::to_vote(vote), read).await.map_err(told)?;
        Ok(Answer::Snapshot(pb::SnapshotResponse { have, done: Some(codec::vote(&response.vote)) }))
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn vote_request(ask: pb::VoteRequest) -> VoteRequest<Types> {
    VoteRequest {
        vote: codec::to_vote(ask.vote),
        last_log_id: ask.last.map(codec::to_log_id),
        leadership_transfer: ask.transfer,
    }
}

fn vote_answer(response: VoteResponse<Types>) -> Answer {
    Answer::Vote(pb::VoteResponse {
        vote: codec::vote(&response.vote),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(codec::log_id),
    })
}

/// The received snapshot, if it reads; otherwise it is removed and must come anew.
fn open_whole(
    store: &SnapshotStore,
    path: PathBuf,
) -> Result<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>, String> {
    let opened = snapshot::read(&path).map_err(told).and_then(|(header, state)| {
        let meta = codec::to_meta(&header).map_err(told)?;
        let file = Arc::new(fs::File::open(&path).map_err(told)?);
        Ok(Snapshot { meta, snapshot: SnapshotFile { file, path: path.clone(), read: Some(state) } })
    });
    opened.map_err(|why| {
        // Whether or not the removal works, the next transfer says what it finds.
        let _ = store.discard(&path);
        format!("the snapshot that was sent does not read: {why}")
    })
}
