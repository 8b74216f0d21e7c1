//! What a user's questions are answered from. By default the leader's state, once a majority has confirmed that it
//! leads: nothing that was acknowledged before the question is missing. Whoever says `heats-read: stale` gets what the
//! node that was asked has applied, with the index; that needs no leader.

use std::sync::Arc;

use futures::{StreamExt, stream};
use heats_core::State;
use heats_replica::{Leadership, ProposeError};
use heats_wire::{READ_KEY, READ_STALE};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::lookup::Answers;
use crate::decider::AskError;
use crate::node::Node;
use crate::status::unanswered;

/// How a question is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// By the leader, with everything that was acknowledged.
    Fresh,
    /// By whoever was asked, with what it has.
    Stale,
}

impl Reading {
    /// What the question's metadata asks for.
    pub fn of(metadata: &MetadataMap) -> Self {
        match metadata.get(READ_KEY) {
            Some(value) if value == READ_STALE => Self::Stale,
            Some(_) | None => Self::Fresh,
        }
    }

    /// The state to answer from.
    ///
    /// # Errors
    /// This node does not lead, and names who does.
    pub async fn state(self, node: &Node) -> Result<Arc<State>, Status> {
        if self == Self::Fresh {
            node.replica.confirm_leadership().await.map_err(|error| {
                unanswered(&match error {
                    ProposeError::NotLeader { leader } => {
                        AskError::NotLeader { leader: leader.map(|(_, address)| address) }
                    }
                    ProposeError::Stopped => AskError::Stopped,
                })
            })?;
        }
        Ok(node.replica.state())
    }

    /// Ends `answers` once this node does not lead any more: what it would tell from then on may be late for ever.
    pub fn while_fresh<T: Send + 'static>(self, node: &Node, answers: Answers<T>) -> Answers<T> {
        if self == Self::Stale {
            return answers;
        }
        let mut leadership = node.replica.leadership();
        let deposed = Box::pin(async move {
            let now = leadership.wait_for(|now| matches!(now, Leadership::Follower { .. })).await;
            let leader = match now.as_deref() {
                Ok(Leadership::Follower { leader: Some((_, address)), .. }) => Some(address.clone()),
                Ok(Leadership::Follower { leader: None, .. } | Leadership::Leader { .. }) | Err(_) => None,
            };
            unanswered(&AskError::NotLeader { leader })
        });
        Box::pin(stream::unfold(Some((answers, deposed)), |state| async move {
            let (mut answers, mut deposed) = state?;
            tokio::select! {
                biased;
                answer = answers.next() => answer.map(|answer| (answer, Some((answers, deposed)))),
                status = &mut deposed => Some((Err(status), None)),
            }
        }))
    }
}
