//! A sorted multiset of losses with ranks and quantiles, so that a verdict never scans every trial.

use crate::blocks::Blocks;

/// Losses in ascending order. Holds infinities, never NaN.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    losses: Blocks<f64>,
}

/// A loss as it may be ranked: NaN is `+inf`, and there is one zero only.
pub fn tidy(loss: f64) -> f64 {
    if loss.is_nan() { f64::INFINITY } else { loss + 0.0 }
}

/// A number that orders as the loss `x` does.
pub fn order(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

impl Ranked {
    /// How many losses there are.
    pub const fn len(&self) -> usize {
        self.losses.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    /// Adds `loss`, beside those that equal it.
    pub fn insert(&mut self, loss: f64) {
        let loss = tidy(loss);
        self.losses.insert(loss, |other| *other < loss);
    }

    /// How many losses are strictly smaller than `loss`.
    pub fn below(&self, loss: f64) -> usize {
        let loss = tidy(loss);
        self.losses.place(|other| *other < loss)
    }

    /// The `k`-th smallest loss, from 0.
    pub fn nth(&self, k: usize) -> Option<f64> {
        self.losses.get(k)
    }

    /// The value at `position` between 0 and `len - 1`, interpolated linearly between the two next to it
    /// (as `numpy.percentile` does). Between a number and an infinity lies that infinity.
    pub fn at(&self, position: f64) -> Option<f64> {
        let k = position.floor();
        let share = position - k;
        let low = self.nth(k as usize)?;
        if share <= 0.0 {
            return Some(low);
        }
        let high = self.nth(k as usize + 1)?;
        if low == high || low.is_infinite() {
            return Some(if high.is_infinite() { high } else { low });
        }
        if high.is_infinite() {
            return Some(high);
        }
        // From the nearer end, so that the result never leaves the two.
        Some(if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) })
    }

    /// The median; the mean of the middle two for an even number.
    pub fn median(&self) -> Option<f64> {
        if self.is_empty() { None } else { self.at((self.len() - 1) as f64 / 2.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use rand::RngExt;

    #[test]
    fn ranks_and_quantiles_are_those_of_a_sorted_list() {
        let mut rng = stream(1, 0, Purpose::Configuration);
        let mut ranked = Ranked::default();
        let mut plain: Vec<f64> = Vec::new();
        for i in 0..5000 {
            // Few distinct values, so that ties cross the borders of blocks.
            let x = if i % 50 == 0 { f64::INFINITY } else { f64::from(rng.random_range(0..300u32)) };
            ranked.insert(x);
            plain.push(x);
        }
        plain.sort_by(f64::total_cmp);
        assert_eq!(ranked.len(), plain.len());
        for k in 0..plain.len() {
            assert_eq!(ranked.nth(k), Some(plain[k]), "at {k}");
            assert_eq!(ranked.below(plain[k]), plain.iter().filter(|x| **x < plain[k]).count());
        }
        assert_eq!(ranked.nth(plain.len()), None);
    }

    #[test]
    fn losses_order_as_numbers_do() {
        let ascending = [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 1e-300, 3.0, f64::INFINITY];
        assert!(ascending.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
    }

    #[test]
    fn interpolation_is_linear_and_never_makes_a_nan() {
        let of = |losses: &[f64]| {
            let mut ranked = Ranked::default();
            losses.iter().for_each(|loss| ranked.insert(*loss));
            ranked
        };
        assert_eq!(of(&[]).median(), None);
        assert_eq!(of(&[3.0, 1.0]).median(), Some(2.0));
        assert_eq!(of(&[1.0, 2.0, 4.0, 8.0]).at(0.75), Some(1.75));
        assert_eq!(of(&[1.0, f64::NAN]).median(), Some(f64::INFINITY));
        assert_eq!(of(&[f64::INFINITY, f64::INFINITY]).median(), Some(f64::INFINITY));
        assert_eq!(of(&[f64::NEG_INFINITY, f64::INFINITY]).median(), Some(f64::INFINITY));
        assert_eq!(of(&[f64::NEG_INFINITY, 1.0]).median(), Some(f64::NEG_INFINITY));
        assert_eq!(of(&[-f64::MAX, f64::MAX]).median().map(f64::is_nan), Some(false));
        assert_eq!(of(&[-0.0]).below(0.0), 0, "there is one zero");
    }
}
