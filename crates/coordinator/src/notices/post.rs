//! One POST to a webhook: the name is resolved once, each address is looked at, and the connection is made to that very address. It
//! follows no redirection and reads nothing of the answer but its status.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::signature::WebhookSecret;
use super::target::Webhooks;

/// How long one try may take, from the name to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// By what receivers know it again.
    pub id: String,
    /// What happened.
    pub event: &'static str,
    /// JSON.
    pub body: String,
}

/// Why a message was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PostError {
    /// Another time it may be.
    #[error("{0}")]
    Failed(String),
    /// It never will be.
    #[error("{0}")]
    Never(String),
}

fn failed(why: impl std::fmt::Display) -> PostError {
    PostError::Failed(why.to_string())
}

/// Posts, within what the operator allows.
#[derive(Clone, Debug)]
pub struct Poster {
    allowed: Webhooks,
    /// How servers are known: by the certificates that this machine trusts; or why there are none.
    tls: Result<Arc<ClientConfig>, String>,
    /// What is sent is signed with it, where there is one.
    secret: Option<WebhookSecret>,
}

impl Poster {
    /// Posts to what `allowed` allows, signed with `secret`.
    pub fn new(allowed: Webhooks, secret: Option<WebhookSecret>) -> Self {
        Self { allowed, tls: trusted().map(Arc::new), secret }
    }

    /// Posts `message` to `url`, once.
    ///
    /// # Errors
    /// See [`PostError`].
    pub async fn post(&self, url: &str, message: &Message) -> Result<(), PostError> {
        match tokio::time::timeout(TIMEOUT, self.send(url, message)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(StatusCode::GONE)) => Err(PostError::Never("its receiver says that it is gone for good".to_owned())),
            Ok(Ok(status)) if status.is_redirection() => {
                Err(PostError::Failed(format!("it answered {status}: redirections are not followed")))
            }
            Ok(Ok(status)) => Err(PostError::Failed(format!("it answered {status}"))),
            Ok(Err(error)) => Err(error),
            Err(_late) => Err(PostError::Failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn send(&self, url: &str, message: &Message) -> Result<StatusCode, PostError> {
        let uri: Uri = url.parse().map_err(|error| PostError::Never(format!("`{url}` is no address: {error}")))?;
        let no_host = || PostError::Never(format!("`{url}` names no host"));
        let authority = uri.authority().ok_or_else(no_host)?.as_str();
        let host = uri.host().ok_or_else(no_host)?.trim_start_matches('[').trim_end_matches(']');
        let is_secure = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let tcp = self.connect(host, port).await?;
        let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("heats/", env!("CARGO_PKG_VERSION")))
            .header("heats-delivery", message.id.as_str())
            .header("heats-event", message.event);
        if let Some(secret) = &self.secret {
            request = request.header("heats-signature", secret.sign(message.body.as_bytes()));
        }
        let request = request
            .body(Full::new(Bytes::from(message.body.clone())))
            .map_err(|error| PostError::Never(error.to_string()))?;
        if !is_secure {
            return status(tcp, request).await;
        }
        let config = self.tls.clone().map_err(PostError::Failed)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| PostError::Never(error.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?;
        status(stream, request).await
    }

    /// Connects to the first address of `host` that may be posted to and answers.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, PostError> {
        if self.allowed == Webhooks::Off {
            return Err(PostError::Never("the coordinators' operator allows no webhooks".to_owned()));
        }
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| PostError::Failed(format!("`{host}`: {error}")))?.collect();
        let allowed: Vec<SocketAddr> = found.iter().copied().filter(|to| self.allowed.allow(to.ip())).collect();
        if allowed.is_empty()
            && let Some(first) = found.first()
        {
            let why = "is not an address of the public internet, and the coordinators' operator allows no others";
            return Err(PostError::Never(format!("`{host}` is at {}, which {why} (`--webhooks any`)", first.ip())));
        }
        let mut why = format!("`{host}` has no address");
        for address in allowed.into_iter().take(ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(PostError::Failed(why))
    }
}

/// Sends the request and waits for the head of its answer; the rest goes with the connection.
async fn status<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, PostError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => answer.map(|answer| answer.status()).map_err(failed),
        ended = &mut connection => {
            // What it said last is there by now.
            ended.map_err(failed)?;
            answer.await.map(|answer| answer.status()).map_err(failed)
        }
    }
}

fn trusted() -> Result<ClientConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "this coordinator's machine has no certificates to know servers by{why}; SSL_CERT_FILE names some"
        ));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one connection with `answer`, and gives back what it was sent.
    async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/hook?a=b", listener.local_addr().expect("bound"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("comes");
            let mut heard = vec![0; 4096];
            let mut length = 0;
            while !heard[..length].ends_with(b"{}") {
                length += stream.read(&mut heard[length..]).await.expect("reads");
            }
            stream.write_all(answer.as_bytes()).await.expect("writes");
            String::from_utf8_lossy(&heard[..length]).into_owned()
        });
        (url, served)
    }

    async fn post(allowed: Webhooks, url: &str) -> Result<(), PostError> {
        let message = Message { id: "swp_1-7".into(), event: "finished", body: "{}".into() };
        Poster { allowed, tls: Err("none".into()), secret: None }.post(url, &message).await
    }

    #[tokio::test]
    async fn a_notice_is_posted_with_its_id_and_only_the_status_of_the_answer_counts() {
        let (url, served) = serve("HTTP/1.1 204 No Content\r\n\r\n").await;
        post(Webhooks::Any, &url).await.expect("is taken");
        let heard = served.await.expect("ends");
        assert!(heard.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{heard}");
        assert!(
            heard.contains("heats-delivery: swp_1-7\r\n") && heard.contains("heats-event: finished\r\n"),
            "{heard}"
        );
        for (answer, never) in [
            ("HTTP/1.1 500 No\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", false),
            ("HTTP/1.1 410 Gone\r\n\r\n", true),
            ("nonsense\r\n\r\n", false),
        ] {
            let (url, _served) = serve(answer).await;
            let error = post(Webhooks::Any, &url).await.expect_err("is not taken");
            assert_eq!(matches!(error, PostError::Never(_)), never, "{answer}: {error}");
        }
    }

    #[tokio::test]
    async fn what_the_operator_does_not_allow_is_never_connected_to() {
        let (url, served) = serve("HTTP/1.1 200 OK\r\n\r\n").await;
        for allowed in [Webhooks::Off, Webhooks::Public] {
            assert!(matches!(post(allowed, &url).await, Err(PostError::Never(_))));
        }
        let by_name = url.replace("127.0.0.1", "localhost");
        assert!(matches!(post(Webhooks::Public, &by_name).await, Err(PostError::Never(_))), "whatever it is called");
        assert!(!served.is_finished(), "nobody came");
        served.abort();
    }
}
