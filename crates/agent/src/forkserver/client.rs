//! The agent's side: starts the server when there is none, orders processes from it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Files, Forks, Line};
use crate::admission::without_secrets;
use crate::process::Process;

/// Where supervising processes come from.
#[derive(Debug)]
pub struct ForkServer {
    program: Vec<OsString>,
    env: BTreeMap<&'static str, String>,
    line: Mutex<Option<Line>>,
}

/// Why no process was started.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The server itself cannot be started.
    #[error("`{program}` could not be started: {source}")]
    Server {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The operating system gives no process.
    #[error("no process could be started: {0}")]
    Refused(#[source] io::Error),
    /// The server went away with the order: a process may run, and only the attempt's folder tells.
    #[error("the process that starts trials was lost on the way")]
    Lost,
}

impl ForkServer {
    /// A server that is `program`, with its first arguments, and has `env` on top of the agent's own environment;
    /// started at the first order.
    pub const fn new(program: Vec<OsString>, env: BTreeMap<&'static str, String>) -> Self {
        Self { program, env, line: Mutex::new(None) }
    }

    fn open(&self) -> Result<Line, ForkError> {
        let (name, arguments) =
            self.program.split_first().map_or((OsStr::new(""), &[][..]), |(name, rest)| (name, rest));
        let mut command = Command::new(name);
        without_secrets(&mut command).args(arguments).envs(&self.env).stdout(Stdio::null());
        Line::open(command).map_err(|source| ForkError::Server { program: name.display().to_string(), source })
    }
}

impl Forks for ForkServer {
    fn fork(&self, folder: &Path, files: Files) -> Result<Process, ForkError> {
        // What is in the lock is replaced as a whole.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = line.as_ref().is_some_and(|line| line.order(folder, &files).is_ok());
        if !sent {
            // An order that could not be sent reached nobody: another server may have it.
            let new = self.open()?;
            new.order(folder, &files).map_err(|_gone| ForkError::Lost)?;
            *line = Some(new);
        }
        // From here on the lock is the new process's alone.
        drop(files);
        let answer = line.as_ref().map_or(Err(ForkError::Lost), Line::answered);
        if matches!(answer, Err(ForkError::Lost)) {
            *line = None;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn files(folder: &Path) -> Files {
        let file = |name| File::create(folder.join(name)).expect("creates");
        Files { lock: file("lock"), stdout: file("out"), stderr: file("err") }
    }

    #[tokio::test]
    async fn a_server_that_ends_with_an_order_is_told_from_one_that_cannot_be_started() {
        let root = tempfile::tempdir().expect("a folder");
        let server = |words: &[&str]| ForkServer::new(words.iter().map(OsString::from).collect(), BTreeMap::new());
        let start = |server: &ForkServer| server.fork(root.path(), files(root.path())).map(|process| process.id());
        assert!(matches!(start(&server(&["/no/such/program"])), Err(ForkError::Server { .. })));
        assert!(matches!(start(&server(&[])), Err(ForkError::Server { .. })));
        let ends = server(&["head", "-c", "1"]);
        assert!(matches!(start(&ends), Err(ForkError::Lost)));
        assert!(matches!(start(&ends), Err(ForkError::Lost)), "another is started, and ends too");
    }
}
