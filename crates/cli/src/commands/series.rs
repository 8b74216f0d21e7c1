//! What trials reported, chunk by chunk: several commands read it, and none holds it whole.

use std::io::Write;

use futures::StreamExt;
use futures::stream::BoxStream;
use heats_client::{Client, ClientError};
use heats_domain::Metrics;
use heats_wire::series::{Point, points};
use heats_wire::v1;
use serde_json::{Map, Value};

use super::best::sweep_id;
use crate::exit::Failure;
use crate::output::{CsvLines, number};
use crate::{view, words};

/// A stretch of one trial's series.
pub(super) struct Series {
    chunks: BoxStream<'static, Result<v1::SeriesChunk, ClientError>>,
}

impl Series {
    /// Everything that the trial had reported when its summary was made.
    pub(super) fn of(client: &Client, sweep: &v1::Sweep, trial: &v1::TrialSummary) -> Self {
        match trial.last_step {
            Some(last) => Self::between(client, sweep, trial.number, None, last),
            None => Self { chunks: futures::stream::empty().boxed() },
        }
    }

    /// What it reported after the step `after`, and until the step `until`.
    pub(super) fn between(client: &Client, sweep: &v1::Sweep, trial: u32, after: Option<u64>, until: u64) -> Self {
        let sweep = sweep_id(sweep);
        let request = v1::SeriesRequest { sweep, trial, after_step: after, until_step: Some(until) };
        Self { chunks: client.series(request).boxed() }
    }

    /// Some of it as it was sent; `None` at the end.
    async fn columns(&mut self) -> Result<Option<Vec<v1::Points>>, Failure> {
        Ok(self.chunks.next().await.transpose()?.map(|chunk| chunk.points))
    }

    /// Some reports; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Point>>, Failure> {
        let Some(columns) = self.columns().await? else { return Ok(None) };
        let fail = |error| Failure::failed(format!("the coordinator sent what is no series: {error}"));
        Ok(Some(points(&columns).map_err(fail)?))
    }
}

/// Writes every report of `trials` as a line of JSON that stands alone; how many.
pub(super) async fn write_lines(
    out: &mut impl Write,
    client: &Client,
    sweep: &v1::Sweep,
    trials: &[v1::TrialSummary],
) -> Result<u64, Failure> {
    let mut count = 0;
    for trial in trials {
        let item = view::trial(&sweep.name, trial);
        let mut head = Map::from_iter([("schema".to_owned(), Value::from("heats.report/v1"))]);
        for field in ["address", "number", "params"] {
            head.extend(item.json.get(field).map(|value| (field.to_owned(), value.clone())));
        }
        // The same for each of them: written once, with its brace left open.
        let mut head = Value::Object(head).to_string();
        head.pop();
        let mut series = Series::of(client, sweep, trial);
        while let Some(points) = series.next().await? {
            for point in &points {
                let fields = Value::from(view::point(point)).to_string();
                writeln!(out, "{head},{}", &fields[1..])?;
            }
            count += points.len() as u64;
        }
    }
    Ok(count)
}

/// Writes every report of `trials` as a line of CSV, with the trial's configuration beside it; how many. The first
/// line names every metric, so all series are read twice: once for the names, once for the values.
pub(super) async fn write_csv(
    out: &mut impl Write,
    client: &Client,
    sweep: &v1::Sweep,
    trials: &[v1::TrialSummary],
) -> Result<u64, Failure> {
    let mut params: Vec<String> = Vec::new();
    let mut metrics: Vec<String> = Vec::new();
    for trial in trials {
        let names = trial.params.iter().flat_map(heats_domain::Params::iter);
        names.for_each(|(name, _)| add(&mut params, name));
        let mut series = Series::of(client, sweep, trial);
        while let Some(columns) = series.columns().await? {
            columns.iter().flat_map(|points| &points.metrics).for_each(|name| add(&mut metrics, name));
        }
    }
    let mut csv = CsvLines::new(out);
    let fixed = ["address", "number", "step", "attempt", "at"].map(str::to_owned).into_iter();
    let params_header = params.iter().map(|name| format!("params.{name}"));
    csv.line(fixed.chain(params_header).chain(metrics.iter().map(|name| format!("metrics.{name}"))))?;
    let mut count = 0;
    for trial in trials {
        let item = view::trial(&sweep.name, trial);
        let configuration: Vec<String> =
            params.iter().map(|name| item.text(&format!("params.{name}")).unwrap_or_default()).collect();
        let mut series = Series::of(client, sweep, trial);
        while let Some(points) = series.next().await? {
            for point in &points {
                let whose = [item.name.clone(), trial.number.to_string()].into_iter();
                let when = [point.step.to_string(), point.attempt.to_string(), words::timestamp(point.at_ms)];
                let values = metrics.iter().map(|name| point.metrics.get(name).map(number).unwrap_or_default());
                csv.line(whose.chain(when).chain(configuration.iter().cloned()).chain(values))?;
            }
            count += points.len() as u64;
        }
    }
    csv.flush()?;
    Ok(count)
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// The last step that every one of the series has, with what each measured there: what can be compared fairly.
pub(super) async fn last_common(series: Vec<Series>) -> Result<Option<(u64, Vec<Metrics>)>, Failure> {
    let mut cursors: Vec<Cursor> = Vec::new();
    for series in series {
        cursors.push(Cursor { series, points: Vec::new().into_iter() });
    }
    let mut common = None;
    loop {
        let mut heads = Vec::new();
        for cursor in &mut cursors {
            let Some(head) = cursor.next().await? else { return Ok(common) };
            heads.push(head);
        }
        // Whoever is behind catches up, until all are at the same step.
        while let Some(furthest) = heads.iter().map(|head| head.step).max()
            && heads.iter().any(|head| head.step < furthest)
        {
            for (cursor, head) in cursors.iter_mut().zip(&mut heads) {
                while head.step < furthest {
                    let Some(next) = cursor.next().await? else { return Ok(common) };
                    *head = next;
                }
            }
        }
        let Some(step) = heads.first().map(|head| head.step) else { return Ok(None) };
        common = Some((step, heads.into_iter().map(|head| head.metrics).collect()));
    }
}

struct Cursor {
    series: Series,
    points: std::vec::IntoIter<Point>,
}

impl Cursor {
    async fn next(&mut self) -> Result<Option<Point>, Failure> {
        loop {
            if let Some(point) = self.points.next() {
                return Ok(Some(point));
            }
            let Some(points) = self.series.next().await? else { return Ok(None) };
            self.points = points.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of `steps`, in chunks of two; the metric is the step times `factor`.
    fn series(steps: &[u64], factor: f64) -> Series {
        let point = |step: &u64| v1::Points {
            attempt: 1,
            metrics: vec!["loss".into()],
            steps: vec![*step],
            times_ms: vec![0],
            values: vec![*step as f64 * factor],
        };
        let chunk =
            |steps: &[u64]| Ok(v1::SeriesChunk { points: steps.iter().map(point).collect(), ..Default::default() });
        let chunks: Vec<_> = steps.chunks(2).map(chunk).collect();
        Series { chunks: futures::stream::iter(chunks).boxed() }
    }

    async fn common(steps: &[&[u64]]) -> Option<(u64, Vec<Option<f64>>)> {
        let series = steps.iter().zip([1.0, 2.0, 3.0]).map(|(steps, factor)| series(steps, factor)).collect();
        let (step, metrics) = last_common(series).await.expect("reads")?;
        Some((step, metrics.iter().map(|metrics| metrics.get("loss")).collect()))
    }

    #[tokio::test]
    async fn the_last_step_that_all_have_is_found_whatever_the_steps() {
        assert_eq!(common(&[&[1, 2, 3], &[1, 2, 3, 4, 5]]).await, Some((3, vec![Some(3.0), Some(6.0)])));
        assert_eq!(
            common(&[&[1, 3, 5, 7], &[2, 4, 5, 8], &[5, 6]]).await,
            Some((5, vec![Some(5.0), Some(10.0), Some(15.0)]))
        );
        assert_eq!(common(&[&[1, 3, 5], &[2, 4, 6]]).await, None);
        assert_eq!(common(&[&[1], &[]]).await, None);
        assert_eq!(common(&[]).await, None);
    }
}
