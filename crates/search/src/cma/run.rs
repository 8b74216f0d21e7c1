//! One run of the strategy: from a start until it has converged.
//!
//! A generation is the next so many results, whichever distribution their trials were drawn from, so that nothing is waited for
//! and nothing measured is thrown away. Knows nothing of bounds and configurations: see `searchers/cmaes.rs`.

use std::collections::VecDeque;

use rand::Rng;

use super::choices::Choices;
use super::distribution::{Distribution, Member, Update};
use super::margin;
use super::rates::Rates;
use crate::parzen::axis::Axis;
use crate::ranked::tidy;

/// A run whose steps have become this many times shorter than the first has converged.
const TOLERANCE_STEP: f64 = 1e-12;
/// And one whose losses no longer differ by more than this.
const TOLERANCE_LOSS: f64 = 1e-12;

/// How a run begins.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    /// The middle of the first distribution.
    pub mean: Vec<f64>,
    /// Its spread along every axis.
    pub sigma: f64,
    /// How many results make a generation.
    pub population: usize,
}

/// A trial's place among the axes and choices.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// Its coordinates, before they became whole numbers.
    pub point: Vec<f64>,
    /// The number of the value of each choice that it has.
    pub values: Vec<Option<usize>>,
    /// The generation whose distribution it was drawn from; none where it came from elsewhere.
    pub drawn_in: Option<u64>,
}

/// A distribution and what it has not learned from yet.
#[derive(Clone, Debug)]
pub struct Run {
    rates: Rates,
    distribution: Distribution,
    choices: Choices,
    /// The chance to leave the middle's cell along an axis of cells, where it is held.
    margin: Option<f64>,
    tolerance: f64,
    generation: u64,
    results: Vec<(f64, Place)>,
    /// The best losses of the last generations.
    bests: VecDeque<f64>,
    is_over: bool,
}

impl Run {
    /// One that begins at `start`, with choices of so many values.
    pub fn new(start: Start, counts: &[usize], has_margin: bool) -> Self {
        let Start { mean, sigma, population } = start;
        Self::within(Distribution::new(mean, sigma), population, counts, has_margin)
    }

    /// One that begins with `distribution`.
    pub fn within(distribution: Distribution, population: usize, counts: &[usize], has_margin: bool) -> Self {
        let axes = distribution.len().max(1);
        Self {
            rates: Rates::new(axes, population),
            tolerance: TOLERANCE_STEP * distribution.sigma(),
            distribution,
            choices: Choices::new(counts),
            margin: has_margin.then(|| 1.0 / (axes * population) as f64),
            generation: 0,
            results: Vec::new(),
            bests: VecDeque::new(),
            is_over: false,
        }
    }

    /// How many generations it has learned from.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many results make a generation.
    pub fn population(&self) -> usize {
        self.rates.population()
    }

    /// Whether it has converged or become ill, so that going on leads nowhere.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The middle of the distribution along an axis.
    pub fn mean(&self, axis: usize) -> f64 {
        self.distribution.mean(axis)
    }

    /// A point drawn from the distribution.
    pub fn draw_point(&self, rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
        self.distribution.sample(rng)
    }

    /// The number of a value drawn for a choice.
    pub fn draw_value(&self, choice: usize, rng: &mut (impl Rng + ?Sized)) -> usize {
        self.choices.draw(choice, rng)
    }

    /// Takes a result in; with the last of a generation the distribution over `axes` learns.
    pub fn take(&mut self, place: Place, loss: f64, axes: &[Axis]) {
        self.results.push((tidy(loss), place));
        if self.results.len() < self.population() {
            return;
        }
        let mut results = std::mem::take(&mut self.results);
        // Those that are alike keep the order in which they came.
        results.sort_by(|a, b| a.0.total_cmp(&b.0));
        let losses: Vec<f64> = results.iter().map(|(loss, _)| *loss).collect();
        // Where nothing was measured, no order means anything.
        if losses.iter().all(|loss| *loss == f64::INFINITY) {
            return;
        }
        let ranked: Vec<Member<'_>> = results
            .iter()
            .map(|(_, place)| Member { point: &place.point, own: place.drawn_in == Some(self.generation) })
            .collect();
        let update = self.distribution.update(&self.rates, &ranked);
        if let Some(chance) = self.margin {
            margin::keep(&mut self.distribution, axes, chance);
        }
        let better = self.rates.weights.iter().zip(&results).filter(|(weight, _)| **weight > 0.0);
        let better: Vec<_> = better.map(|(weight, (_, place))| (*weight, place.values.as_slice())).collect();
        self.choices.learn(&better);
        self.generation += 1;
        self.is_over = update == Update::Ill || self.distribution.is_narrow(self.tolerance) || self.is_flat(&losses);
    }

    /// Whether the last generation's losses, ascending, and the best ones of those before are all alike.
    fn is_flat(&mut self, losses: &[f64]) -> bool {
        let memory = 10 + (30 * self.distribution.len()).div_ceil(self.population());
        let (Some(best), Some(worst)) = (losses.first(), losses.last()) else { return false };
        self.bests.push_back(*best);
        if self.bests.len() > memory {
            self.bests.pop_front();
        }
        let low = self.bests.iter().copied().fold(*best, f64::min);
        let high = self.bests.iter().copied().fold(*worst, f64::max);
        self.bests.len() == memory && (low == high || high - low < TOLERANCE_LOSS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Domain;

    fn axes() -> Vec<Axis> {
        let float = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        let int = Domain::Int { low: 0, high: 9, log: false, step: 1 };
        [float, int].iter().filter_map(Axis::new).collect()
    }

    fn run(has_margin: bool) -> Run {
        Run::new(Start { mean: vec![0.5, 0.5], sigma: 1.0 / 6.0, population: 6 }, &[], has_margin)
    }

    fn own(run: &Run, point: Vec<f64>) -> Place {
        Place { point, values: Vec::new(), drawn_in: Some(run.generation()) }
    }

    /// The same points told to `cmaes.CMAwM` 0.13.1, whose ten steps of a tenth have the thresholds of these ten cells.
    #[test]
    fn twenty_generations_with_the_margin_leave_it_where_the_library_has_it() {
        let mut run = run(true);
        for generation in 0..20 {
            for i in 0..6 {
                let at = |a: i32, b: i32| f64::from((a * i + b * generation) % 6);
                let point = vec![0.3 + 0.02 * at(5, 3) - 0.01 * f64::from(generation), 0.645 + 0.004 * at(4, 2)];
                run.take(own(&run, point), f64::from(i), &axes());
            }
        }
        assert_eq!(run.generation(), 20);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        near(run.mean(0), 0.161_173_107_998_409_3);
        near(run.mean(1), 0.65);
        near(run.distribution.spread(0), 0.023_177_435_220_031_725);
        near(run.distribution.spread(1), 0.028_873_955_087_351_858);
    }

    #[test]
    fn a_generation_without_a_single_number_teaches_nothing() {
        let mut run = run(true);
        for _ in 0..60 {
            run.take(own(&run, vec![0.1, 0.9]), f64::NAN, &axes());
        }
        assert_eq!((run.generation(), run.mean(0)), (0, 0.5));
        for loss in [f64::NAN, f64::INFINITY, 3.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let x = if loss < 9.0 { 0.4 } else { 0.6 };
            run.take(own(&run, vec![x, 0.5]), loss, &axes());
        }
        assert_eq!(run.generation(), 1);
        assert!(run.mean(0) < 0.5, "the two with numbers are the best: {}", run.mean(0));
    }

    #[test]
    fn a_late_result_counts_as_a_point_from_elsewhere() {
        let moved = |drawn_in: Option<u64>| {
            let mut run = run(false);
            for _ in 0..12 {
                run.take(Place { drawn_in, ..own(&run, vec![9.0, 0.5]) }, 1.0, &axes());
            }
            run.mean(0)
        };
        assert_eq!(moved(Some(9)), moved(None));
        assert!(moved(Some(0)) > 8.9, "the first generation's own points count as they are");
        assert!(moved(None) < 2.0, "others as far away as samples may be: {}", moved(None));
    }

    /// How many generations a run lasts whose results are these, up to a thousand.
    fn lasts(mut run: Run, result: impl Fn(&Run, i32) -> (Vec<f64>, f64)) -> u64 {
        while !run.is_over() && run.generation() < 1000 {
            for i in 0..6 {
                let (point, loss) = result(&run, i);
                run.take(own(&run, point), loss, &axes());
            }
        }
        run.generation()
    }

    #[test]
    fn a_run_ends_when_losses_are_alike_or_steps_too_short_or_numbers_out_of_hand() {
        let spread = |i: i32| vec![0.4 + 0.04 * f64::from(i), 0.6 - 0.04 * f64::from(i * 5 % 6)];
        for loss in [7.0, f64::NEG_INFINITY] {
            assert_eq!(lasts(run(true), |_, i| (spread(i), loss)), 20, "ten, and thirty for each axis over six");
        }
        let ever_better = |run: &Run, i: i32| -(run.generation() as f64) + f64::from(i);
        assert_eq!(lasts(run(true), |run, i| (spread(i), ever_better(run, i))), 1000);
        let shrinking = lasts(run(false), |run, i| (vec![run.mean(0), run.mean(1)], ever_better(run, i)));
        assert!((20..500).contains(&shrinking), "{shrinking}");
        assert_eq!(lasts(run(false), |run, i| (vec![1e300, 0.5], ever_better(run, i))), 1);
    }
}
