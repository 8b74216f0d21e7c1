//! The logs of a sweep's attempts, relayed from the agents that keep them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heats_core::ops::attempts::Key;
use heats_core::{Refusal, Sweep};
use heats_domain::AgentId;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::lookup::{Answers, find, sweep_ended};
use crate::node::Node;
use crate::relays::{RelayError, Want};
use crate::status::refused;

/// Attempts that one request follows at once.
const FOLLOWED: usize = 64;
/// How long one request waits for agents that are not attached: longer than an agent that lives needs to find
/// a coordinator that has just started or has just come to lead.
const AGENT_WAIT: Duration = Duration::from_secs(5);

type Lines = mpsc::Sender<Result<v1::LogLine, Status>>;

/// Serves one request: one attempt, or every trial's last one; with `follow`, attempts that start later too.
pub fn logs(node: &Node, request: v1::LogsRequest) -> Result<Answers<v1::LogLine>, Status> {
    let v1::LogsRequest { sweep, trial, attempt, follow, stdout_only, stderr_only } = request;
    let state = node.replica.state();
    let sweep = find(&state, &sweep)?;
    let until = Instant::now() + AGENT_WAIT;
    let want = move |key| Want { key, follow, stdout_only, stderr_only };
    let (sender, lines) = mpsc::channel(64);
    let node = node.clone();
    match trial {
        Some(number) => {
            let missing = || refused(&Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
            let found = sweep.trial(number).ok_or_else(missing)?;
            let attempt = attempt.unwrap_or(found.attempt());
            let Some(holder) = found.attempts.get((attempt as usize).wrapping_sub(1)) else {
                return Err(Status::not_found(format!(
                    "trial {number} has no attempt {attempt}: it has {}",
                    found.attempt()
                )));
            };
            let (agent, key) = (holder.agent, Key { sweep: sweep.id, trial: number, attempt });
            tokio::spawn(async move { relay(&node, agent, want(key), until, &sender).await });
        }
        None if follow => {
            let id = sweep.id;
            tokio::spawn(async move { follow_all(&node, id, want, until, &sender).await });
        }
        None => {
            let attempts: Vec<(AgentId, Key)> = last_attempts(sweep).collect();
            tokio::spawn(async move {
                for (agent, key) in attempts {
                    relay(&node, agent, want(key), until, &sender).await;
                }
            });
        }
    }
    Ok(Box::pin(ReceiverStream::new(lines)))
}

fn last_attempts(sweep: &Sweep) -> impl Iterator<Item = (AgentId, Key)> + '_ {
    sweep.trials.iter().filter_map(|trial| {
        let attempt = trial.attempts.last()?;
        Some((attempt.agent, Key { sweep: sweep.id, trial: trial.number, attempt: trial.attempt() }))
    })
}

/// Follows every attempt that is live now or becomes so, until the sweep ends.
async fn follow_all(node: &Node, id: heats_domain::SweepId, want: impl Fn(Key) -> Want, until: Instant, lines: &Lines) {
    let mut states = node.replica.watch_state();
    let mut known = BTreeSet::new();
    let mut relays = FuturesUnordered::new();
    loop {
        let state = states.borrow_and_update().clone();
        let live = state.sweeps.get(&id).into_iter().flat_map(|sweep| {
            sweep.live.iter().filter_map(|&number| {
                let trial = sweep.trial(number)?;
                let (attempt, lease) = trial.live()?;
                Some((lease.agent, Key { sweep: id, trial: number, attempt }))
            })
        });
        for (agent, key) in live {
            if relays.len() < FOLLOWED && known.insert(key) {
                relays.push(relay(node, agent, want(key), until, lines));
            }
        }
        if relays.is_empty() && sweep_ended(&state, id) {
            return;
        }
        drop(state);
        tokio::select! {
            _ = relays.next(), if !relays.is_empty() => {}
            changed = states.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
        }
    }
}

/// Passes one attempt's logs on until they end or nobody reads them. Waits for its agent no longer than `until`.
async fn relay(node: &Node, agent: AgentId, want: Want, until: Instant, lines: &Lines) {
    let line =
        |stderr, data, error| v1::LogLine { trial: want.key.trial, attempt: want.key.attempt, stderr, data, error };
    // Nobody reads any more where a line cannot be sent: nothing to tell.
    let cannot = async |error: RelayError| drop(lines.send(Ok(line(false, Vec::new(), error.to_string()))).await);
    let stream = tokio::select! {
        attached = tokio::time::timeout_at(until, node.streams.attached(agent)) => attached,
        () = lines.closed() => return,
    };
    let opened = stream.map_err(|_late| RelayError::Away);
    let mut relay = match opened.and_then(|stream| node.relays.open(&node.streams, agent, stream, want)) {
        Ok(relay) => relay,
        Err(error) => return cannot(error).await,
    };
    loop {
        let chunk = tokio::select! {
            chunk = relay.next() => chunk,
            () = lines.closed() => return,
        };
        let v1::LogChunk { id: _, data, stderr, end, error } = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => return cannot(error).await,
        };
        if !(data.is_empty() && error.is_empty()) && lines.send(Ok(line(stderr, data, error))).await.is_err() {
            return;
        }
        if end {
            return;
        }
    }
}
