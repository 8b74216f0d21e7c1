//! Archives on their way: from users, to agents, and between coordinators.

use futures::{Stream, StreamExt};
use heats_core::Refusal;
use heats_domain::ArchiveName;
use heats_wire::v1;
use heats_wire::v1::archives_server::Archives;
use tonic::{Request, Response, Status, Streaming};

use super::lookup::Answers;
use super::reading::Reading;
use crate::archives::{ArchiveError, StoreError};
use crate::caller::Caller;
use crate::node::Node;
use crate::status::refused;

/// What may be handed over by a call.
#[derive(Clone, Copy)]
enum Of {
    Code,
    Everything,
}

/// The service.
pub struct ArchivesService {
    node: Node,
}

impl ArchivesService {
    /// The service of this node.
    pub const fn new(node: Node) -> Self {
        Self { node }
    }

    /// Makes sure that this node has what `pieces` begin with, code or also logs; whether it had it before.
    async fn take(&self, mut pieces: Streaming<v1::ArchivePiece>, of: Of) -> Result<(ArchiveName, bool), Status> {
        let head = pieces.message().await?.unwrap_or_default();
        let name = named(&head.archive)?;
        let archives = match (head.shelf(), of) {
            (v1::Shelf::Code, _) => &self.node.archives,
            (v1::Shelf::Logs, Of::Everything) => &self.node.bundles,
            (v1::Shelf::Logs, Of::Code) => return Err(Status::invalid_argument("logs come from agents")),
        };
        if archives.has(&name) {
            return Ok((name, true));
        }
        let pieces = std::pin::pin!(pieces);
        let received = archives.receive(&name, head.length, pieces).await;
        received.map_err(|error| failed(&error))?;
        Ok((name, false))
    }
}

#[tonic::async_trait]
impl Archives for ArchivesService {
    async fn put(
        &self,
        request: Request<Streaming<v1::ArchivePiece>>,
    ) -> Result<Response<v1::PutArchiveResponse>, Status> {
        // Whoever leads hands it to the others, and decides on the sweep that comes next.
        Reading::Fresh.state(&self.node).await?;
        let (name, existed) = self.take(request.into_inner(), Of::Code).await?;
        settle(&self.node, &name).await?;
        Ok(Response::new(v1::PutArchiveResponse { existed }))
    }

    type GetStream = Answers<v1::ArchivePiece>;

    async fn get(&self, request: Request<v1::GetArchiveRequest>) -> Result<Response<Self::GetStream>, Status> {
        // Logs may name secrets: whoever reads them asks for the logs of a sweep.
        let is_peer = matches!(request.extensions().get(), Some(Caller::Trusted | Caller::Coordinator(_)));
        let request = request.into_inner();
        let archives = match request.shelf() {
            v1::Shelf::Code => &self.node.archives,
            v1::Shelf::Logs if is_peer => &self.node.bundles,
            v1::Shelf::Logs => return Err(Status::permission_denied("bundles of logs are for coordinators")),
        };
        let v1::GetArchiveRequest { archive, here, shelf: _ } = request;
        let name = named(&archive)?;
        if !here && !archives.has(&name) {
            let fetched = archives.fetch(&name, &self.node.replica.members()).await;
            fetched.map_err(|error| failed(&error))?;
        }
        let pieces = archives.send(&name).ok_or_else(|| failed(&ArchiveError::Missing(name)))?;
        let pieces: Box<dyn Stream<Item = _> + Send> = Box::new(pieces.map(Ok));
        Ok(Response::new(Box::into_pin(pieces)))
    }

    async fn keep(
        &self,
        request: Request<Streaming<v1::ArchivePiece>>,
    ) -> Result<Response<v1::KeepArchiveResponse>, Status> {
        self.take(request.into_inner(), Of::Everything).await?;
        Ok(Response::new(v1::KeepArchiveResponse {}))
    }
}

/// Refuses a sweep whose archive is not on a majority of coordinators and cannot be brought there; `code` is what the sweep
/// names, if it names one.
pub async fn settled(node: &Node, code: &str) -> Result<(), Status> {
    if code.is_empty() {
        return Ok(());
    }
    Reading::Fresh.state(node).await?;
    settle(node, &named(code)?).await
}

async fn settle(node: &Node, name: &ArchiveName) -> Result<(), Status> {
    node.archives.settle(name, &node.replica.members()).await.map_err(|error| failed(&error))
}

pub(super) fn named(text: &str) -> Result<ArchiveName, Status> {
    text.parse().map_err(|error: heats_domain::NotAName| Status::invalid_argument(error.to_string()))
}

pub(super) fn failed(error: &ArchiveError) -> Status {
    match error {
        ArchiveError::Missing(name) => refused(&Refusal::NoArchive(name.clone())),
        ArchiveError::Store(StoreError::TooLarge { .. } | StoreError::Full { .. }) => {
            refused(&Refusal::ArchivesFull(error.to_string()))
        }
        ArchiveError::Store(StoreError::Damaged(_)) => Status::invalid_argument(error.to_string()),
        ArchiveError::Store(StoreError::Io { .. }) => Status::internal(error.to_string()),
        // As a write that finds no majority: it is tried again.
        ArchiveError::Minority { .. } | ArchiveError::Broken(_) => Status::unavailable(error.to_string()),
    }
}
