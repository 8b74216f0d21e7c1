//! A process that the agent waits for, be it its child or not: one way for those that it started and those
//! that an earlier agent left running.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::unix::AsyncFd;

use crate::readable;

/// A handle that names one process for ever, whoever gets its id later.
#[derive(Debug)]
pub struct Process {
    id: i32,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process `id`, which must exist. To be called within the runtime.
    ///
    /// # Errors
    /// Where there is none, or no file descriptor is left.
    pub fn open(id: i32) -> io::Result<Self> {
        let pid = Some(id).filter(|&id| id > 0).and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Self::with_handle(id, pidfd_open(pid, PidfdFlags::NONBLOCK)?)
    }

    /// The process `id` with a handle of it that somebody else has opened. To be called within the runtime.
    ///
    /// # Errors
    /// Where the handle cannot be waited for.
    pub fn with_handle(id: i32, handle: OwnedFd) -> io::Result<Self> {
        Ok(Self { id, handle: readable::register(handle)? })
    }

    /// Its id.
    pub const fn id(&self) -> i32 {
        self.id
    }

    /// Returns once it has ended, and reaps it where it is this process's child.
    ///
    /// # Errors
    /// Where the handle cannot be waited for.
    pub async fn ended(&self) -> io::Result<()> {
        // A handle becomes readable at the process's end, and stays so.
        let _ready = self.handle.readable().await?;
        let id = WaitId::PidFd(self.handle.get_ref().as_fd());
        // Somebody else's child is reaped by them.
        let _not_ours = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_awaited_and_no_zombie_is_left() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let id = child.id() as i32;
        let process = Process::open(id).expect("is there");
        process.ended().await.expect("ends");
        process.ended().await.expect("and has ended");
        assert_eq!(crate::proc::stat(id), None);
        child.wait().expect_err("it is reaped already");
        assert!(Process::open(0).is_err() && Process::open(-1).is_err());
    }
}
