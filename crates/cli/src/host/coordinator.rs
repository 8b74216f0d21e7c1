//! Why a coordinator does not start, as people are told.

use heats_coordinator::StartError;

use crate::exit::{Exit, Failure};

/// The failure, with what to do about it.
pub fn failure(error: StartError) -> Failure {
    if error.holder().is_some() {
        let live = "`heats ls` and `heats watch` show what runs there; `heats submit FILE` hands it another sweep";
        return Failure::new(Exit::Conflict, error.to_string())
            .hint(format!("{live}; `--data DIR` starts one beside it"));
    }
    let failure = Failure::failed(error.to_string());
    match error {
        StartError::Listen { .. } => {
            Failure { exit: Exit::Conflict, ..failure }.hint("`--listen 127.0.0.1:0` takes any free port")
        }
        StartError::NotLoopback(_) => Failure { exit: Exit::Usage, ..failure }.hint(
            "`heats tls init` makes certificates, which `heats coordinator start --tls DIR` shows; its `--insecure-plain-text` lets whoever reaches the address run commands on your agents",
        ),
        StartError::Authority(_) => Failure { exit: Exit::Usage, ..failure },
        StartError::OtherHost { .. } => Failure { exit: Exit::Usage, ..failure }.hint(
            "`--advertise` says where others reach it; `heats tls issue --renew --coordinator N=HOST` makes a certificate for there",
        ),
        StartError::OtherName { .. } => {
            Failure { exit: Exit::Usage, ..failure }.hint("`--tls-cert` is to name the node.pem that was made for this number")
        }
        StartError::Open(_) | StartError::Bootstrap(_) | StartError::Reflection(_) => failure,
    }
}
