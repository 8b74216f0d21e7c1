//! The margin of an axis of cells: neither neighbour of the middle's cell ever becomes too rare to be drawn.
//!
//! Hamano, Saito, Nomura and Shirakawa, "CMA-ES with Margin" (GECCO 2022), section 4. Without it, an axis whose spread has
//! become much narrower than a cell gives the same whole number for ever.

use super::distribution::Distribution;
use crate::parzen::axis::Axis;
use crate::parzen::normal::cdf;

/// Cells narrower than this are as good as numbers: they freeze when the search ends.
const CELL_MIN: f64 = 1e-9;

/// Moves and widens `distribution` along every axis of cells as far as needed, so that the chance to leave the middle's
/// cell is at least `chance`.
pub fn keep(distribution: &mut Distribution, axes: &[Axis], chance: f64) {
    for (number, axis) in axes.iter().enumerate() {
        let (mean, spread) = (distribution.mean(number), distribution.spread(number));
        let Some(cell) = Cell::around(axis, mean) else { continue };
        let (kept_mean, kept_spread) = cell.keep(mean, spread, chance);
        if (kept_mean, kept_spread) != (mean, spread) {
            distribution.place(number, kept_mean, kept_spread);
        }
    }
}

/// The stretch of an axis that belongs to one value, with no end where no other value lies beyond.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cell {
    low: Option<f64>,
    high: Option<f64>,
}

impl Cell {
    fn around(axis: &Axis, place: f64) -> Option<Self> {
        let (low, high) = axis.cell(axis.snap(place.clamp(0.0, 1.0)))?;
        let inner = |edge: &f64| (CELL_MIN..=1.0 - CELL_MIN).contains(edge);
        (high - low >= CELL_MIN).then_some(Self { low: Some(low).filter(inner), high: Some(high).filter(inner) })
    }

    /// The mean and spread nearest to these that leave the cell often enough.
    fn keep(self, mean: f64, spread: f64, chance: f64) -> (f64, f64) {
        match (self.low, self.high) {
            (None, None) => (mean, spread),
            (Some(low), None) => (mean.min(low + reach(chance) * spread), spread),
            (None, Some(high)) => (mean.max(high - reach(chance) * spread), spread),
            (Some(low), Some(high)) => {
                let half = chance / 2.0;
                let (below, above) = (cdf((low - mean) / spread), cdf((mean - high) / spread));
                if below.min(above) >= half {
                    return (mean, spread);
                }
                // What one side gets, the other and the middle lose in proportion to what they can spare.
                let (more_below, more_above) = (below.max(half), above.max(half));
                let within = 1.0 - below - above;
                let excess = 1.0 - more_below - more_above - within;
                let spare = more_below + within + more_above - 3.0 * half;
                let to_low = reach(more_below + excess * (more_below - half) / spare);
                let to_high = reach(more_above + excess * (more_above - half) / spare);
                let reaches = to_low + to_high;
                ((low * to_high + high * to_low) / reaches, (high - low) / reaches)
            }
        }
    }
}

/// How many standard deviations from the mean the tail of this probability, up to a half, begins.
fn reach(probability: f64) -> f64 {
    let (mut near, mut far) = (0.0, 40.0);
    for _ in 0..60 {
        let middle = 0.5 * (near + far);
        if cdf(-middle) > probability { near = middle } else { far = middle }
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Domain;

    fn axis() -> Axis {
        Axis::new(&Domain::Int { low: 0, high: 9, log: false, step: 1 }).expect("has several values")
    }

    #[test]
    fn tails_begin_where_tables_say() {
        for (probability, expected) in [(0.5, 0.0), (0.158_655_253_931_457_05, 1.0), (0.025, 1.959_963_984_540_054)] {
            assert!((reach(probability) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn both_neighbours_keep_their_chance() {
        // Within the cell from 0.4 to 0.5.
        for (mean, spread) in [(0.45, 0.001), (0.41, 0.001), (0.499, 0.02), (0.4, 1e-12)] {
            let cell = Cell::around(&axis(), mean).expect("has a cell");
            let (mean, spread) = cell.keep(mean, spread, 0.1);
            let (below, above) = (cdf((0.4 - mean) / spread), cdf((mean - 0.5) / spread));
            assert!(below > 0.0499 && above > 0.0499, "{below} {above}");
            assert!((0.4..=0.5).contains(&mean));
        }
    }

    #[test]
    fn what_one_neighbour_gets_the_other_spares() {
        let before = cdf(-0.001 / 0.02);
        // The far one has next to nothing and gets 0.05, of which the near one gives in proportion to what it can spare.
        let after = before - 0.05 * (before - 0.05) / 0.9;
        for (start, near, far) in [(0.499, 0.5, 0.4), (0.401, 0.4, 0.5)] {
            let (mean, spread) = Cell::around(&axis(), start).expect("has a cell").keep(start, 0.02, 0.1);
            let beyond = |edge: f64| cdf(-(mean - edge).abs() / spread);
            assert!((beyond(far) - 0.05).abs() < 1e-6 && (beyond(near) - after).abs() < 1e-6, "{mean} {spread}");
        }
    }

    #[test]
    fn the_outermost_cell_keeps_its_only_neighbour() {
        for (start, edge) in [(0.02, 0.1), (-0.3, 0.1), (0.97, 0.9), (1.4, 0.9)] {
            let cell = Cell::around(&axis(), start).expect("has a cell");
            let (mean, spread) = cell.keep(start, 0.001, 0.1);
            assert_eq!(spread, 0.001);
            assert!((cdf(-(mean - edge).abs() / spread) - 0.1).abs() < 1e-9, "{start} moves to {mean}");
        }
    }

    #[test]
    fn what_leaves_its_cell_often_enough_is_left_alone() {
        let cell = Cell::around(&axis(), 0.45).expect("has a cell");
        assert_eq!(cell.keep(0.45, 0.1, 0.1), (0.45, 0.1));
        let outer = Cell::around(&axis(), 0.05).expect("has a cell");
        assert_eq!(outer.keep(0.05, 0.1, 0.1), (0.05, 0.1));
    }

    #[test]
    fn cells_too_narrow_to_tell_apart_have_no_margin() {
        let axis = Axis::new(&Domain::Int { low: i64::MIN, high: i64::MAX, log: false, step: 1 });
        assert_eq!(Cell::around(&axis.expect("has several values"), 0.5), None);
    }
}
