//! Who makes up the cluster, and how that changes: a node joins as a learner, becomes a voter once it has caught up, and
//! leaves by one step. What would leave the cluster without a majority that answers is refused.
//!
//! What is asked for may be so already, as far as this node knows: it goes through the log all the same, for what this node
//! knows may never be committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant, RaftMetrics};

use crate::error::{MembersError, ProposeError};
use crate::replica::{Replica, not_leader};
use crate::types::Types;

/// A learner that is at most this many entries behind may vote: it catches up within a round trip or two.
const BEHIND_MAX: u64 = 5_000;

/// A node of the cluster, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: u64,
    /// Where it listens.
    pub address: String,
    /// Whether it votes; otherwise it only learns.
    pub voter: bool,
    /// The last entry that it is known to hold; only the leader knows.
    pub matched: Option<u64>,
    /// How long ago it last answered; only the leader knows, and of itself says nothing.
    pub silent_for: Option<Duration>,
}

impl Replica {
    /// The members as this node knows them, by id. Nobody where the cluster has not been made.
    pub fn members(&self) -> Vec<Member> {
        members(&self.metrics())
    }

    /// Adds `node`, which listens at `address`, as a learner: it gets everything and has no vote. Twice is as good as
    /// once. The node must be running, without a cluster of its own.
    ///
    /// # Errors
    /// See [`MembersError`].
    pub async fn add_learner(&self, node: u64, address: String) -> Result<(), MembersError> {
        let known = members(&self.leading()?).into_iter().find(|member| member.node == node);
        if let Some(known) = known.filter(|known| known.address != address) {
            return Err(MembersError::OtherAddress { node, address: known.address });
        }
        done(self.raft().add_learner(node, BasicNode::new(address), false).await)
    }

    /// Gives the learner `node` a vote. Twice is as good as once.
    ///
    /// # Errors
    /// See [`MembersError`]; among them that it has not caught up yet.
    pub async fn promote(&self, node: u64) -> Result<(), MembersError> {
        let metrics = self.leading()?;
        let members = members(&metrics);
        let learner = members.iter().find(|member| member.node == node).ok_or(MembersError::Unknown { node })?;
        if !learner.voter {
            let last = metrics.last_log_index.unwrap_or(0);
            let behind = last - learner.matched.unwrap_or(0).min(last);
            if behind > BEHIND_MAX || !self.answers(learner) {
                return Err(MembersError::Behind { node, behind });
            }
            self.check_majority(&members, |member| member.voter || member.node == node)?;
        }
        let voters = ChangeMembers::AddVoterIds(BTreeSet::from([node]));
        done(self.raft().change_membership(voters, true).await)
    }

    /// Takes `node` out of the cluster. Twice is as good as once.
    ///
    /// # Errors
    /// See [`MembersError`]; among them that the others could not decide anything without it.
    pub async fn remove(&self, node: u64) -> Result<(), MembersError> {
        let members = members(&self.leading()?);
        if node == self.status().node {
            return Err(MembersError::Leads { node });
        }
        if members.iter().any(|member| member.node == node && member.voter) {
            self.check_majority(&members, |member| member.voter && member.node != node)?;
            let voters = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
            done(self.raft().change_membership(voters, false).await)
        } else {
            let nodes = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
            done(self.raft().change_membership(nodes, false).await)
        }
    }

    /// What the engine says while this node leads.
    fn leading(&self) -> Result<RaftMetrics<Types>, MembersError> {
        let metrics = self.metrics();
        if metrics.heartbeat.is_some() {
            return Ok(metrics);
        }
        let address = |id| members(&metrics).into_iter().find(|member| member.node == id).map(|member| member.address);
        let leader = metrics.current_leader.map(|id| (id, address(id).unwrap_or_default()));
        Err(ProposeError::NotLeader { leader }.into())
    }

    fn metrics(&self) -> RaftMetrics<Types> {
        self.raft().metrics().borrow_watched().clone()
    }

    /// Whether it was heard of as lately as a leader needs.
    fn answers(&self, member: &Member) -> bool {
        member.node == self.status().node || member.silent_for.is_some_and(|silent| silent < self.patience())
    }

    /// Refuses a set of voters of which no majority answers now.
    fn check_majority(&self, members: &[Member], votes: impl Fn(&Member) -> bool) -> Result<(), MembersError> {
        let voters: Vec<&Member> = members.iter().filter(|member| votes(member)).collect();
        let silent: Vec<u64> = voters.iter().filter(|member| !self.answers(member)).map(|member| member.node).collect();
        if (voters.len() - silent.len()) * 2 > voters.len() {
            Ok(())
        } else {
            Err(MembersError::NoMajority { voters: voters.len(), silent })
        }
    }
}

fn members(metrics: &RaftMetrics<Types>) -> Vec<Member> {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let heard = |node: &u64| metrics.heartbeat.as_ref()?.get(node)?.as_ref().map(|at| at.elapsed());
    let matched = |node: &u64| metrics.replication.as_ref()?.get(node)?.map(|id| id.index);
    let nodes: BTreeMap<u64, &BasicNode> = membership.nodes().map(|(id, node)| (*id, node)).collect();
    nodes
        .into_iter()
        .map(|(node, BasicNode { addr })| Member {
            node,
            address: addr.clone(),
            voter: voters.contains(&node),
            matched: matched(&node),
            silent_for: heard(&node).filter(|_| node != metrics.id),
        })
        .collect()
}

fn done<T>(changed: Result<T, RaftError<Types, ClientWriteError<Types>>>) -> Result<(), MembersError> {
    match changed {
        Ok(_) => Ok(()),
        Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped.into()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to) | ClientWriteError::LogEntryDiscarded(to))) => {
            Err(not_leader(to).into())
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Err(MembersError::Refused { why: error.to_string() })
        }
        Err(RaftError::APIError(ClientWriteError::PreconditionFailed(error))) => {
            Err(MembersError::Refused { why: error.to_string() })
        }
    }
}
