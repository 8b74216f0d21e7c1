//! The same questions about studies, which are sweeps to users: answered from what their clients have written.

use std::sync::Arc;
use std::time::Duration;

use heats_core::study::{Study, StudyTrial};
use heats_core::{Refusal, State};
use heats_wire::study::views;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::lookup::Answers;
use super::sweeps::PAGE;
use crate::node::Node;
use crate::status::refused;

/// Events in one message.
const BATCH: usize = 512;

/// A study's summary.
pub fn get(state: &State, study: &Study, now_ms: u64) -> v1::GetResponse {
    v1::GetResponse {
        log_index: state.applied,
        now_ms,
        sweep: Some(views::sweep(study)),
        early_stopping: None,
        quarantines: Vec::new(),
    }
}

/// Some of its trials.
pub fn trials(state: &State, study: &Study, request: v1::TrialsRequest) -> Result<v1::TrialsResponse, Status> {
    let v1::TrialsRequest { sweep: _, best_first, limit, from, numbers } = request;
    let limit = if limit == 0 { PAGE } else { (limit as usize).min(PAGE) };
    let mut next = None;
    let trials: Vec<&StudyTrial> = if !numbers.is_empty() {
        numbers.iter().take(limit).map(|&number| numbered(study, number)).collect::<Result<_, _>>()?
    } else if best_first {
        views::ranked(study).into_iter().take(limit).collect()
    } else {
        let end = (from as usize).saturating_add(limit);
        next = (end < study.trials.len()).then_some(end as u32);
        study.trials.iter().skip(from as usize).take(limit).map(Arc::as_ref).collect()
    };
    let trials = trials.into_iter().map(|trial| views::summary(study, trial)).collect();
    Ok(v1::TrialsResponse { log_index: state.applied, trials, next })
}

/// One trial, with so many points of its series at most.
pub fn trial(state: &State, study: &Study, number: u32, sample: usize) -> Result<v1::TrialResponse, Status> {
    let trial = numbered(study, number)?;
    let sample = super::series::of_study(trial, sample);
    Ok(v1::TrialResponse { sample, ..views::trial(state, study, trial) })
}

/// What a trial reported. It is one message: a trial of a study has not so many steps.
pub fn series(state: &State, study: &Study, request: &v1::SeriesRequest) -> Result<Answers<v1::SeriesChunk>, Status> {
    let v1::SeriesRequest { sweep: _, trial, after_step, until_step } = request;
    let points = views::series(numbered(study, *trial)?, *after_step, *until_step).done();
    let chunk = v1::SeriesChunk { log_index: state.applied, points, last: true };
    Ok(Box::pin(futures::stream::iter([Ok(chunk)])))
}

fn numbered(study: &Study, number: u32) -> Result<&StudyTrial, Status> {
    let missing = || refused(&Refusal::NoSuchTrial { sweep: study.name.clone(), trial: number });
    study.trials.get(number as usize).map(AsRef::as_ref).ok_or_else(missing)
}

/// What is known to have happened: the last of each thing, from a log index on, and then what comes while it is followed.
pub fn events(node: &Node, study: u64, request: &v1::EventsRequest) -> Answers<v1::EventBatch> {
    let v1::EventsRequest { sweep: _, trial, from_index, follow } = *request;
    let mut states = node.replica.watch_state();
    let (sender, answers) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut from = from_index;
        loop {
            let state = states.borrow_and_update().clone();
            let Some(study) = state.studies.get(study) else { return };
            let mut records: Vec<_> = if study.changed_at() < from { Vec::new() } else { study.records().collect() };
            records.retain(|record| record.log_index >= from);
            records.sort_by_key(|record| record.log_index);
            for batch in records.chunks(BATCH) {
                let events = batch.iter().filter_map(|record| heats_wire::views::event(record));
                let events = events.filter(|event| trial.is_none() || event.trial == trial).collect();
                let log_index = batch.last().map_or(from, |last| last.log_index);
                if sender.send(Ok(v1::EventBatch { log_index, events })).await.is_err() {
                    return;
                }
            }
            from = from.max(study.changed_at() + 1);
            if !follow {
                return;
            }
            drop(state);
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    Box::pin(ReceiverStream::new(answers))
}

/// Its summary, again whenever something is new, until it is gone: nobody but its clients knows whether it is over.
pub fn watch(node: &Node, study: u64, interval: Duration) -> Answers<v1::GetResponse> {
    let mut states = node.replica.watch_state();
    let clock = node.clock.clone();
    let (sender, answers) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            let state = states.borrow_and_update().clone();
            let Some(study) = state.studies.get(study) else { return };
            if study.changed_at() != seen {
                seen = study.changed_at();
                if sender.send(Ok(get(&state, study, clock.now_ms()))).await.is_err() {
                    return;
                }
            }
            drop(state);
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = sender.closed() => return,
            }
        }
    });
    Box::pin(ReceiverStream::new(answers))
}
