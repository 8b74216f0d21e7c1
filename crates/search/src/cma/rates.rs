//! How much each member of a generation counts, and how fast the distribution learns from it.
//!
//! The defaults of Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv:1604.00772), table 1, with the negative
//! weights of its active covariance update.

/// The strategy's constants for a number of axes and a population.
#[derive(Clone, Debug)]
pub struct Rates {
    /// By rank, best first: positive ones sum to 1, the others are negative.
    pub weights: Vec<f64>,
    /// How many equally weighted members the positive weights are worth.
    pub mu_eff: f64,
    /// Of the path that the step size follows.
    pub c_sigma: f64,
    /// How strongly the step size is damped.
    pub d_sigma: f64,
    /// Of the path that the covariance follows.
    pub c_path: f64,
    /// Of the covariance along its path.
    pub c_one: f64,
    /// Of the covariance along the members' steps.
    pub c_mu: f64,
    /// The expected length of a standard normal vector.
    pub chi: f64,
}

impl Rates {
    /// Those of a distribution over `axes` that learns from `population` members at a time, at least 2.
    pub fn new(axes: usize, population: usize) -> Self {
        let n = axes as f64;
        let middle = (population as f64 + 1.0) / 2.0;
        let raw: Vec<f64> = (1..=population).map(|rank| (middle / rank as f64).ln()).collect();
        let worth = |weights: &[f64]| {
            let squares: f64 = weights.iter().map(|w| w * w).sum();
            weights.iter().sum::<f64>().powi(2) / squares
        };
        let (better, worse) = raw.split_at(population / 2);
        let (mu_eff, mu_eff_worse) = (worth(better), worth(worse));
        let c_one = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu = (2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0).powi(2) + mu_eff)).min(1.0 - c_one);
        // The negative weights never take more away than keeps the covariance positive definite.
        let negative =
            (1.0 + c_one / c_mu).min(1.0 + 2.0 * mu_eff_worse / (mu_eff + 2.0)).min((1.0 - c_one - c_mu) / (n * c_mu));
        let total_better: f64 = raw.iter().filter(|w| **w > 0.0).sum();
        let total_worse: f64 = -raw.iter().filter(|w| **w < 0.0).sum::<f64>();
        let weigh = |w: &f64| if *w > 0.0 { w / total_better } else { negative * w / total_worse };
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            weights: raw.iter().map(weigh).collect(),
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_path: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_one,
            c_mu,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }

    /// How many members a generation has.
    pub fn population(&self) -> usize {
        self.weights.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cmaes.CMA` 0.13.1 computes for five dimensions and its default population of 8.
    #[test]
    fn constants_are_those_of_the_library() {
        let rates = Rates::new(5, 8);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        near(rates.mu_eff, 2.600_178_8);
        near(rates.c_sigma, 0.365_088_4);
        near(rates.d_sigma, 1.365_088_4);
        near(rates.c_path, 0.450_199_6);
        near(rates.c_one, 0.047_292_3);
        near(rates.c_mu, 0.038_169_2);
        near(rates.chi, 2.128_523_8);
        let weights =
            [0.529_930_2, 0.285_714_3, 0.142_857_1, 0.041_498_4, -0.167_279_5, -0.456_749, -0.701_492_1, -0.913_498_1];
        rates.weights.iter().zip(weights).for_each(|(weight, expected)| near(*weight, expected));
    }
}
