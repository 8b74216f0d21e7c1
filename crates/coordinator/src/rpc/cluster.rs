//! The members of the cluster: who they are, how each stands, and how that changes.

use std::collections::BTreeMap;
use std::path::Path;

use heats_replica::{BootstrapError, Leadership, Member, MembersError, ProposeError};
use heats_wire::v1;
use heats_wire::v1::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::lookup::Answers;
use super::reading::Reading;
use super::{backup, fleet, placing};
use crate::decider::AskError;
use crate::node::Node;
use crate::status::unanswered;

/// The service.
pub struct ClusterService {
    node: Node,
}

impl ClusterService {
    /// The service of this node.
    pub const fn new(node: Node) -> Self {
        Self { node }
    }

    fn members(&self) -> Vec<v1::Member> {
        self.node.replica.members().into_iter().map(member).collect()
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn node(&self, _: Request<v1::NodeRequest>) -> Result<Response<v1::NodeResponse>, Status> {
        let Node { config, replica, address, .. } = &self.node;
        let status = replica.status();
        let leader = match replica.leadership().borrow().clone() {
            Leadership::Leader { .. } => Some(config.node_id),
            Leadership::Follower { leader, .. } => leader.map(|(id, _)| id),
        };
        let dir = config.data_dir.clone();
        let space = tokio::task::spawn_blocking(move || (free(&dir), used(&dir)));
        let (disk_free, disk_used) = space.await.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::NodeResponse {
            node: config.node_id,
            address: address.clone(),
            term: status.term,
            leader,
            log_index: status.last_log.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            snapshot_index: status.snapshot.unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: config.data_dir.display().to_string(),
            disk_free,
            disk_used,
            members: self.members(),
        }))
    }

    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        let members = request.into_inner().members.into_iter().map(|member| (member.node, member.address));
        let members: BTreeMap<u64, String> = members.collect();
        let known: BTreeMap<u64, String> =
            self.node.replica.members().into_iter().map(|member| (member.node, member.address)).collect();
        if !known.is_empty() && known != members {
            let known: Vec<String> = known.values().cloned().collect();
            return Err(Status::already_exists(format!("this node has a cluster already: {}", known.join(", "))));
        }
        self.node.replica.bootstrap(members).await.map_err(|error| match error {
            BootstrapError::Members { .. } => Status::invalid_argument(error.to_string()),
            BootstrapError::Stopped { .. } => unanswered(&AskError::Stopped),
        })?;
        Ok(Response::new(v1::InitResponse {}))
    }

    async fn change(&self, request: Request<v1::ChangeRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        let request = request.into_inner();
        let step = request.step();
        let v1::ChangeRequest { step: _, node, address } = request;
        let replica = &self.node.replica;
        let changed = match step {
            v1::change_request::Step::Learn if address.is_empty() => {
                return Err(Status::invalid_argument("a node that joins has an address"));
            }
            v1::change_request::Step::Learn => replica.add_learner(node, address).await,
            v1::change_request::Step::Vote => replica.promote(node).await,
            v1::change_request::Step::Leave => replica.remove(node).await,
        };
        changed.map_err(|error| unchanged(&error))?;
        Ok(Response::new(v1::ChangeResponse { members: self.members() }))
    }

    async fn transfer(&self, request: Request<v1::TransferRequest>) -> Result<Response<v1::TransferResponse>, Status> {
        let v1::TransferRequest { to } = request.into_inner();
        let replica = &self.node.replica;
        if let Leadership::Follower { leader, .. } = replica.leadership().borrow().clone() {
            let leader = leader.map(|(_, address)| address);
            return Err(unanswered(&AskError::NotLeader { leader }));
        }
        if !replica.members().iter().any(|member| member.node == to && member.voter) {
            return Err(Status::not_found(format!("node {to} is not a voter of this cluster")));
        }
        if to == self.node.config.node_id {
            // It has the lead already. The engine would stop to lead, for a successor that is there and never takes over.
            return Ok(Response::new(v1::TransferResponse {}));
        }
        replica.transfer_leader(to).await.map_err(|error| unchanged(&error.into()))?;
        Ok(Response::new(v1::TransferResponse {}))
    }

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Result<Response<v1::SnapshotResponse>, Status> {
        let index = self.node.replica.snapshot().await.map_err(|error| backup::untaken(&error))?;
        Ok(Response::new(v1::SnapshotResponse { index }))
    }

    type BackupStream = Answers<v1::BackupChunk>;

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        backup::backup(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn agent(&self, request: Request<v1::AgentRequest>) -> Result<Response<v1::AgentResponse>, Status> {
        fleet::agent(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn drain_agent(
        &self,
        request: Request<v1::DrainAgentRequest>,
    ) -> Result<Response<v1::DrainAgentResponse>, Status> {
        fleet::drain(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn undrain_agent(
        &self,
        request: Request<v1::UndrainAgentRequest>,
    ) -> Result<Response<v1::UndrainAgentResponse>, Status> {
        fleet::undrain(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn release_agent(
        &self,
        request: Request<v1::ReleaseAgentRequest>,
    ) -> Result<Response<v1::ReleaseAgentResponse>, Status> {
        fleet::release(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaResponse>, Status> {
        placing::set(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_quota(
        &self,
        request: Request<v1::RemoveQuotaRequest>,
    ) -> Result<Response<v1::RemoveQuotaResponse>, Status> {
        placing::remove(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn quotas(&self, request: Request<v1::QuotasRequest>) -> Result<Response<v1::QuotasResponse>, Status> {
        placing::list(&self.node, Reading::of(request.metadata())).await.map(Response::new)
    }
}

fn member(member: Member) -> v1::Member {
    let Member { node, address, voter, matched, silent_for } = member;
    let silent_ms = silent_for.map(|silent| silent.as_millis() as u64);
    v1::Member { node, address, voter, matched_index: matched, silent_ms }
}

/// Why the members stay as they are, as a status.
fn unchanged(error: &MembersError) -> Status {
    match error {
        MembersError::Propose(ProposeError::NotLeader { leader }) => {
            unanswered(&AskError::NotLeader { leader: leader.as_ref().map(|(_, address)| address.clone()) })
        }
        MembersError::Propose(ProposeError::Stopped) => unanswered(&AskError::Stopped),
        MembersError::Unknown { .. } => Status::not_found(error.to_string()),
        MembersError::OtherAddress { .. } => Status::already_exists(error.to_string()),
        MembersError::Behind { .. } | MembersError::Refused { .. } => Status::aborted(error.to_string()),
        MembersError::Leads { .. } | MembersError::NoMajority { .. } => Status::aborted(error.to_string()),
    }
}

/// Bytes that are free where `dir` is; 0 where the system does not say.
fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |system| system.f_bavail * system.f_frsize)
}

/// Bytes of the log and the snapshots.
fn used(dir: &Path) -> u64 {
    let files = ["log", "snapshots"].into_iter().filter_map(|name| std::fs::read_dir(dir.join(name)).ok());
    files.flatten().filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}
