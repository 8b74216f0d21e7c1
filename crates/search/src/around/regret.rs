//! The best there is can be expected to be hardly better than the best found.
//!
//! Makarova et al., "Automatic Termination for Hyperparameter Optimization", AutoML 2022: of a Gaussian process over what the trials
//! came to, the lowest upper bound at a trial, less the lowest lower bound anywhere in the space, bounds the regret of stopping
//! now. With the defaults of Optuna's `RegretBoundEvaluator`: the better half of the trials, bounds `sqrt(beta)` deviations wide with
//! `beta = 2 ln(d n^2 pi^2 / (6 * 0.1)) / 5` for `n` trials in `d` dimensions, and not before 20 trials.
//!
//! A trial that was stopped early counts with the best that it reported, which is worse than it would have become: the better
//! half hardly has any. On purpose different from Optuna: of more than [`TRIALS_MAX`] trials in that half only the best are looked
//! at, so that a bound costs no more than a suggestion of `gp`.

use std::cell::Cell;
use std::cmp::Ordering;

use heats_domain::{Params, Space};

use super::enough::Rule;
use crate::gp::descent::minimize;
use crate::gp::fit::{fit, prior};
use crate::gp::plane::Plane;
use crate::gp::process::Process;
use crate::rng::{Purpose, stream};

/// Not before so many trials.
pub const TRIALS_MIN: usize = 20;
/// The most trials that the process knows.
const TRIALS_MAX: usize = 150;
/// How many points are looked at for the lowest bound, and how many of the lowest are improved.
const DRAWN: usize = 512;
const IMPROVED: usize = 4;
const ROUNDS: usize = 30;

/// See the module.
pub struct Regret {
    most: f64,
    seed: u64,
    plane: Plane,
    /// Where each trial lies and what it came to, the best first.
    results: Vec<(f64, Vec<f64>)>,
    /// The bound after so many results: a memo, not a state.
    bound: Cell<Option<(usize, f64)>>,
}

impl Regret {
    /// It is enough once the bound is at most `most`, in the objective's own units.
    pub fn new(most: f64, space: &Space, seed: u64) -> Self {
        Self { most, seed, plane: Plane::new(space), results: Vec::new(), bound: Cell::new(None) }
    }

    /// The bound on the regret, in the objective's own units; `None` where too little is known.
    pub fn bound(&self) -> Option<f64> {
        if self.results.len() < TRIALS_MIN || self.plane.is_empty() {
            return None;
        }
        let known = self.results.len();
        let bound = self.bound.get().filter(|(after, _)| *after == known).map(|(_, bound)| bound);
        let bound = bound.unwrap_or_else(|| self.find());
        self.bound.set(Some((known, bound)));
        Some(bound)
    }

    fn find(&self) -> f64 {
        let known = self.results.len();
        let half = &self.results[..known.div_ceil(2).min(TRIALS_MAX)];
        let count = half.len() as f64;
        let mean = half.iter().map(|(loss, _)| loss).sum::<f64>() / count;
        let deviation = (half.iter().map(|(loss, _)| (loss - mean).powi(2)).sum::<f64>() / count).sqrt();
        if deviation <= 0.0 {
            return 0.0;
        }
        let points: Vec<&[f64]> = half.iter().map(|(_, point)| point.as_slice()).collect();
        let values: Vec<f64> = half.iter().map(|(loss, _)| (loss - mean) / deviation).collect();
        let unordered = self.plane.unordered();
        let mut process = Process::new(fit(&points, &values, unordered, &prior(self.plane.len())), unordered);
        points.iter().for_each(|point| process.push(point));
        process.settle(&values);
        let dimensions = self.plane.len() as f64;
        let beta = 2.0 * (dimensions * (known as f64).powi(2) * std::f64::consts::PI.powi(2) / 0.6).ln() / 5.0;
        let width = beta.sqrt();
        let upper = points.iter().map(|point| {
            let guess = process.guess(point);
            guess.mean + width * guess.variance.sqrt()
        });
        let upper = upper.fold(f64::INFINITY, f64::min);
        (upper - self.lowest(&process, &points, width)).max(0.0) * deviation
    }

    /// The lowest lower bound that is found in the space.
    fn lowest(&self, process: &Process, points: &[&[f64]], width: f64) -> f64 {
        let lower = |at: &[f64]| {
            let guess = process.guess(at);
            guess.mean - width * guess.variance.sqrt()
        };
        let mut rng = stream(self.seed, self.results.len() as u32, Purpose::Regret);
        let none = Params::default();
        let drawn = (0..DRAWN)
            .map(|_| self.plane.draw(&mut rng))
            .filter_map(|mut point| self.plane.settle(&mut point, &none).then_some(point));
        let known = points.iter().map(|point| point.to_vec());
        let mut bounds: Vec<(f64, Vec<f64>)> = drawn.chain(known).map(|point| (lower(&point), point)).collect();
        let by_bound = |a: &(f64, Vec<f64>), b: &(f64, Vec<f64>)| -> Ordering { a.0.total_cmp(&b.0) };
        bounds.sort_by(by_bound);
        let smooth = self.plane.smooth();
        let improved = bounds.iter().take(IMPROVED).map(|(bound, start)| {
            let range = |(place, smooth): (&f64, &bool)| if *smooth { (0.0, 1.0) } else { (*place, *place) };
            let range: Vec<(f64, f64)> = start.iter().zip(&smooth).map(range).collect();
            let found = minimize(start, &range, ROUNDS, 1e-4, |at, gradient| {
                let (guess, slope) = process.guess_and_slope(at);
                let deviation = guess.variance.sqrt();
                for (axis, place) in gradient.iter_mut().enumerate() {
                    *place = slope.mean[axis] - width * slope.variance[axis] / (2.0 * deviation);
                }
                guess.mean - width * deviation
            });
            // Between the values of a stepped axis nothing can be tried.
            let mut at = found.at;
            if self.plane.settle(&mut at, &none) { lower(&at).min(*bound) } else { *bound }
        });
        improved.fold(f64::INFINITY, f64::min)
    }
}

impl Rule for Regret {
    fn result(&mut self, params: &Params, loss: f64) {
        let place = self.results.partition_point(|(other, _)| *other <= loss);
        self.results.insert(place, (loss, self.plane.place(params)));
    }

    fn verdict(&self) -> Option<String> {
        let bound = self.bound().filter(|bound| *bound <= self.most)?;
        Some(format!(
            "the best there is can be expected to be at most {bound:.3e} better than the best of {} trials; {} is enough",
            self.results.len(),
            self.most
        ))
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Value;
    use rand::RngExt;

    use super::*;
    use crate::conformance::{float, parameter};

    /// After so many trials at random of a bowl whose lowest value is 0.
    fn after(trials: u32, seed: u64) -> Regret {
        let space =
            Space { parameters: ["x", "y"].map(|name| parameter(name, float(0.0, 1.0))).to_vec(), constraints: vec![] };
        let mut regret = Regret::new(0.1, &space, seed);
        let mut rng = stream(seed, 0, Purpose::Configuration);
        for _ in 0..trials {
            let (x, y): (f64, f64) = (rng.random(), rng.random());
            let params = [("x", Value::Float(x)), ("y", Value::Float(y))].into_iter().collect();
            regret.result(&params, (x - 0.3).powi(2) + (y - 0.6).powi(2));
        }
        regret
    }

    #[test]
    fn the_bound_is_above_the_regret_and_falls_as_trials_are_known() {
        for seed in 0..5 {
            let bounds = [20, 60].map(|trials| {
                let regret = after(trials, seed);
                let bound = regret.bound().expect("enough trials");
                assert!(bound >= regret.results[0].0, "seed {seed}: {bound}, and the best is {}", regret.results[0].0);
                bound
            });
            assert!(bounds[1] < bounds[0] && bounds[1] < 0.1, "seed {seed}: {bounds:?}");
        }
    }

    #[test]
    fn it_is_silent_before_twenty_trials_and_says_its_numbers_after() {
        assert_eq!(after(19, 1).bound(), None);
        let why = after(60, 1).verdict().expect("is enough");
        assert!(why.contains("better than the best of 60 trials; 0.1 is enough"), "{why}");
        assert_eq!(Regret { most: 1e-9, ..after(30, 1) }.verdict(), None);
    }

    #[test]
    fn trials_that_are_all_alike_leave_nothing_to_expect() {
        let mut regret = after(0, 1);
        (0..20).for_each(|_| regret.result(&Params::default(), 0.5));
        assert_eq!(regret.bound(), Some(0.0));
    }
}
