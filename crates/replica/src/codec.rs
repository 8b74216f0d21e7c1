//! Between openraft's types and ours. What comes from a disk or a peer may be malformed: that is an error.

use std::collections::{BTreeMap, BTreeSet};

use openraft::entry::RaftEntry;
use openraft::{BasicNode, EntryPayload};

use crate::pb;
use crate::types::{LogEntry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, Vote};

/// A message that decodes but makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A part that every version writes is missing.
    #[error("it lacks its {0}, or a newer version wrote it")]
    Lacks(&'static str),
    /// A membership that cannot be.
    #[error("its membership is not valid: {0}")]
    Membership(String),
}

pub(crate) fn log_id(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn to_log_id(id: pb::LogId) -> LogId {
    LogId::new(openraft::vote::leader_id_std::CommittedLeaderId::new(id.term), id.index)
}

pub(crate) fn vote(vote: &Vote) -> pb::Vote {
    let leader = vote.leader_id();
    pb::Vote { term: leader.term, node: leader.voted_for, committed: vote.is_committed() }
}

pub(crate) fn to_vote(vote: pb::Vote) -> Vote {
    let pb::Vote { term, node, committed } = vote;
    if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
}

pub(crate) fn membership(membership: &Membership) -> pb::Membership {
    pb::Membership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::Voters { ids: set.iter().copied().collect() })
            .collect(),
        nodes: membership.nodes().map(|(id, node)| pb::Node { id: *id, address: node.addr.clone() }).collect(),
    }
}

pub(crate) fn to_membership(membership: pb::Membership) -> Result<Membership, Malformed> {
    let pb::Membership { voters, nodes } = membership;
    if voters.is_empty() {
        return Ok(Membership::default());
    }
    let configs: Vec<BTreeSet<u64>> = voters.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, BasicNode> =
        nodes.into_iter().map(|node| (node.id, BasicNode::new(node.address))).collect();
    Membership::new(configs, nodes).map_err(|error| Malformed::Membership(error.to_string()))
}

pub(crate) fn entry(entry: &LogEntry) -> pb::LogEntry {
    let body = match &entry.payload {
        EntryPayload::Blank => pb::Body::Blank(()),
        EntryPayload::Normal(Payload(bytes)) => pb::Body::Normal(bytes.clone()),
        EntryPayload::Membership(m) => pb::Body::Membership(membership(m)),
    };
    pb::LogEntry { id: log_id(&entry.log_id()), body: Some(body) }
}

pub(crate) fn to_entry(entry: pb::LogEntry) -> Result<LogEntry, Malformed> {
    let payload = match entry.body.ok_or(Malformed::Lacks("body"))? {
        pb::Body::Blank(()) => EntryPayload::Blank,
        pb::Body::Normal(bytes) => EntryPayload::Normal(Payload(bytes)),
        pb::Body::Membership(m) => EntryPayload::Membership(to_membership(m)?),
    };
    Ok(LogEntry::new(to_log_id(entry.id), payload))
}

pub(crate) fn to_meta(header: &pb::SnapshotHeader) -> Result<SnapshotMeta, Malformed> {
    let membership = to_membership(header.membership.clone())?;
    Ok(SnapshotMeta {
        last_log_id: header.last.map(to_log_id),
        last_membership: StoredMembership::new(header.membership_at.map(to_log_id), membership),
    })
}
