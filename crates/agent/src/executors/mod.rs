//! How an attempt is started: a registry of one shape, so that another kind is one file and one line here.
//!
//! An executor starts the shim in some surroundings and returns what tells of its end. Everything else
//! (reports, time limits, signals, adoption after a restart) is the same for all and is in `supervisor`.

mod process;

use crate::attempt::{AttemptDir, DirError};
use crate::forkserver::{ForkError, Forks};
use crate::process::Process;

/// Why an attempt's shim could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of the attempt's folder could not be opened.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Another process holds the attempt's lock: it runs already.
    #[error("the attempt's folder `{path}` is in use by another process")]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// No process was started, or one of which only the folder tells.
    #[error("the trial's supervisor could not be started: {0}{hint}", hint = hint(.0))]
    Fork(#[from] ForkError),
}

/// What to do about it, after a colon; or nothing.
fn hint(error: &ForkError) -> &'static str {
    let (ForkError::Server { source, .. } | ForkError::Refused(source)) = error else { return "" };
    match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::AGAIN) => ": too many processes; raise `ulimit -u` or run fewer trials at once",
        Some(rustix::io::Errno::MFILE) => ": too many open files; raise `ulimit -n`",
        _ => "",
    }
}

/// Starts attempts in one kind of surroundings.
pub trait Executor: Send + Sync {
    /// The name that `EXECUTORS` lists it under.
    fn name(&self) -> &'static str;

    /// Starts a shim for the attempt in `dir`, whose record is written already. Blocks for as long as starting a
    /// process takes.
    ///
    /// # Errors
    /// Where nothing was started, or by [`ForkError::Lost`] where only the folder tells.
    fn start(&self, shims: &dyn Forks, dir: &AttemptDir) -> Result<Process, StartError>;
}

/// Every executor, the default first.
pub const EXECUTORS: [&dyn Executor; 1] = [&process::PlainProcess];
