//! The agent's side: starts the server when there is none, orders processes from it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use super::ANSWER;
use crate::admission::without_secrets;
use crate::process::Process;

/// Where supervising processes come from.
#[derive(Debug)]
pub struct ForkServer {
    program: Vec<OsString>,
    env: BTreeMap<&'static str, String>,
    line: Mutex<Option<Line>>,
}

/// The open files that a supervising process gets as its file descriptors 0, 1 and 2.
#[derive(Debug)]
pub struct Files {
    /// The attempt's locked file.
    pub lock: File,
    /// Where the trial's output goes.
    pub stdout: File,
    /// Where its errors go.
    pub stderr: File,
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

    /// Starts a supervising process for the attempt in `folder`. Blocks for as long as a fork takes. To be called
    /// within the runtime.
    ///
    /// # Errors
    /// See [`ForkError`].
    pub fn start(&self, folder: &Path, files: Files) -> Result<Process, ForkError> {
        // What is in the lock is replaced as a whole.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = line.as_ref().is_some_and(|line| line.order(folder, &files).is_ok());
        if !sent {
            // An order that could not be sent reached nobody: another server may have it.
            let new = Line::open(&self.program, &self.env)?;
            new.order(folder, &files).map_err(|_gone| ForkError::Lost)?;
            *line = Some(new);
        }
        // From here on the lock is the new process's alone.
        drop(files);
        let answer = line.as_ref().map_or(Err(Errno::PIPE), Line::answer);
        if answer.is_err() {
            *line = None;
        }
        let (id, handle) = answer.map_err(|_gone| ForkError::Lost)?;
        match handle {
            Some(handle) => Process::with_handle(id, handle).map_err(|_no_handle| ForkError::Lost),
            None => Err(ForkError::Refused(io::Error::from_raw_os_error(id.saturating_neg()))),
        }
    }
}

/// A server that is up.
#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    server: Child,
}

impl Line {
    fn open(program: &[OsString], env: &BTreeMap<&'static str, String>) -> Result<Self, ForkError> {
        let (name, arguments) = program.split_first().map_or((OsStr::new(""), &[][..]), |(name, rest)| (name, rest));
        let fail = |source| ForkError::Server { program: name.display().to_string(), source };
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, theirs) = pair.map_err(|error| fail(error.into()))?;
        let server = without_secrets(&mut Command::new(name))
            .args(arguments)
            .envs(env)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(fail)?;
        Ok(Self { socket, server })
    }

    fn order(&self, folder: &Path, files: &Files) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let passed = [files.lock.as_fd(), files.stdout.as_fd(), files.stderr.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&passed));
        let path = [IoSlice::new(folder.as_os_str().as_bytes())];
        rustix::net::sendmsg(&self.socket, &path, &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// A process's id and handle, or a negative error number and none.
    fn answer(&self) -> Result<(i32, Option<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; ANSWER];
        let received = rustix::io::retry_on_intr(|| {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(&self.socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes != ANSWER {
            return Err(Errno::PIPE);
        }
        let handle = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
            _ => None,
        });
        match (i32::from_ne_bytes(bytes), handle) {
            (id, Some(handle)) if id > 0 => Ok((id, Some(handle))),
            (error, None) if error < 0 => Ok((error, None)),
            _ => Err(Errno::PROTO),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It keeps nothing, and what it forked runs on.
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Files {
        let file = |name| File::create(folder.join(name)).expect("creates");
        Files { lock: file("lock"), stdout: file("out"), stderr: file("err") }
    }

    #[tokio::test]
    async fn a_server_that_ends_with_an_order_is_told_from_one_that_cannot_be_started() {
        let root = tempfile::tempdir().expect("a folder");
        let server = |words: &[&str]| ForkServer::new(words.iter().map(OsString::from).collect(), BTreeMap::new());
        let start = |server: &ForkServer| server.start(root.path(), files(root.path())).map(|process| process.id());
        assert!(matches!(start(&server(&["/no/such/program"])), Err(ForkError::Server { .. })));
        assert!(matches!(start(&server(&[])), Err(ForkError::Server { .. })));
        let ends = server(&["head", "-c", "1"]);
        assert!(matches!(start(&ends), Err(ForkError::Lost)));
        assert!(matches!(start(&ends), Err(ForkError::Lost)), "another is started, and ends too");
    }
}
