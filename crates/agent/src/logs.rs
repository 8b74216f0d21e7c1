//! Serves what trials printed to whoever asks the coordinator: from the files, while and after they run.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use heats_wire::v1;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::attempt::AttemptDir;
use crate::context::Context;
use crate::key::Key;
use crate::watcher::Watch;

/// The most that one message carries.
const CHUNK: usize = 64 * 1024;
/// How many requests are served at once.
const REQUESTS: usize = 32;

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

    /// Serves a request.
    pub fn start(&mut self, request: v1::LogRequest) {
        self.requests.retain(|_, task| !task.is_finished());
        let (context, chunks, id) = (self.context.clone(), self.chunks.clone(), request.id);
        let full = self.requests.len() >= REQUESTS;
        let task = tokio::spawn(async move {
            let served = match full {
                true => Err(format!("the agent serves {REQUESTS} logs already; try again later")),
                false => serve(&context, &chunks, &request).await,
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

async fn serve(context: &Context, chunks: &mpsc::Sender<v1::LogChunk>, request: &v1::LogRequest) -> Result<(), String> {
    let key = Key::from_wire(request.key).map_err(|error| error.to_string())?;
    let dir = AttemptDir::at(context.paths.attempt(key));
    let held = context.find(key);
    if held.is_none() && !dir.path().is_dir() {
        return Err(format!("this agent has no log of `{key}`, or no longer: it keeps those of its last attempts"));
    }
    let mut files: Vec<Tail> = Vec::new();
    if !request.stderr_only {
        files.push(Tail { path: dir.stdout(), stderr: false, file: None, offset: 0 });
    }
    if !request.stdout_only {
        files.push(Tail { path: dir.stderr(), stderr: true, file: None, offset: 0 });
    }
    let watch: Watch = context.watcher.watch(dir.path());
    let mut changes = watch.changes();
    loop {
        // Asked before reading: what is written before the end is read after it.
        let over = !request.follow || held.as_ref().is_none_or(|held| held.dir.end().is_some()) || {
            context.find(key).is_none()
        };
        for file in &mut files {
            while let Some(data) = file.next().map_err(|error| error.to_string())? {
                let chunk = v1::LogChunk { id: request.id, data, stderr: file.stderr, ..v1::LogChunk::default() };
                if chunks.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
        }
        if over {
            return Ok(());
        }
        changes.wait().await;
    }
}

struct Tail {
    path: PathBuf,
    stderr: bool,
    file: Option<File>,
    offset: u64,
}

impl Tail {
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &self.file else { return Ok(None) };
        let mut data = vec![0; CHUNK];
        let count = file.read_at(&mut data, self.offset)?;
        self.offset += count as u64;
        data.truncate(count);
        Ok((count > 0).then_some(data))
    }
}
