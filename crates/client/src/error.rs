//! Why a call did not succeed, by what the caller can do about it. The command maps these to exit codes.

use std::error::Error as _;
use std::time::Duration;

use heats_tls::Distrust;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::AddressError;

/// The metadata keys of a refusal; `proto/heats/v1/sweeps.proto` names them.
const CODE: &str = "heats-code";
const HINT: &str = "heats-hint";
const LEADER: &str = "heats-leader";

/// What a coordinator said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// The stable code, `H0007`, where there is one.
    pub code: Option<String>,
    /// What is wrong, as a fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No coordinator answered, or none that leads, for as long as the client was to wait. Nothing was changed.
    #[error("no coordinator answers at {}: {why}", tried(.addresses))]
    Unavailable {
        /// Where it was tried.
        addresses: Vec<String>,
        /// What the last try said.
        why: String,
    },
    /// Coordinators answered, and for as long as the client was to wait none of them led. Nothing was changed.
    #[error("none of the coordinators at {} leads", tried(.addresses))]
    NoLeader {
        /// Where it was tried.
        addresses: Vec<String>,
    },
    /// A coordinator takes connections and requests, and says nothing for as long as the client was to wait.
    #[error("the coordinator at {address} is there but does not answer: it was silent for {}", seconds(*.waited))]
    Silent {
        /// The one that was asked last.
        address: String,
        /// For how long it was asked.
        waited: Duration,
    },
    /// No answer came after the request was sent: it may have been carried out or not, and doing it twice
    /// would not be the same as doing it once.
    #[error("the coordinator at {address} gave no answer: {why}; whether it was carried out is not known")]
    Unknown {
        /// Where it was sent.
        address: String,
        /// How it broke.
        why: String,
    },
    /// There is no such sweep, trial or attempt.
    #[error("{0}")]
    NotFound(Refusal),
    /// The request itself makes no sense.
    #[error("{0}")]
    Invalid(Refusal),
    /// Something of that name is there already, or somebody else was faster.
    #[error("{0}")]
    Conflict(Refusal),
    /// The state of the sweep does not allow it.
    #[error("{0}")]
    Refused(Refusal),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(Refusal),
    /// Either side does not trust the other: no request was sent.
    #[error("no connection to the coordinator at {address}: {fault}")]
    Distrusted {
        /// Where.
        address: String,
        /// Why.
        fault: Distrust,
    },
    /// The coordinator failed, or speaks another protocol.
    #[error("the coordinator at {address} failed: {refusal}")]
    Internal {
        /// Where.
        address: String,
        /// What it said.
        refusal: Refusal,
    },
    /// An address is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
}

fn tried(addresses: &[String]) -> String {
    addresses.join(", ")
}

/// `30 s`, `0.2 s`
fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

impl ClientError {
    /// What the coordinator said, where it said something.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound(refusal)
            | Self::Invalid(refusal)
            | Self::Conflict(refusal)
            | Self::Refused(refusal)
            | Self::Denied(refusal)
            | Self::Internal { refusal, .. } => Some(refusal),
            Self::Unavailable { .. }
            | Self::NoLeader { .. }
            | Self::Silent { .. }
            | Self::Unknown { .. }
            | Self::Distrusted { .. }
            | Self::Address(_) => None,
        }
    }
}

/// What a failed try means for the next one.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Ask this node instead; the request was not carried out.
    Redirect(String),
    /// Try again, here or elsewhere: whoever answered neither leads nor knows who does.
    NoLeader(String),
    /// Try again, here or elsewhere; the request did not reach anybody who could carry it out.
    NotSent(String),
    /// Try another: either side does not trust the other, so the request was not sent.
    Distrusted(Distrust),
    /// The request may have been carried out.
    Broken(String),
    /// So it may: nothing came back in time.
    Silent(String),
    /// It was refused: trying again changes nothing.
    Final(ClientError),
}

/// Sorts what a try at `address` ended with.
pub(crate) fn judge(status: &Status, address: &str) -> Verdict {
    let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let refusal = || Refusal { code: text(CODE), message: status.message().to_owned(), hint: text(HINT) };
    let internal = || Verdict::Final(ClientError::Internal { address: address.to_owned(), refusal: refusal() });
    if let Some(fault) = status.source().and_then(heats_tls::distrust) {
        return Verdict::Distrusted(fault);
    }
    match status.code() {
        Code::FailedPrecondition | Code::Unavailable if status.metadata().contains_key(LEADER) => {
            match text(LEADER).filter(|leader| !leader.is_empty() && leader != address) {
                Some(leader) => Verdict::Redirect(leader),
                None => Verdict::NoLeader(said(status)),
            }
        }
        Code::FailedPrecondition => Verdict::Final(ClientError::Refused(refusal())),
        Code::Unavailable if never_connected(status) => Verdict::NotSent(said(status)),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled if is_silence(status) => {
            Verdict::Silent(said(status))
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Verdict::Broken(said(status)),
        // The connection broke in the middle: the transport reports it so.
        Code::Unknown | Code::Internal if status.source().is_some() => Verdict::Broken(said(status)),
        Code::NotFound => Verdict::Final(ClientError::NotFound(refusal())),
        Code::InvalidArgument | Code::OutOfRange => Verdict::Final(ClientError::Invalid(refusal())),
        Code::AlreadyExists | Code::Aborted => Verdict::Final(ClientError::Conflict(refusal())),
        // A limit of the sweep has a code; a coordinator that is overloaded took nothing, and may later.
        Code::ResourceExhausted if status.metadata().contains_key(CODE) => {
            Verdict::Final(ClientError::Conflict(refusal()))
        }
        Code::ResourceExhausted => Verdict::NotSent(said(status)),
        Code::PermissionDenied | Code::Unauthenticated => Verdict::Final(ClientError::Denied(refusal())),
        Code::Ok | Code::Unknown | Code::Internal | Code::Unimplemented | Code::DataLoss => internal(),
    }
}

/// Whether nobody was reached.
pub(crate) fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether a time ran out: the call's deadline, by either side's clock, or the wait for a sign of life of the
/// connection, which is told by its text alone.
fn is_silence(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || said(status) == TimeoutExpired(()).to_string()
        || (status.code() == Code::Unavailable && said(status).contains("timed out"))
}

/// The innermost reason: `Connection refused (os error 111)` rather than `tcp connect error`.
fn said(status: &Status) -> String {
    let mut innermost = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        innermost = error.to_string();
        source = error.source();
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataMap;

    fn status(code: Code, pairs: &[(&'static str, &str)]) -> Status {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.insert(*key, value.parse().expect("ascii"));
        }
        Status::with_metadata(code, "said so", metadata)
    }

    #[test]
    fn a_refusal_keeps_its_code_and_hint() {
        let verdict = judge(&status(Code::NotFound, &[(CODE, "H0003"), (HINT, "look")]), "a:1");
        let Verdict::Final(ClientError::NotFound(refusal)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(
            refusal,
            Refusal { code: Some("H0003".into()), message: "said so".into(), hint: Some("look".into()) }
        );
    }

    #[test]
    fn only_a_precondition_that_names_a_leader_is_a_redirect() {
        let precondition = |pairs: &[(&'static str, &str)]| judge(&status(Code::FailedPrecondition, pairs), "a:1");
        assert!(matches!(precondition(&[(LEADER, "b:1")]), Verdict::Redirect(leader) if leader == "b:1"));
        assert!(matches!(precondition(&[(LEADER, "")]), Verdict::NoLeader(_)), "no leader yet");
        assert!(matches!(precondition(&[(LEADER, "a:1")]), Verdict::NoLeader(_)), "it points at itself");
        assert!(matches!(precondition(&[]), Verdict::Final(ClientError::Refused(_))));
    }

    #[test]
    fn a_limit_of_the_sweep_is_final_and_an_overload_is_not() {
        let limit = judge(&status(Code::ResourceExhausted, &[(CODE, "H0009")]), "a:1");
        assert!(matches!(limit, Verdict::Final(ClientError::Conflict(_))));
        assert!(matches!(judge(&status(Code::ResourceExhausted, &[]), "a:1"), Verdict::NotSent(_)));
    }

    #[test]
    fn an_answer_that_never_came_is_not_a_refusal() {
        for code in [Code::Unavailable, Code::Cancelled] {
            assert!(matches!(judge(&status(code, &[]), "a:1"), Verdict::Broken(_)), "{code}");
        }
    }

    #[test]
    fn a_time_that_ran_out_is_told_from_a_connection_that_broke() {
        let expired = Status::from_error(Box::new(TimeoutExpired(())));
        for status in [Status::deadline_exceeded("late"), expired, Status::unavailable("operation timed out")] {
            assert!(matches!(judge(&status, "a:1"), Verdict::Silent(_)), "{status}");
        }
    }
}
