//! Progress where no terminal is: a line for a new best at once, and one every few seconds while something changes.

use std::time::{Duration, Instant};

use heats_wire::v1;

use super::progress::{Progress, done};
use crate::hints::note;
use crate::words;

const EVERY: Duration = Duration::from_secs(2);

/// Plain lines on standard error.
#[derive(Debug)]
pub(super) struct Plain {
    progress: Progress,
    said: Option<(Instant, String)>,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { progress: Progress::new(), said: None }
    }

    pub(super) fn update(&mut self, sweep: &v1::Sweep, now: Instant) {
        let new_best = self.progress.update(sweep, now);
        if let (true, Some(best)) = (new_best, self.progress.best(sweep)) {
            note(&format!("new best: {best}"));
        }
        let total = sweep.trials_max.map_or_else(String::new, |total| format!("/{total}"));
        let line = format!("{}{total} done, {}", done(sweep), Progress::counts(sweep));
        let due = self.said.as_ref().is_none_or(|(at, before)| now.duration_since(*at) >= EVERY && *before != line);
        if due {
            let eta = self
                .progress
                .eta(sweep, now)
                .map_or_else(String::new, |eta| format!(", about {} left", words::duration(eta.as_millis() as u64)));
            note(&format!("{line}{eta}"));
            self.said = Some((now, line));
        }
    }

    pub(super) fn say(&self, line: &str) {
        note(line);
    }
}
