//! What all agents were told, so that it can be seen whether it fits together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heats_domain::SweepId;
use heats_wire::v1::AttemptKey;
use serde_json::Value;
use tokio::sync::watch;

use crate::latency::Latencies;

/// What is known of the sweep that runs.
#[derive(Debug)]
pub(super) struct Ledger {
    begun: Instant,
    seen: Mutex<Seen>,
    /// The last lease.
    leased: watch::Sender<Option<(SweepId, Instant)>>,
}

/// What agents saw of one sweep.
#[derive(Debug, Default)]
pub(super) struct Seen {
    trials: BTreeMap<(SweepId, u32), Life>,
    took: Vec<Duration>,
    pub(super) reports: u64,
    pub(super) verdicts: Latencies,
}

/// A trial, as the agents know it.
#[derive(Debug)]
struct Life {
    attempt: u32,
    end: Option<End>,
}

/// How a trial's attempt ended.
#[derive(Debug)]
pub(super) struct End {
    /// What it reported, step by step.
    pub(super) said: Vec<f64>,
    /// The last step that was judged before it was stopped, or ended.
    pub(super) judged: u64,
    pub(super) stopped: bool,
    /// From each report to its verdict.
    pub(super) took: Vec<Duration>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), seen: Mutex::default(), leased: watch::Sender::default() }
    }

    /// A loss that is smaller than all before.
    pub(super) fn loss(&self) -> f64 {
        -self.begun.elapsed().as_secs_f64()
    }

    /// An agent was told to run an attempt.
    ///
    /// # Errors
    /// Where another one runs it, or it has run.
    pub(super) fn leased(&self, key: AttemptKey) -> Result<()> {
        let sweep = key.sweep.context("an attempt of a sweep")?;
        self.leased.send_replace(Some((sweep, Instant::now())));
        let life = Life { attempt: key.attempt, end: None };
        match self.lock().trials.insert((sweep, key.trial), life) {
            None => Ok(()),
            Some(before) => {
                bail!("trial {} was leased as attempt {} and as {}", key.trial, before.attempt, key.attempt)
            }
        }
    }

    /// The end of an attempt was acknowledged.
    ///
    /// # Errors
    /// Where it was not running.
    pub(super) fn ended(&self, key: AttemptKey, end: End) -> Result<()> {
        let mut seen = self.lock();
        seen.reports += end.took.len() as u64;
        seen.took.extend(&end.took);
        let sweep = key.sweep.context("an attempt of a sweep")?;
        let life = seen.trials.get_mut(&(sweep, key.trial)).context("an attempt ended that nobody began")?;
        ensure!(life.attempt == key.attempt && life.end.is_none(), "an attempt of trial {} ended twice", key.trial);
        life.end = Some(end);
        Ok(())
    }

    /// The last lease, as leases come.
    pub(super) fn leases(&self) -> watch::Receiver<Option<(SweepId, Instant)>> {
        self.leased.subscribe()
    }

    /// Whether nothing runs that the agents know of.
    pub(super) fn all_ended(&self) -> bool {
        self.lock().trials.values().all(|life| life.end.is_some())
    }

    /// What was seen of a sweep that has ended after `wall`.
    pub(super) fn take(&self, wall: Duration) -> Seen {
        let mut seen = std::mem::take(&mut *self.lock());
        seen.verdicts = Latencies::of(std::mem::take(&mut seen.took), wall);
        seen
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether so many trials were run, each to its end, and were stopped or made all their reports; how many were stopped.
    ///
    /// # Errors
    /// Where they were not.
    pub(super) fn whole(&self, trials: u64, reports: u64) -> Result<u64> {
        ensure!(self.trials.len() as u64 == trials, "{} trials of {trials} ran", self.trials.len());
        let mut stopped = 0;
        for ((_, number), life) in &self.trials {
            let end = life.end.as_ref().with_context(|| format!("trial {number} runs"))?;
            let said = end.said.len() as u64;
            ensure!(end.stopped || said == reports, "trial {number} ended by itself after {said} reports");
            stopped += u64::from(end.stopped);
        }
        Ok(stopped)
    }

    /// Whether the cluster's trials are those that the agents ran, with the same reports and ends.
    ///
    /// # Errors
    /// Where they are not, with the first that differs.
    pub(super) fn agrees(&self, listed: &[Value], reports: u64) -> Result<()> {
        ensure!(self.trials.len() == listed.len(), "{} trials ran, {} are listed", self.trials.len(), listed.len());
        let lives: BTreeMap<u32, &Life> = self.trials.iter().map(|((_, number), life)| (*number, life)).collect();
        for trial in listed {
            let number = trial["number"].as_u64().context("a number")?;
            let number = u32::try_from(number).context("a number of 32 bits")?;
            let Life { attempt: _, end } = lives.get(&number).with_context(|| format!("nobody ran trial {number}"))?;
            let End { said, judged, stopped, took: _ } =
                end.as_ref().with_context(|| format!("trial {number} runs"))?;
            let (state, last) = (trial["state"].as_str().unwrap_or_default(), trial["last_step"].as_u64().unwrap_or(0));
            ensure!(state == if *stopped { "stopped" } else { "completed" }, "trial {number} is {state}: {end:?}");
            let made = said.len() as u64;
            ensure!(*stopped || made == reports, "trial {number} ended by itself after {made} reports");
            ensure!((*judged..=made).contains(&last), "trial {number} is at {last}: {end:?}");
            let told = last.checked_sub(1).and_then(|place| said.get(place as usize)).copied();
            ensure!(trial["value"].as_f64() == told, "trial {number} has {} at {last}, not {told:?}", trial["value"]);
        }
        Ok(())
    }
}
