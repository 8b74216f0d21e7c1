//! What a node stands on: its disk, and where work goes that blocks. A node in production stands on files
//! and threads; one in a simulation on a disk that loses what was not synced, and on nothing that a seed does not decide.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::disk::{Disk, RealDisk};

/// By how much a thread whose work can wait is nicer than the process: a tenth of a processor that others want as well, and
/// all that they leave.
const NICER: i32 = 10;

/// After work that can wait has kept the disk busy, it leaves the disk to others for so many times as long...
const REST: u32 = 3;
/// ...but not longer than this: a disk that is as slow has other troubles.
const REST_MAX: Duration = Duration::from_millis(50);

/// The disk and the threads of one node.
#[derive(Clone)]
pub struct Ground {
    /// Where the log and the snapshots are written.
    pub disk: Arc<dyn Disk>,
    /// Where work goes that blocks.
    pub work: Work,
}

impl Ground {
    /// Files and threads of the operating system.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), work: Work::Threads }
    }
}

/// Where work goes that blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// To threads of its own.
    Threads,
    /// Nowhere: it is done where it is asked for, so that one thread does everything, in an order that can be had again.
    /// The log takes the time that its disk says, and there is no catalogue.
    Inline,
}

impl Work {
    /// Does `work`, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, io::Error> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Inline => Ok(work()),
        }
    }

    /// Leaves the disk to others after it was kept busy since `begun`, on a thread that may block.
    pub(crate) fn rest(self, begun: Instant) {
        match self {
            Self::Threads => thread::sleep((begun.elapsed() * REST).min(REST_MAX)),
            Self::Inline => {}
        }
    }

    /// As [`Work::run`], for long work that no commit waits for: wherever another thread of the process has something to
    /// do, that one goes first.
    pub(crate) async fn run_aside<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, io::Error> {
        match self {
            Self::Threads => {
                let (done, awaited) = oneshot::channel();
                aside(move || {
                    // Nobody may wait for it any more.
                    let _ = done.send(work());
                })?;
                awaited.await.map_err(|_| io::Error::other("the thread that did it has panicked"))
            }
            Self::Inline => Ok(work()),
        }
    }
}

/// How much work that can wait writes before it makes that durable and rests, in bytes. A flush takes as long as everything
/// that the disk has yet to write, whoever wrote it, and each commit waits for one. A message to a peer carries as much of a
/// snapshot: well below the limit of a gRPC message.
pub(crate) const PIECE: usize = 1 << 18;

/// Does `work` on a thread that is nicer than the process. Of its own, because one that has stepped back cannot step forward
/// again.
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, io::Error> {
    thread::Builder::new().name("heats-aside".to_owned()).spawn(|| {
        // Linux has a nice value for every thread. Where it refuses, commits are slower meanwhile.
        let nice = rustix::process::getpriority_process(None).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, nice + NICER);
        work();
    })
}
