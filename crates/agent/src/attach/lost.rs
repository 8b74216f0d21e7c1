//! Why a stream to a coordinator was lost, and what that says about where to go next.

use heats_tls::Distrust;
use heats_wire::LINEAGE_KEY;
use tonic::{Code, Status};

use super::dial::WELCOME_WAIT;

/// The key of the metadata that says where the leader is.
const LEADER: &str = "heats-leader";

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("`{address}` is not an address: {source}; write for example 127.0.0.1:7100")]
    Address { address: String, source: tonic::transport::Error },
    #[error("no connection to {address}: {source}")]
    Connect { address: String, source: tonic::transport::Error },
    #[error("no connection to {address}: {fault}; {}", hint(.fault))]
    Distrusted { address: String, fault: Distrust },
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    #[error("the coordinator did not answer within {} s", WELCOME_WAIT.as_secs())]
    Silent,
    #[error("the coordinator's first answer was not Welcome")]
    NoWelcome,
    #[error("the coordinator ended the stream")]
    Ended,
    #[error("the coordinator acknowledges nothing")]
    Stalled,
}

/// What to do about distrust, for whoever runs an agent.
const fn hint(fault: &Distrust) -> &'static str {
    match fault {
        Distrust::SpeaksTls | Distrust::Refused(_) => {
            "let the agent join with `--join TOKEN`, which `heats token create --role agent` prints for an admin"
        }
        Distrust::SpeaksPlainText
        | Distrust::Other(_)
        | Distrust::Stranger
        | Distrust::UnknownAuthority
        | Distrust::Expired
        | Distrust::OtherHost
        | Distrust::Tls(_) => fault.hint(),
    }
}

impl Lost {
    /// Where the leader is, if whoever answered said so.
    pub(super) fn leader(&self) -> Option<String> {
        let Self::Refused(status) = self else { return None };
        let leader = status.metadata().get(LEADER)?.to_str().ok()?;
        (status.code() == Code::FailedPrecondition && !leader.is_empty()).then(|| leader.to_owned())
    }

    /// The cluster's lineage, if whoever answered said that the agent's is another.
    pub(super) fn lineage(&self) -> Option<u64> {
        let Self::Refused(status) = self else { return None };
        status.metadata().get(LINEAGE_KEY)?.to_str().ok()?.parse().ok()
    }

    /// Why the cluster does not take this agent, whichever coordinator it asks.
    pub(super) fn refusal(&self) -> Option<String> {
        let Self::Refused(status) = self else { return None };
        (status.code() == Code::AlreadyExists).then(|| status.message().to_owned())
    }

    /// Why waiting does not help, where it does not: somebody has to do something about a certificate.
    pub(super) fn distrust(&self) -> Option<String> {
        match self {
            Self::Distrusted { fault, .. } => Some(fault.to_string()),
            Self::Refused(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
                Some(status.message().to_owned())
            }
            Self::Refused(_)
            | Self::Address { .. }
            | Self::Connect { .. }
            | Self::Silent
            | Self::NoWelcome
            | Self::Ended
            | Self::Stalled => None,
        }
    }

    /// Whether a coordinator answered that is well and does not lead: soon one does.
    pub(super) fn is_of_an_election(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        status.code() == Code::FailedPrecondition && status.metadata().contains_key(LEADER)
    }
}

impl From<Status> for Lost {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}
