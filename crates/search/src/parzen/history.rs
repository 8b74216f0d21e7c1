//! What is known of a sweep's trials, kept in the orders that an estimator reads: by creation, by merit,
//! and along each axis by place. An event costs a binary search and a move per axis; nothing is sorted again.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{Parameter, Params};

use super::axis::{Axis, Kind};
use super::normal::ln_mass;
use crate::front;
use crate::standing::{Class, Last, Level};
use crate::{Event, Outcome, Prior};

/// The narrowest kernel of an estimator with many observations: a hundredth of the range.
pub const SIGMA_FLOOR: f64 = 0.01;

/// The trials of one sweep, and of earlier ones, along the axes of its space.
#[derive(Debug)]
pub struct History {
    tracks: Vec<Track>,
    trials: Vec<Course>,
    /// By number, those of the sweep itself.
    slots: BTreeMap<u32, usize>,
    /// Those that ended; each earlier sweep's by themselves.
    standings: BTreeSet<Standing>,
    earlier: Vec<BTreeSet<Standing>>,
}

/// One axis and every trial's place on it.
#[derive(Debug)]
pub struct Track {
    /// The parameter's name.
    pub name: String,
    /// Its axis.
    pub axis: Axis,
    /// By slot; NaN for a trial that has no value here.
    pub places: Vec<f64>,
    /// Place and slot of every trial that may teach something, ascending. Empty for a choice.
    pub ascending: Vec<(f64, u32)>,
    /// By slot, `ln` of the mass that a kernel of [`SIGMA_FLOOR`] has inside of the interval.
    pub floor_mass: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Course {
    /// None where it is of an earlier sweep.
    trial: Option<u32>,
    status: Status,
    last: Last,
    /// Its place among those that ended or hold, where it does.
    standing: Option<Standing>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Running,
    Known,
    /// Nothing can be learned from it.
    Forgotten,
}

/// A trial's place among those that ended or hold at a rung, best first: by its level, then by its (first) loss.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Standing {
    level: Level,
    loss_order: u64,
    slot: u32,
}

/// Which estimator a trial belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Neither.
    Out,
    /// The estimator of good configurations.
    Below,
    /// That of the others.
    Above,
}

impl History {
    /// No trials yet, along the axes of `parameters`.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> Self {
        let tracks = parameters
            .into_iter()
            .filter_map(|parameter| {
                Some(Track {
                    name: parameter.name.clone(),
                    axis: Axis::new(&parameter.domain)?,
                    places: Vec::new(),
                    ascending: Vec::new(),
                    floor_mass: Vec::new(),
                })
            })
            .collect();
        Self { tracks, trials: Vec::new(), slots: BTreeMap::new(), standings: BTreeSet::new(), earlier: Vec::new() }
    }

    /// Takes in what an earlier sweep found out. To be called before the sweep's own trials come.
    pub fn learn(&mut self, prior: &Prior) {
        prior.events().for_each(|event| self.observe(&event));
        self.slots.clear();
        self.trials.iter_mut().for_each(|course| course.trial = None);
        self.earlier.push(std::mem::take(&mut self.standings));
    }

    /// The axes.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Takes one event in.
    pub fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => self.create(trial, params),
            Event::Reported { trial, step, loss, ref rest } => {
                if let Some(past) = self.slots.get(&trial).and_then(|slot| self.trials.get_mut(*slot)) {
                    past.last.report(step, loss, rest);
                }
            }
            Event::Paused { trial, loss } => self.end(trial, Outcome::Stopped(loss)),
            Event::Resumed { trial } => self.resume(trial),
            // It runs on, and what it comes to is worth more than what it was to be stopped for.
            Event::Forked { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            Event::Ended { trial, outcome } => self.end(trial, outcome),
        }
    }

    fn create(&mut self, trial: u32, params: &Params) {
        if self.slots.contains_key(&trial) {
            return;
        }
        let slot = self.trials.len();
        self.slots.insert(trial, slot);
        self.trials.push(Course { trial: Some(trial), status: Status::Running, last: Last::default(), standing: None });
        for track in &mut self.tracks {
            let place = params.get(&track.name).and_then(|value| track.axis.place(value));
            track.add(slot as u32, place);
        }
    }

    fn end(&mut self, trial: u32, outcome: Outcome) {
        let Some(slot) = self.slots.get(&trial).copied() else { return };
        let past = &mut self.trials[slot];
        if past.status != Status::Running {
            return;
        }
        let Some((level, losses)) = past.last.standing(outcome) else {
            past.status = Status::Forgotten;
            self.tracks.iter_mut().for_each(|track| track.remove(slot as u32));
            return;
        };
        past.status = Status::Known;
        let loss_order = losses.first().map_or(u64::MAX, |loss| order(*loss));
        let standing = Standing { level, loss_order, slot: slot as u32 };
        past.standing = Some(standing);
        self.standings.insert(standing);
    }

    /// What it had come to counts again when it ends.
    fn resume(&mut self, trial: u32) {
        let Some(past) = self.slots.get(&trial).and_then(|slot| self.trials.get_mut(*slot)) else { return };
        if let Some(standing) = past.standing.take() {
            past.status = Status::Running;
            self.standings.remove(&standing);
        }
    }

    /// How many trials ended, or hold, with something to learn from, those of earlier sweeps included.
    pub fn known(&self) -> usize {
        self.standings.len() + self.earlier.iter().map(BTreeSet::len).sum::<usize>()
    }

    /// Whether trials report several losses each.
    pub fn has_several(&self) -> bool {
        self.trials.iter().any(|past| !past.last.losses.is_empty())
    }

    /// The side of each slot when the best of each sweep are set apart, `below` of so many. `asking` is on neither side, nor are
    /// running trials unless `liar`. One without a number, or infeasible, is never among the best. With several objectives the
    /// best are those on the first fronts.
    pub fn split(&self, below: impl Fn(usize) -> usize, liar: bool, asking: u32) -> Vec<Side> {
        let mut sides: Vec<Side> = self
            .trials
            .iter()
            .map(|past| match past.status {
                _ if past.trial == Some(asking) => Side::Out,
                Status::Known => Side::Above,
                Status::Running if liar => Side::Above,
                Status::Running | Status::Forgotten => Side::Out,
            })
            .collect();
        for standings in self.earlier.iter().chain([&self.standings]) {
            for slot in self.best(standings, below(standings.len())) {
                let side = &mut sides[slot];
                if *side == Side::Above {
                    *side = Side::Below;
                }
            }
        }
        sides
    }

    /// The slots of a sweep's best trials, `count` of them where so many have a number.
    fn best(&self, standings: &BTreeSet<Standing>, count: usize) -> Vec<usize> {
        let teaches = |standing: &&Standing| matches!(standing.level.class, Class::Completed | Class::Stopped);
        let ranked: Vec<&Standing> = standings.iter().take_while(teaches).collect();
        let mut best = Vec::new();
        for level in ranked.chunk_by(|a, b| a.level == b.level) {
            let slots: Vec<usize> = level.iter().map(|standing| standing.slot as usize).collect();
            let points: Vec<&[f64]> = slots.iter().map(|slot| self.trials[*slot].last.losses.as_slice()).collect();
            let left = count - best.len();
            // Of one objective, they are in order.
            let chosen =
                if points[0].is_empty() { (0..left.min(slots.len())).collect() } else { front_first(&points, left) };
            best.extend(chosen.into_iter().map(|place| slots[place]));
        }
        best
    }
}

/// `count` of the points: front by front, and of the front that does not fit whole those that together dominate the most.
/// The bound of that volume lies a tenth beyond the front's worst loss of each objective, as in Optuna.
fn front_first(points: &[&[f64]], count: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    for front in front::fronts(points) {
        let left = count - chosen.len();
        if front.len() <= left {
            chosen.extend(front);
            continue;
        }
        let members: Vec<&[f64]> = front.iter().map(|place| points[*place]).collect();
        let worst = |objective: usize| members.iter().map(|point| point[objective]).fold(f64::NEG_INFINITY, f64::max);
        let beyond = |worst: f64| if worst == 0.0 { f64::EPSILON } else { (1.1 * worst).max(0.9 * worst) };
        let reference: Vec<f64> = (0..members[0].len()).map(|objective| beyond(worst(objective))).collect();
        chosen.extend(front::subset(&members, &reference, left).into_iter().map(|place| front[place]));
        break;
    }
    chosen
}

impl Track {
    fn add(&mut self, slot: u32, place: Option<f64>) {
        self.places.push(place.unwrap_or(f64::NAN));
        let (Some(place), false) = (place, matches!(self.axis.kind, Kind::Choice(_))) else {
            self.floor_mass.push(0.0);
            return;
        };
        self.floor_mass.push(ln_mass(-place / SIGMA_FLOOR, (1.0 - place) / SIGMA_FLOOR));
        // Slots ascend, so that a newcomer comes after those at the same place.
        let at = self.ascending.partition_point(|(other, _)| *other <= place);
        self.ascending.insert(at, (place, slot));
    }

    fn remove(&mut self, slot: u32) {
        let Some(place) = self.places.get(slot as usize).copied() else { return };
        let from = self.ascending.partition_point(|(other, _)| *other < place);
        if let Some(offset) = self.ascending[from..].iter().position(|(_, other)| *other == slot) {
            self.ascending.remove(from + offset);
        }
    }
}

/// A number that orders as `x` does.
fn order(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{Domain, Value};

    fn history(outcomes: &[(Option<u64>, Option<Outcome>)]) -> History {
        let x = Parameter {
            name: "x".into(),
            domain: Domain::Float { low: 0.0, high: 1.0, log: false, step: None },
            when: None,
        };
        let mut history = History::new([&x]);
        for (trial, (step, outcome)) in outcomes.iter().enumerate() {
            let trial = trial as u32;
            let params: Params = [("x", Value::Float(0.5))].into_iter().collect();
            history.observe(&Event::Created { trial, params: &params });
            if let Some(step) = *step {
                history.observe(&Event::Reported { trial, step, loss: 0.0, rest: Vec::new() });
            }
            if let Some(outcome) = *outcome {
                history.observe(&Event::Ended { trial, outcome });
            }
        }
        history
    }

    #[test]
    fn merit_is_completed_by_loss_then_stopped_by_step_then_by_loss() {
        let history = history(&[
            (Some(9), Some(Outcome::Stopped(0.1))),
            (Some(3), Some(Outcome::Stopped(-5.0))),
            (Some(9), Some(Outcome::Stopped(-1.0))),
            (None, Some(Outcome::Infeasible)),
            (Some(27), Some(Outcome::Completed(2.0))),
            (Some(27), Some(Outcome::Completed(f64::INFINITY))),
            (Some(27), Some(Outcome::Completed(-0.5))),
            (Some(1), Some(Outcome::Failed)),
            (Some(1), None),
            (None, Some(Outcome::Stopped(-9.0))),
        ]);
        assert_eq!(history.known(), 8);
        let order: Vec<u32> = history.standings.iter().map(|s| s.slot).collect();
        assert_eq!(order, [6, 4, 2, 0, 1, 9, 5, 3]);
        use Side::{Above, Below, Out};
        assert_eq!(
            history.split(|_| 3, true, 99),
            [Above, Above, Below, Above, Below, Above, Below, Out, Above, Above]
        );
        assert_eq!(history.split(|_| 0, false, 0)[..2], [Out, Above], "the asking trial teaches nothing");
        assert_eq!(history.split(|_| 0, false, 99)[8], Out, "without the liar a running trial teaches nothing");
        let all = history.split(|_| 8, true, 99);
        assert_eq!((all[5], all[3]), (Above, Above), "no number and infeasible are never among the best");
    }

    #[test]
    fn ties_go_to_the_older_trial_and_there_is_one_zero() {
        let history = history(&[
            (None, Some(Outcome::Completed(0.0))),
            (None, Some(Outcome::Completed(-0.0))),
            (None, Some(Outcome::Completed(0.0))),
        ]);
        assert_eq!(history.standings.iter().map(|s| s.slot).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_failed_trial_leaves_its_place() {
        let history = history(&[(None, Some(Outcome::Failed)), (None, None)]);
        assert_eq!(history.tracks()[0].ascending, [(0.5, 1)]);
    }

    #[test]
    fn losses_order_as_numbers_do() {
        let ascending = [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 1e-300, 3.0, f64::INFINITY];
        assert!(ascending.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
    }
}
