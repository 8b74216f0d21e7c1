//! Exit codes and the errors that lead to them: the one place where a failure becomes a number.
//! Scripts depend on these; `docs/` and golden tests hold them.

use std::process::ExitCode;

use heats_client::ClientError;
use heats_wire::v1;

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to.
    Ok = 0,
    /// The awaited sweep failed or was cancelled, or the command itself could not go on.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The file is not a valid sweep file.
    InvalidFile = 4,
    /// The state of things does not allow it.
    Conflict = 5,
    /// The caller may not do it.
    NotAllowed = 6,
    /// No coordinator answers; the same command may succeed later.
    Unavailable = 7,
    /// The sweep ended without a feasible best trial.
    NoBest = 8,
    /// Inside a trial: it shall stop.
    Stop = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command could not do what it was asked to.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, as a fragment; empty where it has been said already.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The stable code of a refusal.
    pub code: Option<String>,
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure that ends with `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, code: None }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something went wrong that none of the other codes is for.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Ends with `exit`, and everything has been said already.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Unavailable { .. }
            | ClientError::NoLeader { .. }
            | ClientError::Silent { .. }
            | ClientError::Unknown { .. } => Exit::Unavailable,
            ClientError::NotFound(_) => Exit::NotFound,
            ClientError::Invalid(_) | ClientError::Address(_) => Exit::Usage,
            ClientError::Conflict(_) | ClientError::Refused(_) => Exit::Conflict,
            ClientError::Denied(_) | ClientError::Distrusted { .. } => Exit::NotAllowed,
            ClientError::Internal { .. } => Exit::Failed,
        };
        let hint = match &error {
            ClientError::Unavailable { .. } => Some(
                "`heats dev` starts one here; `--address HOST:PORT` or HEATS_ADDRESS names another one; `heats config show --origin` says where this address came from"
                    .to_owned(),
            ),
            ClientError::NoLeader { .. } => Some(
                "more than half of the coordinators must be up: `heats cluster status` says which are; `--stale` shows what is known meanwhile"
                    .to_owned(),
            ),
            ClientError::Silent { .. } => Some(
                "it is overloaded, its disk hangs, or it was stopped (Ctrl-Z; `kill -CONT PID` lets it go on): look at its process and its log, then repeat the command; `--patience 2m` waits longer"
                    .to_owned(),
            ),
            ClientError::Unknown { .. } => Some("look before you repeat it: `heats show`, `heats events`".to_owned()),
            ClientError::Distrusted { fault, .. } => Some(fault.hint().to_owned()),
            ClientError::NotFound(_)
            | ClientError::Invalid(_)
            | ClientError::Address(_)
            | ClientError::Conflict(_)
            | ClientError::Refused(_)
            | ClientError::Denied(_)
            | ClientError::Internal { .. } => error.refusal().and_then(|refusal| refusal.hint.clone()),
        };
        let code = error.refusal().and_then(|refusal| refusal.code.clone());
        Self { exit, message: error.to_string(), hint, code }
    }
}

impl From<std::io::Error> for Failure {
    /// Of the command's own output. A reader that has seen enough (`heats ls | head`) is no failure.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::silent(Exit::Ok)
        } else {
            Self::failed(format!("cannot write the output: {error}"))
        }
    }
}

/// The exit code for a sweep that somebody waited for. A sweep without an objective has no best and needs none.
pub fn of_sweep(sweep: &v1::Sweep, has_objective: bool) -> Exit {
    match sweep.status() {
        v1::SweepStatus::Failed | v1::SweepStatus::Cancelled => Exit::Failed,
        v1::SweepStatus::Finished | v1::SweepStatus::Stopped => {
            if has_objective && sweep.best.is_empty() {
                Exit::NoBest
            } else {
                Exit::Ok
            }
        }
        v1::SweepStatus::Running | v1::SweepStatus::Paused | v1::SweepStatus::Draining => Exit::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(status: v1::SweepStatus, best: usize) -> v1::Sweep {
        v1::Sweep { status: status.into(), best: vec![v1::TrialSummary::default(); best], ..Default::default() }
    }

    #[test]
    fn a_sweep_that_found_nothing_is_told_apart_from_one_that_failed() {
        assert_eq!(of_sweep(&sweep(v1::SweepStatus::Finished, 1), true), Exit::Ok);
        assert_eq!(of_sweep(&sweep(v1::SweepStatus::Finished, 0), true), Exit::NoBest);
        assert_eq!(of_sweep(&sweep(v1::SweepStatus::Finished, 0), false), Exit::Ok);
        assert_eq!(of_sweep(&sweep(v1::SweepStatus::Failed, 1), true), Exit::Failed);
        assert_eq!(of_sweep(&sweep(v1::SweepStatus::Cancelled, 1), true), Exit::Failed);
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Ok, ""));
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(failure.exit, Exit::Failed);
    }
}
