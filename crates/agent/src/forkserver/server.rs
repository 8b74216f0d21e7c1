//! The server's side. One thread and no runtime, for a process with more than one thread cannot be forked safely.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::{ADOPT, ANSWER, PATH_MAX};
use crate::attempt::{AttemptDir, DirError};
use crate::proc::OutOfMemoryKills;
use crate::shim::{Source, supervise};

/// Does what the arguments `words` of a process say that is there for nothing else. To be called before anything that starts
/// a thread.
///
/// Without any it is the fork server. `adopt TRIAL PIPE FOLDER` are those of a supervisor whose trial was forked already, by
/// what this process was before, as in [`crate::warm`]: the process `TRIAL` is its child, and waits at the other end of the
/// file descriptor `PIPE`.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match words.collect::<Vec<_>>().as_slice() {
        [] => serve_agent(),
        [word, trial, pipe, folder] if word == ADOPT => {
            let trial = trial.to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            let pipe = pipe.to_str().and_then(|number| number.parse().ok());
            let (Some(trial), Some(pipe)) = (trial, pipe) else { return misused() };
            ended(supervise(&AttemptDir::at(folder.into()), Source::Forked { trial, pipe }))
        }
        _ => misused(),
    }
}

fn misused() -> ExitCode {
    eprintln!("heats: what supervises trials is started by the agent, not by people");
    ExitCode::FAILURE
}

fn ended(supervised: Result<(), DirError>) -> ExitCode {
    match supervised {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heats: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the agent at the other end of standard input until it is gone.
fn serve_agent() -> ExitCode {
    if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        eprintln!("heats: the process that starts trials must have one thread; the agent starts it, not people");
        return ExitCode::FAILURE;
    }
    // Ctrl-C in the agent's terminal is the agent's business. Fails only where a shell has started this.
    let _leads_already = rustix::process::setsid();
    let socket = rustix::stdio::stdin();
    let mut shims = Vec::new();
    let mut kills = OutOfMemoryKills::now();
    loop {
        match serve(socket, &mut shims, &mut kills) {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            // The agent starts another.
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Waits for one order and obeys it; `false` once the agent is gone.
fn serve(socket: BorrowedFd<'_>, shims: &mut Vec<OwnedFd>, kills: &mut OutOfMemoryKills) -> Result<bool, Errno> {
    wait(socket, shims)?;
    let Some(order) = receive(socket)? else { return Ok(false) };
    let Order { dir, files } = match order {
        Ok(order) => order,
        Err(error) => return answer(socket, -error.raw_os_error(), None).map(|()| true),
    };
    let kills_before = kills.count();
    match fork() {
        Ok(ForkResult::Parent { child }) => {
            // Not reaped yet, so that the id is its own.
            let pid = Pid::from_raw(child.as_raw()).ok_or(Errno::SRCH)?;
            let handle = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
            answer(socket, child.as_raw(), Some(handle.as_fd()))?;
            shims.push(handle);
        }
        Ok(ForkResult::Child) => {
            shims.clear();
            become_shim(&dir, files, kills_before);
        }
        Err(error) => answer(socket, -(error as i32), None)?,
    }
    Ok(true)
}

/// Returns once there is an order, or nobody left to give one. Reaps what has ended meanwhile.
fn wait(socket: BorrowedFd<'_>, shims: &mut Vec<OwnedFd>) -> Result<(), Errno> {
    loop {
        let mut waited: Vec<PollFd<'_>> = Vec::with_capacity(shims.len() + 1);
        waited.push(PollFd::from_borrowed_fd(socket, PollFlags::IN));
        waited.extend(shims.iter().map(|shim| PollFd::new(shim, PollFlags::IN)));
        match poll(&mut waited, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        let mut ended = waited.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let ordered = ended.next() == Some(true);
        shims.retain(|shim| {
            let over = ended.next() == Some(true);
            if over {
                // It has ended: nothing blocks, and nothing fails.
                let _reaped = waitid(WaitId::PidFd(shim.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
            !over
        });
        if ordered {
            return Ok(());
        }
    }
}

struct Order {
    dir: AttemptDir,
    /// What becomes file descriptors 0, 1 and 2.
    files: [OwnedFd; 3],
}

/// The next order, or why it cannot be obeyed; `None` where the agent is gone.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<Result<Order, Errno>>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut path = vec![0; PATH_MAX];
    let received = rustix::io::retry_on_intr(|| {
        let into = &mut [IoSliceMut::new(&mut path)];
        rustix::net::recvmsg(socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let files: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => files.collect(),
            _ => Vec::new(),
        })
        .collect();
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Some(Err(Errno::NAMETOOLONG)));
    }
    // Fewer arrive where this process has no room for them.
    let Ok(files) = files.try_into() else { return Ok(Some(Err(Errno::MFILE))) };
    path.truncate(received.bytes);
    Ok(Some(Ok(Order { dir: AttemptDir::at(OsString::from_vec(path).into()), files })))
}

fn answer(socket: BorrowedFd<'_>, id: i32, handle: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let handle = handle.map(|handle| [handle]);
    if let Some(handle) = &handle {
        control.push(SendAncillaryMessage::ScmRights(handle));
    }
    let bytes: [u8; ANSWER] = id.to_ne_bytes();
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

#[expect(unsafe_code, reason = "no safe wrapper can know that a process has one thread; `main` has looked")]
fn fork() -> nix::Result<ForkResult> {
    // SAFETY: forking is unsound where another thread may hold a lock that the copy would wait for. There is one
    // thread: `main` has counted, and nothing here starts another.
    unsafe { nix::unistd::fork() }
}

/// The forked process's whole life.
fn become_shim(dir: &AttemptDir, files: [OwnedFd; 3], kills_before: u64) -> ! {
    let [lock, stdout, stderr] = files;
    let taken = rustix::stdio::dup2_stdin(&lock)
        .and_then(|()| rustix::stdio::dup2_stdout(&stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(&stderr));
    drop((lock, stdout, stderr));
    if let Err(error) = taken {
        eprintln!("heats: {error}");
        std::process::exit(1);
    }
    let ended = ended(supervise(dir, Source::Program { kills_before }));
    std::process::exit(i32::from(ended != ExitCode::SUCCESS))
}
