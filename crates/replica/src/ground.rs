//! What a node stands on: its disk, and where work goes that blocks. A node in production stands on files
//! and threads; one in a simulation on a disk that loses what was not synced, and on nothing that a seed does not decide.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, RealDisk};

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
}
