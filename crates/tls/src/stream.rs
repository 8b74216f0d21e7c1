//! One connection, in plain text or over TLS, and who is at its other end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::fault::Distrust;
use crate::name::Name;

/// The first byte of a TLS alert: what whoever speaks TLS answers to plain text.
const ALERT: u8 = 0x15;

/// A connection.
#[derive(Debug)]
pub struct Io {
    wire: Wire,
    peer: Peer,
}

#[derive(Debug)]
enum Wire {
    Plain { tcp: TcpStream, unheard: Option<Arc<AtomicBool>> },
    Tls { stream: Box<TlsStream<TcpStream>>, early: Vec<u8> },
}

/// Who is at the other end of a connection, as far as the connection says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Nobody was asked: the connection is in plain text.
    PlainText,
    /// It showed no certificate.
    Nameless,
    /// It showed the certificate of this name.
    Named(Name),
}

impl Io {
    /// In plain text, taken.
    pub(crate) const fn taken(tcp: TcpStream) -> Self {
        Self { wire: Wire::Plain { tcp, unheard: None }, peer: Peer::PlainText }
    }

    /// In plain text, made. Whether the other side `speaks_tls` shows in the first byte that it says.
    pub(crate) const fn made(tcp: TcpStream, speaks_tls: Arc<AtomicBool>) -> Self {
        Self { wire: Wire::Plain { tcp, unheard: Some(speaks_tls) }, peer: Peer::PlainText }
    }

    /// Over TLS; `early` is what was read of it already.
    pub(crate) fn secure(stream: TlsStream<TcpStream>, early: Vec<u8>, peer: Peer) -> Self {
        Self { wire: Wire::Tls { stream: Box::new(stream), early }, peer }
    }
}

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain { tcp, unheard } => {
                let before = buf.filled().len();
                let polled = Pin::new(tcp).poll_read(cx, buf);
                if let (Some(speaks_tls), Some(&first)) = (&*unheard, buf.filled().get(before)) {
                    speaks_tls.store(first == ALERT, Ordering::Relaxed);
                    *unheard = None;
                    if first == ALERT {
                        buf.set_filled(before);
                        return Poll::Ready(Err(Distrust::SpeaksTls.into()));
                    }
                }
                polled
            }
            Wire::Tls { early, .. } if !early.is_empty() => {
                let count = early.len().min(buf.remaining());
                buf.put_slice(&early[..count]);
                early.drain(..count);
                Poll::Ready(Ok(()))
            }
            Wire::Tls { stream, .. } => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain { tcp, .. } => Pin::new(tcp).poll_write(cx, buf),
            Wire::Tls { stream, .. } => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain { tcp, .. } => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Wire::Tls { stream, .. } => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain { tcp, .. } => tcp.is_write_vectored(),
            Wire::Tls { stream, .. } => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain { tcp, .. } => Pin::new(tcp).poll_flush(cx),
            Wire::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain { tcp, .. } => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls { stream, .. } => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
