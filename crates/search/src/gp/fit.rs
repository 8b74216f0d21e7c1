//! Chooses a process's hyperparameters from what was observed.

use super::descent::minimize;
use super::kernel::Kernel;
use super::process::{Hyper, unlikelihood};

/// Above so many observations only some of them, evenly chosen, decide: fitting costs the cube of their number.
const OBSERVATIONS_MAX: usize = 150;
/// How many steps the search for the most likely hyperparameters takes at most.
const ROUNDS: usize = 40;
/// The least variance of an observation, for values of variance 1.
pub const NOISE_MIN: f64 = 1e-6;

/// The most likely hyperparameters for `values` of mean 0 and variance 1 at `points`, under the priors of Optuna's
/// `GPSampler`: `exp(-0.1/w - 0.1 w)` for each weight, `Gamma(2, 1)` for the scale and `Gamma(1.1, 30)` for the noise.
pub fn fit(points: &[&[f64]], values: &[f64], unordered: &[bool], start: &Hyper) -> Hyper {
    let n = points.len();
    let chosen: Vec<usize> = if n <= OBSERVATIONS_MAX {
        (0..n).collect()
    } else {
        (0..OBSERVATIONS_MAX).map(|i| i * n / OBSERVATIONS_MAX).collect()
    };
    let points: Vec<&[f64]> = chosen.iter().map(|i| points[*i]).collect();
    let values: Vec<f64> = chosen.iter().map(|i| values[*i]).collect();
    let axes = unordered.len();
    let read = |x: &[f64]| Hyper {
        kernel: Kernel { weights: x[..axes].iter().map(|x| x.exp()).collect(), scale: x[axes].exp() },
        noise: x[axes + 1].exp(),
    };
    let mut at: Vec<f64> = start.kernel.weights.iter().map(|w| w.ln()).collect();
    at.extend([start.kernel.scale.ln(), start.noise.ln()]);
    let mut bounds = vec![(1e-3f64.ln(), 1e4f64.ln()); axes];
    bounds.extend([(1e-3f64.ln(), 1e3f64.ln()), (NOISE_MIN.ln(), 1f64.ln())]);
    let lowest = minimize(&at, &bounds, ROUNDS, 1e-3, |x, gradient| {
        let hyper = read(x);
        let (mut value, slope) = unlikelihood(&points, &values, unordered, &hyper);
        gradient.copy_from_slice(&slope);
        for (axis, w) in hyper.kernel.weights.iter().enumerate() {
            value += 0.1 / w + 0.1 * w;
            gradient[axis] += -0.1 / w + 0.1 * w;
        }
        let Hyper { kernel: Kernel { scale, .. }, noise } = hyper;
        value += scale - scale.ln();
        gradient[axes] += scale - 1.0;
        value += 30.0 * noise - 0.1 * noise.ln();
        gradient[axes + 1] += 30.0 * noise - 0.1;
        value
    });
    read(&lowest.at)
}

/// What is assumed before anything was observed.
pub fn prior(axes: usize) -> Hyper {
    Hyper { kernel: Kernel { weights: vec![1.0; axes], scale: 1.0 }, noise: 1e-3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_axis_that_matters_and_how_much_noise_there_is() {
        let points: Vec<Vec<f64>> =
            (0..60).map(|i| vec![f64::from(i * 37 % 60) / 60.0, f64::from(i * 23 % 60) / 60.0]).collect();
        let refs: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let clean: Vec<f64> = points.iter().map(|p| 1.4 * (9.0 * p[0]).sin()).collect();
        let exact = fit(&refs, &clean, &[false; 2], &prior(2));
        assert!(exact.kernel.weights[0] > 5.0 * exact.kernel.weights[1], "{exact:?}");
        let rough: Vec<f64> = clean.iter().enumerate().map(|(i, y)| y + if i % 2 == 0 { 0.3 } else { -0.3 }).collect();
        let noisy = fit(&refs, &rough, &[false; 2], &prior(2));
        assert!(exact.noise < 1e-3 && noisy.noise > 0.02, "{} {}", exact.noise, noisy.noise);
    }
}
