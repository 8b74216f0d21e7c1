//! What a coordinator has recorded of a sweep's trials: what they reported, and when.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use heats_client::Client;
use heats_domain::{FailureKind, Metrics, Params, TrialState};
use heats_sim::replay::{Attempt, Recorded, Report};
use heats_wire::series::Point;
use heats_wire::v1;

use crate::commands::best::sweep_id;
use crate::commands::series::Series;
use crate::exit::Failure;

/// How many trials are asked for at once.
const AT_ONCE: usize = 16;

/// The record of a sweep.
pub(super) struct Record {
    /// Its trials in order, without those that confirm a leader: the replay's trial `n` is the `n`-th of them.
    pub(super) trials: Vec<Recorded>,
    /// Their numbers.
    pub(super) numbers: Vec<u32>,
    /// Their configurations.
    pub(super) params: Vec<Params>,
    /// The names of all metrics that they reported.
    pub(super) metrics: BTreeSet<String>,
    /// How many attempts ran at once.
    pub(super) at_once: u32,
    /// When the best value was recorded.
    pub(super) found_ms: Option<u64>,
    /// When the last thing was recorded.
    pub(super) last_ms: u64,
}

impl Record {
    /// The number of the recorded trial that the replay's trial `place` stands for.
    pub(super) fn number(&self, place: u32) -> u32 {
        self.numbers.get(place as usize).copied().unwrap_or(place)
    }

    /// The other way round; `None` for a trial that is not replayed.
    pub(super) fn place(&self, number: u32) -> Option<u32> {
        self.numbers.binary_search(&number).ok().and_then(|place| u32::try_from(place).ok())
    }
}

/// One trial of it.
struct One {
    number: u32,
    confirms: bool,
    recorded: Recorded,
    params: Params,
    metrics: BTreeSet<String>,
    /// From when to when each attempt ran.
    spans: Vec<(u64, u64)>,
    /// When its best value was recorded.
    best_ms: Option<u64>,
}

/// Reads the record of `sweep`. Of what trials measured, only `metric` is kept.
pub(super) async fn read(client: &Client, sweep: &v1::Sweep, metric: &str) -> Result<Record, Failure> {
    let numbers = 0..sweep.counts.unwrap_or_default().created;
    let ones = futures::stream::iter(numbers.map(|number| one(client, sweep, number, metric))).buffered(AT_ONCE);
    let ones: Vec<One> = ones.try_filter(|one| std::future::ready(!one.confirms)).try_collect().await?;
    let best = sweep.best.first().and_then(|best| ones.iter().find(|one| one.number == best.number));
    let found_ms = best.and_then(|best| best.best_ms);
    let at_once = at_once(ones.iter().flat_map(|one| one.spans.iter().copied()));
    let last_ms = ones.iter().flat_map(|one| &one.spans).map(|(_, to)| *to).max().unwrap_or(sweep.submitted_ms);
    let metrics = ones.iter().flat_map(|one| one.metrics.iter().cloned()).collect();
    let numbers = ones.iter().map(|one| one.number).collect();
    let (trials, params) = ones.into_iter().map(|one| (one.recorded, one.params)).unzip();
    Ok(Record { trials, numbers, params, metrics, at_once, found_ms, last_ms })
}

async fn one(client: &Client, sweep: &v1::Sweep, number: u32, metric: &str) -> Result<One, Failure> {
    let v1::TrialResponse { trial, attempts, .. } = client.trial(sweep_id(sweep), number).await?;
    let trial = trial.unwrap_or_default();
    let mut points: Vec<Point> = Vec::new();
    let mut metrics = BTreeSet::new();
    let mut series = Series::of(client, sweep, &trial);
    while let Some(mut stretch) = series.next().await? {
        for Metrics { list } in stretch.iter_mut().map(|point| &mut point.metrics) {
            for measured in list.iter() {
                if !metrics.contains(&measured.name) {
                    metrics.insert(measured.name.clone());
                }
            }
            list.retain(|measured| measured.name == metric);
        }
        points.append(&mut stretch);
    }
    let best_ms = points.iter().find(|point| Some(point.step) == trial.value_step).map(|point| point.at_ms);
    let (mut spans, mut recorded) = (Vec::new(), Vec::new());
    for attempt in attempts {
        let of_attempt = |point: &mut Point| point.attempt == attempt.number;
        let own: Vec<Point> = points.extract_if(.., of_attempt).collect();
        let started_ms = attempt.started_ms.unwrap_or(attempt.leased_ms);
        let last_ms = own.last().map_or(started_ms, |point| point.at_ms);
        // The process's own time: its start and its end are both recorded a little after they were.
        let ended_ms = attempt.ended_ms.map_or(last_ms, |_| started_ms.saturating_add(attempt.ran_ms));
        let reports =
            own.into_iter().map(|Point { at_ms, step, metrics, .. }| Report { at_ms, step, metrics }).collect();
        recorded.push(Attempt::new(started_ms, reports, ended_ms, attempt.failure.map(failure).transpose()?));
        spans.push((started_ms, ended_ms));
    }
    let state = TrialState::try_from(trial.state).map_err(|_| unreadable(number))?;
    let recorded = Recorded::new(state, recorded);
    let (params, confirms) = (trial.params.unwrap_or_default(), trial.confirms.is_some());
    Ok(One { number, confirms, recorded, params, metrics, spans, best_ms })
}

fn failure(number: i32) -> Result<FailureKind, Failure> {
    FailureKind::try_from(number)
        .map_err(|_| Failure::failed(format!("failure {number} is not known to this version of heats")))
}

fn unreadable(trial: u32) -> Failure {
    Failure::failed(format!("the state of trial {trial} is not known to this version of heats"))
}

/// How many of the spans overlap, at the most, for a tenth of the time or longer. Where one follows another the end may be
/// recorded after the start: that is not another place.
fn at_once(spans: impl Iterator<Item = (u64, u64)>) -> u32 {
    let mut changes: Vec<(u64, i64)> = spans.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    changes.sort_unstable();
    let mut held: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut running, mut since) = (0, 0);
    for (at, change) in changes {
        if running > 0 {
            *held.entry(running).or_default() += at - since;
        }
        (running, since) = (running + change, at);
    }
    let busy: u64 = held.values().sum();
    let mut so_far = 0;
    let most = held.into_iter().rev().find(|(_, ms)| {
        so_far += ms;
        so_far.saturating_mul(10) >= busy
    });
    most.and_then(|(running, _)| u32::try_from(running).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::at_once;

    #[test]
    fn spans_that_hardly_overlap_need_no_place_of_their_own() {
        assert_eq!(at_once([(0, 10), (10, 20), (5, 12), (11, 30)].into_iter()), 2, "three for one of thirty");
        assert_eq!(at_once([(0, 10), (10, 20), (5, 12), (8, 30)].into_iter()), 3);
        assert_eq!(at_once([(0, 10), (10, 20)].into_iter()), 1);
        assert_eq!(at_once([].into_iter()), 0);
    }
}
