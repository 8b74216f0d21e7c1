//! How far a sweep is, in words: what both views show.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use heats_domain::spec::Objective;
use heats_wire::v1;

use crate::{view, words};

/// What is known about a sweep's progress.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    objective: Option<Objective>,
    resource: String,
    began: Option<(Instant, u32)>,
    /// The best trial and its value; of several objectives, the first of the front. Its volume would be news whenever a trial is
    /// worse than all.
    best: Vec<(u32, u64)>,
}

impl Progress {
    /// Before anything is known.
    pub(super) fn new() -> Self {
        Self { objective: None, resource: "step".into(), began: None, best: Vec::new() }
    }

    /// Takes a summary in. Whether there is a new best.
    pub(super) fn update(&mut self, sweep: &v1::Sweep, now: Instant) -> bool {
        if self.objective.is_none() {
            self.objective = view::objective(sweep);
            self.resource = resource(sweep);
        }
        // The time before the first trial runs (an environment is made) is not the trials' pace.
        if self.began.is_none() && sweep.counts.unwrap_or_default().running > 0 {
            self.began = Some((now, done(sweep)));
        }
        let mean = view::winner(sweep).map(|(_, mean)| mean);
        let value = |best: &v1::TrialSummary| Some((best.number, mean.or(best.value)?.to_bits()));
        let best: Vec<(u32, u64)> = sweep.best.iter().filter_map(value).collect();
        let is_new = !best.is_empty() && best != self.best;
        self.best = best;
        is_new
    }

    /// How much longer it will take at the pace since this view began.
    pub(super) fn eta(&self, sweep: &v1::Sweep, now: Instant) -> Option<Duration> {
        let (began, at_first) = self.began?;
        let new = done(sweep).checked_sub(at_first).filter(|new| *new >= 2)?;
        let left = view::planned(sweep)?.checked_sub(done(sweep)).filter(|left| *left > 0)?;
        (sweep.status() == v1::SweepStatus::Running)
            .then(|| now.duration_since(began).mul_f64(f64::from(left) / f64::from(new)))
    }

    /// `val_accuracy 0.975 at epoch 27 (trial 14: lr=0.01 opt=adamw)`
    pub(super) fn best(&self, sweep: &v1::Sweep) -> Option<String> {
        if let Some(front) = &sweep.front {
            return Some(format!("front of {}", view::front_short(front)));
        }
        let objective = self.objective.as_ref()?;
        let best = sweep.best.first()?;
        // Writing to a string cannot fail.
        let mut text = format!("{} ", objective.metric());
        if let Some((confirmed, mean)) = view::winner(sweep) {
            let _ = write!(text, "{}, the mean of {}", words::short(mean), fresh_runs(confirmed));
        } else {
            text.push_str(&words::short(best.value?));
            if let Some(step) = best.value_step {
                let _ = write!(text, " at {} {step}", self.resource);
            }
        }
        let _ = write!(text, " (trial {}", best.number);
        if let Some(params) = best.params.as_ref().filter(|params| !params.is_empty()) {
            let _ = write!(text, ": {}", params_short(params));
        }
        text.push(')');
        Some(text)
    }

    /// `2 running, stopped at rung 1: 5, rung 3: 2, 1 failed`
    pub(super) fn counts(sweep: &v1::Sweep) -> String {
        let counts = sweep.counts.unwrap_or_default();
        let mut parts = vec![format!("{} running", counts.running)];
        // Leased for longer than a moment means that an environment is being made.
        if counts.leased > 0 {
            parts.push(format!("{} starting", counts.leased));
        }
        if counts.waiting > 0 {
            parts.push(format!("{} waiting", counts.waiting));
        }
        if counts.paused > 0 {
            parts.push(format!("{} paused", counts.paused));
        }
        if counts.stopped > 0 {
            parts.push(format!("stopped {}", stopped(sweep)));
        }
        for (number, what) in
            [(counts.failed, "failed"), (counts.infeasible, "infeasible"), (counts.cancelled, "cancelled")]
        {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        parts.join(", ")
    }
}

/// What a step counts.
pub(super) fn resource(sweep: &v1::Sweep) -> String {
    view::spec(sweep).and_then(|spec| spec.early_stop.resource).unwrap_or_else(|| "step".into())
}

/// `3 fresh runs, 95 % interval 0.28 to 0.33`
pub(crate) fn fresh_runs(confirmed: &v1::Confirmed) -> String {
    let v1::Confirmed { mean: _, low, high, runs, of } = *confirmed;
    let lacking = if runs < of { format!(" of {of}") } else { String::new() };
    let interval = low.zip(high).map_or_else(String::new, |(low, high)| {
        format!(", 95 % interval {} to {}", words::short(low), words::short(high))
    });
    let noun = if of == 1 { "fresh run" } else { "fresh runs" };
    format!("{runs}{lacking} {noun}{interval}")
}

/// How many trials are over.
pub(super) fn done(sweep: &v1::Sweep) -> u32 {
    let counts = sweep.counts.unwrap_or_default();
    counts.completed + counts.stopped + counts.failed + counts.infeasible + counts.cancelled
}

/// `at rung 1: 30, rung 3: 8`; `by threshold: 3` for rules without rungs.
pub(super) fn stopped(sweep: &v1::Sweep) -> String {
    let mut rungs: Vec<&v1::RuleCount> = sweep.stopped_by.iter().collect();
    rungs.sort_by_key(|count| (count.rung, count.rule.clone()));
    let parts: Vec<String> = rungs
        .into_iter()
        .map(|v1::RuleCount { rule, rung, trials }| match rung {
            0 => format!("by {rule}: {trials}"),
            rung => format!("at rung {rung}: {trials}"),
        })
        .collect();
    if parts.is_empty() { sweep.counts.unwrap_or_default().stopped.to_string() } else { parts.join(", ") }
}

/// Parameters with numbers shortened.
fn params_short(params: &heats_domain::Params) -> String {
    let parts: Vec<String> = params
        .iter()
        .map(|(name, value)| match value {
            heats_domain::Value::Float(number) => format!("{name}={}", words::short(*number)),
            heats_domain::Value::Bool(_) | heats_domain::Value::Int(_) | heats_domain::Value::Str(_) => {
                format!("{name}={value}")
            }
        })
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(completed: u32, best: Option<f64>) -> v1::Sweep {
        let best = best.map(|value| v1::TrialSummary {
            number: 4,
            value: Some(value),
            value_step: Some(9),
            params: Some([("lr", heats_domain::Value::Float(0.012_345_678))].into_iter().collect()),
            ..Default::default()
        });
        v1::Sweep {
            spec: r#"{"command":["a"],"objective":{"maximize":"acc"},"early_stop":{"algorithm":"asha","resource":"epoch"}}"#.into(),
            trials_max: Some(60),
            counts: Some(v1::Counts { completed, running: 2, stopped: 7, failed: 1, ..Default::default() }),
            stopped_by: vec![
                v1::RuleCount { rule: "asha".into(), rung: 3, trials: 2 },
                v1::RuleCount { rule: "asha".into(), rung: 1, trials: 5 },
            ],
            best: best.into_iter().collect(),
            ..Default::default()
        }
    }

    #[test]
    fn progress_names_rungs_failures_and_the_best() {
        let mut progress = Progress::new();
        let now = Instant::now();
        assert!(!progress.update(&sweep(0, None), now));
        let later = sweep(10, Some(0.975));
        assert!(progress.update(&later, now));
        assert!(!progress.update(&later, now), "the same best is not new");
        assert_eq!(Progress::counts(&later), "2 running, stopped at rung 1: 5, at rung 3: 2, 1 failed");
        assert_eq!(progress.best(&later).as_deref(), Some("acc 0.975 at epoch 9 (trial 4: lr=0.0123457)"));
    }

    #[test]
    fn of_several_objectives_another_front_is_new() {
        let front = |size, hypervolume| v1::Sweep {
            front: Some(v1::Front { size, worst: vec![1.0, 2.0], hypervolume: Some(hypervolume) }),
            best: vec![v1::TrialSummary { value: Some(0.5), ..Default::default() }; size as usize],
            ..sweep(10, None)
        };
        let mut progress = Progress::new();
        let now = Instant::now();
        assert!(progress.update(&front(2, 1.0), now));
        assert!(!progress.update(&front(2, 1.5), now), "one that is worse than all is no news");
        assert!(progress.update(&front(3, 1.5), now));
        assert_eq!(progress.best(&front(3, 1.5)).as_deref(), Some("front of 3 trials, hypervolume 1.5"));
    }

    #[test]
    fn the_time_left_follows_from_the_pace_since_the_view_began() {
        let mut progress = Progress::new();
        let began = Instant::now();
        // 8 are over already: the pace before is not this view's.
        progress.update(&sweep(0, None), began);
        let now = began + Duration::from_secs(20);
        assert_eq!(progress.eta(&sweep(1, None), now), None, "too early to say");
        // 10 new in 20 s, 42 left.
        assert_eq!(progress.eta(&sweep(10, None), now), Some(Duration::from_secs(84)));
        assert_eq!(progress.eta(&sweep(52, None), now), None, "none is left");
    }
}
