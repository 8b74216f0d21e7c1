//! Serves what trials printed to whoever asks the coordinator: from the files, while and after they run. And parts of their
//! artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use heats_wire::excerpt::Excerpt;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::artifacts;
use crate::attempt::AttemptDir;
use crate::context::Context;
use crate::key::Key;
use crate::logfile::{CHUNK, LogFile, Piece};
use crate::watcher::Watch;

/// How many requests are served at once.
const REQUESTS: usize = 32;

/// What somebody asks for.
#[derive(Debug)]
pub enum Asked {
    /// An attempt's logs.
    Log(v1::LogRequest),
    /// A part of an artifact.
    Artifact(v1::ArtifactRange),
}

impl Asked {
    /// What a request for a log is: a coordinator of an earlier version asks for artifacts in this way, too.
    pub fn of(mut request: v1::LogRequest) -> Self {
        match request.artifact.take() {
            Some(range) => Self::Artifact(range),
            None => Self::Log(request),
        }
    }
}

/// The requests of one stream; ended when dropped, for their answers have nowhere to go then.
#[derive(Debug)]
pub struct Logs {
    context: Arc<Context>,
    chunks: mpsc::Sender<v1::LogChunk>,
    requests: BTreeMap<u64, AbortHandle>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.requests.values().for_each(AbortHandle::abort);
    }
}

impl Logs {
    /// Answers go to `chunks`.
    pub const fn new(context: Arc<Context>, chunks: mpsc::Sender<v1::LogChunk>) -> Self {
        Self { context, chunks, requests: BTreeMap::new() }
    }

    /// Serves a request of this number.
    pub fn start(&mut self, id: u64, asked: Asked) {
        self.requests.retain(|_, task| !task.is_finished());
        let (context, chunks) = (self.context.clone(), self.chunks.clone());
        let full = self.requests.len() >= REQUESTS;
        let task = tokio::spawn(async move {
            let served = match full {
                true => Err(format!("the agent serves {REQUESTS} logs already; try again later")),
                false => serve(&context, &Answer { id, chunks: &chunks }, asked).await,
            };
            let end =
                v1::LogChunk { id, end: true, error: served.err().unwrap_or_default(), ..v1::LogChunk::default() };
            // The stream is gone, and whoever asked with it.
            let _stream_gone = chunks.send(end).await;
        });
        self.requests.insert(id, task.abort_handle());
    }

    /// Nobody reads the answer any more.
    pub fn cancel(&mut self, id: u64) {
        if let Some(task) = self.requests.remove(&id) {
            task.abort();
        }
    }
}

async fn serve(context: &Context, answer: &Answer<'_>, asked: Asked) -> Result<(), String> {
    match asked {
        Asked::Log(request) => serve_log(context, answer, &request).await,
        Asked::Artifact(range) => {
            let data = artifacts::read(&context.stores, range).await?;
            // The stream is gone, and whoever asked with it.
            let _stream_gone = answer.send(false, 0, data).await;
            Ok(())
        }
    }
}

async fn serve_log(context: &Context, answer: &Answer<'_>, request: &v1::LogRequest) -> Result<(), String> {
    let key = Key::from_wire(request.key).map_err(|error| error.to_string())?;
    let dir = AttemptDir::at(context.paths.attempt(key));
    let held = context.find(key);
    if held.is_none() && !dir.path().is_dir() {
        return Err(format!("this agent has no log of `{key}`, or no longer: it keeps those of its last attempts"));
    }
    let mut files: Vec<Shown> = Vec::new();
    for stderr in [false, true] {
        if (stderr && request.stdout_only) || (!stderr && request.stderr_only) {
            continue;
        }
        let chosen = Excerpt::of(&request.grep, request.tail).map_err(|error| error.to_string())?;
        files.push(Shown { file: LogFile::of(&dir, stderr), chosen, shows_gaps: request.tail.is_none() });
    }
    let watch: Watch = context.watcher.watch(dir.path());
    let mut changes = watch.changes();
    loop {
        // Asked before reading: what is written before the end is read after it.
        let over = !request.follow || held.as_ref().is_none_or(|held| held.dir.end().is_some()) || {
            context.find(key).is_none()
        };
        for shown in &mut files {
            if !shown.send(answer).await? {
                return Ok(());
            }
        }
        if over {
            for Shown { file, chosen, .. } in files {
                if let Some(chosen) = chosen
                    && !answer.send(file.stderr, 0, chosen.finish()).await
                {
                    return Ok(());
                }
            }
            return Ok(());
        }
        changes.wait().await;
    }
}

/// A log that somebody reads, and which of its lines they want.
struct Shown {
    file: LogFile,
    chosen: Option<Excerpt>,
    /// Whether it matters that the middle is missing.
    shows_gaps: bool,
}

impl Shown {
    /// Sends what there is by now; whether anybody reads it.
    async fn send(&mut self, answer: &Answer<'_>) -> Result<bool, String> {
        let stderr = self.file.stderr;
        while let Some(Piece { at, data, left_out }) = self.file.next_piece().map_err(|error| error.to_string())? {
            if left_out > 0 && self.shows_gaps && !answer.left_out(stderr, at, left_out).await {
                return Ok(false);
            }
            let data = match &mut self.chosen {
                Some(chosen) => chosen.feed(&data),
                None => data,
            };
            if !answer.send(stderr, at, data).await {
                return Ok(false);
            }
        }
        match &mut self.chosen {
            Some(chosen) => Ok(answer.send(stderr, 0, chosen.now()).await),
            None => Ok(true),
        }
    }
}

/// The way back to whoever asked.
struct Answer<'a> {
    id: u64,
    chunks: &'a mpsc::Sender<v1::LogChunk>,
}

impl Answer<'_> {
    /// Sends bytes of a log; whether the stream is there.
    async fn send(&self, stderr: bool, mut at: u64, data: Vec<u8>) -> bool {
        for data in data.chunks(CHUNK).map(<[u8]>::to_vec) {
            let length = data.len() as u64;
            let chunk = v1::LogChunk { id: self.id, data, stderr, at, ..v1::LogChunk::default() };
            if self.chunks.send(chunk).await.is_err() {
                return false;
            }
            at += length;
        }
        true
    }

    /// Says that bytes are not kept; whether the stream is there.
    async fn left_out(&self, stderr: bool, at: u64, left_out: u64) -> bool {
        let chunk = v1::LogChunk { id: self.id, stderr, at, left_out, ..v1::LogChunk::default() };
        self.chunks.send(chunk).await.is_ok()
    }
}
