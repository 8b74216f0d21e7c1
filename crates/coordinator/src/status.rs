//! The one map from errors to gRPC statuses. The code goes into `heats-code`, the hint into `heats-hint`,
//! the leader's address into `heats-leader`.

use heats_core::Refusal;
use heats_domain::AgentId;
use heats_wire::convert::ConvertError;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

use crate::caller::{Caller, TokenFault};
use crate::decider::AskError;

/// A refusal as a status.
pub fn refused(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::NoSuchSweep(_)
        | Refusal::NoSuchTrial { .. }
        | Refusal::NoSuchAgent(_)
        | Refusal::NoSuchToken(_)
        | Refusal::NoSuchId { .. }
        | Refusal::NoArchive(_) => Code::NotFound,
        Refusal::NameTaken { .. } => Code::AlreadyExists,
        Refusal::Ended(_)
        | Refusal::NotEnded(_)
        | Refusal::Stale { .. }
        | Refusal::BelowCreated { .. }
        | Refusal::BudgetUsed { .. }
        | Refusal::PopulationFull { .. }
        | Refusal::NothingFailed(_)
        | Refusal::AmbiguousAgent { .. }
        | Refusal::NothingToLearn { .. }
        | Refusal::OtherLineage { .. } => Code::Aborted,
        Refusal::Point(_)
        | Refusal::ReportTooLarge { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Spec(_)
        | Refusal::StudyInput(_) => Code::InvalidArgument,
        // What Optuna's clients know it by. Whoever asked the wrong node is told so by the leader's address.
        Refusal::TrialFinished(_) => Code::FailedPrecondition,
        Refusal::QueueFull(_) | Refusal::TokensFull(_) | Refusal::ArchivesFull(_) | Refusal::StudyFull { .. } => {
            Code::ResourceExhausted
        }
        Refusal::TokenSpent { .. } | Refusal::OtherKey(_) => Code::PermissionDenied,
    };
    let mut status = Status::new(code, refusal.to_string());
    annotate(&mut status, "heats-code", refusal.code());
    annotate(&mut status, "heats-hint", refusal.hint());
    if let Refusal::OtherLineage { lineage } = refusal {
        annotate(&mut status, heats_wire::LINEAGE_KEY, &lineage.to_string());
    }
    status
}

/// An error of the decider as a status.
pub fn unanswered(error: &AskError) -> Status {
    match error {
        AskError::Refused(refusal) => refused(refusal),
        AskError::NotLeader { leader } => {
            let mut status = Status::new(Code::FailedPrecondition, error.to_string());
            // Empty while nobody is known to lead, as at the start and in an election: clients try again then.
            annotate(&mut status, "heats-leader", leader.as_deref().unwrap_or_default());
            status
        }
        AskError::Overloaded => Status::new(Code::ResourceExhausted, error.to_string()),
        AskError::Stopped => Status::new(Code::Unavailable, error.to_string()),
    }
}

/// The caller may not make the call at `path`.
pub fn denied(caller: &Caller, path: &str) -> Status {
    let call = path.rsplit('.').next().unwrap_or(path);
    let (code, message, hint) = match caller {
        Caller::Nobody => (
            Code::Unauthenticated,
            format!("the cluster does not know who calls `{call}`"),
            "show a token (HEATS_TOKEN, HEATS_TOKEN_FILE or `--token`; an admin makes one with `heats token create`), or a certificate (`--cert` and `--key`)",
        ),
        Caller::Trusted
        | Caller::Coordinator(_)
        | Caller::Agent(_)
        | Caller::Admin(_)
        | Caller::User(_)
        | Caller::Newcomer(_) => (
            Code::PermissionDenied,
            format!("{caller} may not call `{call}`"),
            "ask an admin of the cluster; `heats config show --origin` says who you are to it",
        ),
    };
    let mut status = Status::new(code, message);
    annotate(&mut status, "heats-hint", hint);
    status
}

/// The token says nothing about who calls.
pub fn unknown(fault: &TokenFault) -> Status {
    let mut status = Status::new(Code::Unauthenticated, fault.to_string());
    annotate(&mut status, "heats-hint", "ask an admin for another: `heats token create --role user`");
    status
}

/// This coordinator cannot make certificates.
pub fn no_authority() -> Status {
    let mut status = Status::new(Code::PermissionDenied, "this coordinator has no key to let agents join with");
    annotate(
        &mut status,
        "heats-hint",
        "its operator gives it one: `--tls-agents-key`, or the whole folder that `heats tls init` made",
    );
    status
}

/// The caller is not the agent that it says it is.
pub fn impostor(agent: AgentId) -> Status {
    let mut status = Status::new(Code::PermissionDenied, format!("the certificate is not that of agent `{agent}`"));
    annotate(&mut status, "heats-hint", "let it join again: `heats agent start --join TOKEN`");
    status
}

/// A message that means nothing.
pub fn malformed(error: &ConvertError) -> Status {
    Status::new(Code::InvalidArgument, error.to_string())
}

fn annotate(status: &mut Status, key: &'static str, value: &str) {
    // Texts here are ASCII; one that is not is left out rather than sent broken.
    if let Ok(value) = AsciiMetadataValue::try_from(value) {
        status.metadata_mut().insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_told_or_that_nobody_is_known_to() {
        for (leader, told) in [(Some("10.0.0.7:7177".to_owned()), "10.0.0.7:7177"), (None, "")] {
            let status = unanswered(&AskError::NotLeader { leader });
            assert_eq!(status.code(), Code::FailedPrecondition);
            let value = status.metadata().get("heats-leader").expect("is there, for clients know a refusal by it");
            assert_eq!(value.to_str().expect("is ASCII"), told);
        }
    }
}
