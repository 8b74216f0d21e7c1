//! Bundles of logs: taken over from agents, and read for users.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;

use futures::StreamExt;
use heats_core::fact::Logged;
use heats_core::ops::logs::{ATTEMPTS_MAX, KeepLogs};
use heats_core::{Op, Refusal};
use heats_domain::ArchiveName;
use heats_wire::bundle::{Logs, Piece};
use heats_wire::convert::required;
use heats_wire::v1;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::archives::{failed, named};
use super::reading::Reading;
use crate::archives::ArchiveError;
use crate::caller::Caller;
use crate::node::Node;
use crate::status::{impostor, malformed, refused, unanswered};

/// Takes a bundle over: on a majority's disks, and then in the log.
pub async fn keep(
    node: &Node,
    request: Request<Streaming<v1::LogPiece>>,
) -> Result<Response<v1::KeepLogsResponse>, Status> {
    let caller = request.extensions().get().cloned().unwrap_or(Caller::Nobody);
    let mut pieces = request.into_inner();
    let head = pieces.message().await?.and_then(|first| first.bundle);
    let v1::LogBundle { agent, sweep, bundle, length, attempts } =
        required(head, "bundle").map_err(|error| malformed(&error))?;
    let agent = required(agent, "agent").map_err(|error| malformed(&error))?;
    let sweep = required(sweep, "sweep").map_err(|error| malformed(&error))?;
    if !caller.is_agent(agent) {
        return Err(impostor(agent));
    }
    let bundle = named(&bundle)?;
    if attempts.len() > ATTEMPTS_MAX {
        return Err(Status::invalid_argument(format!("a bundle has the logs of at most {ATTEMPTS_MAX} attempts")));
    }
    // Nothing is stored for a sweep that is gone.
    let state = Reading::Fresh.state(node).await?;
    if !state.sweeps.contains_key(&sweep) {
        return Err(refused(&Refusal::NoSuchSweep(sweep.to_string())));
    }
    drop(state);
    if !node.bundles.has(&bundle) {
        let body = pieces.map(|piece| piece.map(|piece| piece.piece.unwrap_or_default()));
        let received = node.bundles.receive(&bundle, length, std::pin::pin!(body)).await;
        received.map_err(|error| failed(&error))?;
    }
    let settled = node.bundles.settle(&bundle, &node.replica.members()).await;
    settled.map_err(|error| failed(&error))?;
    let attempts: BTreeSet<Logged> =
        attempts.into_iter().map(|v1::LoggedAttempt { trial, attempt }| Logged { trial, attempt }).collect();
    let (limit, sweep_limit) = (node.config.logs_max, node.config.sweep_logs_max);
    let op = Op::KeepLogs(KeepLogs { agent, sweep, bundle, length, attempts, limit, sweep_limit });
    node.decider.ask(op).await.map_err(|error| unanswered(&error))?;
    Ok(Response::new(v1::KeepLogsResponse {}))
}

/// The logs of an attempt, piece by piece, out of a bundle that is brought here where it is not.
///
/// # Errors
/// Where no coordinator that answers has the bundle.
pub async fn open(
    node: &Node,
    bundle: &ArchiveName,
    trial: u32,
    attempt: u32,
) -> Result<mpsc::Receiver<std::io::Result<Piece>>, ArchiveError> {
    if !node.bundles.has(bundle) {
        node.bundles.fetch(bundle, &node.replica.members()).await?;
    }
    let (file, length) = node.bundles.read(bundle).ok_or_else(|| ArchiveError::Missing(bundle.clone()))?;
    let (pieces, queue) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(file, length, trial, attempt, &pieces) {
            // Nobody waits for it where the reader is gone.
            let _reader_gone = pieces.blocking_send(Err(error));
        }
    });
    Ok(queue)
}

fn read(
    file: File,
    length: u64,
    trial: u32,
    attempt: u32,
    pieces: &mpsc::Sender<std::io::Result<Piece>>,
) -> std::io::Result<()> {
    let Some(mut logs) = Logs::open(BufReader::new(file), length, trial, attempt)? else {
        return Err(std::io::Error::other("the bundle lacks the logs that the log says it has"));
    };
    while let Some(piece) = logs.next_piece()? {
        if pieces.blocking_send(Ok(piece)).is_err() {
            break;
        }
    }
    Ok(())
}
