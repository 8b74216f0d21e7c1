//! Door 0 and the spool: reads what a trial wrote into files and sends it as reports, in order.
//!
//! The files are the spool: nothing is kept in memory beyond what the stream has not acknowledged, and an
//! agent that takes over an attempt reads them again from the beginning, for a step that a trial has reached
//! before changes nothing. Steps are counted on per file where the trial gives none, so that a second reading
//! gives the same numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use heats_domain::Metrics;
use heats_wire::v1;
use heats_wire::v1::from_agent::Message;
use tokio::sync::watch;

use crate::held::{Held, Outbox};
use crate::lines::Lines;
use crate::reading::{self, MARK, Reading, ReadingError};
use crate::rotation::{Mark, Rotation};
use crate::watcher::{Change, Changes};

/// How many lines of each kind are kept for people.
const EXAMPLES: usize = 3;

/// What was read of one attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// The last step that was reported.
    pub last_step: Option<u64>,
    /// Whether the sweep's objectives were all among the metrics of one report.
    pub objective_seen: bool,
    /// How many lines were meant as reports and could not be read.
    pub unreadable: u64,
    /// The first of them, each with what is wrong.
    pub unreadable_examples: Vec<String>,
    /// Lines of output that name the objective and are no reports.
    pub nearly: Vec<String>,
    /// How many reports came at a step that had been reached before.
    pub repeated: u64,
    /// How many lines were too long to be looked at.
    pub too_long: u64,
    /// Why a file could not be read, where one could not.
    pub failed: Option<String>,
}

/// Reads one attempt's files until its process is gone and everything is read.
#[derive(Debug)]
pub struct Collector {
    held: Arc<Held>,
    outbox: Outbox,
    objectives: Vec<String>,
    word: Word,
    sources: [Source; 3],
    summary: Summary,
    rotation: Rotation,
}

/// Whether what a process reports is its trial's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It is sent.
    Counts,
    /// The trial spans machines, and another process speaks for it.
    CountsForNothing,
}

#[derive(Debug)]
struct Source {
    kind: Kind,
    lines: Lines,
    step: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Reports among anything else.
    Output,
    /// Reports only.
    Json,
}

impl Collector {
    /// A collector of `held` that has read nothing yet. It keeps each log to about `log_limit` bytes.
    pub fn new(held: Arc<Held>, outbox: Outbox, objectives: Vec<String>, log_limit: u64, word: Word) -> Self {
        let rotation = Rotation::new(held.dir.clone(), log_limit);
        let source = |kind, path| Source { kind, lines: Lines::of(path), step: 0 };
        let output = Lines::of(held.dir.stdout()).around(rotation.stdout());
        let sources = [
            Source { kind: Kind::Output, lines: output, step: 0 },
            source(Kind::Json, held.dir.metrics()),
            source(Kind::Json, held.dir.reports()),
        ];
        Self { held, outbox, objectives, word, sources, summary: Summary::default(), rotation }
    }

    /// Reads and sends until `ended` is true and there is no more. Stops reading while the outbox is full. What is left to be
    /// done about long logs is done once all reports are durable.
    pub async fn run(mut self, mut changes: Changes, mut ended: watch::Receiver<bool>) -> (Summary, Rotation) {
        // Most trials use one door: a file of another is looked for only when the folder has a new one.
        let mut change = Change::NewFile;
        loop {
            let last = *ended.borrow_and_update();
            if last || change == Change::NewFile {
                self.sources.iter_mut().for_each(|source| source.lines.look_again());
            }
            while self.read_and_send(Rest::Wait).await {
                self.rotate();
            }
            self.rotate();
            if last {
                self.read_and_send(Rest::IsALine).await;
                self.summary.too_long = self.sources.iter().map(|source| source.lines.too_long).sum();
                return (self.summary, self.rotation);
            }
            change = tokio::select! {
                change = changes.wait() => change,
                // The sender is gone only where the attempt is given up: then this is dropped too.
                _given_up = ended.changed() => Change::NewFile,
            };
        }
    }

    /// Goes on behind what an earlier agent has read and was not kept, with what it knew by then.
    fn leap(&mut self) {
        let Some(mark) = self.sources[0].lines.leap() else { return };
        self.sources[0].step = mark.step;
        self.summary.last_step = self.summary.last_step.max(mark.reported);
        self.summary.objective_seen |= mark.objective_seen;
    }

    /// Gives back what is too much of long logs. What was read by now is on its way.
    fn rotate(&mut self) {
        let Source { lines, step, .. } = &self.sources[0];
        let (at, skipping) = lines.position();
        let Summary { last_step: reported, objective_seen, .. } = self.summary;
        self.rotation.read(Mark { at, skipping, step: *step, reported, objective_seen });
        self.rotation.turn(*self.held.durable_steps().borrow());
    }

    /// Reads a chunk of each file and sends what is new in it; whether there was any. Reading a local file's
    /// cached pages takes microseconds, so that it is done in place.
    async fn read_and_send(&mut self, rest: Rest) -> bool {
        let mut any = false;
        self.leap();
        let Self { held, outbox, objectives, word, sources, summary, rotation: _ } = self;
        let mut read = [const { VecDeque::new() }; 3];
        for (Source { kind, lines, step }, reports) in sources.iter_mut().zip(&mut read) {
            let mut each = |line: &[u8]| {
                if let Some(reading) = read_line(*kind, line, objectives.first().map(String::as_str), summary)
                    && *word == Word::Counts
                {
                    reports.push_back(counted(reading, step));
                }
            };
            let more = lines.read(&mut each);
            if rest == Rest::IsALine {
                lines.finish(&mut each);
            }
            match more {
                Ok(more) => any |= more,
                Err(error) => summary.failed = Some(error.to_string()),
            }
        }
        while let Some((step, metrics)) = lowest(&mut read) {
            if summary.last_step.is_some_and(|last| step <= last) {
                summary.repeated += 1;
                continue;
            }
            summary.last_step = Some(step);
            let has_all = objectives.iter().all(|name| metrics.get(name).is_some());
            summary.objective_seen |= !objectives.is_empty() && has_all;
            let report = v1::Report { key: Some(held.key.to_wire()), step, metrics: Some(metrics) };
            outbox.send(held, Message::Report(report)).await;
        }
        any
    }
}

/// Takes the lowest step from the heads of the files: each keeps its own order, and a trial that goes through
/// several doors loses no step because one file is read before another.
fn lowest(read: &mut [VecDeque<(u64, Metrics)>; 3]) -> Option<(u64, Metrics)> {
    let heads = read.iter().enumerate().filter_map(|(number, reports)| Some((reports.front()?.0, number)));
    let (_, number) = heads.min()?;
    read[number].pop_front()
}

/// What is done with what stands after the last line's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Wait,
    IsALine,
}

fn read_line(kind: Kind, line: &[u8], objective: Option<&str>, summary: &mut Summary) -> Option<Reading> {
    let read = match kind {
        Kind::Output if line.starts_with(MARK) => reading::metric_line(line),
        Kind::Output => {
            if let Some(name) = objective
                && summary.nearly.len() < EXAMPLES
                && line.windows(name.len()).any(|window| window == name.as_bytes())
            {
                summary.nearly.push(reading::cut(&String::from_utf8_lossy(line)));
            }
            return None;
        }
        Kind::Json if line.iter().all(u8::is_ascii_whitespace) => return None,
        Kind::Json => reading::json(line),
    };
    read.map_err(|error| note(line, &error, summary)).ok()
}

fn note(line: &[u8], error: &ReadingError, summary: &mut Summary) {
    summary.unreadable += 1;
    if summary.unreadable_examples.len() < EXAMPLES {
        let line = reading::cut(&String::from_utf8_lossy(line));
        summary.unreadable_examples.push(format!("`{line}`: {error}"));
    }
}

/// The reading with its step, counted on from `step` where the trial gave none.
fn counted(reading: Reading, step: &mut u64) -> (u64, Metrics) {
    let Reading { step: given, metrics } = reading;
    let at = given.unwrap_or_else(|| step.saturating_add(1));
    *step = at.max(*step);
    (at, metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::AttemptDir;
    use crate::key::Key;
    use crate::rotation::LOG_LIMIT;
    use crate::watcher::Watcher;
    use heats_domain::{SweepId, TrialId};

    struct Read {
        steps: Vec<(u64, f64)>,
        summary: Summary,
    }

    async fn collect(files: &[(&str, &[u8])]) -> Read {
        let root = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            std::fs::write(root.path().join(name), bytes).expect("writes");
        }
        let key = Key { trial: TrialId { sweep: SweepId::mint(1, 1), number: 0 }, attempt: 1 };
        let held = Arc::new(Held::new(key, AttemptDir::at(root.path().to_owned())));
        let (outbox, mut sent) = Outbox::new();
        let watch = Watcher::start().watch(root.path());
        let collector = Collector::new(held, outbox, vec!["loss".into()], LOG_LIMIT, Word::Counts);
        let (_ended, ended) = watch::channel(true);
        let run = tokio::spawn(collector.run(watch.changes(), ended));
        let mut steps = Vec::new();
        while let Some(outgoing) = sent.recv().await {
            if let Message::Report(report) = outgoing.message() {
                steps.push((report.step, report.metrics.as_ref().and_then(|m| m.get("loss")).unwrap_or(-1.0)));
            }
        }
        Read { steps, summary: run.await.expect("ends").0 }
    }

    #[tokio::test]
    async fn a_file_that_a_trial_makes_late_is_read_when_it_comes() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("stdout.log"), "::metric step=1 loss=1\n").expect("writes");
        let key = Key { trial: TrialId { sweep: SweepId::mint(1, 1), number: 0 }, attempt: 1 };
        let held = Arc::new(Held::new(key, AttemptDir::at(root.path().to_owned())));
        let (outbox, mut sent) = Outbox::new();
        let watch = Watcher::start().watch(root.path());
        let collector = Collector::new(held, outbox, vec!["loss".into()], LOG_LIMIT, Word::Counts);
        let (_ended, ended) = watch::channel(false);
        let run = tokio::spawn(collector.run(watch.changes().when_told(), ended));
        let first = sent.recv().await.expect("a report");
        assert!(matches!(first.message(), Message::Report(report) if report.step == 1));
        std::fs::write(root.path().join("metrics.jsonl"), "{\"step\":2,\"loss\":1}\n").expect("writes");
        let second = sent.recv().await.expect("a report");
        assert!(matches!(second.message(), Message::Report(report) if report.step == 2));
        run.abort();
    }

    #[tokio::test]
    async fn lines_without_a_step_count_on_and_steps_that_go_back_are_ignored() {
        let read = collect(&[(
            "stdout.log",
            b"hello\n::metric loss=1\n::metric loss=2\n::metric step=9 loss=3\n::metric step=4 loss=4\n::metric loss=5",
        )])
        .await;
        assert_eq!(read.steps, [(1, 1.0), (2, 2.0), (9, 3.0), (10, 5.0)]);
        assert_eq!((read.summary.repeated, read.summary.last_step), (1, Some(10)));
        assert!(read.summary.objective_seen);
    }

    #[tokio::test]
    async fn garbage_is_counted_and_shown_and_breaks_nothing() {
        let mut garbage = b"\x00\xff\xfe::metric\n::metric \xff\n::metric loss\n\n".to_vec();
        garbage.extend_from_slice(b"epoch 1 loss: 0.5\r::metric step=1 loss=0.5\n");
        garbage.extend(std::iter::repeat_n(b'x', 300_000));
        garbage.extend_from_slice(b"\n::metric step=2 loss=inf\n");
        let read =
            collect(&[("stdout.log", &garbage), ("metrics.jsonl", b"nonsense\n{\"step\":3,\"loss\":7}\n\n")]).await;
        assert_eq!(read.steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((read.summary.unreadable, read.summary.too_long, read.summary.repeated), (3, 1, 1));
        assert_eq!(read.summary.nearly, ["epoch 1 loss: 0.5"]);
        assert!(read.summary.unreadable_examples[1].contains("::metric loss"), "{:?}", read.summary);
    }

    #[tokio::test]
    async fn several_files_are_merged_by_step_and_each_keeps_its_order() {
        let read = collect(&[
            ("stdout.log", b"::metric step=2 loss=2\n::metric step=5 loss=5\n::metric step=4 loss=0\n"),
            ("metrics.jsonl", b"{\"step\":3,\"loss\":3}\n"),
            ("reports.jsonl", b"{\"step\":1,\"loss\":1}\n{\"step\":6,\"loss\":6}\n"),
        ])
        .await;
        assert_eq!(read.steps, [(1, 1.0), (2, 2.0), (3, 3.0), (5, 5.0), (6, 6.0)]);
        assert_eq!(read.summary.repeated, 1);
    }

    #[tokio::test]
    async fn a_million_lines_arrive_while_a_thousand_are_in_memory() {
        let mut text = Vec::new();
        for step in 1..=1_000_000 {
            text.extend_from_slice(format!("::metric step={step} loss={step}\n").as_bytes());
        }
        let read = collect(&[("stdout.log", &text)]).await;
        assert_eq!(read.steps.len(), 1_000_000);
        assert!(read.steps.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    }
}
