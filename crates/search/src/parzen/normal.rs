//! The normal distribution, in logarithms, so that far tails stay numbers.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use rand::{Rng, RngExt};

/// `ln(sqrt(2 pi))`.
pub const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

/// The probability below `x`.
pub fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The logarithm of the probability below `x`.
pub fn ln_cdf(x: f64) -> f64 {
    if x > 6.0 {
        return -cdf(-x);
    }
    if x > -20.0 {
        return cdf(x).ln();
    }
    // The asymptotic series of the tail (Abramowitz and Stegun, 26.2.12): at -20 its fifth term is below 1e-10.
    let s = 1.0 / (x * x);
    let series = 1.0 - s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s * (1.0 - 9.0 * s))));
    -0.5 * x * x - (-x).ln() - LN_SQRT_TAU + series.ln()
}

/// Beyond this there is less than 2e-19, which no double next to 1 can hold.
const ALL: f64 = 9.0;

/// The logarithm of the probability between `a` and `b`, for `a < b`.
pub fn ln_mass(a: f64, b: f64) -> f64 {
    if b - a < 1e-4 {
        // So narrow that the difference of two probabilities would lose its digits: density times width.
        let mid = 0.5 * (a + b);
        return -0.5 * mid * mid - LN_SQRT_TAU + (b - a).ln();
    }
    if a < -ALL && b > ALL {
        return 0.0;
    }
    if b <= 0.0 {
        ln_difference(ln_cdf(b), ln_cdf(a))
    } else if a > 0.0 {
        ln_difference(ln_cdf(-a), ln_cdf(-b))
    } else {
        (-cdf(a) - cdf(-b)).ln_1p()
    }
}

/// `ln(exp(p) - exp(q))` for `p > q`.
fn ln_difference(p: f64, q: f64) -> f64 {
    p + (-(q - p).exp()).ln_1p()
}

/// One draw from the normal distribution around `mu`, truncated to `[0, 1]`, for `mu` in `[0, 1]` and `sigma` up to 1.
///
/// By rejection: at least a third of the mass lies inside, so that a few draws do.
pub fn truncated(mu: f64, sigma: f64, rng: &mut (impl Rng + ?Sized)) -> f64 {
    for _ in 0..1000 {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        // Box and Muller; `1 - u` is never zero.
        let x = mu + sigma * (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * PI * v).cos();
        if (0.0..=1.0).contains(&x) {
            return x;
        }
    }
    mu.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn logarithms_of_probabilities_agree_with_tables() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} is not {b}");
        // From scipy.special.log_ndtr.
        near(ln_cdf(0.0), -std::f64::consts::LN_2);
        near(ln_cdf(-1.0), -1.841_021_645_009_263_4);
        near(ln_cdf(-19.9), -201.917_167_707_332_65);
        near(ln_cdf(-20.1), -205.927_118_401_948_26);
        near(ln_cdf(-40.0), -804.608_442_013_753_9);
        near(ln_cdf(8.0), -6.220_960_574_271_786e-16);
        near(ln_mass(-1.0, 1.0), 0.682_689_492_137_085_9_f64.ln());
        near(ln_mass(30.0, 30.5), ln_mass(-30.5, -30.0));
        near(ln_mass(0.5, 0.500_1), ln_mass(0.5, 0.500_1 + 1e-13));
    }

    #[test]
    fn truncated_draws_stay_inside_and_have_their_mean() {
        let mut rng = stream(3, 0, Purpose::Configuration);
        let draws: Vec<f64> = (0..20_000).map(|_| truncated(0.0, 0.5, &mut rng)).collect();
        assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        // sigma * (phi(0) - phi(2)) / (cdf(2) - cdf(0))
        let expected = 0.5 * (0.398_942_28 - 0.053_990_97) / 0.477_249_87;
        assert!((mean - expected).abs() < 0.01, "{mean} is not {expected}");
    }
}
