//! What happened to a sweep, from a log index on: the journal page by page, then what comes, for as long as
//! the sweep lives.

use heats_core::Record;
use heats_domain::SweepId;
use heats_wire::{v1, views};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::sweeps::{Answers, find, sweep_ended};
use crate::node::Node;

/// Events in one message.
const BATCH: usize = 512;

/// Serves one request.
pub fn events(node: &Node, request: v1::EventsRequest) -> Result<Response<Answers<v1::EventBatch>>, Status> {
    let v1::EventsRequest { sweep, trial, from_index, follow } = request;
    let mut states = node.replica.watch_state();
    let id = find(&states.borrow_and_update().clone(), &sweep)?.id;
    let (sender, answers) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut from = from_index;
        loop {
            let state = states.borrow_and_update().clone();
            loop {
                let records = page(&state, id, from);
                let Some(last) = records.last() else { break };
                from = last.log_index + 1;
                let wanted =
                    records.iter().filter(|r| trial.is_none() || r.cell.fact.as_ref().and_then(|f| f.trial()) == trial);
                let events = wanted.filter_map(views::event).collect();
                if sender.send(Ok(v1::EventBatch { log_index: from - 1, events })).await.is_err() {
                    return;
                }
            }
            if !follow || sweep_ended(&state, id) {
                return;
            }
            drop(state);
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

/// Some records of the sweep from `from` on, whole log entries each; empty at the end of `state`.
fn page(state: &heats_core::State, id: SweepId, from: u64) -> Vec<Record> {
    let Some(sweep) = state.sweeps.get(&id) else { return Vec::new() };
    // The journal is in log order: binary search for the first record that is asked for.
    let (mut low, mut high) = (0, sweep.journal.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if sweep.journal.get(middle).is_some_and(|record| record.log_index < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut records: Vec<Record> = Vec::new();
    for record in sweep.journal.iter().skip(low) {
        // An entry is never cut in two: the next page starts at an index.
        if records.len() >= BATCH && records.last().is_some_and(|last| last.log_index != record.log_index) {
            break;
        }
        records.push(record.as_ref().clone());
    }
    records
}
