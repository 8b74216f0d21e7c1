//! A Gaussian process with given hyperparameters: what it expects, and how sure it is.

use super::factor::{Factor, dot};
use super::kernel::{Kernel, apart, matern};

/// What a process assumes.
#[derive(Clone, PartialEq, Debug)]
pub struct Hyper {
    /// How alike two points are.
    pub kernel: Kernel,
    /// The variance of one observation around the truth.
    pub noise: f64,
}

/// What is expected at a point: a mean, and the variance around it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Guess {
    /// The mean.
    pub mean: f64,
    /// The variance, without the noise of an observation.
    pub variance: f64,
}

/// How a [`Guess`] changes along each axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Slope {
    /// Of the mean.
    pub mean: Vec<f64>,
    /// Of the variance.
    pub variance: Vec<f64>,
}

/// A process of mean 0, and the points that it knows.
#[derive(Clone, Debug)]
pub struct Process {
    unordered: Vec<bool>,
    hyper: Hyper,
    points: Vec<Vec<f64>>,
    factor: Factor,
    /// `K⁻¹ y` over the points that have a value.
    pull: Vec<f64>,
}

impl Process {
    /// One that knows nothing. On the axes in `unordered` values have no order.
    pub fn new(hyper: Hyper, unordered: &[bool]) -> Self {
        let unordered = unordered.to_vec();
        Self { unordered, hyper, points: Vec::new(), factor: Factor::default(), pull: Vec::new() }
    }

    /// What it assumes.
    pub const fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// How many points it knows.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Takes in that there is an observation at `point`. Its value follows with [`Process::settle`]; until then it counts
    /// as expected, so that it makes the process surer there and changes no mean.
    pub fn push(&mut self, point: &[f64]) {
        let mut row = self.covariances(point);
        row.push(self.hyper.kernel.scale + self.hyper.noise);
        self.factor.push(&row, 1e-10 * self.hyper.kernel.scale);
        self.points.push(point.to_vec());
    }

    /// Forgets the points from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.points.truncate(len);
        self.factor.truncate(len);
    }

    /// Gives the first points their values.
    pub fn settle(&mut self, values: &[f64]) {
        debug_assert!(values.len() <= self.points.len());
        self.pull = self.factor.solve(values);
    }

    fn covariances(&self, at: &[f64]) -> Vec<f64> {
        let kernel = &self.hyper.kernel;
        let mut row = Vec::with_capacity(self.points.len() + 1);
        row.extend(self.points.iter().map(|point| kernel.covariance(&self.unordered, at, point)));
        row
    }

    /// The mean of what it expects at a point.
    pub fn mean(&self, at: &[f64]) -> f64 {
        let kernel = &self.hyper.kernel;
        let pulls = self.points.iter().zip(&self.pull);
        pulls.map(|(point, pull)| kernel.covariance(&self.unordered, at, point) * pull).sum()
    }

    /// What it expects at a point.
    pub fn guess(&self, at: &[f64]) -> Guess {
        let row = self.covariances(at);
        let known = self.factor.solve_lower(&row);
        self.guess_from(&row, &known)
    }

    fn guess_from(&self, row: &[f64], known: &[f64]) -> Guess {
        let scale = self.hyper.kernel.scale;
        Guess {
            mean: dot(&row[..self.pull.len()], &self.pull),
            variance: (scale - dot(known, known)).max(1e-12 * scale),
        }
    }

    /// What it expects at a point, and how that changes along the ordered axes (0 along the others).
    pub fn guess_and_slope(&self, at: &[f64]) -> (Guess, Slope) {
        let kernel = &self.hyper.kernel;
        let axes = kernel.weights.len();
        let mut row = Vec::with_capacity(self.points.len());
        let mut falls = Vec::with_capacity(self.points.len());
        for point in &self.points {
            let (value, fall) = matern(kernel.distance(&self.unordered, at, point));
            row.push(kernel.scale * value);
            falls.push(kernel.scale * fall);
        }
        let known = self.factor.solve_lower(&row);
        let guess = self.guess_from(&row, &known);
        let shares = self.factor.solve_upper(known);
        let mut slope = Slope { mean: vec![0.0; axes], variance: vec![0.0; axes] };
        for (i, point) in self.points.iter().enumerate() {
            let pull = self.pull.get(i).copied().unwrap_or(0.0) * falls[i];
            let share = -2.0 * shares[i] * falls[i];
            for axis in 0..axes {
                let toward = 2.0 * kernel.weights[axis] * (at[axis] - point[axis]);
                slope.mean[axis] += pull * toward;
                slope.variance[axis] += share * toward;
            }
        }
        for (axis, unordered) in self.unordered.iter().enumerate() {
            if *unordered {
                (slope.mean[axis], slope.variance[axis]) = (0.0, 0.0);
            }
        }
        (guess, slope)
    }
}

/// The negative logarithm of how likely `values` at `points` are under `hyper`, and how that changes with the logarithm of
/// each weight, of the scale and of the noise, in this order (Rasmussen and Williams 2006, equations 2.30 and 5.9).
pub fn unlikelihood(points: &[&[f64]], values: &[f64], unordered: &[bool], hyper: &Hyper) -> (f64, Vec<f64>) {
    let n = points.len();
    let Hyper { kernel, noise } = hyper;
    let axes = kernel.weights.len();
    let mut factor = Factor::default();
    let mut likeness: Vec<Vec<(f64, f64)>> = Vec::with_capacity(n);
    for i in 0..n {
        let row: Vec<(f64, f64)> = (0..i).map(|j| matern(kernel.distance(unordered, points[i], points[j]))).collect();
        let mut covariances: Vec<f64> = row.iter().map(|(value, _)| kernel.scale * value).collect();
        covariances.push(kernel.scale + noise);
        factor.push(&covariances, 1e-10 * kernel.scale);
        likeness.push(row);
    }
    let pull = factor.solve(values);
    let value = 0.5 * (dot(values, &pull) + factor.ln_determinant() + n as f64 * std::f64::consts::TAU.ln());
    let inverse = factor.inverse();
    let mut slope = vec![0.0; axes + 2];
    for i in 0..n {
        for (j, (alike, fall)) in likeness[i].iter().enumerate() {
            // Both halves of the symmetric matrices at once.
            let lean = inverse[i][j] - pull[i] * pull[j];
            slope[axes] += lean * kernel.scale * alike;
            let lean = lean * kernel.scale * fall;
            for axis in 0..axes {
                slope[axis] += lean * kernel.weights[axis] * apart(unordered[axis], points[i][axis], points[j][axis]);
            }
        }
        let lean = 0.5 * (inverse[i][i] - pull[i] * pull[i]);
        slope[axes] += lean * kernel.scale;
        slope[axes + 1] += lean * noise;
    }
    (value, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hyper() -> Hyper {
        Hyper { kernel: Kernel { weights: vec![3.0, 0.7, 1.0], scale: 1.5 }, noise: 0.01 }
    }

    const UNORDERED: [bool; 3] = [false, false, true];

    fn known() -> (Vec<Vec<f64>>, Vec<f64>) {
        let points: Vec<Vec<f64>> = (0..12)
            .map(|i| vec![f64::from(i * 5 % 12) / 12.0, f64::from(i * 7 % 12) / 12.0, f64::from(i % 3)])
            .collect();
        let values = points.iter().map(|p| (4.0 * p[0]).sin() + p[1] * p[1] - 0.3 * p[2]).collect();
        (points, values)
    }

    fn process() -> Process {
        let (points, values) = known();
        let mut process = Process::new(hyper(), &UNORDERED);
        points.iter().for_each(|point| process.push(point));
        process.settle(&values);
        process
    }

    #[test]
    fn it_is_sure_where_it_knows_and_knows_nothing_far_away() {
        let (points, values) = known();
        let process = process();
        for (point, value) in points.iter().zip(&values) {
            let guess = process.guess(point);
            assert!((guess.mean - value).abs() < 0.1 && guess.variance < 0.02, "{guess:?} {value}");
        }
        let far = process.guess(&[50.0, 50.0, 9.0]);
        assert!(far.mean.abs() < 1e-9 && (far.variance - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_point_without_a_value_makes_it_surer_and_changes_no_mean() {
        let mut process = process();
        let at = [1.6, 1.4, 1.0];
        let before = process.guess(&at);
        process.push(&at);
        let after = process.guess(&at);
        assert!((after.mean - before.mean).abs() < 1e-9 && after.variance < 0.1 * before.variance);
        process.truncate(12);
        assert!((process.guess(&at).variance - before.variance).abs() < 1e-9);
    }

    #[test]
    fn slopes_are_those_of_the_values() {
        let process = process();
        let at = [0.31, 0.62, 2.0];
        let (guess, slope) = process.guess_and_slope(&at);
        assert_eq!(guess, process.guess(&at));
        for axis in 0..2 {
            let moved = |by: f64| {
                let mut at = at;
                at[axis] += by;
                process.guess(&at)
            };
            let (up, down) = (moved(1e-5), moved(-1e-5));
            assert!(((up.mean - down.mean) / 2e-5 - slope.mean[axis]).abs() < 1e-6);
            assert!(((up.variance - down.variance) / 2e-5 - slope.variance[axis]).abs() < 1e-6);
        }
        assert_eq!((slope.mean[2], slope.variance[2]), (0.0, 0.0));
    }

    #[test]
    fn the_slope_of_the_likelihood_is_that_of_its_value() {
        let (points, values) = known();
        let points: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let with = |place: usize, by: f64| {
            let mut hyper = hyper();
            let times = by.exp();
            match place {
                3 => hyper.kernel.scale *= times,
                4 => hyper.noise *= times,
                axis => hyper.kernel.weights[axis] *= times,
            }
            unlikelihood(&points, &values, &UNORDERED, &hyper)
        };
        let slope = with(0, 0.0).1;
        for (place, slope) in slope.iter().enumerate() {
            let numeric = (with(place, 1e-5).0 - with(place, -1e-5).0) / 2e-5;
            assert!((numeric - slope).abs() < 1e-5, "{place}: {numeric} {slope}");
        }
    }
}
