//! The log as openraft wants it: reads from memory, writes through the writer's queue.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use tokio::sync::{mpsc, oneshot, watch};

use crate::codec;
use crate::disk::Disk;
use crate::error::{Failure, StorageError};
use crate::ground::{Ground, Work};
use crate::log::contents::{Contents, next};
use crate::log::open::{self, LogSettings};
use crate::log::writer::{Done, Job, Writer};
use crate::pb::{self, Record};
use crate::types::{LogEntry, LogId, Types, Vote};

/// How much payload one message to a peer carries, in bytes; a larger entry travels alone. Below the limit of
/// a gRPC message by enough for an entry of the usual size more.
const MESSAGE_BYTES: usize = 1 << 20;
/// What an entry takes beside its payload, at most.
const ENTRY_BYTES: usize = 32;

/// A handle on the log; clones share it.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    contents: Mutex<Contents>,
    jobs: mpsc::UnboundedSender<Job>,
    flushes: Arc<AtomicU64>,
}

impl Log {
    /// Whether there is a log in `dir` at all.
    pub(crate) fn exists(dir: &std::path::Path, disk: &dyn Disk) -> Result<bool, StorageError> {
        open::exists(dir, disk)
    }

    /// Opens the log and starts its writer. An error while writing goes to `failure`.
    pub(crate) fn open(
        settings: LogSettings,
        ground: Ground,
        failure: watch::Sender<Option<Failure>>,
    ) -> Result<Self, StorageError> {
        let work = ground.work;
        let opened = open::open(&settings, &ground.disk)?;
        let node_id = settings.node;
        tracing::info!(
            node_id,
            entries = opened.contents.entries.len(),
            files = opened.full.len() + 1,
            torn_bytes = opened.torn,
            "log opened"
        );
        let contents = opened.contents.clone();
        let (jobs, queue) = mpsc::unbounded_channel();
        let writer = Writer::new(settings.clone(), ground, queue, failure, opened);
        let flushes = Arc::clone(&writer.flushes);
        match work {
            Work::Threads => {
                std::thread::Builder::new()
                    .name("heats-log".to_owned())
                    .spawn(move || writer.run())
                    .map_err(|e| StorageError::io("start the writer of", &settings.dir, e))?;
            }
            Work::Inline => {
                tokio::spawn(writer.run_as_task());
            }
        }
        Ok(Self { shared: Arc::new(Shared { contents: Mutex::new(contents), jobs, flushes }) })
    }

    /// Writes what still waits and ends the writer.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // Where the writer has ended already there is nothing to close.
        if self.shared.jobs.send(Job { records: Vec::new(), done: Done::Close(done) }).is_ok() {
            let _ = closed.await;
        }
    }

    /// How often the log was made durable.
    pub(crate) fn flushes(&self) -> u64 {
        self.shared.flushes.load(Ordering::Relaxed)
    }

    /// The last entry that is no longer here.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.contents().purged
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.contents().last
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.shared.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, records: Vec<Record>, done: Done) -> Result<(), io::Error> {
        self.shared.jobs.send(Job { records, done }).map_err(|_| io::Error::other("the log is closed"))
    }

    async fn write(&self, record: Record) -> Result<(), io::Error> {
        let (done, written) = oneshot::channel();
        self.send(vec![record], Done::Caller(done))?;
        written.await.map_err(|_| io::Error::other("the log is closed"))?
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.contents().range(start, end).cloned().collect())
    }

    /// As many as fit into one message to a peer.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        let contents = self.contents();
        let mut bytes = 0;
        // A follower that is far behind asks for a little of much, again and again.
        let fit = contents.range(start, end).take_while(|entry| {
            let first = bytes == 0;
            if let EntryPayload::Normal(payload) = &entry.payload {
                bytes += payload.0.len();
            }
            bytes += ENTRY_BYTES;
            first || bytes <= MESSAGE_BYTES
        });
        Ok(fit.cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.contents().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let contents = self.contents();
        Ok(LogState { last_purged_log_id: contents.purged, last_log_id: contents.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.contents().vote = Some(*vote);
        self.write(Record::Vote(codec::vote(vote))).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        self.contents().committed = Some(committed);
        self.send(vec![Record::Committed(codec::log_id(&committed))], Done::Lazy)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let contents = self.contents();
        // It may run ahead of the entries where these were cut or lost before they were durable.
        Ok(contents.committed.filter(|id| id.index < next(contents.last)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut contents = self.contents();
        let mut records = Vec::new();
        for entry in entries {
            records.push(Record::Append(codec::entry(&entry)));
            contents.append(entry).map_err(io::Error::other)?;
        }
        // Still under the lock, so that the files see the same order as the memory.
        self.send(records, Done::Flushed(callback))
    }

    async fn truncate_after(&mut self, after: Option<LogId>) -> Result<(), io::Error> {
        self.contents().truncate(after);
        self.write(Record::Truncate(pb::Cut { after: after.as_ref().map(codec::log_id) })).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut contents = self.contents();
        let dropped = contents.purge(upto);
        self.send(vec![Record::Purge(codec::log_id(&upto))], Done::Purged(dropped))
    }
}
