//! What trials reported at the rungs of a ladder, and a model over configuration and rung.
//!
//! The model is the autoregressive one of Kennedy and O'Hagan ("Predicting the Output from a Complex Computer Code When
//! Fast Approximations Are Available", Biometrika 87, 2000): the loss at a rung is a multiple of the loss at the rung below
//! and a difference, each a Gaussian process over configurations. Since whoever is at a rung was at all below, the
//! processes are independent of each other (Le Gratiet and Garnier 2014): each costs the cube of the few that came
//! so far, not of all reports together. What earlier sweeps lead to expect is one more rung below all others: see `ground`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acquire::Expects;
use super::fit::{fit, prior};
use super::ground::Ground;
use super::plane::Plane;
use super::process::{Guess, Hyper, Process, Slope};
use crate::ranked::tidy;
use crate::{Event, Outcome};

/// Hyperparameters are chosen anew whenever there are so many times more observations than the last time.
const REFIT_GROWTH: f64 = 1.2;
/// And after so many more at the latest.
const REFIT_STEP: usize = 60;
/// Of more observations at one rung than this so many are kept, half of them the best there are and half spread over the
/// others, beside those that came since the last choice of hyperparameters: the cost of a suggestion grows with the square of what is kept.
const KEPT_MAX: usize = 200;
/// So many trials that run or failed are taken into account: each costs as much as one that was observed.
const UNSETTLED_MAX: usize = 64;
/// How many observations a choice of hyperparameters takes at least.
const REFIT_FIRST: usize = 5;
/// So many rungs are told apart.
const RUNGS_MAX: usize = 12;
/// What lies further off than so many times the distance from the best to the median counts as if it lay there.
const SHARE_MAX: f64 = 20.0;
/// So many observations of a rung's difference from the one below are taken to be there from the start.
const PRIOR_PAIRS: f64 = 2.0;
/// The deviation that those have, as a share of the first rung's.
const PRIOR_SPREAD: f64 = 0.2;
/// Fewer observations than this per axis do not choose hyperparameters of their own.
const OWN_PER_AXIS: usize = 3;

/// What trials reported, by rung.
#[derive(Debug)]
pub struct Ladder {
    rungs: Vec<u64>,
    trials: Vec<Course>,
    slots: BTreeMap<u32, usize>,
    /// In log order.
    seen: Vec<Seen>,
    ground: Option<Arc<Ground>>,
}

/// How far one trial has come.
#[derive(Debug)]
struct Course {
    point: Vec<f64>,
    /// What the ground expects there; 0 where there is none.
    ground: f64,
    /// The lowest loss so far.
    best: f64,
    /// What that was at the last rung.
    at_rung: f64,
    /// How many rungs it has been seen at.
    passed: usize,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Running,
    Ended,
    /// It failed: what it reported counts, and what it would have is not known.
    Failed,
}

/// A trial was at a rung.
#[derive(Clone, Copy, Debug)]
struct Seen {
    slot: usize,
    rung: usize,
    /// Its lowest loss until then.
    loss: f64,
    /// Its lowest loss at the rung below; at the lowest rung nothing.
    below: f64,
}

impl Ladder {
    /// One with a rung at each of these steps, ascending, and one where trials end by themselves. Of rungs that lie
    /// closer than a factor of two, and of more than [`RUNGS_MAX`], not all are looked at.
    pub fn new(steps: &[u64], ground: Option<Arc<Ground>>) -> Self {
        let mut rungs: Vec<u64> = Vec::new();
        for step in steps {
            if rungs.len() < RUNGS_MAX && rungs.last().is_none_or(|last| *step >= last.saturating_mul(2)) {
                rungs.push(*step);
            }
        }
        Self { rungs, trials: Vec::new(), slots: BTreeMap::new(), seen: Vec::new(), ground }
    }

    /// How many trials came to the lowest rung, those of earlier sweeps included.
    pub fn known(&self) -> usize {
        let earlier = self.ground.as_ref().map_or(0, |ground| ground.known());
        earlier + self.trials.iter().filter(|course| course.passed > 0).count()
    }

    /// Those that run or failed, in the order in which they were created; of many the last [`UNSETTLED_MAX`].
    fn unsettled(&self) -> Vec<&Course> {
        let all = self.trials.iter().rev().filter(|course| course.status != Status::Ended);
        let mut last: Vec<&Course> = all.take(UNSETTLED_MAX).collect();
        last.reverse();
        last
    }

    /// Takes one event in.
    pub fn observe(&mut self, event: &Event<'_>, plane: &Plane) {
        match *event {
            Event::Created { trial, params } => {
                if !self.slots.contains_key(&trial) {
                    self.slots.insert(trial, self.trials.len());
                    let point = plane.place(params);
                    let ground = self.ground.as_ref().map_or(0.0, |ground| ground.mean(&point));
                    self.trials.push(Course {
                        point,
                        ground,
                        best: f64::INFINITY,
                        at_rung: f64::INFINITY,
                        passed: 0,
                        status: Status::Running,
                    });
                }
            }
            Event::Reported { trial, step, loss, rest: _ } => {
                let reached = self.rungs.partition_point(|rung| *rung <= step);
                self.reach(trial, loss, reached, Status::Running);
            }
            Event::Forked { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            // Where it stands is known, and nothing more is about to be.
            Event::Paused { trial, loss } => self.reach(trial, loss, 0, Status::Ended),
            Event::Resumed { trial } => {
                if let Some(course) = self.slots.get(&trial).and_then(|slot| self.trials.get_mut(*slot)) {
                    course.status = Status::Running;
                }
            }
            Event::Ended { trial, outcome } => match outcome {
                Outcome::Completed(loss) => self.reach(trial, loss, self.rungs.len() + 1, Status::Ended),
                Outcome::Infeasible => self.reach(trial, f64::INFINITY, self.rungs.len() + 1, Status::Ended),
                Outcome::Stopped(loss) => self.reach(trial, loss, 0, Status::Ended),
                Outcome::Failed => self.reach(trial, f64::INFINITY, 0, Status::Failed),
            },
        }
    }

    /// A trial's lowest loss so far, and the number of rungs that it has come to.
    fn reach(&mut self, trial: u32, loss: f64, reached: usize, status: Status) {
        let Some(slot) = self.slots.get(&trial).copied() else { return };
        let course = &mut self.trials[slot];
        if course.status != Status::Running {
            return;
        }
        course.best = course.best.min(tidy(loss));
        course.status = status;
        for rung in course.passed..reached {
            self.seen.push(Seen { slot, rung, loss: course.best, below: course.at_rung });
            course.at_rung = course.best;
        }
        course.passed = course.passed.max(reached);
    }
}

/// A loss on the scale that is modelled: 0 is the best and 1 the median of the lowest rung. Worse ones lie ever closer
/// together, so that a few that are bad beyond measure do not blur those that matter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Warp {
    /// The loss at 0.
    pub best: f64,
    /// How much more the loss at 1 is.
    pub unit: f64,
}

impl Warp {
    fn new(seen: &[Seen]) -> Self {
        let finite = seen.iter().map(|seen| seen.loss).filter(|loss| loss.is_finite());
        let best = finite.fold(f64::INFINITY, f64::min);
        let mut lowest: Vec<f64> = seen.iter().filter(|seen| seen.rung == 0).map(|seen| seen.loss).collect();
        lowest.sort_by(f64::total_cmp);
        let median = lowest.get(lowest.len() / 2).copied().unwrap_or(best);
        let unit = median - best;
        let unit = if unit > 0.0 && unit.is_finite() { unit } else { 1.0 };
        Self { best: if best.is_finite() { best } else { 0.0 }, unit }
    }

    fn of(self, loss: f64) -> f64 {
        let share = ((loss - self.best) / self.unit).clamp(-SHARE_MAX, SHARE_MAX);
        if share <= 1.0 { share } else { 1.0 + share.ln() }
    }

    /// How many units above 0 the loss is that lies at `place` of the scale.
    pub fn share(place: f64) -> f64 {
        if place <= 1.0 { place } else { (place - 1.0).exp() }
    }
}

/// What is assumed about the losses at a rung.
#[derive(Clone, PartialEq, Debug)]
struct Assumed {
    /// How much of the loss at the rung below counts.
    slope: f64,
    /// What is added to it.
    shift: f64,
    /// How far the rest is from nothing.
    spread: f64,
    /// How the rest, divided by `spread`, depends on the configuration.
    hyper: Hyper,
}

impl Assumed {
    /// What is left of an observation for the process to explain.
    fn rest(&self, warp: Warp, ladder: &Ladder, seen: &Seen) -> f64 {
        (warp.of(seen.loss) - self.slope * below(warp, ladder, seen) - self.shift) / self.spread
    }
}

/// Where an observation was at the rung below, on the scale that is modelled; at the lowest, what the ground expected.
fn below(warp: Warp, ladder: &Ladder, seen: &Seen) -> f64 {
    if seen.rung == 0 { ladder.trials[seen.slot].ground } else { warp.of(seen.below) }
}

/// What a ladder's reports say about configurations that were not tried.
#[derive(Debug)]
pub struct Model {
    warp: Warp,
    ground: Option<Arc<Ground>>,
    assumed: Vec<Assumed>,
    processes: Vec<Process>,
    /// From how many observations the assumptions were made.
    made_from: usize,
    /// How many observations were looked at.
    taken: usize,
    /// The values of those that each process has.
    values: Vec<Vec<f64>>,
}

/// The last number of observations, up to `n`, at which hyperparameters are chosen; `None` where there are too few.
fn refit_at(n: usize) -> Option<usize> {
    let mut at = REFIT_FIRST;
    if n < at {
        return None;
    }
    loop {
        let next = ((at as f64 * REFIT_GROWTH).ceil() as usize).clamp(at + 2, at + REFIT_STEP);
        if next > n {
            return Some(at);
        }
        at = next;
    }
}

impl Model {
    /// What the reports say by now; `before` is what they said the last time. `None` while there are too few, and no ground.
    pub fn new(ladder: &Ladder, plane: &Plane, before: Option<Self>) -> Option<Self> {
        let few = ladder.ground.is_some().then_some(ladder.seen.len());
        let made_from = refit_at(ladder.seen.len()).or(few)?;
        let mut model = match before {
            Some(model) if model.made_from == made_from => model,
            Some(_) | None => Self::assume(ladder, plane, made_from),
        };
        model.take(ladder);
        Some(model)
    }

    /// Chooses all assumptions by the first `made_from` observations.
    fn assume(ladder: &Ladder, plane: &Plane, made_from: usize) -> Self {
        let seen = &ladder.seen[..made_from];
        let ground = ladder.ground.clone();
        let mut warp = Warp::new(seen);
        if let Some(ground) = &ground {
            let lowest = seen.iter().filter(|seen| seen.rung == 0);
            let pairs: Vec<(f64, f64)> = lowest.map(|seen| (ladder.trials[seen.slot].ground, seen.loss)).collect();
            warp = ground.align(&pairs, warp);
        }
        let levels = seen.iter().map(|seen| seen.rung + 1).max().unwrap_or(usize::from(ground.is_some()));
        let mut assumed: Vec<Assumed> = Vec::with_capacity(levels);
        let mut kept: Vec<Vec<&Seen>> = Vec::with_capacity(levels);
        for rung in 0..levels {
            let here = keep(seen.iter().filter(|seen| seen.rung == rung).collect());
            assumed.push(assume_rung(&here, ladder, plane, warp, &assumed));
            kept.push(here);
        }
        let processes = assumed.iter().map(|assumed| Process::new(assumed.hyper.clone(), plane.unordered())).collect();
        let values = vec![Vec::new(); levels];
        let mut model = Self { warp, ground, assumed, processes, made_from, taken: made_from, values };
        kept.into_iter().flatten().for_each(|seen| model.learn(seen, ladder));
        model
    }

    fn learn(&mut self, seen: &Seen, ladder: &Ladder) {
        // A rung that nobody had come to when assumptions were made has no process yet.
        let Some(assumed) = self.assumed.get(seen.rung) else { return };
        self.values[seen.rung].push(assumed.rest(self.warp, ladder, seen));
        self.processes[seen.rung].push(&ladder.trials[seen.slot].point);
    }

    fn take(&mut self, ladder: &Ladder) {
        for (process, values) in self.processes.iter_mut().zip(&self.values) {
            process.truncate(values.len());
        }
        for seen in &ladder.seen[self.taken..] {
            self.learn(seen, ladder);
        }
        self.taken = ladder.seen.len();
        for (process, values) in self.processes.iter_mut().zip(&self.values) {
            process.settle(values);
        }
        // Whoever runs is taken to come out as expected, so that the next one goes elsewhere; whoever failed too.
        for course in ladder.unsettled() {
            for process in self.processes.iter_mut().skip(course.passed) {
                process.push(&course.point);
            }
        }
    }

    /// The lowest loss that is to be improved on: the lowest reported, or lower where a trial that runs is expected to
    /// come to it.
    pub fn best(&self, ladder: &Ladder) -> f64 {
        let reported = ladder.trials.iter().filter(|course| course.passed > 0).map(|course| self.warp.of(course.best));
        let running = ladder.unsettled().into_iter().filter(|course| course.status == Status::Running);
        let expected = running.map(|course| self.mean(&course.point));
        // What an earlier sweep has found counts only while this one has nothing: its own best is to be improved on.
        let own = reported.chain(expected).fold(f64::INFINITY, f64::min);
        self.ground.as_ref().filter(|_| own == f64::INFINITY).map_or(own, |ground| ground.lowest())
    }

    /// The scale on which it models.
    pub const fn warp(&self) -> Warp {
        self.warp
    }

    /// How what it models depends on the configuration, at the lowest rung.
    pub fn hyper(&self) -> Hyper {
        self.processes[0].hyper().clone()
    }

    /// The points with the lowest losses, of all that were tried; after those the ground's.
    pub fn good(&self, ladder: &Ladder, count: usize) -> Vec<Vec<f64>> {
        let tried = ladder.trials.iter().filter(|course| course.passed > 0);
        let mut ranked: Vec<(f64, &Course)> = tried.map(|course| (self.warp.of(course.best), course)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let own = ranked.into_iter().take(count).map(|(_, course)| course.point.clone());
        let earlier = self.ground.iter().flat_map(|ground| ground.good().iter().cloned());
        own.chain(earlier).collect()
    }
}

/// See [`KEPT_MAX`]. In the order in which they came.
fn keep(here: Vec<&Seen>) -> Vec<&Seen> {
    if here.len() <= KEPT_MAX {
        return here;
    }
    let mut ranked: Vec<usize> = (0..here.len()).collect();
    ranked.sort_by(|a, b| here[*a].loss.total_cmp(&here[*b].loss));
    let others = ranked.split_off(KEPT_MAX / 2);
    let each = others.len() as f64 / (KEPT_MAX - KEPT_MAX / 2) as f64;
    ranked.extend((0..KEPT_MAX - KEPT_MAX / 2).map(|i| others[(i as f64 * each) as usize]));
    ranked.sort_unstable();
    ranked.into_iter().map(|i| here[i]).collect()
}

fn assume_rung(here: &[&Seen], ladder: &Ladder, plane: &Plane, warp: Warp, lower: &[Assumed]) -> Assumed {
    let losses: Vec<f64> = here.iter().map(|seen| warp.of(seen.loss)).collect();
    let n = losses.len() as f64;
    let ground = ladder.ground.as_ref();
    // How far losses are from nothing, and how they depend on the configuration, one rung below.
    let scale = ground.map(|ground| ground.spread()).or_else(|| lower.first().map(|first| first.spread));
    let under = lower.last().map(|last| last.hyper.clone()).or_else(|| ground.map(|ground| ground.hyper()));
    let (slope, shift, spread, start) = match scale.zip(under) {
        None => {
            let mean = losses.iter().sum::<f64>() / n.max(1.0);
            let variance = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / n.max(1.0);
            let spread = if variance > 1e-12 { variance.sqrt() } else { 1.0 };
            (0.0, mean, spread, prior(plane.len()))
        }
        Some((scale, mut start)) => {
            let below: Vec<f64> = here.iter().map(|seen| below(warp, ladder, seen)).collect();
            let guess = PRIOR_SPREAD * scale;
            let (slope, shift) = line(&below, &losses, guess);
            let squares: f64 =
                below.iter().zip(&losses).map(|(below, loss)| (loss - slope * below - shift).powi(2)).sum();
            let spread = ((squares + PRIOR_PAIRS * guess * guess) / (n + PRIOR_PAIRS)).sqrt();
            (start.kernel.scale, start.noise) = (1.0, 0.05);
            (slope, shift, spread, start)
        }
    };
    let mut assumed = Assumed { slope, shift, spread, hyper: start };
    if scale.is_none() || here.len() >= OWN_PER_AXIS * plane.len() {
        let points: Vec<&[f64]> = here.iter().map(|seen| ladder.trials[seen.slot].point.as_slice()).collect();
        let rests: Vec<f64> = here.iter().map(|seen| assumed.rest(warp, ladder, seen)).collect();
        assumed.hyper = fit(&points, &rests, plane.unordered(), &assumed.hyper);
    }
    assumed
}

/// The line through points `(x, y)` that are `noise` off it, when its slope is taken to be near 1 and its
/// height at 0 to be near 0.
fn line(x: &[f64], y: &[f64], noise: f64) -> (f64, f64) {
    let n = x.len() as f64;
    // As much as the points weigh: a slope within 0.3 of 1, a shift within one unit.
    let (for_slope, for_shift) = ((noise / 0.3).powi(2), noise * noise);
    let sum = |of: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| of(*x, *y)).sum::<f64>();
    let (xx, x1, xy, y1) = (sum(&|x, _| x * x), sum(&|x, _| x), sum(&|x, y| x * y), sum(&|_, y| y));
    let (a, b, d) = (xx + for_slope, x1, n + for_shift);
    let (p, q) = (xy + for_slope, y1);
    let determinant = a * d - b * b;
    ((p * d - b * q) / determinant, (a * q - b * p) / determinant)
}

impl Expects for Model {
    fn mean(&self, at: &[f64]) -> f64 {
        let ground = self.ground.as_ref().map_or(0.0, |ground| ground.mean(at));
        let levels = self.assumed.iter().zip(&self.processes);
        levels.fold(ground, |below, (assumed, process)| {
            assumed.slope * below + assumed.shift + assumed.spread * process.mean(at)
        })
    }

    fn variance_max(&self) -> f64 {
        let ground = self.ground.as_ref().map_or(0.0, |ground| ground.variance_max());
        self.assumed.iter().fold(ground, |below, Assumed { slope, spread, hyper, .. }| {
            slope * slope * below + spread * spread * hyper.kernel.scale
        })
    }

    fn guess(&self, at: &[f64]) -> Guess {
        let mut all = self.ground.as_ref().map_or(NOTHING, |ground| ground.guess(at));
        for (level, (assumed, process)) in self.assumed.iter().zip(&self.processes).enumerate() {
            let Assumed { slope, shift, spread, .. } = assumed;
            let rest = process.guess(at);
            if level == 0 {
                all.variance *= rest.variance / assumed.hyper.kernel.scale;
            }
            all.mean = slope * all.mean + shift + spread * rest.mean;
            all.variance = slope * slope * all.variance + spread * spread * rest.variance;
        }
        all
    }

    fn guess_and_slope(&self, at: &[f64]) -> (Guess, Slope) {
        let flat = || (NOTHING, Slope { mean: vec![0.0; at.len()], variance: vec![0.0; at.len()] });
        let (mut all, mut leans) = self.ground.as_ref().map_or_else(flat, |ground| ground.guess_and_slope(at));
        for (level, (assumed, process)) in self.assumed.iter().zip(&self.processes).enumerate() {
            let Assumed { slope, shift, spread, .. } = assumed;
            let (rest, lean) = process.guess_and_slope(at);
            if level == 0 {
                let scale = assumed.hyper.kernel.scale;
                for (of_ground, own) in leans.variance.iter_mut().zip(&lean.variance) {
                    *of_ground = (*of_ground * rest.variance + all.variance * own) / scale;
                }
                all.variance *= rest.variance / scale;
            }
            all.mean = slope * all.mean + shift + spread * rest.mean;
            all.variance = slope * slope * all.variance + spread * spread * rest.variance;
            for axis in 0..at.len() {
                leans.mean[axis] = slope * leans.mean[axis] + spread * lean.mean[axis];
                leans.variance[axis] = slope * slope * leans.variance[axis] + spread * spread * lean.variance[axis];
            }
        }
        (all, leans)
    }
}

/// What is below the lowest rung where no earlier sweep is. The ground's variance, where there is one, counts as far as this
/// sweep's own trials have left it unknown how much they differ: what was measured here is not unsure by what was not there.
const NOTHING: Guess = Guess { mean: 0.0, variance: 0.0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{float, parameter};
    use heats_domain::{Params, Space, Value};

    fn plane() -> Plane {
        Plane::new(&Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] })
    }

    fn at(x: f64) -> Params {
        [("x", Value::Float(x))].into_iter().collect()
    }

    fn created(ladder: &mut Ladder, trial: u32, x: f64) {
        ladder.observe(&Event::Created { trial, params: &at(x) }, &plane());
    }

    fn reported(ladder: &mut Ladder, trial: u32, step: u64, loss: f64) {
        ladder.observe(&Event::Reported { trial, step, loss, rest: Vec::new() }, &plane());
    }

    fn ended(ladder: &mut Ladder, trial: u32, outcome: Outcome) {
        ladder.observe(&Event::Ended { trial, outcome }, &plane());
    }

    fn seen(ladder: &Ladder) -> Vec<(usize, usize, f64, f64)> {
        ladder.seen.iter().map(|seen| (seen.slot, seen.rung, seen.loss, seen.below)).collect()
    }

    #[test]
    fn a_trial_is_seen_once_at_each_rung_with_its_best_until_then() {
        let none = f64::INFINITY;
        let mut ladder = Ladder::new(&[1, 3, 9], None);
        created(&mut ladder, 7, 0.5);
        for (step, loss) in [(1, 5.0), (2, 3.0), (3, 4.0), (4, 1.0), (20, 2.0)] {
            reported(&mut ladder, 7, step, loss);
        }
        assert_eq!(seen(&ladder), [(0, 0, 5.0, none), (0, 1, 3.0, 5.0), (0, 2, 1.0, 3.0)]);
        ended(&mut ladder, 7, Outcome::Completed(0.5));
        ended(&mut ladder, 7, Outcome::Completed(0.1));
        assert_eq!(seen(&ladder)[3..], [(0, 3, 0.5, 1.0)], "the rung above all is the end, and there is one");
        created(&mut ladder, 8, 0.6);
        reported(&mut ladder, 8, 5, 2.0);
        assert_eq!(seen(&ladder)[4..], [(1, 0, 2.0, none), (1, 1, 2.0, 2.0)], "a jump reaches what lies below too");
        ended(&mut ladder, 8, Outcome::Stopped(9.0));
        created(&mut ladder, 9, 0.7);
        ended(&mut ladder, 9, Outcome::Failed);
        assert_eq!((ladder.seen.len(), ladder.known()), (6, 2), "who was stopped or failed comes to no rung by that");
    }

    #[test]
    fn rungs_that_lie_close_and_rungs_without_end_are_thinned() {
        assert_eq!(Ladder::new(&[1, 2, 3, 4, 6, 8, 9, 16], None).rungs, [1, 2, 4, 8, 16]);
        let endless: Vec<u64> = (0..60).map(|k| 1 << k).collect();
        assert_eq!(Ladder::new(&endless, None).rungs.len(), RUNGS_MAX);
    }

    #[test]
    fn losses_keep_their_order_and_none_is_beyond_all_measure() {
        let losses = [f64::NEG_INFINITY, -1e300, 1.0, 2.0, 3.0, 5.0, 9.0, 80.0, f64::INFINITY];
        let of = |loss: f64| Seen { slot: 0, rung: 0, loss, below: f64::INFINITY };
        let warp = Warp::new(&losses.map(of)[2..]);
        let warped = losses.map(|loss| warp.of(loss));
        assert!(warped.windows(2).all(|pair| pair[0] <= pair[1]) && warped.iter().all(|x| x.abs() <= SHARE_MAX));
        assert_eq!((warped[2], warped[5]), (0.0, 1.0), "the best, and the median of seven");
        assert_eq!(Warp::new(&[of(f64::INFINITY)]).of(f64::INFINITY), 1.0 + SHARE_MAX.ln());
    }

    #[test]
    fn the_line_is_the_prior_until_points_say_otherwise() {
        assert_eq!(line(&[], &[], 0.1), (1.0, 0.0));
        let x: Vec<f64> = (0..30).map(|i| f64::from(i) / 10.0).collect();
        let y: Vec<f64> = x.iter().map(|x| 0.4 * x - 0.7).collect();
        let (slope, shift) = line(&x, &y, 0.1);
        assert!((slope - 0.4).abs() < 0.01 && (shift + 0.7).abs() < 0.01, "{slope} {shift}");
        let (slope, _) = line(&[1.0, 1.1], &[1.0, 0.9], 0.1);
        assert!(slope > 0.5, "two points do not turn it around: {slope}");
    }

    #[test]
    fn hyperparameters_are_chosen_at_the_same_counts_however_one_gets_there() {
        assert_eq!(refit_at(REFIT_FIRST - 1), None);
        let mut last = REFIT_FIRST;
        for n in REFIT_FIRST..5_000 {
            let at = refit_at(n).expect("there are enough");
            assert!(at <= n && at >= last && n - at < REFIT_STEP && (n as f64) < 1.2 * at as f64 + 2.0, "{n}: {at}");
            last = at;
        }
    }

    #[test]
    fn of_many_the_best_half_is_kept_and_the_others_are_thinned() {
        let many: Vec<Seen> =
            (0..1000).map(|i| Seen { slot: i, rung: 0, loss: ((i * 371) % 1000) as f64, below: 0.0 }).collect();
        let kept = keep(many.iter().collect());
        assert_eq!(kept.len(), KEPT_MAX);
        assert!(kept.windows(2).all(|pair| pair[0].slot < pair[1].slot), "in the order in which they came");
        assert_eq!(kept.iter().filter(|seen| seen.loss < (KEPT_MAX / 2) as f64).count(), KEPT_MAX / 2);
        assert!(kept.iter().any(|seen| seen.loss > 990.0), "the bad ones are among them");
    }

    /// Trials at ten places: all come to the first rung, where less is less by 0.2; who is below 0.5 comes to the end.
    fn climbed() -> Ladder {
        let mut ladder = Ladder::new(&[1], None);
        for trial in 0..10 {
            let x = f64::from(trial) / 10.0;
            created(&mut ladder, trial, x);
            reported(&mut ladder, trial, 1, x + 0.2);
            let outcome = if x < 0.5 { Outcome::Completed(x) } else { Outcome::Stopped(x + 0.2) };
            ended(&mut ladder, trial, outcome);
        }
        ladder
    }

    #[test]
    fn what_happened_at_the_first_rung_tells_of_those_that_were_stopped_there() {
        let ladder = climbed();
        let model = Model::new(&ladder, &plane(), None).expect("has seen enough");
        let guesses: Vec<f64> = [0.05, 0.35, 0.65, 0.95].map(|x| model.guess(&[x]).mean).to_vec();
        assert!(guesses.windows(2).all(|pair| pair[0] < pair[1]), "{guesses:?}");
        // Nobody from there ever came to the end, and yet it is known what would have come of them.
        let wanted = model.warp.of(0.75);
        assert!((model.guess(&[0.75]).mean - wanted).abs() < 0.3 * wanted, "{:?} {wanted}", model.guess(&[0.75]));
    }

    #[test]
    fn it_is_less_sure_of_the_end_than_of_a_rung_and_surest_where_somebody_ended() {
        let ladder = climbed();
        let model = Model::new(&ladder, &plane(), None).expect("has seen enough");
        let (ended, stopped) = (model.guess(&[0.2]).variance, model.guess(&[0.8]).variance);
        assert!(ended < 0.5 * stopped, "{ended} {stopped}");
    }

    #[test]
    fn of_a_great_many_that_run_the_last_count() {
        let mut ladder = climbed();
        (100..300).for_each(|trial| created(&mut ladder, trial, f64::from(trial) / 300.0));
        ended(&mut ladder, 299, Outcome::Failed);
        let points: Vec<f64> = ladder.unsettled().iter().map(|course| course.point[0]).collect();
        assert_eq!(points.len(), UNSETTLED_MAX);
        assert!(points.windows(2).all(|pair| pair[0] < pair[1]) && points[63] > 0.99, "{points:?}");
        let model = Model::new(&ladder, &plane(), None).expect("has seen enough");
        assert!(model.processes.iter().all(|process| process.len() <= 10 + UNSETTLED_MAX));
    }

    #[test]
    fn who_runs_is_expected_to_come_out_as_the_model_says_and_makes_others_go_elsewhere() {
        let mut ladder = climbed();
        let before = Model::new(&ladder, &plane(), None).expect("has seen enough");
        let (guess, best) = (before.guess(&[0.95]), before.best(&ladder));
        created(&mut ladder, 10, 0.95);
        let after = Model::new(&ladder, &plane(), Some(before)).expect("has seen enough");
        let now = after.guess(&[0.95]);
        assert!((now.mean - guess.mean).abs() < 1e-9 && now.variance < 0.5 * guess.variance, "{guess:?} {now:?}");
        assert_eq!(after.best(&ladder), best, "what runs far from the best is no better than it");
        reported(&mut ladder, 10, 1, 1.15);
        ended(&mut ladder, 10, Outcome::Stopped(1.15));
        let then = Model::new(&ladder, &plane(), Some(after)).expect("has seen enough");
        let anew = Model::new(&ladder, &plane(), None).expect("has seen enough");
        assert_eq!(then.guess(&[0.5]), anew.guess(&[0.5]), "what is kept from before changes nothing");
    }
}
