//! Streams that survive a cut: each asks again for what it has not received yet.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt};
use heats_wire::{series, v1};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use crate::archives::archives;
use crate::client::{Client, Tries, answered};
use crate::cluster::cluster;
use crate::error::ClientError;
use crate::pool::Node;

/// A stream that resumes by itself for as long as the client's patience allows. Ends after the first error.
pub struct Resumed<T> {
    inner: BoxStream<'static, Result<T, ClientError>>,
}

impl<T> std::fmt::Debug for Resumed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resumed")
    }
}

impl<T> Stream for Resumed<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next_unpin(context)
    }
}

/// One kind of stream: what it asks for, and how an item changes what is asked for after a cut.
trait Kind: Send + 'static {
    type Item: Send + 'static;

    /// Whether an open stream that says nothing may be well: nothing happened.
    const MAY_BE_SILENT: bool = true;

    fn open(&self, client: &Client, node: &Node) -> impl Future<Output = Result<Streaming<Self::Item>, Status>> + Send;

    /// Begins from the start of the answer to a new request.
    fn reopened(&mut self) {}

    /// Takes note of an item; `None` where it has been delivered before.
    fn take(&mut self, item: Self::Item) -> Option<Self::Item>;

    /// Whether nothing is missing where the stream ends now.
    fn is_whole(&self) -> bool {
        true
    }
}

struct Run<K: Kind> {
    client: Client,
    kind: K,
    open: Option<Open<K::Item>>,
    tries: Tries,
    over: bool,
}

struct Open<T> {
    stream: Streaming<T>,
    address: String,
    since: Instant,
}

fn resumed<K: Kind>(client: Client, kind: K) -> Resumed<K::Item> {
    let tries = client.tries();
    let run = Run { client, kind, open: None, tries, over: false };
    let inner = stream::unfold(run, |mut run| async move {
        let item = run.next().await?;
        Some((item, run))
    });
    Resumed { inner: inner.boxed() }
}

impl<K: Kind> Run<K> {
    async fn next(&mut self) -> Option<Result<K::Item, ClientError>> {
        while !self.over {
            match self.step().await {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Opens the stream or receives one message; `None` where there is nothing to deliver for it.
    async fn step(&mut self) -> Result<Option<K::Item>, ClientError> {
        let deadline = self.client.options().deadline;
        let Some(open) = &mut self.open else {
            let node = self.client.living(&mut self.tries).await?;
            match answered(deadline, self.kind.open(&self.client, &node)).await {
                Ok(stream) => {
                    self.kind.reopened();
                    self.open = Some(Open { stream, address: node.address, since: Instant::now() });
                }
                Err(status) => self.tries.after(&self.client, &node.address, &status, true).await?,
            }
            return Ok(None);
        };
        let message = if K::MAY_BE_SILENT {
            open.stream.message().await
        } else {
            answered(deadline, open.stream.message()).await
        };
        let status = match message {
            Ok(Some(item)) => {
                // Whoever delivers is well: patience starts anew.
                self.tries = self.client.tries();
                return Ok(self.kind.take(item));
            }
            Ok(None) if self.kind.is_whole() => {
                self.over = true;
                return Ok(None);
            }
            Ok(None) => Status::unavailable("the stream ended too early"),
            Err(status) => status,
        };
        // So is one whose stream held for longer than any try, also where there was nothing to say.
        if open.since.elapsed() > self.client.options().patience {
            self.tries = self.client.tries();
        }
        let address = std::mem::take(&mut open.address);
        self.open = None;
        self.tries.after(&self.client, &address, &status, true).await?;
        Ok(None)
    }
}

struct Events(v1::EventsRequest);

impl Kind for Events {
    type Item = v1::EventBatch;

    async fn open(&self, client: &Client, node: &Node) -> Result<Streaming<v1::EventBatch>, Status> {
        Ok(client.sweeps(node).events(Request::new(self.0.clone())).await?.into_inner())
    }

    fn take(&mut self, mut batch: v1::EventBatch) -> Option<v1::EventBatch> {
        batch.events.retain(|event| event.log_index >= self.0.from_index);
        self.0.from_index = self.0.from_index.max(batch.log_index + 1);
        Some(batch)
    }
}

pub(crate) fn events(client: Client, request: v1::EventsRequest) -> Resumed<v1::EventBatch> {
    resumed(client, Events(request))
}

struct Series {
    request: v1::SeriesRequest,
    whole: bool,
}

impl Kind for Series {
    type Item = v1::SeriesChunk;

    const MAY_BE_SILENT: bool = false;

    async fn open(&self, client: &Client, node: &Node) -> Result<Streaming<v1::SeriesChunk>, Status> {
        Ok(client.sweeps(node).series(Request::new(self.request.clone())).await?.into_inner())
    }

    fn take(&mut self, chunk: v1::SeriesChunk) -> Option<v1::SeriesChunk> {
        self.request.after_step = series::last_step(&chunk.points).or(self.request.after_step);
        self.whole = chunk.last;
        Some(chunk)
    }

    fn is_whole(&self) -> bool {
        self.whole
    }
}

pub(crate) fn series(client: Client, request: v1::SeriesRequest) -> Resumed<v1::SeriesChunk> {
    resumed(client, Series { request, whole: false })
}

/// Something long that is sent from its beginning: after a cut, from its beginning again.
struct Whole<R> {
    request: R,
    /// Bytes of the present one that were received, and its length.
    received: u64,
    length: Option<u64>,
}

impl<R> Whole<R> {
    const fn of(request: R) -> Self {
        Self { request, received: 0, length: None }
    }

    fn begin(&mut self) {
        (self.received, self.length) = (0, None);
    }

    fn add(&mut self, data: usize, length: u64) {
        self.received += data as u64;
        self.length = Some(length);
    }

    fn is_complete(&self) -> bool {
        self.length == Some(self.received)
    }
}

impl Kind for Whole<v1::BackupRequest> {
    type Item = v1::BackupChunk;

    const MAY_BE_SILENT: bool = false;

    async fn open(&self, _: &Client, node: &Node) -> Result<Streaming<v1::BackupChunk>, Status> {
        let mut to = cluster(node).max_decoding_message_size(BACKUP_CHUNK_MAX);
        Ok(to.backup(Request::new(self.request)).await?.into_inner())
    }

    fn reopened(&mut self) {
        self.begin();
    }

    fn take(&mut self, chunk: v1::BackupChunk) -> Option<v1::BackupChunk> {
        self.add(chunk.data.len(), chunk.length);
        Some(chunk)
    }

    fn is_whole(&self) -> bool {
        self.is_complete()
    }
}

/// A piece of 1 MiB and what is around it.
const BACKUP_CHUNK_MAX: usize = 2 << 20;

pub(crate) fn backup(client: Client, request: v1::BackupRequest) -> Resumed<v1::BackupChunk> {
    resumed(client, Whole::of(request))
}

impl Kind for Whole<v1::GetArchiveRequest> {
    type Item = v1::ArchivePiece;

    const MAY_BE_SILENT: bool = false;

    async fn open(&self, _: &Client, node: &Node) -> Result<Streaming<v1::ArchivePiece>, Status> {
        Ok(archives(node).get(Request::new(self.request.clone())).await?.into_inner())
    }

    fn reopened(&mut self) {
        self.begin();
    }

    fn take(&mut self, piece: v1::ArchivePiece) -> Option<v1::ArchivePiece> {
        self.add(piece.data.len(), piece.length);
        Some(piece)
    }

    fn is_whole(&self) -> bool {
        self.is_complete()
    }
}

pub(crate) fn archive(client: Client, request: v1::GetArchiveRequest) -> Resumed<v1::ArchivePiece> {
    resumed(client, Whole::of(request))
}

struct Artifact {
    request: v1::ArtifactRequest,
    length: Option<u64>,
}

impl Kind for Artifact {
    type Item = v1::ArtifactPiece;

    async fn open(&self, client: &Client, node: &Node) -> Result<Streaming<v1::ArtifactPiece>, Status> {
        Ok(client.sweeps(node).artifact(Request::new(self.request.clone())).await?.into_inner())
    }

    fn take(&mut self, piece: v1::ArtifactPiece) -> Option<v1::ArtifactPiece> {
        self.request.offset += piece.data.len() as u64;
        self.length = Some(piece.length);
        Some(piece)
    }

    fn is_whole(&self) -> bool {
        self.length == Some(self.request.offset)
    }
}

pub(crate) fn artifact(client: Client, request: v1::ArtifactRequest) -> Resumed<v1::ArtifactPiece> {
    resumed(client, Artifact { request, length: None })
}

struct Watch(v1::WatchRequest);

impl Kind for Watch {
    type Item = v1::GetResponse;

    async fn open(&self, client: &Client, node: &Node) -> Result<Streaming<v1::GetResponse>, Status> {
        Ok(client.sweeps(node).watch(Request::new(self.0.clone())).await?.into_inner())
    }

    fn take(&mut self, summary: v1::GetResponse) -> Option<v1::GetResponse> {
        Some(summary)
    }
}

pub(crate) fn watch(client: Client, request: v1::WatchRequest) -> Resumed<v1::GetResponse> {
    resumed(client, Watch(request))
}

/// One file of logs: trial, attempt, rank where there are several, and whether it is the standard error.
type LogFile = (u32, u32, Option<u32>, bool);

struct Logs {
    request: v1::LogsRequest,
    /// How far each file was delivered.
    reached: HashMap<LogFile, u64>,
    /// Bytes of the present answer that are to be dropped as delivered before: of lines that were chosen, which have no place.
    skip: HashMap<LogFile, u64>,
}

impl Logs {
    fn new(request: v1::LogsRequest) -> Self {
        Self { request, reached: HashMap::new(), skip: HashMap::new() }
    }
}

impl Kind for Logs {
    type Item = v1::LogLine;

    async fn open(&self, client: &Client, node: &Node) -> Result<Streaming<v1::LogLine>, Status> {
        Ok(client.sweeps(node).logs(Request::new(self.request.clone())).await?.into_inner())
    }

    fn reopened(&mut self) {
        // The last lines are others by now: they are delivered again.
        if self.request.tail.is_none() {
            self.skip = self.reached.clone();
        }
    }

    fn take(&mut self, mut line: v1::LogLine) -> Option<v1::LogLine> {
        let file = (line.trial, line.attempt, line.rank, line.stderr);
        let reached = self.reached.entry(file).or_default();
        let chosen = !self.request.grep.is_empty() || self.request.tail.is_some();
        let length = line.data.len() as u64 + line.left_out;
        let known = if chosen {
            let skip = self.skip.entry(file).or_default();
            let known = (*skip).min(length);
            *skip -= known;
            *reached += length - known;
            known
        } else {
            let known = reached.saturating_sub(line.at).min(length);
            *reached = (*reached).max(line.at + length);
            known
        };
        line.at += known;
        if line.left_out > 0 {
            line.left_out -= known;
        } else {
            line.data.drain(..known as usize);
        }
        let is_news = !line.data.is_empty() || line.left_out > 0 || !line.error.is_empty();
        is_news.then_some(line)
    }
}

pub(crate) fn logs(client: Client, request: v1::LogsRequest) -> Resumed<v1::LogLine> {
    resumed(client, Logs::new(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(trial: u32, at: u64, data: &str) -> v1::LogLine {
        v1::LogLine { trial, attempt: 1, at, data: data.as_bytes().to_vec(), ..Default::default() }
    }

    fn gap(at: u64, left_out: u64) -> v1::LogLine {
        v1::LogLine { attempt: 1, at, left_out, ..Default::default() }
    }

    #[test]
    fn a_resumed_log_delivers_every_byte_once() {
        let mut logs = Logs::new(v1::LogsRequest::default());
        logs.reopened();
        assert_eq!(logs.take(line(0, 0, "one\ntw")), Some(line(0, 0, "one\ntw")));
        assert_eq!(logs.take(line(1, 0, "x\n")), Some(line(1, 0, "x\n")));
        // Cut. The new answer begins from the start, in other pieces.
        logs.reopened();
        assert_eq!(logs.take(line(0, 0, "one\n")), None);
        assert_eq!(logs.take(line(0, 4, "two\n")), Some(line(0, 6, "o\n")));
        assert_eq!(logs.take(line(1, 0, "x\ny\n")), Some(line(1, 2, "y\n")));
        let other = v1::LogLine { rank: Some(1), ..line(1, 0, "x\n") };
        assert_eq!(logs.take(other.clone()), Some(other), "what another machine wrote");
    }

    #[test]
    fn a_resumed_log_of_which_the_middle_was_not_kept_meanwhile_goes_on_where_it_was() {
        let mut logs = Logs::new(v1::LogsRequest::default());
        assert_eq!(logs.take(line(0, 0, "0123456789")), Some(line(0, 0, "0123456789")));
        logs.reopened();
        assert_eq!(logs.take(line(0, 0, "01")), None);
        assert_eq!(logs.take(gap(2, 98)), Some(gap(10, 90)), "what is missing of what was not delivered");
        assert_eq!(logs.take(line(0, 100, "x")), Some(line(0, 100, "x")));
    }

    #[test]
    fn chosen_lines_are_counted_for_they_have_no_place() {
        let mut logs = Logs::new(v1::LogsRequest { grep: "a".into(), ..Default::default() });
        assert_eq!(logs.take(line(0, 0, "a1\n")), Some(line(0, 0, "a1\n")));
        logs.reopened();
        assert_eq!(logs.take(line(0, 0, "a1\na2\n")).map(|line| line.data), Some(b"a2\n".to_vec()));
    }

    #[test]
    fn resumed_events_ask_from_after_the_last_index() {
        let mut events = Events(v1::EventsRequest::default());
        let event = |log_index| v1::Event { log_index, ..Default::default() };
        events.take(v1::EventBatch { log_index: 7, events: vec![event(3), event(7)] });
        assert_eq!(events.0.from_index, 8);
        let batch = events.take(v1::EventBatch { log_index: 9, events: vec![event(7), event(9)] }).expect("a batch");
        assert_eq!(batch.events, [event(9)], "what was delivered is not delivered again");
    }
}
