//! The machines that run trials, as their operator sees them: one by one, and drained. How they attach is `agents`.

use heats_core::ops::agent_drain::Drain;
use heats_core::ops::attempts::Key;
use heats_core::{Op, Refusal, State};
use heats_domain::AgentId;
use heats_wire::{v1, views};
use tokio::time::Instant;
use tonic::Status;

use super::reading::Reading;
use crate::node::Node;
use crate::status::{refused, unanswered};

/// The most trials of one agent in an answer.
const HELD: usize = 1_000;
/// The most ids that the refusal of an ambiguous name lists.
const LISTED: usize = 8;

/// An agent, with what only the leader knows of it.
pub fn status(node: &Node, state: &State, agent: AgentId) -> Option<v1::AgentStatus> {
    let opening = node.streams.opening(agent);
    let silent = node.leases.silent(agent, Instant::now());
    Some(v1::AgentStatus {
        attached: opening.is_some(),
        attached_ms: opening.as_ref().map(|opening| opening.since_ms),
        silent_ms: silent.map(|silent| silent.as_millis() as u64),
        condition: opening.map(|opening| opening.condition),
        ..views::agent(state, agent)?
    })
}

/// What the end of an attempt waits for, as far as its agent has told this node.
pub fn waits_for(node: &Node, agent: AgentId, key: Key) -> Option<v1::Keeping> {
    let own = |keeping: &v1::Keeping| keeping.key == Some(key.into());
    node.streams.opening(agent)?.condition.keeping.into_iter().find(own)
}

/// The agent that an operator means by an id or a name.
fn find(state: &State, text: &str) -> Result<AgentId, Refusal> {
    if let Ok(id) = text.parse::<AgentId>() {
        return if state.agents.contains_key(&id) { Ok(id) } else { Err(Refusal::NoSuchAgent(text.to_owned())) };
    }
    let named = state.agents.keys().copied().filter(|&id| state.agent(id).is_some_and(|agent| agent.name == text));
    let named: Vec<AgentId> = named.take(LISTED).collect();
    match named.as_slice() {
        [] => Err(Refusal::NoSuchAgent(text.to_owned())),
        [one] => Ok(*one),
        [_, ..] => Err(Refusal::AmbiguousAgent { name: text.to_owned(), agents: named }),
    }
}

/// One agent, with what it holds.
pub async fn agent(node: &Node, request: v1::AgentRequest) -> Result<v1::AgentResponse, Status> {
    let v1::AgentRequest { agent } = request;
    // Agents are attached to the leader: nobody else knows how they are.
    let state = Reading::Fresh.state(node).await?;
    let id = find(&state, &agent).map_err(|refusal| refused(&refusal))?;
    let mut holds = views::held(&state, id, HELD);
    let mut keeping = node.streams.opening(id).map(|opening| opening.condition.keeping).unwrap_or_default();
    for held in &mut holds {
        let own = keeping.iter().position(|keeping| keeping.key == held.key);
        held.waits_for = own.map(|place| keeping.swap_remove(place));
    }
    Ok(v1::AgentResponse {
        log_index: state.applied,
        now_ms: node.clock.now_ms(),
        agent: status(node, &state, id),
        holds,
    })
}

/// Drains an agent.
pub async fn drain(node: &Node, request: v1::DrainAgentRequest) -> Result<v1::DrainAgentResponse, Status> {
    let v1::DrainAgentRequest { agent, reason, by, now } = request;
    let (log_index, agent) = change(node, &agent, |agent| Op::Drain(Drain { agent, reason, by, now })).await?;
    Ok(v1::DrainAgentResponse { log_index, agent })
}

/// Takes the drain of an agent back.
pub async fn undrain(node: &Node, request: v1::UndrainAgentRequest) -> Result<v1::UndrainAgentResponse, Status> {
    let (log_index, agent) = change(node, &request.agent, Op::Undrain).await?;
    Ok(v1::UndrainAgentResponse { log_index, agent })
}

/// Trusts a quarantined agent again.
pub async fn release(node: &Node, request: v1::ReleaseAgentRequest) -> Result<v1::ReleaseAgentResponse, Status> {
    let v1::ReleaseAgentRequest { agent, by } = request;
    let (log_index, agent) = change(node, &agent, |agent| Op::Release { agent, by }).await?;
    Ok(v1::ReleaseAgentResponse { log_index, agent })
}

/// Carries out an operation on the agent that is named; the log index, and the agent as it is afterwards.
async fn change(
    node: &Node,
    agent: &str,
    op: impl FnOnce(AgentId) -> Op,
) -> Result<(u64, Option<v1::AgentStatus>), Status> {
    let id = {
        let state = Reading::Fresh.state(node).await?;
        find(&state, agent).map_err(|refusal| refused(&refusal))?
    };
    let answer = node.decider.ask(op(id)).await.map_err(|error| unanswered(&error))?;
    Ok((answer.log_index, status(node, &node.replica.state(), id)))
}
