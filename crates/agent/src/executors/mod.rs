//! How an attempt is started: a registry of one shape, so that another kind is one file and one line here.
//!
//! An executor starts the shim in some surroundings and returns what tells of its end. Everything else
//! (reports, time limits, signals, adoption after a restart) is the same for all and is in `supervisor`.

mod process;

use std::ffi::OsString;

use crate::attempt::{AttemptDir, DirError};
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
    /// The operating system refused to start a process.
    #[error("the supervisor process `{program}` could not be started: {source}{hint}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
        /// What to do, after a colon; or nothing.
        hint: &'static str,
    },
}

/// Starts attempts in one kind of surroundings.
pub trait Executor: Send + Sync {
    /// The name that `EXECUTORS` lists it under.
    fn name(&self) -> &'static str;

    /// Starts `shim` for the attempt in `dir`, whose record is written already. Blocks for as long as starting a
    /// process takes.
    ///
    /// # Errors
    /// Where nothing was started.
    fn start(&self, shim: &[OsString], dir: &AttemptDir) -> Result<Process, StartError>;
}

/// Every executor, the default first.
pub const EXECUTORS: [&dyn Executor; 1] = [&process::PlainProcess];
