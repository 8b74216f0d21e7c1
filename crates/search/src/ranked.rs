//! A sorted multiset of losses with ranks and quantiles, so that a verdict never scans every trial.
//!
//! Blocks of bounded length: an insertion moves one block, a rank looks at one block and at the other blocks' lengths.

/// The longest that a block may grow before it is cut in two.
const BLOCK_MAX: usize = 512;

/// Losses in ascending order. Holds infinities, never NaN.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    /// Never an empty block; every value of a block is at most the first of the next.
    blocks: Vec<Vec<f64>>,
    len: usize,
}

/// A loss as it may be ranked: NaN is `+inf`, and there is one zero only.
pub fn tidy(loss: f64) -> f64 {
    if loss.is_nan() { f64::INFINITY } else { loss + 0.0 }
}

impl Ranked {
    /// How many losses there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `loss`, beside those that equal it.
    pub fn insert(&mut self, loss: f64) {
        let loss = tidy(loss);
        self.len += 1;
        let at = self.blocks.partition_point(|block| block.last().is_some_and(|last| *last < loss));
        let at = at.min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get_mut(at) else {
            self.blocks.push(vec![loss]);
            return;
        };
        let place = block.partition_point(|x| *x < loss);
        block.insert(place, loss);
        if block.len() > BLOCK_MAX {
            let upper = block.split_off(BLOCK_MAX / 2);
            self.blocks.insert(at + 1, upper);
        }
    }

    /// How many losses are strictly smaller than `loss`.
    pub fn below(&self, loss: f64) -> usize {
        let loss = tidy(loss);
        let at = self.blocks.partition_point(|block| block.last().is_some_and(|last| *last < loss));
        let whole: usize = self.blocks[..at].iter().map(Vec::len).sum();
        whole + self.blocks.get(at).map_or(0, |block| block.partition_point(|x| *x < loss))
    }

    /// The `k`-th smallest loss, from 0.
    pub fn nth(&self, mut k: usize) -> Option<f64> {
        for block in &self.blocks {
            match block.get(k) {
                Some(loss) => return Some(*loss),
                None => k -= block.len(),
            }
        }
        None
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
        if self.is_empty() { None } else { self.at((self.len - 1) as f64 / 2.0) }
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
        assert!(ranked.blocks.len() > 5, "the blocks were cut");
        for k in 0..plain.len() {
            assert_eq!(ranked.nth(k), Some(plain[k]), "at {k}");
            assert_eq!(ranked.below(plain[k]), plain.iter().filter(|x| **x < plain[k]).count());
        }
        assert_eq!(ranked.nth(plain.len()), None);
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
