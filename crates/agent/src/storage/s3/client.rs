//! The few requests that a storage makes of a bucket. Knows of no checkpoint.
//!
//! Its calls block, on a thread that may: not on one that runs tasks.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use super::sign::{self, Keys, Signed, encoded};
use super::xml;
use crate::storage::target::Target;

/// What a server may take to be reached, and to answer a request.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(300);
/// How often a request is made in all that breaks off, or that the server has no time for.
const TRIES: u32 = 4;
/// How long to wait before the second; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest answer, in bytes: a range, and what is around it.
const ANSWER_MAX: usize = RANGE as usize + (1 << 20);
/// The longest range of an object that is asked for at once, in bytes.
pub const RANGE: u64 = 16 << 20;

/// Why a bucket does not do it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such object.
    #[error("it is not there")]
    Missing,
    /// There is no such bucket.
    #[error("the server has no bucket of this name; make it, or name another one")]
    NoBucket,
    /// The server does not let this agent do it.
    #[error(
        "the server does not allow it: {what}; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the agent's environment have to be \
         keys that may list, read, write and remove objects in the bucket"
    )]
    Forbidden {
        /// The beginning of what it says.
        what: String,
    },
    /// The server does not want to.
    #[error("the server answers {status}: {what}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// The beginning of what it says.
        what: String,
    },
    /// The server cannot be reached, or breaks off.
    #[error("the server cannot be reached: {0}; `endpoint` in the storage's name says where it is")]
    Away(String),
    /// Its answer makes no sense.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(String),
}

impl Fault {
    /// Whether the same may succeed in a moment.
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Refused { status: 429 | 500.., .. })
    }
}

fn away(error: impl std::fmt::Display) -> Fault {
    Fault::Away(error.to_string())
}

/// One request, without what the bucket adds to it.
struct Asked<'a> {
    method: Method,
    /// The object; empty for the bucket itself.
    name: &'a str,
    /// By name, encoded.
    query: String,
    /// The first and the last byte that are wanted.
    range: Option<(u64, u64)>,
    body: Bytes,
}

impl<'a> Asked<'a> {
    const fn plain(method: Method, name: &'a str) -> Self {
        Self { method, name, query: String::new(), range: None, body: Bytes::new() }
    }
}

struct Answer {
    status: u16,
    /// What the server calls the content.
    tag: Option<String>,
    body: Bytes,
}

impl Answer {
    /// What it says, where it is no success.
    fn fault(&self) -> Option<Fault> {
        let what = || xml::beginning(&self.text());
        match self.status {
            200..=299 => None,
            404 if self.text().contains("NoSuchBucket") => Some(Fault::NoBucket),
            404 => Some(Fault::Missing),
            401 | 403 => Some(Fault::Forbidden { what: what() }),
            status => Some(Fault::Refused { status, what: what() }),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A bucket on a server.
#[derive(Debug)]
pub struct Client {
    /// The server's name and port.
    host: String,
    port: u16,
    /// The same as requests name it: without a usual port.
    authority: String,
    /// What paths begin with: the bucket, where it is no part of the server's name.
    root: String,
    region: String,
    /// Where requests go by TLS.
    tls: Option<Arc<ClientConfig>>,
    runtime: Handle,
}

impl Client {
    /// For the bucket of `target`; asks nothing yet. Within a runtime.
    ///
    /// # Errors
    /// What is wrong with the endpoint, or that the machine knows no certificates.
    pub fn new(target: &Target) -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region =
            target.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let bucket = &target.bucket;
        let (endpoint, root) = match &target.endpoint {
            Some(endpoint) => (endpoint.clone(), format!("/{bucket}")),
            // A name with dots is none that a certificate of theirs is for.
            None if bucket.contains('.') => (format!("https://s3.{region}.amazonaws.com"), format!("/{bucket}")),
            None => (format!("https://{bucket}.s3.{region}.amazonaws.com"), String::new()),
        };
        let wrong = |why: &str| format!("`{endpoint}` is no server: {why}");
        let uri: Uri = endpoint.parse().map_err(|error| wrong(&format!("{error}")))?;
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map(ToString::to_string));
        let authority = authority.filter(|_| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let authority = authority.ok_or_else(|| wrong("write `https://HOST:PORT`"))?;
        let is_secure = uri.scheme_str() == Some("https");
        let tls = is_secure.then(trusted).transpose()?;
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, authority, root, region, tls, runtime: Handle::current() })
    }

    /// Writes an object, whole or not at all.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), Fault> {
        self.ask(&Asked { body: bytes.into(), ..Asked::plain(Method::PUT, name) })?;
        Ok(())
    }

    /// A part of the content of an object: `length` bytes from `offset` on, at most [`RANGE`]; fewer where it ends before.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, Fault> {
        let Some(last) = length.min(RANGE).checked_sub(1).map(|more| offset.saturating_add(more)) else {
            return Ok(Bytes::new());
        };
        match self.ask(&Asked { range: Some((offset, last)), ..Asked::plain(Method::GET, name) }) {
            Ok(answer) if answer.status == 206 || offset == 0 => {
                Ok(answer.body.slice(..answer.body.len().min(length as usize)))
            }
            Ok(_) => Err(Fault::Unreadable("the server gives no part of an object".to_owned())),
            // It ends before that.
            Err(Fault::Refused { status: 416, .. }) => Ok(Bytes::new()),
            Err(fault) => Err(fault),
        }
    }

    /// The content of an object, up to `most` bytes of it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn get(&self, name: &str, most: u64) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::new();
        loop {
            let wanted = (most - content.len() as u64).min(RANGE);
            let piece = self.range(name, content.len() as u64, wanted)?;
            content.extend_from_slice(&piece);
            if (piece.len() as u64) < RANGE {
                return Ok(content);
            }
        }
    }

    /// Whether there is an object of this name.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn has(&self, name: &str) -> Result<bool, Fault> {
        match self.ask(&Asked::plain(Method::HEAD, name)) {
            Ok(_) => Ok(true),
            Err(Fault::Missing) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn delete(&self, name: &str) -> Result<(), Fault> {
        gone(self.ask(&Asked::plain(Method::DELETE, name)))
    }

    /// Up to a thousand names that begin with `prefix`.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let query = format!("list-type=2&max-keys=1000&prefix={}", encoded(prefix, false));
        let answer = self.ask(&Asked { query, ..Asked::plain(Method::GET, "") })?;
        Ok(xml::values(&answer.text(), "Key"))
    }

    /// Begins an object that is written in parts; its id.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn begin(&self, name: &str) -> Result<String, Fault> {
        let answer = self.ask(&Asked { query: "uploads=".to_owned(), ..Asked::plain(Method::POST, name) })?;
        let begun = xml::values(&answer.text(), "UploadId").into_iter().next();
        begun.ok_or_else(|| Fault::Unreadable("an upload has no id".to_owned()))
    }

    /// Writes a part, counted from 1; what the server calls it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn part(&self, name: &str, upload: &str, number: u16, bytes: impl Into<Bytes>) -> Result<String, Fault> {
        let query = format!("partNumber={number}&uploadId={}", encoded(upload, false));
        let answer = self.ask(&Asked { query, body: bytes.into(), ..Asked::plain(Method::PUT, name) })?;
        answer.tag.ok_or_else(|| Fault::Unreadable("a part has no ETag".to_owned()))
    }

    /// Makes an object of its parts.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn complete(&self, name: &str, upload: &str, tags: &[String]) -> Result<(), Fault> {
        let query = format!("uploadId={}", encoded(upload, false));
        let part = |(number, tag): (usize, &String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", xml::escaped(tag))
        };
        let parts: String = (1..).zip(tags).map(part).collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into();
        let answer = self.ask(&Asked { query, body, ..Asked::plain(Method::POST, name) })?;
        // It may say that it is well before it knows.
        let text = answer.text();
        if text.contains("<Error>") {
            return Err(Fault::Refused { status: 200, what: xml::beginning(&text) });
        }
        Ok(())
    }

    /// Gives the parts up.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn abort(&self, name: &str, upload: &str) -> Result<(), Fault> {
        let query = format!("uploadId={}", encoded(upload, false));
        gone(self.ask(&Asked { query, ..Asked::plain(Method::DELETE, name) }))
    }

    /// Makes a request, again where it breaks off or the server is busy: all of them may be repeated.
    fn ask(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let (mut tries, mut pause) = (1, PAUSE);
        loop {
            let answer = self.runtime.block_on(self.once(asked));
            let fault = match answer {
                Ok(answer) => match answer.fault() {
                    None => return Ok(answer),
                    Some(fault) => fault,
                },
                Err(fault) => fault,
            };
            if tries == TRIES || !fault.may_pass() {
                return Err(fault);
            }
            std::thread::sleep(pause);
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    /// Makes a request once, on a connection of its own; signed where the environment has keys.
    async fn once(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let Asked { method, name, query, range, body } = asked;
        let path = match name.is_empty() {
            true => format!("{}/", self.root),
            false => format!("{}/{}", self.root, encoded(name, true)),
        };
        let mut request = Request::builder().method(method).uri(match query.is_empty() {
            true => path.clone(),
            false => format!("{path}?{query}"),
        });
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let hash = sign::hash(body);
        let (host, region) = (self.authority.as_str(), self.region.as_str());
        let signed = Signed { method: method.as_str(), host, path: &path, query, body: &hash, region, at };
        let headers = Keys::from_env().map(|keys| sign::headers(&signed, &keys));
        for (name, value) in headers.unwrap_or_else(|| vec![("host", host.to_owned())]) {
            request = request.header(name, value);
        }
        if let Some((first, last)) = range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        let request = request.body(Full::new(body.clone())).map_err(away)?;
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = tokio::time::timeout(CONNECT, connect).await.map_err(away)?.map_err(away)?;
        let answer = async {
            let Some(config) = &self.tls else { return exchange(tcp, request).await };
            let name = ServerName::try_from(self.host.clone()).map_err(away)?;
            let stream = TlsConnector::from(config.clone()).connect(name, tcp).await.map_err(away)?;
            exchange(stream, request).await
        };
        tokio::time::timeout(ANSWER, answer).await.map_err(away)?
    }
}

/// An answer after which the object is gone.
fn gone(answer: Result<Answer, Fault>) -> Result<(), Fault> {
    match answer {
        Ok(_) | Err(Fault::Missing) => Ok(()),
        Err(fault) => Err(fault),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(away)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(request).await.map_err(away)?;
        let status = answer.status().as_u16();
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok(Answer { status, tag, body: body.map_err(away)?.to_bytes() })
    };
    let answer = answer.await;
    connection.abort();
    answer
}

/// How servers are known: by the certificates that the machine trusts, or `SSL_CERT_FILE` names.
fn trusted() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine has no certificates to know servers by; SSL_CERT_FILE names some".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
