//! Takes connections: a stream of those whose handshake is done, for tonic's server. A peer that is slow at it, or says
//! nothing, holds up nobody else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::Security;
use crate::fault::distrust;
use crate::identity::Identity;
use crate::name::Name;
use crate::stream::{Io, Peer};

/// Connections that the system may hold until they are taken, as far as its own limit allows: after a change of leader all agents come
/// at once, and of more than the usual 128 the system resets some.
const WAITING: u32 = 4_096;
/// Connections that may be in their handshake at once; further ones wait to be taken.
const HANDSHAKES: usize = 256;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are ready and wait for the server.
const READY: usize = 64;
/// How long nothing is taken where the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address`.
///
/// # Errors
/// The address cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A coordinator that starts again takes the address of its former life, whose connections are still ending.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// The connections that come to `listener`, for as long as the stream is there.
pub fn incoming(listener: TcpListener, security: Security) -> ReceiverStream<io::Result<Io>> {
    let (ready, connections) = mpsc::channel(READY);
    tokio::spawn(accept(listener, security, ready));
    ReceiverStream::new(connections)
}

async fn accept(listener: TcpListener, security: Security, ready: mpsc::Sender<io::Result<Io>>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Without this, every second small message waits for the peer's delayed acknowledgement: 40 ms.
        if let Err(error) = tcp.set_nodelay(true) {
            debug!(%error, peer = %from, "a connection was gone at once");
            continue;
        }
        match &security {
            Security::PlainText => {
                if ready.send(Ok(Io::taken(tcp))).await.is_err() {
                    return;
                }
            }
            Security::Tls(identity) => {
                // The semaphore is never closed.
                let Ok(place) = handshakes.clone().acquire_owned().await else { return };
                let (identity, ready) = (identity.clone(), ready.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake(&identity, tcp)).await {
                        // An error means that the server is shutting down.
                        Ok(Ok(io)) => drop(ready.send(Ok(io)).await),
                        Ok(Err(error)) => {
                            let why = distrust(&error).map_or_else(|| error.to_string(), |fault| fault.to_string());
                            info!(peer = %from, error = why, "no TLS connection");
                        }
                        Err(_elapsed) => debug!(peer = %from, "no TLS connection: the peer says nothing"),
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn handshake(identity: &Identity, tcp: TcpStream) -> io::Result<Io> {
    let server =
        identity.server().ok_or_else(|| io::Error::other("this process has no certificate of a coordinator"))?;
    let stream = TlsAcceptor::from(server).accept(tcp).await?;
    let peer = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        // It was checked in the handshake, its name as well.
        Some(leaf) => Peer::Named(Name::of(leaf).map_err(io::Error::other)?),
        None => Peer::Nameless,
    };
    Ok(Io::secure(TlsStream::Server(stream), Vec::new(), peer))
}
