//! Machines that become agents, and agents whose certificates grow old. Signs; who may have what signed is decided by the
//! token, and by the key that the agent had before.

use std::sync::Arc;

use heats_core::Op;
use heats_core::ops::tokens::Join;
use heats_tls::{Authority, AuthorityError, Requested, Who};
use heats_wire::convert::required;
use heats_wire::v1;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::caller::Caller;
use crate::node::Node;
use crate::status::{impostor, malformed, no_authority, unanswered};

/// Lets a machine become an agent.
pub async fn join(node: &Node, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
    let Some(Caller::Newcomer(token)) = request.extensions().get().cloned() else {
        return Err(Status::failed_precondition("this coordinator asks nobody who they are: there is nothing to join"));
    };
    let v1::JoinRequest { agent, request } = request.into_inner();
    let agent = required(agent, "agent").map_err(|error| malformed(&error))?;
    let (authority, ca) = authority(node)?;
    let requested = read(&request)?;
    let op = Op::Join(Join { token, agent, key: requested.key_hash() });
    let answer = node.decider.ask(op).await.map_err(|error| unanswered(&error))?;
    let certificate = sign(node, authority, &requested, agent)?;
    info!(agent_id = %agent, token_id = %token, log_index = answer.log_index, "agent joined");
    Ok(Response::new(v1::JoinResponse { certificate, ca }))
}

/// Gives an agent a new certificate.
pub async fn renew(node: &Node, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
    let Some(Caller::Agent(agent)) = request.extensions().get().cloned() else {
        return Err(Status::failed_precondition(
            "this coordinator asks nobody who they are: there is nothing to renew",
        ));
    };
    let v1::RenewRequest { request } = request.into_inner();
    let (authority, _) = authority(node)?;
    let requested = read(&request)?;
    // A certificate was enough to come here. For another one, it takes the key that the agent joined with.
    if node.replica.state().agent_key(agent) != Some(&requested.key_hash()[..]) {
        return Err(impostor(agent));
    }
    let certificate = sign(node, authority, &requested, agent)?;
    info!(agent_id = %agent, "agent renewed its certificate");
    Ok(Response::new(v1::RenewResponse { certificate }))
}

/// Who signs agents, and the authority of the coordinators, in PEM.
fn authority(node: &Node) -> Result<(&Arc<Authority>, String), Status> {
    let authority = node.agents.as_ref().ok_or_else(no_authority)?;
    let ca = node.config.security.identity().and_then(heats_tls::Identity::authority);
    Ok((authority, ca.ok_or_else(no_authority)?))
}

fn read(request: &str) -> Result<Requested, Status> {
    Requested::read(request).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn sign(
    node: &Node,
    authority: &Authority,
    requested: &Requested,
    agent: heats_domain::AgentId,
) -> Result<String, Status> {
    let signed = authority.sign(requested, Who::Agent(agent), node.config.agent_certificate_life);
    signed.map_err(|error: AuthorityError| {
        warn!(%error, agent_id = %agent, "cannot sign a certificate");
        Status::internal("the certificate cannot be signed")
    })
}
