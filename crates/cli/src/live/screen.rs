//! Progress on a terminal: a bar, the best so far, what runs and what was stopped, redrawn in place.

use std::time::{Duration, Instant};

use heats_wire::v1;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::{Progress, done};
use crate::{view, words};

/// The live view.
#[derive(Debug)]
pub(super) struct Screen {
    progress: Progress,
    all: MultiProgress,
    bar: ProgressBar,
    best: ProgressBar,
    counts: ProgressBar,
    note: ProgressBar,
}

/// A template that this version of the library cannot read would lose the line's looks, not the line.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Screen {
    pub(super) fn new() -> Self {
        let all = MultiProgress::new();
        let line = || all.add(ProgressBar::new(0).with_style(style("  {msg:.dim}")));
        let bar = all.add(ProgressBar::new(0).with_style(
            style("{spinner:.cyan} {prefix:.bold} {wide_bar:.cyan/dim} {pos}/{len} {msg}").progress_chars("━╸─"),
        ));
        let (best, counts, note) = (line(), line(), line());
        best.set_style(style("  best {msg:.green}"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { progress: Progress::new(), all, bar, best, counts, note }
    }

    pub(super) fn update(&mut self, sweep: &v1::Sweep, now: Instant) {
        self.progress.update(sweep, now);
        self.bar.set_prefix(sweep.name.clone());
        self.bar
            .set_length(u64::from(view::planned(sweep).unwrap_or_else(|| sweep.counts.unwrap_or_default().created)));
        self.bar.set_position(u64::from(done(sweep)));
        let eta = self
            .progress
            .eta(sweep, now)
            .map_or_else(String::new, |eta| format!("{} left", words::duration(eta.as_millis() as u64)));
        self.bar.set_message(match sweep.status() {
            v1::SweepStatus::Running => eta,
            status @ (v1::SweepStatus::Paused
            | v1::SweepStatus::Draining
            | v1::SweepStatus::Finished
            | v1::SweepStatus::Stopped
            | v1::SweepStatus::Failed
            | v1::SweepStatus::Cancelled) => view::status(status).to_owned(),
        });
        self.best.set_message(self.progress.best(sweep).unwrap_or_else(|| "none yet".into()));
        self.counts.set_message(Progress::counts(sweep));
    }

    /// A line that stays above the view.
    pub(super) fn say(&self, line: &str) {
        // Where the terminal is gone there is nobody to tell.
        let _ = self.all.println(line);
    }

    /// A line below the view, until the next one; empty for none.
    pub(super) fn note(&self, line: &str) {
        self.note.set_message(line.to_owned());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.disable_steady_tick();
        // The summary says it all again.
        let _ = self.all.clear();
    }
}
