//! What is known of a sweep's trials, as an estimator reads it: places along each axis by creation, trials by merit, and who
//! speaks for those that are not good. What an event or a question costs does not grow with the number of trials, but that
//! of several objectives, whose fronts are found anew.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{Parameter, Params};

use super::axis::{Axis, Kind};
use super::crowd::{Crowd, Members, RECENT, Role};
use super::normal::ln_mass;
use crate::front;
use crate::ranked::order;
use crate::standing::{Class, Last, Level};
use crate::{Event, Outcome, Prior};

/// The narrowest kernel of an estimator with many observations: a hundredth of the range.
pub const SIGMA_FLOOR: f64 = 0.01;

/// The trials of one sweep, and of earlier ones, along the axes of its space.
#[derive(Debug)]
pub struct History {
    tracks: Vec<Track>,
    trials: Vec<Course>,
    /// Who speaks for all of them.
    crowd: Crowd,
    /// Whether they report several losses each.
    several: bool,
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

/// Which trials belong to which estimator.
#[derive(Clone, PartialEq, Debug)]
pub struct Sides {
    /// To that of good configurations.
    pub below: Members,
    /// To that of the others.
    pub above: Members,
}

impl History {
    /// No trials yet, along the axes of `parameters`. Of the trials that have ended, beside the newest [`RECENT`] of all, at most
    /// `older_max` speak for all of them.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a Parameter>, older_max: usize) -> Self {
        let tracks = parameters
            .into_iter()
            .filter_map(|parameter| {
                Some(Track {
                    name: parameter.name.clone(),
                    axis: Axis::new(&parameter.domain)?,
                    places: Vec::new(),
                    floor_mass: Vec::new(),
                })
            })
            .collect();
        Self {
            tracks,
            trials: Vec::new(),
            crowd: Crowd::new(older_max),
            several: false,
            slots: BTreeMap::new(),
            standings: BTreeSet::new(),
            earlier: Vec::new(),
        }
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
                    self.several |= !rest.is_empty();
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
            track.add(place);
        }
        self.crowd.enter();
        if let Some(older) = slot.checked_sub(RECENT) {
            self.set_role(older);
        }
    }

    /// The trial's part in the crowd, by what became of it and how many came after it.
    fn set_role(&mut self, slot: usize) {
        let is_older = slot + RECENT < self.trials.len();
        let role = match self.trials[slot].status {
            Status::Forgotten => Role::Silent,
            Status::Known if is_older => Role::Older,
            Status::Known | Status::Running => Role::Itself,
        };
        self.crowd.set(slot as u32, role);
    }

    fn end(&mut self, trial: u32, outcome: Outcome) {
        let Some(slot) = self.slots.get(&trial).copied() else { return };
        let past = &mut self.trials[slot];
        if past.status != Status::Running {
            return;
        }
        let Some((level, losses)) = past.last.standing(outcome) else {
            past.status = Status::Forgotten;
            self.set_role(slot);
            return;
        };
        past.status = Status::Known;
        let loss_order = losses.first().map_or(u64::MAX, |loss| order(*loss));
        let standing = Standing { level, loss_order, slot: slot as u32 };
        past.standing = Some(standing);
        self.standings.insert(standing);
        self.set_role(slot);
    }

    /// What it had come to counts again when it ends.
    fn resume(&mut self, trial: u32) {
        let Some(slot) = self.slots.get(&trial).copied() else { return };
        let past = &mut self.trials[slot];
        if let Some(standing) = past.standing.take() {
            past.status = Status::Running;
            self.standings.remove(&standing);
            self.set_role(slot);
        }
    }

    /// How many trials ended, or hold, with something to learn from, those of earlier sweeps included.
    pub fn known(&self) -> usize {
        self.standings.len() + self.earlier.iter().map(BTreeSet::len).sum::<usize>()
    }

    /// Whether trials report several losses each.
    pub const fn has_several(&self) -> bool {
        self.several
    }

    /// The two sides when the best of each sweep are set apart, `below` of so many. `asking` is on neither side, nor are
    /// running trials unless `liar`. One without a number, or infeasible, is never among the best. With several objectives the
    /// best are those on the first fronts.
    pub fn split(&self, below: impl Fn(usize) -> usize, liar: bool, asking: u32) -> Sides {
        let asking = self.slots.get(&asking).map(|slot| *slot as u32);
        let sweeps = self.earlier.iter().chain([&self.standings]);
        let mut out: BTreeSet<u32> = sweeps.flat_map(|sweep| self.best(sweep, below(sweep.len()))).collect();
        asking.iter().for_each(|asking| {
            out.remove(asking);
        });
        let below = Members::each(out.iter().copied());
        out.extend(asking);
        let is_silent = |slot: u32| !liar && self.trials[slot as usize].status == Status::Running;
        Sides { below, above: self.crowd.members(&out, is_silent) }
    }

    /// The slots of a sweep's best trials, `count` of them where so many have a number.
    fn best(&self, standings: &BTreeSet<Standing>, count: usize) -> Vec<u32> {
        let teaches = |standing: &&Standing| matches!(standing.level.class, Class::Completed | Class::Stopped);
        let ranked = standings.iter().take_while(teaches);
        if !self.several {
            return ranked.take(count).map(|standing| standing.slot).collect();
        }
        let ranked: Vec<&Standing> = ranked.collect();
        let mut best = Vec::new();
        for level in ranked.chunk_by(|a, b| a.level == b.level) {
            let slots: Vec<u32> = level.iter().map(|standing| standing.slot).collect();
            let points: Vec<&[f64]> =
                slots.iter().map(|slot| self.trials[*slot as usize].last.losses.as_slice()).collect();
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
    /// The place of the next slot's trial, where it has one.
    fn add(&mut self, place: Option<f64>) {
        self.places.push(place.unwrap_or(f64::NAN));
        let floor_mass = match (place, self.axis.kind) {
            (None, _) | (_, Kind::Choice(_)) => 0.0,
            (Some(place), Kind::Continuous | Kind::Even(_) | Kind::Log { .. }) => {
                ln_mass(-place / SIGMA_FLOOR, (1.0 - place) / SIGMA_FLOOR)
            }
        };
        self.floor_mass.push(floor_mass);
    }
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
        let mut history = History::new([&x], 1_024);
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
        let slots = |below, liar, asking| {
            let Sides { below, above } = history.split(|_| below, liar, asking);
            (below.slots, above.slots)
        };
        assert_eq!(slots(3, true, 99), (vec![2, 4, 6], vec![0, 1, 3, 5, 8, 9]));
        assert_eq!(slots(0, false, 0).1, [1, 2, 3, 4, 5, 6, 9], "the asking trial teaches nothing, nor a running one");
        assert_eq!(slots(3, true, 4).0, [2, 6], "the asking trial is on neither side");
        assert_eq!(slots(8, true, 99).1, [3, 5, 8], "no number and infeasible are never among the best");
    }

    #[test]
    fn of_many_trials_the_newest_and_those_that_run_count_each_and_a_sample_for_the_rest() {
        let outcome = |trial: u32| (trial != 7).then(|| Outcome::Completed(f64::from(trial + 1)));
        let outcomes: Vec<_> = (0..4_000).map(|trial| (None, outcome(trial))).collect();
        let history = history(&outcomes);
        let Sides { below, above } = history.split(|_| 5, true, 9_999);
        assert_eq!(below, Members::each(0..5));
        assert!((1_024..=1_024 + 513).contains(&above.slots.len()), "{}", above.slots.len());
        assert!((above.stands_for.iter().sum::<f64>() - 3_995.0).abs() < 1e-6);
        let weight = |slot: u32| above.slots.binary_search(&slot).ok().map(|place| above.stands_for[place]);
        assert_eq!((weight(7), weight(3_488)), (Some(1.0), Some(1.0)), "it runs, and the first of the newest");
        assert!((8..3_488).filter_map(weight).all(|count| count > 3.0), "those that are older");
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
    fn a_failed_trial_teaches_nothing() {
        let history = history(&[(None, Some(Outcome::Failed)), (None, None)]);
        assert_eq!(history.split(|_| 0, true, 99).above, Members::each([1]));
    }
}
