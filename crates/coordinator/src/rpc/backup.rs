//! A backup on its way to whoever asked for it, piece by piece, no faster than it is taken.

use heats_replica::{Backup, SnapshotError};
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::lookup::Answers;
use super::reading::Reading;
use crate::decider::AskError;
use crate::node::Node;
use crate::status::unanswered;

/// Bytes of one piece.
const PIECE: usize = 1 << 20;
/// Pieces that may wait for a slow reader.
const WAITING: usize = 2;

/// Takes a backup and sends it.
pub async fn backup(node: &Node, request: v1::BackupRequest) -> Result<Answers<v1::BackupChunk>, Status> {
    let v1::BackupRequest { stale } = request;
    let reading = if stale { Reading::Stale } else { Reading::Fresh };
    reading.state(node).await?;
    let backup = node.replica.backup().await.map_err(|error| untaken(&error))?;
    let (pieces, answers) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || send(&backup, &pieces));
    Ok(Box::pin(ReceiverStream::new(answers)))
}

fn send(backup: &Backup, pieces: &mpsc::Sender<Result<v1::BackupChunk, Status>>) {
    let Backup { index: log_index, length, .. } = *backup;
    let mut offset = 0;
    while offset < length {
        let piece = backup.read(offset, PIECE).map_err(|error| Status::internal(format!("the backup: {error}")));
        let read = piece.as_ref().map_or(length, |data| data.len() as u64);
        let chunk = piece.map(|data| v1::BackupChunk { log_index, length, offset, data });
        if pieces.blocking_send(chunk).is_err() {
            // Nobody waits for it any more.
            return;
        }
        offset += read;
    }
}

/// Why there is no snapshot, as a status.
pub fn untaken(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::Empty => Status::failed_precondition(error.to_string()),
        SnapshotError::Stopped => unanswered(&AskError::Stopped),
    }
}
