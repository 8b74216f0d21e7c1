//! What the agent would read from a trial's standard output. The reading itself is the agent's own.

use std::io::{self, Write};
use std::path::Path;

use heats_agent::reading::{self, MARK};
use heats_domain::SweepSpec;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::output::Fields;
use crate::words;

/// Lines of a kind that are shown.
const SHOWN: usize = 5;

/// What was read of a log.
pub(super) struct Sample {
    objectives: Vec<String>,
    lines: usize,
    reports: Vec<(u64, heats_domain::Metrics)>,
    unreadable: Vec<(usize, String)>,
    nearly: Vec<(usize, String)>,
}

/// Reads the log at `path` as a trial's standard output.
pub(super) fn read(path: &Path, spec: &SweepSpec) -> Result<Sample, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(Exit::NotFound, format!("cannot read {}: {error}", path.display())))?;
    Ok(of(&bytes, spec.objectives().iter().map(|objective| objective.metric().to_owned()).collect()))
}

fn of(bytes: &[u8], objectives: Vec<String>) -> Sample {
    let mut sample = Sample { objectives, lines: 0, reports: Vec::new(), unreadable: Vec::new(), nearly: Vec::new() };
    let mut step = 0;
    for (i, line) in bytes.split(|&byte| byte == b'\n' || byte == b'\r').enumerate() {
        sample.lines += usize::from(!line.is_empty());
        if line.starts_with(MARK) {
            match reading::metric_line(line) {
                Ok(report) => {
                    // Where the script counts no steps, each report is one.
                    step = report.step.unwrap_or(step + 1);
                    sample.reports.push((step, report.metrics));
                }
                Err(error) => sample.unreadable.push((i + 1, error.to_string())),
            }
        } else if let Some(name) = sample.objectives.first()
            && String::from_utf8_lossy(line).contains(name.as_str())
        {
            sample.nearly.push((i + 1, reading::cut(&String::from_utf8_lossy(line))));
        }
    }
    sample
}

impl Sample {
    /// Whether a trial that printed this would fail for want of its objective, or of a report with all of them.
    pub(super) fn lacks_objective(&self) -> bool {
        let has_all = |metrics: &heats_domain::Metrics| self.objectives.iter().all(|name| metrics.get(name).is_some());
        !self.objectives.is_empty() && !self.reports.iter().any(|(_, metrics)| has_all(metrics))
    }

    pub(super) fn fields(&self) -> Fields {
        let reports = self.reports.iter().map(|(step, metrics)| {
            let metrics =
                metrics.list.iter().fold(Fields::new(), |fields, metric| fields.number(&metric.name, metric.value));
            Value::from(Fields::new().with("step", *step).with("metrics", metrics))
        });
        let lines = |list: &[(usize, String)], what: &str| -> Vec<Value> {
            list.iter().map(|(line, text)| Fields::new().with("line", *line).with(what, text.as_str()).into()).collect()
        };
        Fields::new()
            .with("lines", self.lines)
            .with("reports", reports.collect::<Vec<_>>())
            .with("unreadable", lines(&self.unreadable, "why"))
            .with("nearly", lines(&self.nearly, "text"))
            .with("has_objective", !self.lacks_objective())
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = |number: usize, what| words::count(number as u64, what);
        writeln!(out, "{} of output hold {}", count(self.lines, "line"), count(self.reports.len(), "report"))?;
        for (step, metrics) in self.reports.iter().take(SHOWN) {
            let words: Vec<String> =
                metrics.list.iter().map(|metric| format!("{}={}", metric.name, words::short(metric.value))).collect();
            writeln!(out, "  step {step}: {}", words.join(" "))?;
        }
        more(out, self.reports.len())?;
        for (line, why) in self.unreadable.iter().take(SHOWN) {
            writeln!(out, "  line {line} starts with `::metric` and cannot be read: {why}")?;
        }
        more(out, self.unreadable.len())?;
        if !self.lacks_objective() {
            return Ok(());
        }
        let names = self.objectives.join("` and `");
        writeln!(out, "  none of them has `{names}`: such a trial would fail")?;
        for (line, text) in self.nearly.iter().take(SHOWN) {
            writeln!(out, "  line {line} names it: {text}")?;
        }
        let pairs: Vec<String> = self.objectives.iter().map(|name| format!("{name}={{{name}}}")).collect();
        let pairs = if let [only] = self.objectives.as_slice() { format!("{only}={{value}}") } else { pairs.join(" ") };
        writeln!(out, "  fix: print(f\"::metric step={{step}} {pairs}\", flush=True)")
    }
}

fn more(out: &mut dyn Write, number: usize) -> io::Result<()> {
    if number > SHOWN { writeln!(out, "  ... and {} more", number - SHOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_its_reports_and_what_only_looks_like_one() {
        let log =
            b"epoch 1 loss: 0.5\n::metric loss=0.5\n::metric step=7 loss=0.25 acc=0.9\n::metric loss:0.1\n 10%\r 20%\r";
        let sample = of(log, vec!["loss".into()]);
        assert_eq!(sample.reports.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(sample.unreadable[0].0, 4);
        assert_eq!(sample.nearly, [(1, "epoch 1 loss: 0.5".to_owned())]);
        assert!(!sample.lacks_objective());
        assert!(of(b"loss: 0.5\n", vec!["loss".into()]).lacks_objective());
        assert!(!of(b"hello\n", Vec::new()).lacks_objective());
    }
}
