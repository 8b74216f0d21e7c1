//! Notices for those who come for them: readers with a name, whose position is in the state.

use std::time::Duration;

use heats_wire::{notice, v1};
use tonic::Status;

use super::lookup::{find, sweep_ended};
use super::reading::Reading;
use crate::node::Node;

/// How long a reader waits for something new before it is told that there is nothing.
const WAIT: Duration = Duration::from_secs(5);

/// The first new best that a reader has not read; waits for one for a while.
pub async fn next(node: &Node, request: v1::NextNoticeRequest) -> Result<v1::NextNoticeResponse, Status> {
    let v1::NextNoticeRequest { sweep, reader } = request;
    let mut states = node.replica.watch_state();
    let id = find(&*Reading::Fresh.state(node).await?, &sweep)?.id;
    let is_told = |state: &heats_core::State| {
        let waits = |sweep: &heats_core::Sweep| sweep.to_read(&reader).is_none() && !sweep.is_ended();
        !state.sweeps.get(&id).is_some_and(|sweep| waits(sweep))
    };
    // What comes later is asked for again; an error means that the node stops.
    drop(tokio::time::timeout(WAIT, states.wait_for(|state| is_told(state))).await);
    let state = Reading::Fresh.state(node).await?;
    let told = state.sweeps.get(&id).and_then(|sweep| {
        let next = sweep.to_read(&reader)?;
        let json = notice::json(sweep, next)?.to_string();
        Some(v1::Notice { id: notice::id(sweep, next), place: next.place, json })
    });
    let ended = told.is_none() && sweep_ended(&state, id);
    Ok(v1::NextNoticeResponse { log_index: state.applied, notice: told, ended })
}
