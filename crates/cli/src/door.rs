//! The trial's side of door 2: HTTP/1.1 on the unix socket `$HEATS_API_SOCK`. One request for each connection.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// An agent that restarts is away for a moment; longer than this, training should not wait.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_millis(500);
/// An answer is small; more is not one of ours.
const ANSWER_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The agent is away.
    #[error("the agent does not answer at {path}: {source}")]
    Away {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The agent understood and refused.
    #[error("the agent refused it ({status}): {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// What answered speaks something else.
    #[error("what answers at {path} is not an agent: {why}")]
    NotHttp {
        /// The socket.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Whether a request that may have been carried out may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// Twice is more than once: a report whose step the agent counts.
    Never,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// The path and its query.
    pub target: &'a str,
    /// The body, where there is one.
    pub body: Option<&'a Value>,
    /// How long the answer itself may take.
    pub wait: Duration,
    /// Whether it may be sent again.
    pub repeat: Repeat,
}

/// Asks the agent at `socket`, again where it is away for a moment.
///
/// # Errors
/// The agent is away for long, or it refused.
pub fn ask(socket: &Path, ask: &Ask<'_>) -> Result<Value, DoorError> {
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSE_FIRST;
    loop {
        let connected = UnixStream::connect(socket).map_err(|error| (error, Repeat::Safe));
        match connected.and_then(|stream| exchange(stream, ask).map_err(|error| (error, ask.repeat))) {
            Ok(bytes) => return read(socket, &bytes),
            Err((source, repeat)) if repeat == Repeat::Never || Instant::now() + pause >= until => {
                return Err(DoorError::Away { path: socket.display().to_string(), source });
            }
            Err(_) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_LAST);
            }
        }
    }
}

fn exchange(mut stream: UnixStream, ask: &Ask<'_>) -> io::Result<Vec<u8>> {
    let Ask { method, target, body, wait, .. } = ask;
    let timeout = *wait + Duration::from_secs(5);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: heats\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // The agent closes the connection behind its answer: the end of the stream is the end of the body.
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

fn read(socket: &Path, answer: &[u8]) -> Result<Value, DoorError> {
    let not_http = |why| DoorError::NotHttp { path: socket.display().to_string(), why };
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| not_http("it sends no headers"))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let body = &answer[end + 4..];
    let status: u16 = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| not_http("it sends no status"))?;
    let chunked = head.lines().any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding:"));
    if chunked {
        return Err(not_http("it answers in chunks"));
    }
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if (200..300).contains(&status) {
        return Ok(json);
    }
    let why = json
        .get("error")
        .and_then(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    Err(DoorError::Refused { status, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_body_and_a_refusal_its_reason() {
        let socket = Path::new("/s");
        let answer =
            read(socket, b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"action\":\"continue\"}").expect("an answer");
        assert_eq!(answer["action"], "continue");
        let refused = read(socket, b"HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"no metric\"}");
        assert!(matches!(refused, Err(DoorError::Refused { status: 400, why }) if why == "no metric"));
        for odd in
            [&b"hello"[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"]
        {
            assert!(matches!(read(socket, odd), Err(DoorError::NotHttp { .. })));
        }
    }
}
