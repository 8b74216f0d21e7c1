//! Progress where no terminal is: a line for a new best at once, and one every few seconds while something changes.

use std::time::{Duration, Instant};

use heats_wire::v1;

use super::progress::{Progress, done};
use crate::hints::note;
use crate::{view, words};

const EVERY: Duration = Duration::from_secs(2);
/// A trial that gets better with every step is one piece of news, not thirty.
const SAME_TRIAL_EVERY: Duration = Duration::from_secs(5);

/// Plain lines on standard error.
#[derive(Debug)]
pub(super) struct Plain {
    progress: Progress,
    said: Option<(Instant, String)>,
    best: Option<(Instant, u32)>,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { progress: Progress::new(), said: None, best: None }
    }

    pub(super) fn update(&mut self, sweep: &v1::Sweep, now: Instant) {
        let new_best = self.progress.update(sweep, now);
        if let (true, Some(trial), Some(best)) = (new_best, sweep.best.first(), self.progress.best(sweep)) {
            let confirmed = view::winner(sweep).is_some();
            let due = confirmed
                || self.best.is_none_or(|(at, of)| of != trial.number || now.duration_since(at) >= SAME_TRIAL_EVERY);
            if due {
                // What was there before this view began is no news.
                let what = match (confirmed, &self.said) {
                    (true, _) => "confirmed best",
                    (false, None) => "best so far",
                    (false, Some(_)) => "new best",
                };
                note(&format!("{what}: {best}"));
                self.best = Some((now, trial.number));
            }
        }
        let total = view::planned(sweep).map_or_else(String::new, |total| format!("/{total}"));
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
