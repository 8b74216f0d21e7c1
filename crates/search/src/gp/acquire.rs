//! Which point is worth a trial: the one from which most is expected.

use heats_domain::Params;
use rand_chacha::ChaCha8Rng;

use super::descent::minimize;
use super::plane::Plane;
use super::process::{Guess, Slope};
use crate::parzen::normal::{LN_SQRT_TAU, ln_cdf};

/// How many points are looked at before the best of them are improved.
const DRAWN: usize = 256;
/// How many points near good ones are looked at besides.
const NEAR: usize = 96;
/// How many are improved.
const IMPROVED: usize = 3;
/// How often the smooth axes and the others take turns.
const TURNS: usize = 2;
/// How many steps along the slope at most.
const ROUNDS: usize = 15;

/// Something that expects a loss at every point.
pub trait Expects {
    /// The mean of what it expects at a point: much cheaper than the variance.
    fn mean(&self, at: &[f64]) -> f64;
    /// The variance where nothing is known: nowhere is it larger.
    fn variance_max(&self) -> f64;
    /// What it expects at a point.
    fn guess(&self, at: &[f64]) -> Guess;
    /// What it expects, and how that changes along the ordered axes.
    fn guess_and_slope(&self, at: &[f64]) -> (Guess, Slope);
}

/// The logarithm of how much a loss of this mean and variance is expected to lie below `best`, in expectation over
/// those that lie above it too (log-EI: Ament et al., "Unexpected Improvements to Expected Improvement", NeurIPS 2023).
pub fn ln_improvement(guess: Guess, best: f64) -> f64 {
    let deviation = guess.variance.sqrt();
    deviation.ln() + ln_h((best - guess.mean) / deviation)
}

/// `ln(φ(z) + z Φ(z))`.
fn ln_h(z: f64) -> f64 {
    let ln_density = -0.5 * z * z - LN_SQRT_TAU;
    if z < -50.0 {
        // The asymptotic series, where the difference below has no digits left: its next term is below 1e-10.
        let s = 1.0 / (z * z);
        return ln_density + s.ln() + (-s * (3.0 - s * (15.0 - 105.0 * s))).ln_1p();
    }
    if z > -1.0 {
        return (ln_density.exp() + z * ln_cdf(z).exp()).ln();
    }
    ln_density + (-((-z).ln() + ln_cdf(z) - ln_density).exp()).ln_1p()
}

fn ln_improvement_and_slope(guess: Guess, slope: &Slope, best: f64) -> (f64, Vec<f64>) {
    let deviation = guess.variance.sqrt();
    let z = (best - guess.mean) / deviation;
    let ln_h = ln_h(z);
    let steep = (ln_cdf(z) - ln_h).exp();
    let slopes = slope.mean.iter().zip(&slope.variance).map(|(mean, variance)| {
        let widens = variance / (2.0 * deviation);
        widens / deviation - steep * (mean + z * widens) / deviation
    });
    (deviation.ln() + ln_h, slopes.collect())
}

/// The configurations from which the largest improvement on `best` is expected, the best first. Only such as keep `fixed`
/// and every constraint; `good` are points to look around.
pub fn most_promising(
    expects: &impl Expects,
    plane: &Plane,
    best: f64,
    good: &[Vec<f64>],
    fixed: &Params,
    rng: &mut ChaCha8Rng,
) -> Vec<Vec<f64>> {
    let variance = expects.variance_max();
    // The improvement that would be expected there if nothing were known, which is more than there is.
    let bound = |at: &[f64]| ln_improvement(Guess { mean: expects.mean(at), variance }, best);
    let mut drawn: Vec<(f64, Vec<f64>)> = Vec::new();
    for i in 0..DRAWN + if good.is_empty() { 0 } else { NEAR } {
        let mut point = match i.checked_sub(DRAWN) {
            None => plane.draw(rng),
            Some(i) => {
                let width = [0.1, 0.03, 0.2, 0.01][i % 4];
                let chance = if i % 3 == 0 { 1.0 } else { (2.0 / plane.len() as f64).max(0.2) };
                plane.near(&good[i / 4 % good.len()], width, chance, rng)
            }
        };
        if plane.settle(&mut point, fixed) {
            drawn.push((bound(&point), point));
        }
    }
    drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut found: Vec<(f64, Vec<f64>)> = Vec::new();
    let mut rest = drawn.into_iter().peekable();
    while let Some((_, point)) = rest.next_if(|(bound, _)| found.get(IMPROVED - 1).is_none_or(|worst| *bound > worst.0))
    {
        let merit = ln_improvement(expects.guess(&point), best);
        let place = found.partition_point(|(other, _)| *other >= merit);
        found.insert(place, (merit, point));
    }
    let mut improved: Vec<(f64, Vec<f64>)> =
        found.iter().take(IMPROVED).map(|(merit, point)| improve(expects, plane, best, fixed, *merit, point)).collect();
    improved.extend(found);
    improved.sort_by(|a, b| b.0.total_cmp(&a.0));
    improved.into_iter().chain(rest).map(|(_, point)| point).collect()
}

/// Goes up from `start`: along the slope where there is one, value by value elsewhere.
fn improve(
    expects: &impl Expects,
    plane: &Plane,
    best: f64,
    fixed: &Params,
    merit: f64,
    start: &[f64],
) -> (f64, Vec<f64>) {
    let smooth = plane.smooth();
    let mut top = (merit, start.to_vec());
    for _ in 0..TURNS {
        let before = top.0;
        let bounds: Vec<(f64, f64)> = top
            .1
            .iter()
            .zip(&smooth)
            .map(|(place, smooth)| if *smooth { (0.0, 1.0) } else { (*place, *place) })
            .collect();
        let lowest = minimize(&top.1, &bounds, ROUNDS, 1e-5, |at, gradient| {
            let (guess, slope) = expects.guess_and_slope(at);
            let (value, slopes) = ln_improvement_and_slope(guess, &slope, best);
            gradient.iter_mut().zip(slopes).for_each(|(g, s)| *g = -s);
            -value
        });
        consider(expects, plane, best, fixed, lowest.at, &mut top);
        for axis in (0..plane.len()).filter(|axis| !smooth[*axis]) {
            for place in plane.places(axis) {
                let mut point = top.1.clone();
                point[axis] = place;
                if point != top.1 {
                    consider(expects, plane, best, fixed, point, &mut top);
                }
            }
        }
        if top.0 <= before + 1e-6 || smooth.iter().all(|smooth| *smooth) {
            break;
        }
    }
    top
}

fn consider(
    expects: &impl Expects,
    plane: &Plane,
    best: f64,
    fixed: &Params,
    mut point: Vec<f64>,
    top: &mut (f64, Vec<f64>),
) {
    if plane.settle(&mut point, fixed) {
        let merit = ln_improvement(expects.guess(&point), best);
        if merit > top.0 {
            *top = (merit, point);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_improvement_is_the_integral_that_it_stands_for() {
        for (mean, deviation, best) in [(0.3, 0.5, 0.1), (-1.0, 0.2, 0.0), (2.0, 1.0, -1.0)] {
            let h = 1e-3;
            let integral: f64 = (-8000..8000)
                .map(|i| f64::from(i) * h)
                .map(|z: f64| (best - mean - deviation * z).max(0.0) * (-0.5 * z * z - LN_SQRT_TAU).exp() * h)
                .sum();
            let found = ln_improvement(Guess { mean, variance: deviation * deviation }, best);
            assert!((found - integral.ln()).abs() < 1e-3, "{found} {}", integral.ln());
        }
    }

    #[test]
    fn it_falls_smoothly_far_out_where_its_value_is_no_number_any_more() {
        let at = |z: f64| ln_h(z);
        for z in [-1.0, -5.9, -20.0, -50.0, -9_999.0, -1e6] {
            let (left, right) = (at(z * (1.0 + 1e-6)), at(z * (1.0 - 1e-6)));
            assert!(left < right && right - left < 1e-5 * (1.0 + z * z), "{z}: {left} {right}");
            // The leading terms of the series for large negative z.
            if z < -20.0 {
                assert!((at(z) - (-0.5 * z * z - LN_SQRT_TAU - 2.0 * (-z).ln())).abs() < 0.01, "{z}");
            }
        }
    }

    #[test]
    fn its_slope_is_that_of_its_value() {
        let slope = Slope { mean: vec![0.7], variance: vec![0.4] };
        for (mean, variance, best) in [(0.3, 0.25, 0.1), (9.0, 0.5, 0.0), (0.0, 0.3, 2.0)] {
            let at = |x: f64| ln_improvement(Guess { mean: mean + 0.7 * x, variance: variance + 0.4 * x }, best);
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            let (_, slopes) = ln_improvement_and_slope(Guess { mean, variance }, &slope, best);
            assert!((numeric - slopes[0]).abs() < 1e-4 * (1.0 + numeric.abs()), "{numeric} {slopes:?}");
        }
    }
}
