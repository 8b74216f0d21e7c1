//! The content of artifacts, relayed piece by piece from an agent that reaches the storage which they are in.

use heats_core::Refusal;
use heats_domain::Artifact;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::lookup::{Answers, find};
use crate::node::Node;
use crate::relays::{Ask, RelayError};
use crate::status::refused;

/// How much an agent is asked for at once, in bytes: less than may wait for one reader, so that no reader is too slow.
const RANGE: u64 = 4 << 20;

type Pieces = mpsc::Sender<Result<v1::ArtifactPiece, Status>>;

/// Serves one request.
pub fn artifact(node: &Node, request: v1::ArtifactRequest) -> Result<Answers<v1::ArtifactPiece>, Status> {
    let v1::ArtifactRequest { sweep, trial: number, name, offset } = request;
    let state = node.replica.state();
    let sweep = find(&state, &sweep)?;
    let missing = || refused(&Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
    let trial = sweep.trial(number).ok_or_else(missing)?;
    let unknown = || Status::not_found(format!("trial {number} keeps nothing under the name `{name}`"));
    let artifact = trial.artifact(&name).ok_or_else(unknown)?.clone();
    let (sender, pieces) = mpsc::channel(4);
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(status) = send(&node, &artifact, offset, &sender).await {
            // Nobody reads any more where it cannot be sent: nothing to tell.
            let _reader_gone = sender.send(Err(status)).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(pieces)))
}

/// Sends everything from `offset` on. Of what is empty one piece, so that its length is known.
async fn send(node: &Node, artifact: &Artifact, mut offset: u64, pieces: &Pieces) -> Result<(), Status> {
    let length = artifact.bytes;
    if offset >= length {
        let _reader_gone = pieces.send(Ok(v1::ArtifactPiece { data: Vec::new(), length })).await;
    }
    while offset < length && !pieces.is_closed() {
        let range = v1::ArtifactRange { artifact: Some(artifact.clone()), offset, length: RANGE };
        offset += relay(node, &artifact.place, range, length, pieces).await?;
    }
    Ok(())
}

/// Passes on what an agent sends of a range; how many bytes that were.
async fn relay(
    node: &Node,
    place: &str,
    range: v1::ArtifactRange,
    length: u64,
    pieces: &Pieces,
) -> Result<u64, Status> {
    let state = node.replica.state();
    let reaching = node.streams.reaching(&state, place).next();
    let away = || Status::unavailable(format!("no agent that reaches the storage `{place}` is attached"));
    let agent = reaching.ok_or_else(away)?;
    let stream = node.streams.attached(agent).await;
    let lost = |error: RelayError| Status::unavailable(error.to_string());
    let mut relay = node.relays.open(&node.streams, agent, stream, Ask::Artifact(range)).map_err(lost)?;
    let mut sent = 0;
    loop {
        let chunk = tokio::select! {
            chunk = relay.next() => chunk.map_err(lost)?,
            () = pieces.closed() => return Ok(sent),
        };
        let v1::LogChunk { id: _, data, stderr: _, end, error, at: _, left_out: _ } =
            chunk.ok_or_else(|| lost(RelayError::Lost))?;
        if !error.is_empty() {
            return Err(Status::data_loss(error));
        }
        sent += data.len() as u64;
        if !data.is_empty() && pieces.send(Ok(v1::ArtifactPiece { data, length })).await.is_err() {
            return Ok(sent);
        }
        if end && sent == 0 {
            return Err(Status::data_loss("the storage has less of it than was put"));
        }
        if end {
            return Ok(sent);
        }
    }
}
