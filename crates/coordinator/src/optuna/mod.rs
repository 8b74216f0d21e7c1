//! Optuna's storage protocol over the cluster: `GrpcStorageProxy` finds a server here that keeps its studies in the log.
//!
//! Any node takes any call. What it cannot answer itself goes on to the leader (`relay`); what the leader does with it is in
//! `service`, which converts and asks, as the other services do.

mod convert;
mod relay;
mod service;
mod subject;
mod sweeps;

use std::net::SocketAddr;

use heats_tls::{Security, incoming};
use heats_wire::optuna::storage_service_server::StorageServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::node::Node;
pub use relay::Relay;
pub use service::StorageService;

/// The largest request that is read, in bytes.
const REQUEST_MAX: usize = 4 << 20;
/// Requests of one connection that are dealt with at once.
const PER_CONNECTION: usize = 128;

/// The service of this node, with what it takes to hand calls on.
pub fn service(node: Node) -> Relay<StorageServiceServer<StorageService>> {
    let service = StorageServiceServer::new(StorageService::new(node.clone()))
        .max_decoding_message_size(REQUEST_MAX)
        .max_encoding_message_size(usize::MAX);
    Relay::new(node, service)
}

/// Serves the protocol alone on a listener of its own, in plain text as its clients speak it, until told to stop.
pub fn serve(node: Node, listener: TcpListener, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    let router = tonic::transport::Server::builder()
        .concurrency_limit_per_connection(PER_CONNECTION)
        .max_concurrent_streams(PER_CONNECTION as u32)
        .add_service(service(node));
    let connections = incoming(listener, Security::PlainText);
    tokio::spawn(async move {
        let stopped = async move {
            // An error means that the coordinator was dropped, which stops it too.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        if let Err(error) = router.serve_with_incoming_shutdown(connections, stopped).await {
            warn!(%error, "the server for Optuna's clients did not end well");
        }
    })
}

/// Where it listens.
///
/// # Errors
/// The address cannot be listened on.
pub fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = heats_tls::listen(address)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
