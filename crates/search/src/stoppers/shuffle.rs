//! How far the ranking at a rung differs from that at the rung below, kept as trials come: what changes with one is what lies
//! between its two places.

use std::collections::BTreeMap;

use super::climb::Stand;
use crate::blocks::Blocks;
use crate::ranked::Ranked;

/// The trials that came to both of two rungs.
#[derive(Debug, Default)]
pub struct Shuffle {
    /// Their losses on the lower rung, in the order in which they stand on the upper one.
    now: Blocks<((u64, u32), f64)>,
    /// The same losses, in order.
    then: Ranked,
    /// How far a trial's loss is from that of the place that it has taken, by the bits of that number, and how often. Without those
    /// that have their own place.
    apart: BTreeMap<u64, u32>,
}

impl Shuffle {
    /// A trial that stands so on the upper rung had this loss on the lower one.
    pub fn add(&mut self, stand: Stand, loss: f64) {
        let key = stand.key();
        let place = self.now.place(|(other, _)| *other < key);
        let before = self.then.below(loss);
        let (first, last) = (place.min(before), place.max(before));
        (first..last).for_each(|place| self.count(place, false));
        self.now.insert((key, loss), |(other, _)| *other < key);
        self.then.insert(loss);
        (first..=last).for_each(|place| self.count(place, true));
    }

    /// Who has the place comes to the distances, or goes.
    fn count(&mut self, place: usize, comes: bool) {
        let Some(((_, here), holder)) = self.now.get(place).zip(self.then.nth(place)) else { return };
        if here == holder {
            return;
        }
        // Of numbers that are not negative, the larger one has the larger bits.
        let count = self.apart.entry((here - holder).abs().to_bits()).or_default();
        *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.apart.remove(&(here - holder).abs().to_bits());
        }
    }

    /// The largest distance of a trial's loss on the lower rung from that of the place that it has taken.
    pub fn widest(&self) -> f64 {
        self.apart.last_key_value().map_or(0.0, |(bits, _)| f64::from_bits(*bits))
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Direction;
    use rand::RngExt;

    use super::*;
    use crate::Event;
    use crate::rng::{Purpose, stream};
    use crate::stoppers::climb::Climb;

    #[test]
    fn the_widest_distance_is_that_of_the_sorted_list() {
        for seed in 0..20 {
            let mut rng = stream(seed, 0, Purpose::Configuration);
            let mut climb = Climb::new("any", Direction::Minimize, 3.0, &[1, 2], None);
            let (mut shuffle, mut both) = (Shuffle::default(), Vec::new());
            for trial in 0..150 {
                // Few distinct values, and some that are none.
                let mut draw =
                    || if rng.random_range(0..40) == 0 { f64::INFINITY } else { rng.random_range(0..30).into() };
                let losses: [f64; 2] = [draw(), draw()];
                for (step, loss) in (1..).zip(losses) {
                    climb.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
                }
                let (_, stand) = climb.seat(trial).expect("it came there");
                shuffle.add(stand, losses[0]);
                both.push((stand.key(), losses[0]));
                both.sort_by_key(|(key, _)| *key);
                let mut sorted: Vec<f64> = both.iter().map(|(_, loss)| *loss).collect();
                sorted.sort_by(f64::total_cmp);
                let pairs = both.iter().map(|(_, loss)| *loss).zip(sorted);
                let apart = pairs.filter(|(here, holder)| here != holder).map(|(here, holder)| (here - holder).abs());
                assert_eq!(shuffle.widest(), apart.fold(0.0, f64::max), "after trial {trial} of seed {seed}");
            }
        }
    }
}
