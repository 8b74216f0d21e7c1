//! A trial's series, by columns: a metric's name is stored once, and steps and times as differences.

use heats_domain::{Metric, Metrics};

/// One report of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The step that it reported.
    pub step: u64,
    /// The leader's clock then, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was measured. Names are in the order in which the trial used them first.
    pub metrics: Metrics,
}

/// What is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Series {
    #[prost(uint64, repeated, tag = "1")]
    steps: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    times: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    columns: Vec<Column>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Column {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(double, repeated, tag = "2")]
    values: Vec<f64>,
    /// Which points have a value, where not all have.
    #[prost(uint32, repeated, tag = "3")]
    rows: Vec<u32>,
}

impl Series {
    pub(crate) fn of(points: &[Point]) -> Self {
        let mut series = Self::default();
        let (mut step, mut time) = (0, 0);
        for (row, point) in points.iter().enumerate() {
            series.steps.push(point.step.wrapping_sub(step));
            series.times.push(point.at_ms.wrapping_sub(time));
            (step, time) = (point.step, point.at_ms);
            for metric in &point.metrics.list {
                let column = match series.columns.iter_mut().find(|column| column.name == metric.name) {
                    Some(column) => column,
                    None => series.columns.push_mut(Column { name: metric.name.clone(), ..Column::default() }),
                };
                column.values.push(metric.value);
                column.rows.push(row as u32);
            }
        }
        for column in &mut series.columns {
            if column.rows.len() == points.len() {
                column.rows.clear();
            }
        }
        series
    }

    /// The points; none where the parts do not fit together.
    pub(crate) fn points(&self) -> Option<Vec<Point>> {
        if self.steps.len() != self.times.len() {
            return None;
        }
        let (mut step, mut time) = (0u64, 0u64);
        let mut points: Vec<Point> = Vec::with_capacity(self.steps.len());
        for (step_by, time_by) in self.steps.iter().zip(&self.times) {
            (step, time) = (step.wrapping_add(*step_by), time.wrapping_add(*time_by));
            points.push(Point { step, at_ms: time, metrics: Metrics::default() });
        }
        for Column { name, values, rows } in &self.columns {
            let dense = rows.is_empty();
            if values.len() != if dense { points.len() } else { rows.len() } {
                return None;
            }
            for (place, value) in values.iter().enumerate() {
                let row = if dense { place } else { rows[place] as usize };
                points.get_mut(row)?.metrics.list.push(Metric { name: name.clone(), value: *value });
            }
        }
        Some(points)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn point(step: u64, metrics: &[(&str, f64)]) -> Point {
        Point { step, at_ms: step * 1_000, metrics: metrics.iter().copied().collect() }
    }

    #[test]
    fn points_come_back_also_where_metrics_come_and_go() {
        let points =
            [point(1, &[("loss", 0.5)]), point(2, &[("loss", f64::INFINITY), ("acc", 0.9)]), point(9, &[("acc", 1.0)])];
        assert_eq!(Series::of(&points).points().unwrap(), points);
    }

    #[test]
    fn a_long_series_is_stored_in_little() {
        let points: Vec<_> = (1..=100).map(|step| point(step, &[("validation/accuracy", 0.5)])).collect();
        let plain: usize = points.iter().map(|point| point.metrics.encoded_len()).sum();
        let stored = Series::of(&points).encoded_len();
        assert!(stored * 2 < plain, "{stored} of {plain} bytes");
    }

    #[test]
    fn parts_that_do_not_fit_together_are_no_series() {
        let mut series = Series::of(&[point(1, &[("loss", 0.5)]), point(2, &[("loss", 0.25)])]);
        series.columns[0].values.pop();
        assert_eq!(series.points(), None);
    }
}
