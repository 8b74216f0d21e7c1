//! Logs and artifacts on their way from an agent, which keeps them, to the user who asked: by the number of the request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heats_core::ops::attempts::Key;
use heats_domain::AgentId;
use heats_wire::v1::{self, to_agent};
use tokio::sync::mpsc;

use crate::streams::Streams;

/// Chunks that may wait for one reader; a reader that is slower slows its agent's stream down to its pace
/// no further than this, and is then cut off.
const WAITING: usize = 256;
/// Requests that may be open on one node.
const OPEN: usize = 1_024;

/// The open requests.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<u64, (AgentId, mpsc::Sender<v1::LogChunk>)>,
    next: u64,
}

/// One request; the agent is told to stop when it is dropped.
pub struct Relay {
    relays: Relays,
    streams: Streams,
    agent: AgentId,
    /// The stream that the request went out on.
    stream: u64,
    id: u64,
    chunks: mpsc::Receiver<v1::LogChunk>,
}

/// Which of an attempt's logs to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// Whose.
    pub key: Key,
    /// For as long as the attempt lives.
    pub follow: bool,
    /// Standard output only.
    pub stdout_only: bool,
    /// Standard error only.
    pub stderr_only: bool,
    /// Only lines in which this is found; empty: everything.
    pub grep: String,
    /// Only the last so many of them.
    pub tail: Option<u32>,
}

/// What an agent is asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// Logs.
    Log(Want),
    /// A part of an artifact.
    Artifact(v1::ArtifactRange),
}

impl Ask {
    /// How an agent is asked, under this number, that knows how to be asked for artifacts, or does not.
    fn message(self, id: u64, reads_artifacts: bool) -> to_agent::Message {
        match self {
            Self::Log(Want { key, follow, stdout_only, stderr_only, grep, tail }) => {
                let key = Some(key.into());
                let artifact = None;
                let request = v1::LogRequest { id, key, follow, stderr_only, stdout_only, grep, tail, artifact };
                to_agent::Message::LogRequest(request)
            }
            Self::Artifact(range) if reads_artifacts => {
                to_agent::Message::ReadArtifact(v1::ReadArtifact { id, range: Some(range) })
            }
            Self::Artifact(range) => {
                let request = v1::LogRequest { id, artifact: Some(range), ..v1::LogRequest::default() };
                to_agent::Message::LogRequest(request)
            }
        }
    }
}

/// Why logs cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The agent that keeps them is not attached.
    #[error("the agent that keeps these logs is not attached to this coordinator")]
    Away,
    /// Its stream ended before the logs did.
    #[error("the agent that keeps these logs was lost on the way: ask again for the rest")]
    Lost,
    /// Too many requests are open.
    #[error("{OPEN} log requests are open on this coordinator already")]
    Full,
}

impl Relays {
    /// Asks `agent`, which is attached by stream number `stream`, for logs or a part of an artifact.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn open(&self, streams: &Streams, agent: AgentId, stream: u64, ask: Ask) -> Result<Relay, RelayError> {
        let (sender, chunks) = mpsc::channel(WAITING);
        let id = {
            let mut inner = self.lock();
            if inner.open.len() >= OPEN {
                return Err(RelayError::Full);
            }
            inner.next += 1;
            let id = inner.next;
            inner.open.insert(id, (agent, sender));
            id
        };
        let relay = Relay { relays: self.clone(), streams: streams.clone(), agent, stream, id, chunks };
        let reads_artifacts = streams.opening(agent).is_some_and(|opening| opening.reads_artifacts);
        if streams.send(agent, ask.message(id, reads_artifacts)) { Ok(relay) } else { Err(RelayError::Away) }
    }

    /// Passes a chunk on to whoever asked for it. A reader that does not keep up is cut off, so that it
    /// cannot hold the agent's reports back.
    /// What `agent` was not asked for goes nowhere.
    pub fn deliver(&self, agent: AgentId, chunk: v1::LogChunk) {
        let id = chunk.id;
        let end = chunk.end;
        let asked = self.lock().open.get(&id).filter(|(asked, _)| *asked == agent).cloned();
        let Some((_, sender)) = asked else { return };
        let delivered = sender.try_send(chunk).is_ok();
        if end || !delivered {
            self.lock().open.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// The next chunk; `None` once the reader was too slow.
    ///
    /// # Errors
    /// The agent's stream is gone, and the rest with it.
    pub async fn next(&mut self) -> Result<Option<v1::LogChunk>, RelayError> {
        tokio::select! {
            biased;
            chunk = self.chunks.recv() => Ok(chunk),
            () = self.streams.gone(self.agent, self.stream) => Err(RelayError::Lost),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.relays.lock().open.remove(&self.id).is_some() {
            self.streams.send(self.agent, to_agent::Message::LogCancel(v1::LogCancel { id: self.id }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_asked_for_an_artifact_in_the_way_that_it_knows() {
        let range = v1::ArtifactRange { offset: 7, length: 9, ..v1::ArtifactRange::default() };
        let ask = |reads| Ask::Artifact(range.clone()).message(3, reads);
        let own = v1::ReadArtifact { id: 3, range: Some(range.clone()) };
        assert_eq!(ask(true), to_agent::Message::ReadArtifact(own));
        let as_a_log = v1::LogRequest { id: 3, artifact: Some(range.clone()), ..v1::LogRequest::default() };
        assert_eq!(ask(false), to_agent::Message::LogRequest(as_a_log));
    }
}
