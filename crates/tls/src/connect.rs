//! Makes connections to coordinators, and makes sure that it is a coordinator, or the very one, that answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tower_service::Service;

use crate::Security;
use crate::fault::{Distrust, distrust};
use crate::identity::Identity;
use crate::name::{Name, Who};
use crate::stream::{Io, Peer};

/// Of what a coordinator says first, so much is read at once.
const EARLY: usize = 512;

/// Who has to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Any coordinator of the cluster.
    AnyCoordinator,
    /// The coordinator of this number.
    Coordinator(u64),
}

/// Makes connections for a tonic `Endpoint`.
#[derive(Clone, Debug)]
pub struct Dialer {
    security: Security,
    expect: Expect,
    speaks_tls: Arc<AtomicBool>,
}

impl Dialer {
    /// Makes connections as `security` says, and keeps those that `expect` answers.
    pub fn new(security: Security, expect: Expect) -> Self {
        Self { security, expect, speaks_tls: Arc::default() }
    }

    /// Whether whoever was addressed in plain text last speaks TLS. HTTP/2 loses errors of its connection on their way to
    /// a call, so whoever made one has to look here for why it failed.
    pub fn met_tls(&self) -> bool {
        self.speaks_tls.load(Ordering::Relaxed)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Io>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Io>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { security, expect, speaks_tls } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
            tcp.set_nodelay(true)?;
            let io = match security {
                Security::PlainText => Io::made(tcp, speaks_tls),
                Security::Tls(identity) => secure(&identity, host, tcp, expect).await?,
            };
            Ok(TokioIo::new(io))
        })
    }
}

async fn secure(identity: &Identity, host: &str, tcp: TcpStream, expect: Expect) -> io::Result<Io> {
    let server = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is not a host name")))?;
    let connected = TlsConnector::from(identity.client()).connect(server, tcp).await;
    let mut stream = connected.map_err(told)?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let name = shown.and_then(|leaf| Name::of(leaf).ok()).ok_or(Distrust::Stranger)?;
    if identity.cluster().is_some_and(|cluster| cluster != name.cluster) {
        return Err(Distrust::Stranger.into());
    }
    match (&name.who, expect) {
        (Who::Coordinator(_), Expect::AnyCoordinator) => {}
        (Who::Coordinator(node), Expect::Coordinator(wanted)) if *node == wanted => {}
        (Who::Coordinator(_) | Who::Agent(_) | Who::Admin(_) | Who::User(_), _) => {
            return Err(Distrust::Other(name.who).into());
        }
    }
    // Whether it takes the certificate that it was shown is known only after the handshake, with its first word, which
    // in HTTP/2 it says unasked.
    let mut early = vec![0; EARLY];
    let count = stream.read(&mut early).await.map_err(told)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    early.truncate(count);
    Ok(Io::secure(TlsStream::Client(stream), early, Peer::Named(name)))
}

/// As what people are told, and not as what it is wrapped in.
fn told(error: io::Error) -> io::Error {
    distrust(&error).map_or(error, io::Error::from)
}
