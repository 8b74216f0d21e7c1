//! A trial's series by columns, and back. Reads no journal: whoever sends a series pushes its reports.

use heats_core::fact::TrialReported;
use heats_domain::{Metric, Metrics};

use crate::convert::ConvertError;
use crate::v1;

/// One report of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The attempt that reported.
    pub attempt: u32,
    /// The step.
    pub step: u64,
    /// When it was recorded, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was measured, in the order in which the trial wrote it.
    pub metrics: Metrics,
}

/// Reports, by columns as they are sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    points: Vec<v1::Points>,
    last: (u64, u64),
    count: usize,
    bytes: usize,
}

impl Columns {
    /// Adds the report that follows in the series.
    pub fn push(&mut self, report: &TrialReported, at_ms: u64) {
        let list = &report.metrics.list;
        let fits = |points: &v1::Points| {
            points.attempt == report.attempt
                && points.metrics.len() == list.len()
                && points.metrics.iter().zip(list).all(|(name, metric)| *name == metric.name)
        };
        if !self.points.last().is_some_and(fits) {
            let metrics: Vec<String> = list.iter().map(|metric| metric.name.clone()).collect();
            self.bytes += metrics.iter().map(String::len).sum::<usize>();
            self.points.push(v1::Points { attempt: report.attempt, metrics, ..Default::default() });
            self.last = (0, 0);
        }
        let Some(points) = self.points.last_mut() else { return };
        points.steps.push(report.step.wrapping_sub(self.last.0));
        points.times_ms.push(at_ms.wrapping_sub(self.last.1));
        points.values.extend(list.iter().map(|metric| metric.value));
        self.last = (report.step, at_ms);
        self.count += 1;
        self.bytes += 4 + 8 * list.len();
    }

    /// How many reports it holds.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// About how many bytes they take on the wire.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message.
    pub fn done(self) -> Vec<v1::Points> {
        self.points
    }
}

/// The reports that were sent by columns, in order.
///
/// # Errors
/// Where the columns do not fit together.
pub fn points(sent: &[v1::Points]) -> Result<Vec<Point>, ConvertError> {
    let mut points = Vec::with_capacity(sent.iter().map(|points| points.steps.len()).sum());
    for v1::Points { attempt, metrics, steps, times_ms, values } in sent {
        if times_ms.len() != steps.len() || Some(values.len()) != steps.len().checked_mul(metrics.len()) {
            return Err(ConvertError::Columns);
        }
        let (mut step, mut at_ms) = (0u64, 0u64);
        let mut values = values.iter();
        for (step_by, time_by) in steps.iter().zip(times_ms) {
            (step, at_ms) = (step.wrapping_add(*step_by), at_ms.wrapping_add(*time_by));
            let list = metrics.iter().zip(values.by_ref());
            let list = list.map(|(name, value)| Metric { name: name.clone(), value: *value }).collect();
            points.push(Point { attempt: *attempt, step, at_ms, metrics: Metrics { list } });
        }
    }
    Ok(points)
}

/// The last step that was sent.
pub fn last_step(sent: &[v1::Points]) -> Option<u64> {
    let last = sent.iter().rev().find(|points| !points.steps.is_empty())?;
    Some(last.steps.iter().fold(0, |step, by| step.wrapping_add(*by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(attempt: u32, step: u64, metrics: &[(&str, f64)]) -> TrialReported {
        TrialReported { attempt, step, metrics: metrics.iter().copied().collect(), ..Default::default() }
    }

    #[test]
    fn what_is_sent_by_columns_comes_back_as_it_was_reported() {
        let reports = [
            report(1, 3, &[("loss", 0.5), ("acc", 0.25)]),
            report(1, 4, &[("loss", f64::INFINITY), ("acc", 0.5)]),
            // Another order, fewer, none, another attempt: each as it was.
            report(1, 9, &[("acc", 0.75), ("loss", -1.0)]),
            report(1, 10, &[("loss", 0.125)]),
            report(1, 11, &[]),
            report(2, u64::MAX, &[("loss", 0.125)]),
        ];
        let mut columns = Columns::default();
        for (report, at_ms) in reports.iter().zip(1_000..) {
            columns.push(report, at_ms);
        }
        assert_eq!(columns.count(), 6);
        let sent = columns.done();
        assert_eq!(last_step(&sent), Some(u64::MAX));
        let came: Vec<_> =
            points(&sent).expect("fit").into_iter().map(|p| (p.attempt, p.step, p.at_ms, p.metrics)).collect();
        let were: Vec<_> =
            reports.iter().zip(1_000..).map(|(r, at_ms)| (r.attempt, r.step, at_ms, r.metrics.clone())).collect();
        assert_eq!(came, were);
    }

    #[test]
    fn a_name_is_sent_once_for_reports_that_have_the_same() {
        let mut columns = Columns::default();
        (1..=1_000).for_each(|step| columns.push(&report(1, step, &[("validation/accuracy", 0.5)]), step));
        let bytes = columns.bytes();
        let sent = columns.done();
        assert_eq!(sent.len(), 1);
        let encoded = prost::Message::encoded_len(&sent[0]);
        assert!(encoded <= bytes && encoded < 11_000, "{encoded} bytes, {bytes} expected");
    }

    #[test]
    fn columns_that_do_not_fit_together_are_no_series() {
        let mut columns = Columns::default();
        columns.push(&report(1, 1, &[("loss", 0.5)]), 1);
        let mut sent = columns.done();
        sent[0].values.pop();
        assert_eq!(points(&sent), Err(ConvertError::Columns));
    }
}
