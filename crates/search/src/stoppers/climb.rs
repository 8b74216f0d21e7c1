//! A ladder on which trials hold at each rung until they are promoted: what the rules that pause share.
//!
//! Successive halving in its promoting form, asynchronously: Li et al., "A System for Massively Parallel Hyperparameter
//! Tuning", MLSys 2020, algorithm 2. Of the `n` trials that came to a rung, the best `n / eta` may go on. Whenever a place is
//! free, the rungs are looked through from the highest down, and the best trial that may go on and has not is promoted.
//!
//! On purpose different from there: a trial that may go on in the moment in which it comes to a rung does so without holding,
//! which saves an end and a start of its process; and a report may jump over rungs, which stay empty for that trial.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heats_domain::{Direction, StopReason};

use crate::blocks::Blocks;
use crate::ranked::{order, tidy};
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
    /// Where each trial that is under way came last, by its number: these are given one after the other.
    seats: Vec<Option<Seat>>,
}

/// One rung, and who came to it.
#[derive(Debug)]
pub struct Rung {
    /// Its step.
    pub at: u64,
    /// The best first, and of those that are alike the one that came first.
    pub standing: Blocks<Stand>,
    /// Those who hold here, the best at the top, and among the others some that hold no more.
    holding: BinaryHeap<Reverse<((u64, u32), u32)>>,
}

/// A trial at a rung.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stand {
    /// Its loss there.
    pub loss: f64,
    /// Its number.
    pub trial: u32,
    /// How many came there before it.
    arrival: u32,
}

impl Stand {
    /// What the standing is ordered by.
    pub fn key(self) -> (u64, u32) {
        (order(self.loss), self.arrival)
    }
}

/// The last rung that a trial came to, counted from 0: those below it are behind it.
#[derive(Clone, Copy, Debug)]
struct Seat {
    rung: usize,
    stand: Stand,
    /// It goes on from there, or has.
    is_through: bool,
}

/// How many of `trials` at a rung may go on.
fn open(trials: usize, eta: f64) -> usize {
    (trials as f64 / eta) as usize
}

impl Climb {
    /// As the rule of this name, with rungs at `steps`, ascending, below `max`.
    pub fn new(rule: &'static str, direction: Direction, eta: f64, steps: &[u64], max: Option<u64>) -> Self {
        let rung = |at: &u64| Rung { at: *at, standing: Blocks::default(), holding: BinaryHeap::new() };
        let rungs: Vec<Rung> = steps.iter().map(rung).collect();
        Self { rule, direction, eta, max, ceiling: rungs.len(), rungs, seats: Vec::new() }
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
        let next = self.seat(trial).map_or(0, |(rung, _)| rung + 1);
        let reached = self.rungs.partition_point(|rung| rung.at <= step);
        reached.checked_sub(1).filter(|rung| *rung >= next)
    }

    /// Where the trial came last: the rung, counted from 0, and how it stands there.
    pub fn seat(&self, trial: u32) -> Option<(usize, Stand)> {
        self.seats.get(trial as usize)?.map(|seat| (seat.rung, seat.stand))
    }

    /// Whether a trial that comes to `rung` at this place, of so many with it, may go on at once.
    fn goes_on(&self, rung: usize, place: usize, peers: usize) -> bool {
        rung < self.ceiling && place < open(peers, self.eta)
    }

    /// Takes one event in.
    pub fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { .. } | Event::Forked { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest: _ } => {
                if let Some(rung) = self.reached(trial, step) {
                    let loss = tidy(loss);
                    let standing = &mut self.rungs[rung].standing;
                    let stand = Stand { loss, trial, arrival: standing.len() as u32 };
                    let place = standing.insert(stand, |other| other.loss <= loss);
                    let peers = standing.len();
                    let is_through = self.goes_on(rung, place, peers);
                    let number = trial as usize;
                    self.seats.resize(self.seats.len().max(number + 1), None);
                    self.seats[number] = Some(Seat { rung, stand, is_through });
                }
            }
            Event::Paused { trial, .. } => {
                let seat = self.seats.get(trial as usize).copied().flatten();
                if let Some(Seat { rung, stand, is_through: false }) = seat {
                    self.rungs[rung].holding.push(Reverse((stand.key(), trial)));
                }
            }
            Event::Resumed { trial } => {
                if let Some(Some(Seat { rung, stand: _, is_through })) = self.seats.get_mut(trial as usize) {
                    *is_through = true;
                    let rung = *rung;
                    self.clear_top(rung);
                }
            }
            Event::Ended { trial, .. } => {
                if let Some(Seat { rung, .. }) = self.seats.get_mut(trial as usize).and_then(Option::take) {
                    self.clear_top(rung);
                }
            }
        }
    }

    /// Whoever is at the top of those who hold at the rung holds there.
    fn clear_top(&mut self, rung: usize) {
        let Self { rungs, seats, .. } = self;
        let holds = |key: &(u64, u32), trial: u32| {
            let seat = seats.get(trial as usize).copied().flatten();
            seat.is_some_and(|seat| seat.rung == rung && seat.stand.key() == *key && !seat.is_through)
        };
        let holding = &mut rungs[rung].holding;
        while holding.peek().is_some_and(|Reverse((key, trial))| !holds(key, *trial)) {
            holding.pop();
        }
    }

    /// A trial holds at each rung, unless it may go on at once.
    pub fn judge(&self, report: Judged<'_>) -> Verdict {
        let Some(rung) = self.reached(report.trial, report.step) else { return Verdict::Continue };
        let loss = tidy(report.loss);
        let Rung { at, standing, holding: _ } = &self.rungs[rung];
        let (rank, peers) = (standing.place(|other| other.loss <= loss), standing.len() + 1);
        if self.goes_on(rung, rank, peers) {
            return Verdict::Continue;
        }
        // The worst loss with which it would have been among those that may go on.
        let cutoff = open(peers, self.eta).checked_sub(1).and_then(|last| standing.get(last));
        Verdict::Pause(StopReason {
            rule: self.rule.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: Some(*at),
            rank: Some(rank as u64 + 1),
            peers: Some(peers as u64),
            cutoff: cutoff.map(|stand| self.direction.value(stand.loss)),
            winner: None,
        })
    }

    /// The best trial at the highest rung from which one may go on that holds.
    pub fn promotion(&self) -> Option<Promotion> {
        self.rungs.iter().take(self.ceiling).rev().find_map(|rung| {
            let open = open(rung.standing.len(), self.eta);
            let Reverse((key, trial)) = rung.holding.peek()?;
            // The last that may go on is no better than it.
            let last = rung.standing.get(open.checked_sub(1)?).filter(|last| *key <= last.key())?;
            let place = rung.standing.place(|other| other.key() < *key);
            let loss = rung.standing.get(place)?.loss;
            let reason = StopReason {
                rule: self.rule.to_owned(),
                step: rung.at,
                value: self.direction.value(loss),
                rung: Some(rung.at),
                rank: Some(place as u64 + 1),
                peers: Some(rung.standing.len() as u64),
                cutoff: Some(self.direction.value(last.loss)),
                winner: None,
            };
            Some(Promotion { trial: *trial, reason })
        })
    }
}
