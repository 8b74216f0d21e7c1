//! A multivariate normal distribution with a step size, and how a ranked generation moves it.
//!
//! Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv:1604.00772), with the active update of the covariance. Each axis
//! has a stretch besides, which the margin of whole numbers sets (Hamano et al., "CMA-ES with Margin", GECCO 2022): samples
//! are stretched, and what is learned from them is not. A point that was not drawn from the distribution counts as Hansen,
//! "Injecting External Solutions Into CMA-ES" (arXiv:1110.4181) has it: at most as far away as a sample may lie.
//!
//! Knows nothing of parameters, bounds and trials: see `run` and `searchers/cmaes.rs`.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::{Rng, RngExt};

use super::rates::Rates;

/// The covariance has become ill when its longest axis is this many times its shortest, squared.
const CONDITION_MAX: f64 = 1e14;
/// No spread in coordinates between 0 and 1 makes sense beyond this.
const SPREAD_MAX: f64 = 1e4;
/// How often the eigenvalues may be improved before they count as not found.
const EIGEN_ROUNDS: usize = 10_000;

/// A distribution that learns.
#[derive(Clone, Debug)]
pub struct Distribution {
    mean: DVector<f64>,
    sigma: f64,
    stretch: DVector<f64>,
    /// Read below the diagonal only.
    covariance: DMatrix<f64>,
    /// The symmetric square root of the covariance, and its inverse.
    root: DMatrix<f64>,
    inverse_root: DMatrix<f64>,
    path_sigma: DVector<f64>,
    path: DVector<f64>,
    updates: i32,
}

/// One member of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Where it lies.
    pub point: &'a [f64],
    /// Whether it was drawn from the distribution as it is now.
    pub own: bool,
}

impl Distribution {
    /// One around `mean`, equally wide along every axis.
    pub fn new(mean: Vec<f64>, sigma: f64) -> Self {
        let n = mean.len();
        Self {
            mean: DVector::from_vec(mean),
            sigma,
            stretch: DVector::repeat(n, 1.0),
            covariance: DMatrix::identity(n, n),
            root: DMatrix::identity(n, n),
            inverse_root: DMatrix::identity(n, n),
            path_sigma: DVector::zeros(n),
            path: DVector::zeros(n),
            updates: 0,
        }
    }

    /// The promising one of these points, which were good elsewhere: their middle and how they lie around it, each taken to
    /// be `width` wide. Nomura, Watanabe, Akimoto, Ozaki and Onishi, "Warm Starting CMA-ES for Hyperparameter Optimization" (AAAI
    /// 2021), section 4; the step size is such that the covariance has the determinant 1. `None` where there is no point, or no axis.
    pub fn promising(points: &[Vec<f64>], width: f64) -> Option<Self> {
        let n = points.first().map(Vec::len).filter(|n| *n > 0)?;
        let count = points.len() as f64;
        let points: Vec<DVector<f64>> = points.iter().map(|point| DVector::from_column_slice(point)).collect();
        let mean = points.iter().fold(DVector::zeros(n), |sum, point| sum + point) / count;
        let mut covariance = DMatrix::identity(n, n) * (width * width);
        for point in &points {
            let way = point - &mean;
            covariance.ger(1.0 / count, &way, &way, 1.0);
        }
        let volume = covariance.determinant().powf(1.0 / n as f64);
        let mut distribution = Self::new(mean.as_slice().to_vec(), volume.sqrt());
        distribution.covariance = covariance / volume;
        distribution.settle().then_some(distribution)
    }

    /// How many axes there are.
    pub fn len(&self) -> usize {
        self.mean.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mean.is_empty()
    }

    /// The step size.
    pub const fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The middle along an axis.
    pub fn mean(&self, axis: usize) -> f64 {
        self.mean[axis]
    }

    /// The standard deviation along an axis.
    pub fn spread(&self, axis: usize) -> f64 {
        self.sigma * self.stretch[axis] * self.covariance[(axis, axis)].sqrt()
    }

    /// Moves the middle along an axis, and stretches the axis until the standard deviation is `spread`.
    pub fn place(&mut self, axis: usize, mean: f64, spread: f64) {
        self.mean[axis] = mean;
        self.stretch[axis] *= spread / self.spread(axis);
    }

    /// One point drawn from it.
    pub fn sample(&self, rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
        let white = DVector::from_iterator(self.len(), (0..self.len()).map(|_| normal(rng)));
        let step = &self.root * white;
        (0..self.len()).map(|axis| self.mean[axis] + self.sigma * self.stretch[axis] * step[axis]).collect()
    }

    /// Learns from a generation, the best member first. Changes nothing, and says so, where numbers would get out of hand.
    pub fn update(&mut self, rates: &Rates, ranked: &[Member<'_>]) -> Update {
        if self.is_empty() {
            return Update::Done;
        }
        match self.updated(rates, ranked) {
            Some(next) => {
                *self = next;
                Update::Done
            }
            None => Update::Ill,
        }
    }

    fn updated(&self, rates: &Rates, ranked: &[Member<'_>]) -> Option<Self> {
        let Rates { weights, mu_eff, c_sigma, d_sigma, c_path, c_one, c_mu, chi } = rates;
        let mut next = self.clone();
        next.updates = self.updates.saturating_add(1);

        let steps: Vec<Step> = ranked.iter().map(|member| self.step_to(member)).collect();
        let mut drift = DVector::zeros(self.len());
        for (weight, step) in weights.iter().zip(&steps).filter(|(weight, _)| **weight > 0.0) {
            drift.axpy(*weight, &step.direction, 1.0);
        }
        next.mean.axpy(self.sigma, &drift, 1.0);

        let keep = (c_sigma * (2.0 - c_sigma) * mu_eff).sqrt();
        next.path_sigma = (1.0 - c_sigma) * &self.path_sigma + keep * (&self.inverse_root * &drift);
        let length = next.path_sigma.norm();
        next.sigma *= (c_sigma / d_sigma * (length / chi - 1.0)).min(1.0).exp();

        // A path that is too long says that the step size still has to grow: the covariance waits.
        let expected = (1.0 - (1.0 - c_sigma).powi(2 * next.updates)).sqrt();
        let waits = length / expected >= (1.4 + 2.0 / (self.len() as f64 + 1.0)) * chi;
        let follow = if waits { 0.0 } else { (c_path * (2.0 - c_path) * mu_eff).sqrt() };
        next.path = (1.0 - c_path) * &self.path + follow * &drift;
        let missed = if waits { c_one * c_path * (2.0 - c_path) } else { 0.0 };
        next.covariance *= 1.0 + missed - c_one - c_mu * weights.iter().sum::<f64>();
        next.covariance.ger(*c_one, &next.path, &next.path, 1.0);
        for (weight, step) in weights.iter().zip(&steps) {
            // The farther a bad member lies, the less of its direction is taken away.
            let weight =
                if *weight < 0.0 { weight * self.len() as f64 / step.length.powi(2).max(1e-8) } else { *weight };
            next.covariance.ger(c_mu * weight, &step.direction, &step.direction, 1.0);
        }
        next.settle().then_some(next)
    }

    /// The way from the middle to a member, in units of the step size.
    fn step_to(&self, member: &Member<'_>) -> Step {
        let way = DVector::from_column_slice(member.point) - &self.mean;
        let mut direction = way.component_div(&self.stretch) / self.sigma;
        let mut length = (&self.inverse_root * &direction).norm();
        let n = self.len() as f64;
        let longest = n.sqrt() + 2.0 * n / (n + 2.0);
        if !member.own && length > longest {
            direction *= longest / length;
            length = longest;
        }
        Step { direction, length }
    }

    /// Makes the roots of the covariance; whether the distribution is one that can be drawn from.
    fn settle(&mut self) -> bool {
        let n = self.len();
        let finite = self.sigma.is_finite() && self.mean.iter().chain(self.covariance.iter()).all(|x| x.is_finite());
        if !finite {
            return false;
        }
        let Some(eigen) = SymmetricEigen::try_new(self.covariance.clone(), f64::EPSILON, EIGEN_ROUNDS) else {
            return false;
        };
        let (least, most) = (eigen.eigenvalues.min(), eigen.eigenvalues.max());
        if most >= least * CONDITION_MAX {
            return false;
        }
        // Neither the order nor the signs of the eigenvectors can be seen in the symmetric roots.
        self.root = DMatrix::zeros(n, n);
        self.inverse_root = DMatrix::zeros(n, n);
        for (value, vector) in eigen.eigenvalues.iter().zip(eigen.eigenvectors.column_iter()) {
            self.root.ger(value.sqrt(), &vector, &vector, 1.0);
            self.inverse_root.ger(1.0 / value.sqrt(), &vector, &vector, 1.0);
        }
        (0..n).all(|axis| self.spread(axis) < SPREAD_MAX)
    }

    /// Whether it has come to a point: no step is longer than `tolerance`, or one is lost in rounding.
    pub fn is_narrow(&self, tolerance: f64) -> bool {
        let axes = 0..self.len();
        let lost = |axis: usize| self.mean[axis] + 0.2 * self.spread(axis) == self.mean[axis];
        let short = |axis: usize| {
            let along_path = self.sigma * self.stretch[axis] * self.path[axis].abs();
            self.spread(axis) < tolerance && along_path < tolerance
        };
        !self.is_empty() && (axes.clone().any(lost) || axes.clone().all(short))
    }
}

/// What became of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// The distribution has learned.
    Done,
    /// It would have been none any more.
    Ill,
}

struct Step {
    direction: DVector<f64>,
    /// Of the direction, where the distribution is a standard normal one.
    length: f64,
}

/// One draw from the standard normal distribution.
fn normal(rng: &mut (impl Rng + ?Sized)) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    // Box and Muller; `1 - u` is never zero.
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    fn ranked(points: &[Vec<f64>], own: bool) -> Vec<Member<'_>> {
        points.iter().map(|point| Member { point, own }).collect()
    }

    /// After four generations of the same points each, those of every generation farther along the first axis by `drift`.
    fn after_four(drift: f64) -> Distribution {
        let rates = Rates::new(3, 7);
        let mut distribution = Distribution::new(vec![0.5, 0.4, 0.6], 0.2);
        for generation in 0..4 {
            let point = |i: i32| {
                let at = |a: i32, b: i32| f64::from((a * i + b * generation) % 7);
                let x = 0.3 + 0.05 * at(3, 2) + drift * f64::from(generation);
                vec![x, 0.25 + 0.06 * at(5, 1), 0.7 - 0.04 * at(2, 3)]
            };
            let points: Vec<Vec<f64>> = (0..7).map(point).collect();
            assert_eq!(distribution.update(&rates, &ranked(&points, true)), Update::Done);
        }
        distribution
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-8, "{a} is not {b}");
    }

    /// The same points told to `cmaes.CMA` 0.13.1.
    #[test]
    fn four_generations_leave_it_where_the_library_has_it() {
        let distribution = after_four(0.0);
        let mean = [0.535_358_872_337_256, 0.416_737_114_851_777_56, 0.577_129_021_301_953];
        mean.iter().enumerate().for_each(|(axis, expected)| near(distribution.mean(axis), *expected));
        near(distribution.sigma, 0.115_948_949_197_096_52);
        near(distribution.covariance[(0, 0)], 0.770_927_513_670_812_6);
        near(distribution.covariance[(2, 0)], -0.102_110_890_341_111);
        near(distribution.covariance[(2, 1)], -0.070_946_462_044_811_3);
        near((&distribution.root * &distribution.root)[(1, 0)], 0.077_585_206_660_074_5);
        near((&distribution.root * &distribution.inverse_root)[(2, 1)], 0.0);
    }

    /// In the fourth of these the path is too long for the covariance to follow.
    #[test]
    fn a_drift_leaves_it_where_the_library_has_it() {
        let distribution = after_four(0.3);
        near(distribution.mean(0), 1.435_358_872_337_256);
        near(distribution.sigma, 0.320_516_719_777_236_5);
        near(distribution.covariance[(0, 0)], 2.208_358_686_456_192_4);
        near(distribution.covariance[(1, 0)], -0.039_263_448_386_073_33);
        near(distribution.covariance[(2, 1)], -0.109_730_689_885_094_66);
    }

    #[test]
    fn samples_spread_as_it_says() {
        let mut distribution = Distribution::new(vec![0.5, 0.2], 0.1);
        distribution.place(1, 0.3, 0.4);
        let mut rng = stream(5, 0, Purpose::Configuration);
        let samples: Vec<Vec<f64>> = (0..4_000).map(|_| distribution.sample(&mut rng)).collect();
        for (axis, mean, spread) in [(0, 0.5, 0.1), (1, 0.3, 0.4)] {
            let squares = samples.iter().map(|point| (point[axis] - mean).powi(2)).sum::<f64>();
            assert!(((squares / 4_000.0).sqrt() / spread - 1.0).abs() < 0.05, "axis {axis}");
        }
    }

    #[test]
    fn a_point_from_elsewhere_counts_no_farther_away_than_a_sample_would_lie() {
        let rates = Rates::new(2, 6);
        let far = vec![vec![900.0, -900.0]; 6];
        let mut distribution = Distribution::new(vec![0.5, 0.5], 0.1);
        assert_eq!(distribution.update(&rates, &ranked(&far, false)), Update::Done);
        assert!((distribution.mean(0) - 0.5).abs() < 0.3 && distribution.spread(0) < 0.3, "{distribution:?}");
    }

    #[test]
    fn what_would_leave_no_distribution_changes_nothing() {
        let rates = Rates::new(2, 6);
        for wrong in [f64::NAN, f64::INFINITY, 1e200] {
            let points = vec![vec![wrong, 0.5]; 6];
            let mut distribution = Distribution::new(vec![0.5, 0.5], 0.1);
            assert_eq!(distribution.update(&rates, &ranked(&points, true)), Update::Ill, "{wrong}");
            assert_eq!((distribution.mean(0), distribution.spread(0)), (0.5, 0.1));
        }
    }

    #[test]
    fn a_covariance_that_is_none_or_has_gone_out_of_shape_is_refused() {
        for (wide, is_sound) in [(1e12, true), (1e15, false), (-1.0, false)] {
            let mut distribution = Distribution::new(vec![0.5, 0.5], 1e-5);
            distribution.covariance[(0, 0)] = wide;
            assert_eq!(distribution.settle(), is_sound, "{wide}");
        }
        assert!(!Distribution::new(vec![0.5, 0.5], 1e5).settle(), "wider than any space");
    }

    #[test]
    fn it_is_narrow_only_when_every_axis_is_or_a_step_is_lost() {
        let mut distribution = Distribution::new(vec![0.5, 0.5], 1e-9);
        assert!(!distribution.is_narrow(1e-10) && distribution.is_narrow(1e-8));
        distribution.place(0, 0.5, 1e-3);
        assert!(!distribution.is_narrow(1e-8));
        distribution.place(1, 0.5, 1e-17);
        assert!(distribution.is_narrow(1e-30));
    }
}
