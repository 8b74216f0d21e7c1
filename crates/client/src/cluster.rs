//! The calls of `proto/heats/v1/cluster.proto` that are for those who run a cluster.

use heats_wire::v1;
use heats_wire::v1::cluster_client::ClusterClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::client::{Client, Repeat};
use crate::credentials::Bearer;
use crate::error::ClientError;
use crate::pool::Node;
use crate::stream::{self, Resumed};

const REDIRECTS: u32 = 4;

impl Client {
    /// The node that answers, and the members as it sees them. A client of one address asks that node.
    pub async fn coordinator(&self) -> Result<v1::NodeResponse, ClientError> {
        let request = v1::NodeRequest {};
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.node(request).await }
        })
        .await
    }

    /// The cluster and its agents as the leader sees them: it alone knows who is attached.
    pub async fn leader_status(&self) -> Result<v1::StatusResponse, ClientError> {
        let mut status = self.status().await?;
        // A leader names no other. Nodes that name each other in turn do so for as long as an election takes.
        for _ in 0..REDIRECTS {
            if status.leader_address.is_empty() {
                break;
            }
            self.follow(&status.leader_address)?;
            status = self.status().await?;
        }
        Ok(status)
    }

    /// Makes a cluster; to be asked of one of its members.
    pub async fn init(&self, request: v1::InitRequest) -> Result<v1::InitResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.init(request).await }
        })
        .await
    }

    /// Changes the members by one step. Each says where a node shall stand, so twice is as good as once.
    pub async fn change_members(&self, request: v1::ChangeRequest) -> Result<v1::ChangeResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.change(request).await }
        })
        .await
    }

    /// Asks the leader to hand the lead to another voter. Sent once only: a second copy would find another leader.
    pub async fn transfer_leader(&self, to: u64) -> Result<v1::TransferResponse, ClientError> {
        let request = v1::TransferRequest { to };
        self.ask(Repeat::Never, request, |node, request| {
            let mut to = cluster(node);
            async move { to.transfer(request).await }
        })
        .await
    }

    /// Has the node that answers take a snapshot.
    pub async fn snapshot(&self) -> Result<v1::SnapshotResponse, ClientError> {
        let request = v1::SnapshotRequest {};
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.snapshot(request).await }
        })
        .await
    }

    /// A backup, piece by piece. After a cut it is another one, from its beginning: a piece at offset 0 begins anew.
    pub fn backup(&self) -> Resumed<v1::BackupChunk> {
        stream::backup(self.clone(), v1::BackupRequest { stale: self.options().stale })
    }

    /// One agent, by id or by name, with what it holds.
    pub async fn agent(&self, agent: impl Into<String>) -> Result<v1::AgentResponse, ClientError> {
        let request = v1::AgentRequest { agent: agent.into() };
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.agent(request).await }
        })
        .await
    }

    /// Has an agent leased nothing more. Twice is as good as once.
    pub async fn drain_agent(&self, request: v1::DrainAgentRequest) -> Result<v1::DrainAgentResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.drain_agent(request).await }
        })
        .await
    }

    /// Says how much a project or a user may have. Twice is as good as once.
    pub async fn set_quota(&self, quota: v1::Quota) -> Result<v1::SetQuotaResponse, ClientError> {
        let request = v1::SetQuotaRequest { quota: Some(quota) };
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.set_quota(request).await }
        })
        .await
    }

    /// Takes a quota back. Twice is as good as once.
    pub async fn remove_quota(&self, request: v1::RemoveQuotaRequest) -> Result<v1::RemoveQuotaResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.remove_quota(request).await }
        })
        .await
    }

    /// The quotas, with what is held and used.
    pub async fn quotas(&self) -> Result<v1::QuotasResponse, ClientError> {
        self.ask(Repeat::Safe, v1::QuotasRequest {}, |node, request| {
            let mut to = cluster(node);
            async move { to.quotas(request).await }
        })
        .await
    }

    /// Takes an agent's drain back. Twice is as good as once.
    pub async fn undrain_agent(&self, agent: impl Into<String>) -> Result<v1::UndrainAgentResponse, ClientError> {
        let request = v1::UndrainAgentRequest { agent: agent.into() };
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.undrain_agent(request).await }
        })
        .await
    }

    /// Has a quarantined agent trusted again. Twice is as good as once.
    pub async fn release_agent(
        &self,
        request: v1::ReleaseAgentRequest,
    ) -> Result<v1::ReleaseAgentResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = cluster(node);
            async move { to.release_agent(request).await }
        })
        .await
    }
}

pub(crate) fn cluster(node: &Node) -> ClusterClient<InterceptedService<Channel, Bearer>> {
    ClusterClient::with_interceptor(node.channel.clone(), node.bearer.clone())
}
