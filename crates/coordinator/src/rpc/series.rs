//! What a trial reported, from the sweep's journal: all of it in chunks, or a few points of it. The journal has
//! every report, of live and of finished trials, before a restart and after it.

use std::sync::Arc;

use heats_core::study::StudyTrial;
use heats_core::{Refusal, State, Sweep, Trial};
use heats_wire::series::Columns;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::lookup::{Answers, find};
use crate::status::refused;

/// Reports in one message, and about how many bytes: a report may have 64 metrics with long names.
const CHUNK: usize = 4_096;
const CHUNK_BYTES: usize = 256 << 10;
/// The most points of a sample: more than a screen has columns.
const SAMPLE: usize = 1_000;

/// Serves one request.
pub fn series(state: &State, request: v1::SeriesRequest) -> Result<Response<Answers<v1::SeriesChunk>>, Status> {
    let v1::SeriesRequest { sweep, trial: number, after_step, until_step } = request;
    let sweep = Arc::clone(find(state, &sweep)?);
    let trial = trial(&sweep, number)?;
    let mut from = after_step.map_or(0, |step| after(&sweep, trial, step));
    let end = until_step.map_or(trial.series.len(), |step| after(&sweep, trial, step));
    let log_index = state.applied;
    let (sender, answers) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let sweep = Arc::clone(&sweep);
            // A chunk of a large journal is thousands of memory accesses: too many to hold up others for.
            let read = tokio::task::spawn_blocking(move || chunk(&sweep, number, from, end)).await;
            let answer = read.map(|(columns, next)| {
                from = next;
                v1::SeriesChunk { log_index, points: columns.done(), last: from >= end }
            });
            let over = answer.as_ref().map_or(true, |chunk| chunk.last);
            let answer = answer.map_err(|error| Status::internal(format!("the series could not be read: {error}")));
            if sender.send(answer).await.is_err() || over {
                return;
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

/// The trial that a user means.
pub fn trial(sweep: &Sweep, number: u32) -> Result<&Trial, Status> {
    let missing = || refused(&Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
    sweep.trial(number).ok_or_else(missing)
}

/// At most `at_most` points: the first, the last, the best, and others evenly between.
pub fn sample(sweep: &Sweep, trial: &Trial, at_most: usize) -> Vec<v1::Points> {
    let best = trial.best.map(|best| after(sweep, trial, best.step).saturating_sub(1));
    let mut columns = Columns::default();
    for place in places(trial.series.len(), at_most.min(SAMPLE), best) {
        if let Some((report, at_ms)) = sweep.report(trial, place) {
            columns.push(&report, at_ms);
        }
    }
    columns.done()
}

/// The same of a study's trial.
pub fn of_study(trial: &StudyTrial, at_most: usize) -> Vec<v1::Points> {
    let reports: Vec<(u64, f64)> =
        trial.reports.iter().filter_map(|(step, value)| Some((u64::try_from(*step).ok()?, *value))).collect();
    let places = places(reports.len(), at_most.min(SAMPLE), None);
    let picked = places.into_iter().filter_map(|place| reports.get(place).copied());
    heats_wire::study::views::columns(trial, picked).done()
}

/// Which places of `count` are picked, in order.
fn places(count: usize, at_most: usize, best: Option<usize>) -> Vec<usize> {
    if count <= at_most {
        return (0..count).collect();
    }
    let mut places: Vec<usize> = match at_most {
        0 => Vec::new(),
        1 => vec![count - 1],
        _ => (0..at_most).map(|nth| nth * (count - 1) / (at_most - 1)).collect(),
    };
    // The best takes the place of whichever is nearest, but never that of an end.
    if let (Some(best), 3..) = (best, at_most) {
        let inner = 1..at_most - 1;
        let is_end = best == 0 || best == count - 1;
        if let Some(nearest) = inner.min_by_key(|nth| places[*nth].abs_diff(best)).filter(|_| !is_end) {
            places[nearest] = best;
        }
    }
    places
}

/// The place of the first report of a later step than `step`.
fn after(sweep: &Sweep, trial: &Trial, step: u64) -> usize {
    let (mut low, mut high) = (0, trial.series.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if sweep.report(trial, middle).is_some_and(|(report, _)| report.step <= step) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The reports from place `from` on, as many as one message carries; the place of the next.
fn chunk(sweep: &Sweep, number: u32, from: usize, end: usize) -> (Columns, usize) {
    let mut columns = Columns::default();
    let Some(trial) = sweep.trial(number) else { return (columns, end) };
    for place in from..end {
        if columns.count() == CHUNK || columns.bytes() >= CHUNK_BYTES {
            return (columns, place);
        }
        if let Some((report, at_ms)) = sweep.report(trial, place) {
            columns.push(&report, at_ms);
        }
    }
    (columns, end)
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn a_sample_has_the_ends_and_the_best_and_the_others_evenly_between() {
        assert_eq!(places(3, 12, Some(1)), [0, 1, 2]);
        assert_eq!(places(101, 5, None), [0, 25, 50, 75, 100]);
        assert_eq!(places(101, 5, Some(52)), [0, 25, 52, 75, 100]);
        assert_eq!(places(101, 5, Some(1)), [0, 1, 50, 75, 100]);
        assert_eq!(places(101, 5, Some(0)), [0, 25, 50, 75, 100]);
        assert_eq!(places(101, 5, Some(100)), [0, 25, 50, 75, 100]);
        assert_eq!(
            (places(9, 0, Some(4)), places(9, 1, Some(4)), places(9, 2, Some(4))),
            (vec![], vec![8], vec![0, 8])
        );
        let many = places(1_000_000, 1_000, Some(999_998));
        assert!(many.len() == 1_000 && many.is_sorted() && many.contains(&999_998));
    }
}
