//! What all agents were told, so that it can be seen whether it fits together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use heats_wire::v1::AttemptKey;
use serde_json::Value;

use super::agent::loss;
use crate::latency::Latencies;

/// What is known of the sweep that runs.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: Mutex<Seen>,
}

/// What agents saw of one sweep.
#[derive(Debug, Default)]
pub(super) struct Seen {
    trials: BTreeMap<u32, Life>,
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
    /// The last step that it reported.
    pub(super) said: u64,
    /// The last step that was judged before it was stopped, or ended.
    pub(super) judged: u64,
    pub(super) stopped: bool,
    /// From each report to its verdict.
    pub(super) took: Vec<Duration>,
}

impl Ledger {
    /// An agent was told to run an attempt.
    ///
    /// # Errors
    /// Where another one runs it, or it has run.
    pub(super) fn leased(&self, key: AttemptKey) -> Result<()> {
        let mut seen = self.lock();
        let life = Life { attempt: key.attempt, end: None };
        match seen.trials.insert(key.trial, life) {
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
        let life = seen.trials.get_mut(&key.trial).context("an attempt ended that nobody began")?;
        ensure!(life.attempt == key.attempt && life.end.is_none(), "an attempt of trial {} ended twice", key.trial);
        life.end = Some(end);
        Ok(())
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
    /// Whether the cluster's trials are those that the agents ran, with the same reports and ends.
    ///
    /// # Errors
    /// Where they are not, with the first that differs.
    pub(super) fn agrees(&self, listed: &[Value], reports: u64) -> Result<()> {
        ensure!(self.trials.len() == listed.len(), "{} trials ran, {} are listed", self.trials.len(), listed.len());
        for trial in listed {
            let number = trial["number"].as_u64().context("a number")?;
            let number = u32::try_from(number).context("a number of 32 bits")?;
            let life = self.trials.get(&number).with_context(|| format!("nobody ran trial {number}"))?;
            let Life { attempt: _, end } = life;
            let End { said, judged, stopped, took: _ } =
                end.as_ref().with_context(|| format!("trial {number} runs"))?;
            let (state, last) = (trial["state"].as_str().unwrap_or_default(), trial["last_step"].as_u64().unwrap_or(0));
            ensure!(state == if *stopped { "stopped" } else { "completed" }, "trial {number} is {state}: {end:?}");
            ensure!(*stopped || *said == reports, "trial {number} ended by itself after {said} reports");
            ensure!((*judged..=*said).contains(&last), "trial {number} is at {last}: {end:?}");
            let value = trial["value"].as_f64().unwrap_or(f64::NAN);
            ensure!(value == loss(number, last), "trial {number} has {value} at {last}, not {}", loss(number, last));
        }
        Ok(())
    }
}
