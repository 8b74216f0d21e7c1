//! How likely each value of each choice is, learned beside a distribution over numbers.
//!
//! Population-based incremental learning (Baluja 1994): the chances move towards the values of the better half of a
//! generation. No value's chance falls below the floor of CatCMA (Hamano et al., GECCO 2024, section 4.3), so that none is
//! ever given up. Each choice is by itself: what goes well together is not learned.

use rand::{Rng, RngExt};

/// How far the chances move towards a generation's.
const RATE: f64 = 0.2;
/// How likely a configuration has the most likely value of every choice, when all others are at their floor.
const SETTLED: f64 = 0.73;

/// The chances of the values of some choices.
#[derive(Clone, Debug)]
pub struct Choices {
    chances: Vec<Vec<f64>>,
}

impl Choices {
    /// Choices with so many values each, all equally likely.
    pub fn new(counts: &[usize]) -> Self {
        Self { chances: counts.iter().map(|count| vec![1.0 / *count as f64; *count]).collect() }
    }

    /// The number of a value of a choice, drawn.
    pub fn draw(&self, choice: usize, rng: &mut (impl Rng + ?Sized)) -> usize {
        let chances = &self.chances[choice];
        let mut left = rng.random::<f64>();
        for (value, chance) in chances.iter().enumerate() {
            left -= chance;
            if left < 0.0 {
                return value;
            }
        }
        // Rounding has left something over.
        chances.len() - 1
    }

    /// Learns from members with their weights, which sum to 1. A choice that a member has not counts for none.
    pub fn learn(&mut self, members: &[(f64, &[Option<usize>])]) {
        let count = self.chances.len() as f64;
        for (choice, chances) in self.chances.iter_mut().enumerate() {
            let had = |(weight, values): &(f64, &[Option<usize>])| Some((*weight, (*values.get(choice)?)?));
            let had: Vec<(f64, usize)> = members.iter().filter_map(had).collect();
            let taken: f64 = had.iter().map(|(weight, _)| RATE * weight).sum();
            chances.iter_mut().for_each(|chance| *chance *= 1.0 - taken);
            had.iter().for_each(|(weight, value)| chances[*value] += RATE * weight);
            let floor = (1.0 - SETTLED.powf(1.0 / count)) / (chances.len() as f64 - 1.0);
            raise(chances, floor);
        }
    }
}

/// Raises every chance to `floor` at least; those above it give what that takes.
fn raise(chances: &mut [f64], floor: f64) {
    let above: f64 = chances.iter().map(|chance| (chance - floor).max(0.0)).sum();
    let left = 1.0 - floor * chances.len() as f64;
    chances.iter_mut().for_each(|chance| *chance = floor + (*chance - floor).max(0.0) / above * left);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn a_value_that_does_better_becomes_more_likely_and_no_other_is_given_up() {
        let mut choices = Choices::new(&[3, 2]);
        for _ in 0..200 {
            choices.learn(&[(0.7, &[Some(1), None]), (0.3, &[Some(1), None])]);
        }
        let expected = (1.0 - 0.73f64.sqrt()) / 2.0;
        assert!((choices.chances[0][0] - expected).abs() < 1e-6, "{:?}", choices.chances);
        assert!((choices.chances[0].iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(choices.chances[1], [0.5, 0.5], "nobody had it");
    }

    #[test]
    fn values_are_drawn_as_often_as_they_are_likely() {
        let choices = Choices { chances: vec![vec![0.2, 0.0, 0.8]] };
        let mut rng = stream(1, 0, Purpose::Configuration);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[choices.draw(0, &mut rng)] += 1);
        assert!((1_850..2_150).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
    }
}
