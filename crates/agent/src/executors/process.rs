//! A plain process of this machine: no isolation beyond its own session and process group.

use std::ffi::OsString;
use std::fs::TryLockError;
use std::process::{Command, Stdio};

use super::{Executor, StartError};
use crate::attempt::{AttemptDir, DirError};
use crate::process::Process;

/// Starts the shim as a child of the agent.
#[derive(Clone, Copy, Debug)]
pub struct PlainProcess;

impl Executor for PlainProcess {
    fn name(&self) -> &'static str {
        "process"
    }

    fn start(&self, shim: &[OsString], dir: &AttemptDir) -> Result<Process, StartError> {
        let lock = dir.lock_file()?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StartError::InUse { path: dir.path().to_owned() },
            TryLockError::Error(source) => {
                StartError::Dir(DirError::Io { path: dir.file("lock"), verb: "locked", source })
            }
        })?;
        let (program, arguments) = shim.split_first().map_or((OsString::new(), &[][..]), |(p, a)| (p.clone(), a));
        let fail = |source: std::io::Error| StartError::Spawn {
            program: program.display().to_string(),
            hint: match source.kind() {
                std::io::ErrorKind::WouldBlock => ": too many processes; raise `ulimit -u` or run fewer trials at once",
                _ if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                    ": too many open files; raise `ulimit -n`"
                }
                _ => "",
            },
            source,
        };
        let child = Command::new(&program)
            .args(arguments)
            .arg(dir.path())
            // The lock belongs to the open file, so that the child holds it from its first moment to its last.
            .stdin(Stdio::from(lock))
            .stdout(dir.log_file(dir.stdout())?)
            .stderr(dir.log_file(dir.stderr())?)
            .spawn()
            .map_err(fail)?;
        // The child is not reaped yet, so that its id is its own.
        Process::open(child.id() as i32).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_runs_already_is_not_started_again() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = AttemptDir::at(root.path().to_owned());
        let shim: Vec<OsString> = ["sh", "-c", "read line < \"$0/go\""].map(OsString::from).into();
        let go = root.path().join("go");
        assert!(Command::new("mkfifo").arg(&go).status().expect("mkfifo is there").success());
        let first = PlainProcess.start(&shim, &dir).expect("starts");
        assert!(matches!(PlainProcess.start(&shim, &dir), Err(StartError::InUse { .. })));
        std::fs::write(&go, "go\n").expect("writes");
        first.ended().await.expect("ends");
        PlainProcess.start(&["true".into()], &dir).expect("starts: the lock went with the process");
    }
}
