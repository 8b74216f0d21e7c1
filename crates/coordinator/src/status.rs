//! The one map from errors to gRPC statuses. The code goes into `heats-code`, the hint into `heats-hint`,
//! the leader's address into `heats-leader`.

use heats_core::Refusal;
use heats_wire::convert::ConvertError;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

use crate::decider::AskError;

/// A refusal as a status.
pub fn refused(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::NoSuchSweep(_) | Refusal::NoSuchTrial { .. } | Refusal::NoSuchAgent(_) => Code::NotFound,
        Refusal::NameTaken { .. } | Refusal::IdTaken(_) => Code::AlreadyExists,
        Refusal::Ended(_)
        | Refusal::NotEnded(_)
        | Refusal::Stale { .. }
        | Refusal::BelowCreated { .. }
        | Refusal::BudgetUsed { .. }
        | Refusal::NothingFailed(_)
        | Refusal::AmbiguousAgent { .. }
        | Refusal::OtherLineage { .. } => Code::Aborted,
        Refusal::Point(_) | Refusal::ReportTooLarge { .. } | Refusal::TooLarge { .. } | Refusal::Spec(_) => {
            Code::InvalidArgument
        }
        Refusal::QueueFull(_) => Code::ResourceExhausted,
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
