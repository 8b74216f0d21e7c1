//! A ladder on which trials hold at each rung until they are promoted: what the rules that pause share.
//!
//! Successive halving in its promoting form, asynchronously: Li et al., "A System for Massively Parallel Hyperparameter
//! Tuning", MLSys 2020, algorithm 2. Of the `n` trials that came to a rung, the best `n / eta` may go on. Whenever a place is
//! free, the rungs are looked through from the highest down, and the best trial that may go on and has not is promoted.
//!
//! On purpose different from there: a trial that may go on in the moment in which it comes to a rung does so without holding,
//! which saves an end and a start of its process; and a report may jump over rungs, which stay empty for that trial.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{Direction, StopReason};

use crate::ranked::tidy;
use crate::{Event, Judged, Promotion, Verdict};

/// The ladder, and where every trial stands on it.
#[derive(Debug)]
pub struct Climb {
    rule: &'static str,
    direction: Direction,
    eta: f64,
    /// A trial that reached this step completes by itself.
    max: Option<u64>,
    rungs: Vec<Rung>,
    /// Nobody goes on from this rung, counted from 0, or a higher one.
    ceiling: usize,
    /// For each trial that is under way, how many rungs it has come to or jumped over.
    passed: BTreeMap<u32, usize>,
    /// Trials that hold, at the last rung that they came to.
    holding: BTreeSet<u32>,
}

/// One rung, and who came to it.
#[derive(Debug)]
pub struct Rung {
    /// Its step.
    pub at: u64,
    /// Losses and trials, the best first, and of those that are alike the one that came first.
    pub standing: Vec<(f64, u32)>,
    gone_on: BTreeSet<u32>,
}

impl Rung {
    /// Where `loss` would come in the standing, from 0.
    fn place(&self, loss: f64) -> usize {
        self.standing.partition_point(|(other, _)| *other <= loss)
    }
}

/// How many of `trials` at a rung may go on.
fn open(trials: usize, eta: f64) -> usize {
    (trials as f64 / eta) as usize
}

impl Climb {
    /// As the rule of this name, with rungs at `steps`, ascending, below `max`.
    pub fn new(rule: &'static str, direction: Direction, eta: f64, steps: &[u64], max: Option<u64>) -> Self {
        let rung = |at: &u64| Rung { at: *at, standing: Vec::new(), gone_on: BTreeSet::new() };
        let rungs: Vec<Rung> = steps.iter().map(rung).collect();
        Self {
            rule,
            direction,
            eta,
            max,
            ceiling: rungs.len(),
            rungs,
            passed: BTreeMap::new(),
            holding: BTreeSet::new(),
        }
    }

    /// Nobody goes on from the rung `ceiling`, from 0, or a higher one.
    pub fn set_ceiling(&mut self, ceiling: usize) {
        self.ceiling = ceiling;
    }

    /// See [`Climb::set_ceiling`].
    pub const fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// The rungs, the lowest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// The rung that a report at `step` is the trial's first at, where it is: the highest, if it jumps.
    pub fn reached(&self, trial: u32, step: u64) -> Option<usize> {
        if self.max.is_some_and(|max| step >= max) {
            return None;
        }
        let next = self.passed.get(&trial).copied().unwrap_or(0);
        let reached = self.rungs.partition_point(|rung| rung.at <= step);
        reached.checked_sub(1).filter(|rung| *rung >= next)
    }

    /// Whether a trial that comes to `rung` with `loss` may go on at once.
    fn goes_on(&self, rung: usize, loss: f64) -> bool {
        let at = &self.rungs[rung];
        rung < self.ceiling && at.place(loss) < open(at.standing.len() + 1, self.eta)
    }

    /// Takes one event in.
    pub fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { .. } | Event::Forked { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest: _ } => {
                if let Some(rung) = self.reached(trial, step) {
                    let loss = tidy(loss);
                    let goes_on = self.goes_on(rung, loss);
                    let at = &mut self.rungs[rung];
                    at.standing.insert(at.place(loss), (loss, trial));
                    if goes_on {
                        at.gone_on.insert(trial);
                    }
                    self.passed.insert(trial, rung + 1);
                }
            }
            Event::Paused { trial, .. } => {
                self.holding.insert(trial);
            }
            Event::Resumed { trial } => {
                self.holding.remove(&trial);
                let last = self.passed.get(&trial).and_then(|passed| passed.checked_sub(1));
                if let Some(rung) = last.and_then(|last| self.rungs.get_mut(last)) {
                    rung.gone_on.insert(trial);
                }
            }
            Event::Ended { trial, .. } => {
                self.holding.remove(&trial);
                self.passed.remove(&trial);
            }
        }
    }

    /// A trial holds at each rung, unless it may go on at once.
    pub fn judge(&self, report: Judged<'_>) -> Verdict {
        let Some(rung) = self.reached(report.trial, report.step) else { return Verdict::Continue };
        let loss = tidy(report.loss);
        if self.goes_on(rung, loss) {
            return Verdict::Continue;
        }
        let Rung { at, standing, .. } = &self.rungs[rung];
        let (rank, peers) = (self.rungs[rung].place(loss), standing.len() + 1);
        // The worst loss with which it would have been among those that may go on.
        let cutoff = open(peers, self.eta).checked_sub(1).and_then(|last| standing.get(last));
        Verdict::Pause(StopReason {
            rule: self.rule.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: Some(*at),
            rank: Some(rank as u64 + 1),
            peers: Some(peers as u64),
            cutoff: cutoff.map(|(loss, _)| self.direction.value(*loss)),
            winner: None,
        })
    }

    /// The best trial at the highest rung from which one may go on that holds.
    pub fn promotion(&self) -> Option<Promotion> {
        self.rungs.iter().take(self.ceiling).rev().find_map(|rung| {
            let open = open(rung.standing.len(), self.eta);
            let mut first = rung.standing.iter().take(open).enumerate();
            let (place, (loss, trial)) =
                first.find(|(_, (_, trial))| self.holding.contains(trial) && !rung.gone_on.contains(trial))?;
            let reason = StopReason {
                rule: self.rule.to_owned(),
                step: rung.at,
                value: self.direction.value(*loss),
                rung: Some(rung.at),
                rank: Some(place as u64 + 1),
                peers: Some(rung.standing.len() as u64),
                cutoff: rung.standing.get(open - 1).map(|(loss, _)| self.direction.value(*loss)),
                winner: None,
            };
            Some(Promotion { trial: *trial, reason })
        })
    }
}
