//! A server that is up, as its agent sees it: orders go there, answers come back.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use super::{ANSWER, ForkError};
use crate::process::Process;

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

/// A server that is up. Dropped, it is killed: it keeps nothing, and what it forked runs on.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
    server: Child,
}

impl Line {
    /// Starts `command`, which has the other end of the line as its standard input.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn open(mut command: Command) -> io::Result<Self> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, theirs) = pair?;
        let server = command.stdin(Stdio::from(theirs)).spawn()?;
        Ok(Self { socket, server })
    }

    /// The socket, for whoever waits for it to be readable.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Whether the server runs.
    pub fn is_up(&mut self) -> bool {
        matches!(self.server.try_wait(), Ok(None))
    }

    /// What the server says unasked, `size` bytes at most; nothing where it is gone. Waits for it.
    pub fn hear(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let heard = rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut *bytes, RecvFlags::empty()));
        bytes.truncate(heard.map_or(0, |(_, heard)| heard));
        bytes
    }

    /// Orders a supervising process for the attempt in `folder`.
    ///
    /// # Errors
    /// Where the order reached nobody.
    pub fn order(&self, folder: &Path, files: &Files) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let passed = [files.lock.as_fd(), files.stdout.as_fd(), files.stderr.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&passed));
        let path = [IoSlice::new(folder.as_os_str().as_bytes())];
        rustix::net::sendmsg(&self.socket, &path, &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// The process that was ordered. To be called within the runtime.
    ///
    /// # Errors
    /// [`ForkError::Refused`] where there is none, [`ForkError::Lost`] where nobody says whether there is.
    pub fn answered(&self) -> Result<Process, ForkError> {
        match self.answer().map_err(|_gone| ForkError::Lost)? {
            (id, Some(handle)) => Process::with_handle(id, handle).map_err(|_no_handle| ForkError::Lost),
            (id, None) => Err(ForkError::Refused(io::Error::from_raw_os_error(id.saturating_neg()))),
        }
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
