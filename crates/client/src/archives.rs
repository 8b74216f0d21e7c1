//! What is too large for one message, on its way to coordinators and back: the code of sweeps, and the logs of their attempts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::archives_client::ArchivesClient;
use heats_wire::{Bytes, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::client::{Client, answered};
use crate::credentials::Bearer;
use crate::error::ClientError;
use crate::pool::Node;
use crate::stream::{Resumed, archive};

/// Bytes of one piece.
const PIECE: usize = 1 << 20;
/// Pieces that may wait for a slow connection.
const WAITING: usize = 2;
/// A piece and what is around it.
pub(crate) const PIECE_MAX: usize = 2 << 20;
/// How long an archive may take to be on a majority of coordinators.
const TRANSFER: Duration = Duration::from_secs(600);

impl Client {
    /// Stores an archive under the name that is the hash of its bytes, on a majority of coordinators. Twice is as good as
    /// once, and costs nothing.
    pub async fn put_archive(&self, name: &str, archive: &Bytes) -> Result<v1::PutArchiveResponse, ClientError> {
        let mut tries = self.tries();
        loop {
            let node = self.living(&mut tries).await?;
            let pieces = Request::new(stream::iter(pieces(name, archive)));
            let status: Status = match answered(TRANSFER, archives(&node).put(pieces)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            tries.after(self, &node.address, &status, true).await?;
        }
    }

    /// Hands the logs of an agent's attempts over, in a bundle that is in `file`. Twice is as good as once.
    pub async fn keep_logs(
        &self,
        bundle: v1::LogBundle,
        file: &Arc<File>,
    ) -> Result<v1::KeepLogsResponse, ClientError> {
        let mut tries = self.tries();
        loop {
            let node = self.living(&mut tries).await?;
            let pieces = Request::new(ReceiverStream::new(log_pieces(bundle.clone(), file.clone())));
            let mut to = AgentsClient::with_interceptor(node.channel.clone(), node.bearer.clone());
            let status: Status = match answered(TRANSFER, to.keep_logs(pieces)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            tries.after(self, &node.address, &status, true).await?;
        }
    }

    /// An archive, piece by piece. A piece at offset 0 begins anew, as after a cut.
    pub fn archive(&self, name: impl Into<String>) -> Resumed<v1::ArchivePiece> {
        archive(
            self.clone(),
            v1::GetArchiveRequest { archive: name.into(), here: false, shelf: v1::Shelf::Code.into() },
        )
    }
}

/// First what it is, so that whoever has it need not read the rest; then all of it.
fn pieces(name: &str, archive: &Bytes) -> impl Iterator<Item = v1::ArchivePiece> + Send + use<> {
    let (name, archive, length) = (name.to_owned(), archive.clone(), archive.len() as u64);
    let head = v1::ArchivePiece { archive: name.clone(), length, ..Default::default() };
    let body = (0..archive.len()).step_by(PIECE).map(move |start| {
        let data = archive.slice(start..archive.len().min(start + PIECE));
        v1::ArchivePiece { archive: name.clone(), length, offset: start as u64, data, ..Default::default() }
    });
    std::iter::once(head).chain(body)
}

/// First what it is, then all of it; a file that cannot be read ends early, which whoever receives it sees.
fn log_pieces(bundle: v1::LogBundle, file: Arc<File>) -> mpsc::Receiver<v1::LogPiece> {
    let (sender, pieces) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let head = v1::LogPiece { bundle: Some(bundle), piece: None };
        if sender.blocking_send(head).is_err() {
            return;
        }
        let mut offset = 0;
        loop {
            let mut data = vec![0; PIECE];
            let Ok(count @ 1..) = file.read_at(&mut data, offset) else { return };
            data.truncate(count);
            let piece = v1::ArchivePiece { offset, data: data.into(), ..Default::default() };
            offset += count as u64;
            // The call is over where nobody takes it.
            if sender.blocking_send(v1::LogPiece { bundle: None, piece: Some(piece) }).is_err() {
                return;
            }
        }
    });
    pieces
}

pub(crate) fn archives(node: &Node) -> ArchivesClient<InterceptedService<Channel, Bearer>> {
    ArchivesClient::with_interceptor(node.channel.clone(), node.bearer.clone()).max_decoding_message_size(PIECE_MAX)
}
