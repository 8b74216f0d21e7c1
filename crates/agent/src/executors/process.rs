//! A plain process of this machine: no isolation beyond its own session and process group.

use std::fs::TryLockError;

use super::{Executor, StartError};
use crate::attempt::{AttemptDir, DirError};
use crate::forkserver::{Files, Forks};
use crate::process::Process;

/// Has the shim forked as it is.
#[derive(Clone, Copy, Debug)]
pub struct PlainProcess;

impl Executor for PlainProcess {
    fn name(&self) -> &'static str {
        "process"
    }

    fn start(&self, shims: &dyn Forks, dir: &AttemptDir) -> Result<Process, StartError> {
        // The lock belongs to the open file, so that the shim holds it from its first moment to its last.
        let lock = dir.sheet_file()?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StartError::InUse { path: dir.path().to_owned() },
            TryLockError::Error(source) => {
                StartError::Dir(DirError::Io { path: dir.sheet_path(), verb: "locked", source })
            }
        })?;
        let files = Files { lock, stdout: dir.log_file(dir.stdout())?, stderr: dir.log_file(dir.stderr())? };
        Ok(shims.fork(dir.path(), files)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::forkserver::ForkServer;

    #[tokio::test]
    async fn an_attempt_that_runs_already_is_not_started_again() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = AttemptDir::at(root.path().to_owned());
        std::fs::write(dir.sheet_path(), "").expect("writes");
        let shims = ForkServer::new(vec!["/no/such/program".into()], BTreeMap::new());
        let lock = dir.sheet_file().expect("opens");
        lock.try_lock().expect("locks");
        assert!(matches!(PlainProcess.start(&shims, &dir), Err(StartError::InUse { .. })));
        drop(lock);
        assert!(matches!(PlainProcess.start(&shims, &dir), Err(StartError::Fork(_))), "the lock is free again");
        dir.sheet_file().expect("opens").try_lock().expect("and after a start that failed too");
    }
}
