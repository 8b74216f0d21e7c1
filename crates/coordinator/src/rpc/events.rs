//! What happened to a sweep, from a log index on: first what the catalogue has, page by page, then the part
//! of the journal that it has not got yet, then what comes, for as long as the sweep lives.

use std::sync::Arc;

use heats_core::{Record, State};
use heats_domain::SweepId;
use heats_replica::Catalogue;
use heats_wire::{v1, views};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::lookup::{Answers, find, sweep_ended};
use crate::node::Node;

/// Events in one message.
const BATCH: usize = 512;

/// Serves one request.
pub fn events(node: &Node, request: v1::EventsRequest) -> Result<Answers<v1::EventBatch>, Status> {
    let v1::EventsRequest { sweep, trial, from_index, follow } = request;
    let mut states = node.replica.watch_state();
    let id = find(&states.borrow_and_update().clone(), &sweep)?.id;
    let (sender, answers) = mpsc::channel(4);
    let node = node.clone();
    tokio::spawn(async move {
        let mut from = from_index;
        loop {
            let state = states.borrow_and_update().clone();
            loop {
                let records = page(&node, &state, id, from).await;
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
    Ok(Box::pin(ReceiverStream::new(answers)))
}

/// Some records of the sweep from `from` on, whole log entries each; empty at the end of `state`.
async fn page(node: &Node, state: &State, id: SweepId, from: u64) -> Vec<Record> {
    let catalogue = node.replica.catalogue().clone();
    let found = tokio::task::spawn_blocking(move || catalogued(&catalogue, id, from)).await;
    match found {
        Ok(records) if !records.is_empty() => return records,
        // It follows the state by some milliseconds, and is made anew after any doubt: the journal has it all.
        Ok(_) | Err(_) => {}
    }
    let Some(sweep) = state.sweeps.get(&id) else { return Vec::new() };
    let mut records: Vec<Record> = Vec::new();
    for record in sweep.journal.iter_from(sweep.journal.place_of(from)) {
        // An entry is never cut in two: the next page starts at an index.
        if records.len() >= BATCH && records.last().is_some_and(|last| last.log_index != record.log_index) {
            break;
        }
        records.push(Arc::unwrap_or_clone(record));
    }
    records
}

/// Some records from the catalogue, whole log entries each; empty where it has none, or does not answer now.
fn catalogued(catalogue: &Catalogue, id: SweepId, from: u64) -> Vec<Record> {
    let mut limit = BATCH;
    loop {
        let Ok(mut records) = catalogue.events(id, from, limit) else { return Vec::new() };
        let cut = (records.len() == limit).then(|| records.last().map(|last| last.log_index)).flatten();
        let Some(cut) = cut else { return records };
        // The last entry may have been cut in two: it belongs to the next page.
        records.retain(|record| record.log_index < cut);
        if !records.is_empty() {
            return records;
        }
        limit *= 2;
    }
}
