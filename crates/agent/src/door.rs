//! Doors 1 to 3: HTTP/1.1 on one unix socket per attempt. Bounded in connections, body and wait.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/report {"step": 3, "metrics": {"loss": 0.1}, "wait": false}` | the verdict |
//! | `GET /v1/stop?wait=30s` | the verdict, as soon as it is to stop, at the latest after `wait` |
//! | `POST /v1/infeasible {"why": ".."}` | the verdict, which is to stop |
//! | `POST /v1/checkpoint {"step": 3, "path": ".."}` | the verdict |
//! | `GET /v1/params` | the configuration |
//!
//! The verdict is `{"action": "continue"}` or `{"action": "stop", "why": ".."}`; an error is `{"error": ".."}`.
//! A report is written to `reports.jsonl` before it is answered: from there [`crate::collector`] sends it, as
//! any other, so that it survives the agent. The answer is what the agent knows at that moment; with `wait`
//! it is the verdict on this very report.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heats_domain::units::Span;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::checkpoints::{self, CheckpointError};
use crate::held::Held;
use crate::reading::{self, Object, Reading};
use crate::storage::StorageError;

/// How many connections one attempt may have; more wait until one is closed.
const CONNECTIONS: usize = 64;
const BODY_MAX: usize = 1 << 20;
/// How long a report with `wait` waits for the coordinator. Clients give up after 5 s.
const VERDICT_WAIT: Duration = Duration::from_secs(4);
const STOP_WAIT_MAX: Duration = Duration::from_secs(60);
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// The open door of one attempt; closed when dropped.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    listening: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
        // It may be gone with its folder.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

struct Room {
    held: Arc<Held>,
    checkpoints: PathBuf,
    /// Which member of the attempt knocks, where that spans machines.
    rank: u32,
    /// Whether it was told that its reports count for nothing.
    told: AtomicBool,
    spool: Mutex<Spool>,
}

/// The reports that came by the door, in a file that the first of them makes: most trials use another door.
struct Spool {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    step: u64,
}

/// What cannot be done, with the status that says whose fault it is.
struct Refusal(StatusCode, String);

impl Door {
    /// Opens the door of `held` at `socket`, in place of what an earlier agent left there.
    ///
    /// # Errors
    /// Where the socket cannot be bound or the attempt's folder cannot be written.
    pub fn open(held: Arc<Held>, socket: PathBuf, checkpoints: PathBuf, rank: u32) -> std::io::Result<Self> {
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&socket)?;
        let spool = Mutex::new(Spool::open(held.dir.reports())?);
        let room = Arc::new(Room { held, checkpoints, rank, told: AtomicBool::new(false), spool });
        let listening = tokio::spawn(listen(listener, room)).abort_handle();
        Ok(Self { socket, listening })
    }
}

async fn listen(listener: UnixListener, room: Arc<Room>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let room = room.clone();
                connections.spawn(async move {
                    serve(stream, room).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most likely no file descriptor is left: somebody has to give one back first.
                tracing::warn!(%error, "a trial's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, room: Arc<Room>) {
    let service = service_fn(|request| {
        let room = room.clone();
        async move { Ok::<_, Infallible>(respond(request, &room).await) }
    });
    // A trial that closes its end in the middle harms nobody: there is nothing to do about the error.
    let _closed = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(request: Request<Incoming>, room: &Room) -> Response<Full<Bytes>> {
    let (status, body) = match answer(request, room).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal(status, why)) => (status, line(&serde_json::json!({ "error": why }))),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

async fn answer(request: Request<Incoming>, room: &Room) -> Result<Bytes, Refusal> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/v1/report") => room.report(&object(request).await?).await,
        (&Method::GET, "/v1/stop") => room.stop(request.uri().query().unwrap_or_default()).await,
        (&Method::POST, "/v1/infeasible") => room.infeasible(&object(request).await?),
        (&Method::POST, "/v1/checkpoint") => room.checkpoint(&object(request).await?).await,
        (&Method::GET, "/v1/params") => std::fs::read(room.held.dir.params()).map(Bytes::from).map_err(unwritable),
        (method, "/v1/report" | "/v1/stop" | "/v1/infeasible" | "/v1/checkpoint" | "/v1/params") => {
            Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}")))
        }
        _ => Err(Refusal(
            StatusCode::NOT_FOUND,
            format!(
                "there is no {path}; there are /v1/report, /v1/stop, /v1/infeasible, /v1/checkpoint and /v1/params"
            ),
        )),
    }
}

async fn object(request: Request<Incoming>) -> Result<Object, Refusal> {
    let body = Limited::new(request.into_body(), BODY_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let why = format!("the body is larger than {BODY_MAX} bytes");
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, why)
        } else {
            Refusal(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))
        }
    })?;
    reading::object(&body.to_bytes()).map_err(|error| bad(format!("the body is no request: {error}")))
}

const fn bad(why: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why)
}

fn unwritable(error: std::io::Error) -> Refusal {
    let status = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal(status, format!("the agent's disk refuses: {error}"))
}

impl Room {
    async fn report(&self, body: &Object) -> Result<Bytes, Refusal> {
        let wait = match body.get("wait") {
            None => false,
            Some(wait) => wait.as_bool().ok_or_else(|| bad(format!("`wait` is true or false, not {wait}")))?,
        };
        let reading = reading::of_object(body).map_err(|error| bad(error.to_string()))?;
        if self.rank > 0 {
            self.say_that_nothing_counts();
            return Ok(self.verdict());
        }
        let step = {
            let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
            spool.append(reading).map_err(unwritable)?
        };
        if wait {
            let mut durable = self.held.durable_steps();
            let mut orders = self.held.orders();
            tokio::select! {
                // The senders live in `held`: neither can be gone.
                _sender_lives = durable.wait_for(|durable| durable.is_some_and(|durable| durable >= step)) => {}
                _sender_lives = orders.wait_for(Option::is_some) => {}
                () = tokio::time::sleep(VERDICT_WAIT) => {}
            }
        }
        Ok(self.verdict())
    }

    /// One line in the trial's standard error, once.
    fn say_that_nothing_counts(&self) {
        let line =
            format!("reports count from rank 0 alone: those of rank {} are answered, and not recorded", self.rank);
        if !self.told.swap(true, Ordering::Relaxed)
            && let Err(error) = self.held.dir.note(&line)
        {
            tracing::warn!(attempt = %self.held.key, %error, "a trial could not be told");
        }
    }

    async fn stop(&self, query: &str) -> Result<Bytes, Refusal> {
        let mut wait = Duration::ZERO;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("wait", text)) => wait = text.parse::<Span>().map_err(|e| bad(e.to_string()))?.duration(),
                _ => return Err(bad(format!("`{pair}` is not known; write for example /v1/stop?wait=30s"))),
            }
        }
        let mut orders = self.held.orders();
        // Both ends of the wait are answers.
        let _timed_out = tokio::time::timeout(wait.min(STOP_WAIT_MAX), orders.wait_for(Option::is_some)).await;
        Ok(self.verdict())
    }

    fn infeasible(&self, body: &Object) -> Result<Bytes, Refusal> {
        let why = match body.get("why") {
            None => "no reason was given",
            Some(why) => why.as_str().ok_or_else(|| bad("`why` is a text".to_owned()))?,
        };
        let why: String = why.chars().take(4096).collect();
        self.held.dir.write_infeasible(&why).map_err(|e| Refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
        Ok(stop("the trial is infeasible"))
    }

    async fn checkpoint(&self, body: &Object) -> Result<Bytes, Refusal> {
        let step = body.get("step").and_then(serde_json::Value::as_u64);
        let step = step.ok_or_else(|| bad("`step` is missing, or no whole number from 0".to_owned()))?;
        let path = match body.get("path") {
            None | Some(serde_json::Value::Null) => None,
            Some(path) => Some(PathBuf::from(path.as_str().ok_or_else(|| bad("`path` is a text".to_owned()))?)),
        };
        let folder = self.checkpoints.clone();
        // It may have to be copied.
        let announced = tokio::task::spawn_blocking(move || checkpoints::announce(&folder, step, path.as_deref()));
        match announced.await.map_err(|error| unwritable(std::io::Error::other(error)))? {
            Ok(()) => Ok(self.verdict()),
            Err(CheckpointError::Io { source } | CheckpointError::Storage(StorageError::Io { source, .. })) => {
                Err(unwritable(source))
            }
            Err(error) => Err(bad(error.to_string())),
        }
    }

    fn verdict(&self) -> Bytes {
        match self.held.ordered() {
            Some(order) => stop(&order.why),
            None if self.held.dir.infeasible().is_some() => stop("the trial is infeasible"),
            None => line(&serde_json::json!({ "action": "continue" })),
        }
    }
}

fn stop(why: &str) -> Bytes {
    line(&serde_json::json!({ "action": "stop", "why": why }))
}

/// An answer ends its line: curl prints it where the trial's next `::metric` line goes.
fn line(answer: &serde_json::Value) -> Bytes {
    format!("{answer}\n").into()
}

impl Spool {
    /// Opens the file, where there is one, and finds where it ends and which step it ends with.
    fn open(path: PathBuf) -> std::io::Result<Self> {
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, file: None, length: 0, step: 0 });
            }
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut step = 0;
        let mut lines = crate::lines::Lines::of(path.clone());
        let mut whole = 0;
        if length > 0 {
            let mut each = |line: &[u8]| {
                whole += line.len() as u64 + 1;
                if let Ok(Reading { step: Some(at), .. }) = reading::json(line) {
                    step = step.max(at);
                }
            };
            while lines.read(&mut each)? {}
        }
        // A line that was cut by the agent's death was not answered.
        let length = length.min(whole);
        file.set_len(length)?;
        Ok(Self { path, file: Some(file), length, step })
    }

    /// Writes a report, whole or not at all; its step.
    fn append(&mut self, reading: Reading) -> std::io::Result<u64> {
        let Reading { step, metrics } = reading;
        let step = step.unwrap_or_else(|| self.step.saturating_add(1));
        let line = reading::to_line(step, &metrics);
        let file = match &mut self.file {
            Some(file) => file,
            none @ None => {
                none.insert(File::options().create(true).truncate(false).read(true).write(true).open(&self.path)?)
            }
        };
        if let Err(error) = file.write_all_at(&line, self.length).and_then(|()| file.flush()) {
            // Half a line would spoil the next one. If this fails too, the next write goes over it.
            let _next_write_covers_it = file.set_len(self.length);
            return Err(error);
        }
        self.length += line.len() as u64;
        self.step = self.step.max(step);
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{AttemptDir, Cause};
    use crate::held::Order;
    use crate::key::Key;
    use heats_domain::{SweepId, TrialId};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct House {
        root: tempfile::TempDir,
        held: Arc<Held>,
        _door: Door,
    }

    impl House {
        fn new() -> Self {
            Self::of_rank(0)
        }

        fn of_rank(rank: u32) -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let key = Key { trial: TrialId { sweep: SweepId::mint(1, 1), number: 0 }, attempt: 1 };
            std::fs::write(root.path().join("params.json"), r#"{"lr":0.1}"#).expect("writes");
            let held = Arc::new(Held::new(key, AttemptDir::at(root.path().to_owned())));
            let door = Door::open(held.clone(), root.path().join("s"), root.path().to_owned(), rank).expect("opens");
            Self { root, held, _door: door }
        }

        async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
            let mut stream = UnixStream::connect(self.root.path().join("s")).await.expect("connects");
            let length = body.len();
            let head =
                format!("{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("writes");
            // The answer may come before all of a refused body is taken.
            let _refused = stream.write_all(body.as_bytes()).await;
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8(answer).expect("text");
            let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            (status, serde_json::from_str(body).expect("json"))
        }
    }

    fn go_on() -> (u16, serde_json::Value) {
        (200, serde_json::json!({"action": "continue"}))
    }

    #[tokio::test]
    async fn a_report_is_in_the_file_before_it_is_answered() {
        let house = House::new();
        assert_eq!(house.ask("POST", "/v1/report", r#"{"step":3,"metrics":{"loss":0.5}}"#).await, go_on());
        assert_eq!(house.ask("POST", "/v1/report", r#"{"metrics":{"loss":"NaN"}}"#).await, go_on());
        let text = std::fs::read_to_string(house.held.dir.reports()).expect("reads");
        assert_eq!(text, "{\"step\":3,\"metrics\":{\"loss\":0.5}}\n{\"step\":4,\"metrics\":{\"loss\":\"NaN\"}}\n");
    }

    #[tokio::test]
    async fn a_report_of_another_rank_than_0_is_answered_and_not_kept_and_it_is_told_so_once() {
        let house = House::of_rank(1);
        for step in 1..4 {
            let report = format!(r#"{{"step":{step},"loss":0.5,"wait":true}}"#);
            assert_eq!(house.ask("POST", "/v1/report", &report).await, go_on());
        }
        assert!(!house.held.dir.reports().exists());
        let told = std::fs::read_to_string(house.held.dir.stderr()).expect("was told");
        assert_eq!(told.matches("reports count from rank 0 alone").count(), 1, "{told}");
        house.held.order(Order { cause: Cause::Stopped, grace: Duration::ZERO, why: "asha".into() });
        assert_eq!(house.ask("POST", "/v1/report", r#"{"step":4,"loss":0.5}"#).await.1["action"], "stop");
    }

    #[tokio::test]
    async fn a_trial_that_reports_nothing_here_leaves_no_file() {
        let house = House::new();
        assert_eq!(house.ask("GET", "/v1/stop", "").await, go_on());
        assert_eq!(house.ask("POST", "/v1/report", r#"{"metrics":{}}"#).await.0, 400);
        assert!(!house.held.dir.reports().exists());
        assert_eq!(house.ask("POST", "/v1/report", r#"{"loss":1}"#).await, go_on());
        assert!(house.held.dir.reports().exists());
    }

    #[tokio::test]
    async fn steps_count_on_after_the_agent_was_restarted_and_half_a_line_is_dropped() {
        let House { root, held, _door } = House::new();
        drop(_door);
        std::fs::write(held.dir.reports(), "{\"step\":7,\"metrics\":{\"loss\":1}}\n{\"step\":8,\"met").expect("writes");
        let door = Door::open(held.clone(), root.path().join("s"), root.path().to_owned(), 0).expect("opens");
        let house = House { root, held, _door: door };
        assert_eq!(house.ask("POST", "/v1/report", r#"{"loss":2}"#).await, go_on());
        let text = std::fs::read_to_string(house.held.dir.reports()).expect("reads");
        assert_eq!(text, "{\"step\":7,\"metrics\":{\"loss\":1}}\n{\"step\":8,\"metrics\":{\"loss\":2.0}}\n");
    }

    #[tokio::test]
    async fn whoever_waits_for_stop_is_told_at_once() {
        let house = House::new();
        assert_eq!(house.ask("GET", "/v1/stop", "").await, go_on());
        let order = Order { cause: Cause::Stopped, grace: Duration::ZERO, why: "asha".into() };
        let (answer, ()) = tokio::join!(house.ask("GET", "/v1/stop?wait=1m", ""), async { house.held.order(order) });
        assert_eq!(answer, (200, serde_json::json!({"action": "stop", "why": "asha"})));
        let report = house.ask("POST", "/v1/report", r#"{"step":3,"loss":0.5,"wait":true}"#).await;
        assert_eq!(report.1["action"], "stop");
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_refused_with_the_reason() {
        let house = House::new();
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_MAX));
        for (method, path, body, status) in [
            ("GET", "/", "", 404),
            ("GET", "/v1/report", "", 405),
            ("POST", "/v1/report", "loss=1", 400),
            ("POST", "/v1/report", r#"{"step":1}"#, 400),
            ("POST", "/v1/report", r#"{"step":1,"loss":1,"wait":"yes"}"#, 400),
            ("POST", "/v1/report", &large, 413),
            ("GET", "/v1/stop?wait=soon", "", 400),
            ("POST", "/v1/checkpoint", r#"{"step":1}"#, 400),
            ("POST", "/v1/checkpoint", r#"{"step":1,"path":"/etc"}"#, 400),
        ] {
            let (got, answer) = house.ask(method, path, body).await;
            assert_eq!(got, status, "{method} {path}: {answer}");
            assert!(answer["error"].is_string(), "{answer}");
        }
        assert_eq!(house.ask("GET", "/v1/params", "").await, (200, serde_json::json!({"lr": 0.1})));
    }

    #[tokio::test]
    async fn infeasible_is_kept_and_answered_with_stop() {
        let house = House::new();
        let (status, answer) = house.ask("POST", "/v1/infeasible", r#"{"why":"too wide"}"#).await;
        assert_eq!((status, &answer["action"]), (200, &"stop".into()));
        assert_eq!(house.held.dir.infeasible().as_deref(), Some("too wide"));
    }
}
