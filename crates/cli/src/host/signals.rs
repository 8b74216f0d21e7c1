//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::hints;

/// The signals that ask this process to end.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from here on: the signals do nothing by themselves any more.
    ///
    /// # Errors
    /// Where the system does not allow it.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Does `work`; another signal ends the process at once, as a crash would, which everything survives.
    pub async fn or_at_once<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.next() => {
                hints::note("left at once; running trials are taken over at the next start");
                std::process::exit(Exit::Interrupted as i32)
            }
        }
    }
}
