//! Where the supervising processes of attempts come from: a small process that forks one for every order.
//!
//! A forked copy of a process that is up already costs a tenth of a program that is loaded anew, and most of what a
//! short trial costs is the start of its supervisor. The server keeps nothing: killed, it is started again at the
//! next order, and what it forked runs on. It ends when its agent does.
//!
//! One order and one answer at a time go over a socket pair that keeps messages apart. An order is the path of the
//! attempt's folder with three open files (see [`Files`]); an answer is the new process's id, or a negative error
//! number, with a handle of the process.

mod client;
mod line;
mod server;

use std::fmt::Debug;
use std::path::Path;

pub use client::{ForkError, ForkServer};
pub use line::{Files, Line};
pub use server::main;

use crate::process::Process;

/// Who forks supervising processes.
pub trait Forks: Debug + Send + Sync {
    /// Starts one for the attempt in `folder`. Blocks for as long as a fork takes. To be called within the runtime.
    ///
    /// # Errors
    /// See [`ForkError`].
    fn fork(&self, folder: &Path, files: Files) -> Result<Process, ForkError>;
}

/// The first word for a supervisor that was forked elsewhere, beside its trial; see [`main`].
const ADOPT: &str = "adopt";
/// Bytes of an answer.
const ANSWER: usize = size_of::<i32>();
/// The longest path that the operating system takes.
const PATH_MAX: usize = 4096;
