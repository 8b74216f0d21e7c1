//! The one thread, or in a simulation the one task, that writes the log. It takes everything that waits, writes it as one frame, makes it
//! durable with one sync, then tells everybody: proposals that are in flight together share the cost.
//!
//! The first error ends it. After a failed sync nobody knows what is on the disk, so nothing is written or
//! acknowledged any more, and the node stops.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::storage::IOFlushed;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

use crate::disk::Disk;
use crate::error::{Failure, StorageError};
use crate::frame;
use crate::ground::Ground;
use crate::log::open::{self, Active, Full, LogSettings, Opened};
use crate::log::tidy::Tidy;
use crate::pb::{self, Record};
use crate::types::{LogEntry, Types};

/// How much one frame takes before it is written, in bytes: bounds how long the first in it waits.
const FRAME_BYTES: usize = 4 << 20;

/// Something to write.
pub(crate) struct Job {
    pub(crate) records: Vec<Record>,
    pub(crate) done: Done,
}

/// Who wants to know that it is durable.
pub(crate) enum Done {
    /// Nobody, and it need not be soon: it goes along with the next that is wanted.
    Lazy,
    /// Nobody; once it is durable, these entries are no longer needed.
    Purged(VecDeque<LogEntry>),
    /// The engine.
    Flushed(IOFlushed<Types>),
    /// A caller.
    Caller(oneshot::Sender<Result<(), io::Error>>),
    /// A caller, and nothing comes after it.
    Close(oneshot::Sender<Result<(), io::Error>>),
}

/// See the module.
pub(crate) struct Writer {
    pub(crate) settings: LogSettings,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) jobs: mpsc::UnboundedReceiver<Job>,
    pub(crate) failure: watch::Sender<Option<Failure>>,
    pub(crate) flushes: Arc<AtomicU64>,
    active: Active,
    full: VecDeque<Full>,
    salt: u32,
    sequence: u64,
    /// What the next file has to begin with.
    begin: pb::Begin,
    gathered: Gathered,
    tidy: Tidy,
}

/// What waits to be written.
#[derive(Default)]
struct Gathered {
    jobs: Vec<Job>,
    /// In bytes.
    size: usize,
    /// Somebody waits for it.
    wanted: bool,
    /// Nothing comes after it.
    closing: bool,
}

impl Gathered {
    fn add(&mut self, job: Job) {
        self.size += job.records.iter().map(Record::encoded_len).sum::<usize>();
        self.wanted |= !matches!(job.done, Done::Lazy);
        self.closing |= matches!(job.done, Done::Close(_));
        self.jobs.push(job);
    }

    const fn has_room(&self) -> bool {
        self.size < FRAME_BYTES && !self.closing
    }
}

impl Writer {
    pub(crate) fn new(
        settings: LogSettings,
        ground: Ground,
        jobs: mpsc::UnboundedReceiver<Job>,
        failure: watch::Sender<Option<Failure>>,
        opened: Opened,
    ) -> Self {
        let contents = &opened.contents;
        let begin = pb::Begin {
            format: open::FORMAT,
            node: settings.node,
            segment: opened.active.number,
            vote: contents.vote.as_ref().map(crate::codec::vote),
            committed: contents.committed.as_ref().map(crate::codec::log_id),
            purged: contents.purged.as_ref().map(crate::codec::log_id),
            last: contents.last.as_ref().map(crate::codec::log_id),
        };
        let Opened { active, full, salt, sequence, .. } = opened;
        let disk = Arc::clone(&ground.disk);
        let tidy = Tidy::new(settings.dir.clone(), ground.clone(), failure.clone());
        let flushes = Arc::default();
        Self {
            settings,
            disk,
            jobs,
            failure,
            flushes,
            active,
            full,
            salt,
            sequence,
            begin,
            gathered: Gathered::default(),
            tidy,
        }
    }

    /// Runs until the log is closed or cannot be written.
    pub(crate) fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            self.gather(job);
            if self.is_due() && self.flush() {
                return;
            }
        }
    }

    /// The same as a task: what the disk takes in time, others have.
    pub(crate) async fn run_as_task(mut self) {
        while let Some(job) = self.jobs.recv().await {
            self.gather(job);
            if self.is_due() {
                tokio::time::sleep(self.disk.delay()).await;
                if self.flush() {
                    return;
                }
            }
        }
    }

    /// Takes `job` and everything else that waits, as far as one frame goes.
    fn gather(&mut self, job: Job) {
        self.gathered.add(job);
        while self.gathered.has_room()
            && let Ok(job) = self.jobs.try_recv()
        {
            self.gathered.add(job);
        }
    }

    /// What nobody waits for may wait for something else, as long as there is room.
    const fn is_due(&self) -> bool {
        self.gathered.wanted || !self.gathered.has_room()
    }

    /// Writes what was gathered; whether that was the last.
    fn flush(&mut self) -> bool {
        let Gathered { mut jobs, closing, .. } = std::mem::take(&mut self.gathered);
        match self.write(&mut jobs) {
            Ok(()) => closing,
            Err(error) => {
                self.fail(error, jobs);
                true
            }
        }
    }

    fn write(&mut self, waiting: &mut Vec<Job>) -> Result<(), StorageError> {
        let records: Vec<pb::LogRecord> = waiting
            .iter_mut()
            .flat_map(|job| job.records.drain(..))
            .map(|record| pb::LogRecord { record: Some(record) })
            .collect();
        let body = pb::Frame { records };
        if !body.records.is_empty() {
            self.append(&body)?;
        }
        let (mut closed, mut purged) = (None, Vec::new());
        for job in waiting.drain(..) {
            match job.done {
                Done::Lazy => {}
                Done::Purged(entries) => purged.push(entries),
                Done::Flushed(callback) => callback.io_completed(Ok(())),
                Done::Caller(caller) => {
                    // The caller may have gone; the write stands.
                    let _ = caller.send(Ok(()));
                }
                Done::Close(caller) => closed = Some(caller),
            }
        }
        for entries in purged {
            let files = self.purged_files();
            self.tidy.clear(files, entries)?;
        }
        if let Some(caller) = closed {
            self.tidy.finish();
            let _ = caller.send(Ok(()));
        }
        Ok(())
    }

    fn append(&mut self, body: &pb::Frame) -> Result<(), StorageError> {
        let mut bytes = frame::seal(self.salt, self.sequence, |bytes| body.encode_raw(bytes));
        if self.active.offset + bytes.len() as u64 > self.active.length {
            self.begin.segment += 1;
            // The new file's own beginning takes this sequence number.
            let place = (self.salt, self.sequence);
            let fresh = open::create_segment(&self.settings, &self.disk, place, self.begin, bytes.len() as u64)?;
            let old = std::mem::replace(&mut self.active, fresh);
            self.full.push_back(Full { path: old.path, highest: old.highest });
            self.sequence += 1;
            bytes = frame::seal(self.salt, self.sequence, |bytes| body.encode_raw(bytes));
        }
        let Active { file, path, offset, .. } = &self.active;
        self.disk.write(file, path, *offset, &bytes)?;
        self.disk.sync(file, path)?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.active.offset += bytes.len() as u64;
        self.sequence += 1;
        for record in &body.records {
            self.note(record);
        }
        Ok(())
    }

    /// Keeps what the next file begins with up to date.
    fn note(&mut self, record: &pb::LogRecord) {
        match &record.record {
            Some(Record::Append(entry)) => {
                self.begin.last = Some(entry.id);
                self.active.highest = self.active.highest.max(Some(entry.id.index));
            }
            Some(Record::Vote(vote)) => self.begin.vote = Some(*vote),
            Some(Record::Committed(id)) => self.begin.committed = Some(*id),
            Some(Record::Truncate(cut)) => {
                if cut.after.map(|id| id.index) < self.begin.last.map(|id| id.index) {
                    self.begin.last = cut.after;
                }
            }
            Some(Record::Purge(id)) => {
                self.begin.purged = Some(*id);
                if self.begin.last.is_none_or(|last| last.index < id.index) {
                    self.begin.last = Some(*id);
                }
            }
            Some(Record::Begin(_)) | None => {}
        }
    }

    /// The oldest files, as long as all of their entries are purged, which is durable by now.
    fn purged_files(&mut self) -> Vec<PathBuf> {
        let purged = self.begin.purged.map(|id| id.index);
        let count = self.full.iter().take_while(|file| file.highest <= purged).count();
        self.full.drain(..count).map(|file| file.path).collect()
    }

    fn fail(&mut self, error: StorageError, waiting: Vec<Job>) {
        let error = Arc::new(error);
        tracing::error!(node_id = self.settings.node, %error, "the log cannot be written, the node stops");
        self.failure.send_if_modified(|failure| {
            failure.is_none().then(|| *failure = Some(Failure::Log(Arc::clone(&error)))).is_some()
        });
        let told = || io::Error::other(error.to_string());
        // Whoever comes later finds the queue closed.
        self.jobs.close();
        let rest = std::iter::from_fn(|| self.jobs.try_recv().ok());
        for job in waiting.into_iter().chain(rest) {
            match job.done {
                Done::Lazy | Done::Purged(_) => {}
                Done::Flushed(callback) => callback.io_completed(Err(told())),
                Done::Caller(caller) | Done::Close(caller) => {
                    let _ = caller.send(Err(told()));
                }
            }
        }
    }
}
