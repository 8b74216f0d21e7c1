//! Kernel density estimates over configurations some of whose parameters may have no value.
//!
//! Products of kernels, as BOHB has them (see `searchers/bohb.rs`): along an axis of numbers a normal kernel, truncated to the
//! axis; along a choice that of Aitchison and Aitken ("Multivariate Binary Discrimination by the Kernel Method", Biometrika 63,
//! 1976). Bandwidths follow the normal reference rule. `parzen` has other kernels: those of Optuna, whose widths
//! follow the gaps between neighbours.

use rand::{Rng, RngExt};

use crate::parzen::axis::{Axis, Kind};
use crate::parzen::normal::{LN_SQRT_TAU, ln_mass, truncated};

/// A place on each axis; none where the parameter has no value.
pub type Point = Vec<Option<f64>>;

/// Densities below this are all alike: so far from every point there is nothing to compare.
const DENSITY_MIN: f64 = 1e-32;

/// The density of some points.
#[derive(Debug)]
pub struct Density<'a> {
    points: Vec<&'a Point>,
    along: Vec<Along<'a>>,
}

/// The kernels along one axis.
#[derive(Debug)]
struct Along<'a> {
    axis: &'a Axis,
    width: f64,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// The logarithms of a kernel's mass on its own value and on any other, and of what each value has where a point has none.
    Choice { ln_own: f64, ln_other: f64, ln_each: f64 },
    /// By point, the logarithm of what its normal kernel is divided by.
    Line { ln_scales: Vec<f64> },
}

impl<'a> Density<'a> {
    /// That of `points`, at least one, with bandwidths of at least `width_min`.
    pub fn new(axes: &'a [Axis], points: Vec<&'a Point>, width_min: f64) -> Self {
        let along = axes.iter().enumerate().map(|(number, axis)| {
            let places: Vec<Option<f64>> = points.iter().map(|point| point[number]).collect();
            Along::new(axis, &places, axes.len(), width_min)
        });
        Self { along: along.collect(), points }
    }

    /// The density at a point, over the axes on which it has a place.
    pub fn at(&self, point: &Point) -> f64 {
        let kernel = |number: usize| {
            let ln_factor =
                |((along, of), at): ((&Along<'_>, &Option<f64>), &Option<f64>)| along.ln_kernel(number, *of, *at);
            self.along.iter().zip(self.points[number]).zip(point).map(ln_factor).sum::<f64>().exp()
        };
        let sum: f64 = (0..self.points.len()).map(kernel).sum();
        (sum / self.points.len() as f64).max(DENSITY_MIN)
    }

    /// A place on each axis, drawn around one of the points from normal kernels that are `wider` times as wide.
    pub fn draw(&self, wider: f64, rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
        let point = self.points[rng.random_range(0..self.points.len())];
        self.along.iter().zip(point).map(|(along, of)| along.draw(*of, wider, rng)).collect()
    }
}

impl<'a> Along<'a> {
    fn new(axis: &'a Axis, places: &[Option<f64>], axes: usize, width_min: f64) -> Self {
        // The normal reference rule.
        let width = 1.06 * spread(axis, places) * (places.len() as f64).powf(-1.0 / (4.0 + axes as f64));
        if let Kind::Choice(count) = axis.kind {
            let count = count as f64;
            // A wider kernel would have less of its own value than of another.
            let width = width.max(width_min).min((count - 1.0) / count);
            let (ln_own, ln_other) = ((1.0 - width).ln(), (width / (count - 1.0)).ln());
            return Self { axis, width, shape: Shape::Choice { ln_own, ln_other, ln_each: -count.ln() } };
        }
        let width = width.max(width_min);
        let ln_scale =
            |x: &Option<f64>| x.map_or(0.0, |x| width.ln() + LN_SQRT_TAU + ln_mass(-x / width, (1.0 - x) / width));
        Self { axis, width, shape: Shape::Line { ln_scales: places.iter().map(ln_scale).collect() } }
    }

    /// What the kernel of the point of this number, which lies at `of`, has at `at`. Where it lies nowhere it is uniform, and
    /// what is nowhere has all of it.
    fn ln_kernel(&self, number: usize, of: Option<f64>, at: Option<f64>) -> f64 {
        let Some(at) = at else { return 0.0 };
        match (&self.shape, of) {
            (Shape::Choice { ln_each, .. }, None) => *ln_each,
            (Shape::Choice { ln_own, ln_other, .. }, Some(of)) => {
                if of == at {
                    *ln_own
                } else {
                    *ln_other
                }
            }
            (Shape::Line { .. }, None) => 0.0,
            (Shape::Line { ln_scales }, Some(of)) => -0.5 * ((at - of) / self.width).powi(2) - ln_scales[number],
        }
    }

    fn draw(&self, of: Option<f64>, wider: f64, rng: &mut (impl Rng + ?Sized)) -> f64 {
        match (self.axis.kind, of) {
            (Kind::Choice(_), Some(of)) if rng.random::<f64>() >= self.width => of,
            (Kind::Choice(count), _) => rng.random_range(0..count) as f64,
            // One that is as wide as the axis is nearly uniform already.
            (Kind::Continuous | Kind::Even(_) | Kind::Log { .. }, Some(of)) => {
                truncated(of, (self.width * wider).min(1.0), rng)
            }
            (Kind::Continuous | Kind::Even(_) | Kind::Log { .. }, None) => rng.random(),
        }
    }
}

/// The standard deviation of some places, when a point that has none lies everywhere alike. That of choices does not depend
/// on how their values are numbered: its square is half the chance that two of them differ, as it is for numbers 0 and 1.
fn spread(axis: &Axis, places: &[Option<f64>]) -> f64 {
    let n = places.len() as f64;
    if let Kind::Choice(count) = axis.kind {
        let has = |place: &Option<f64>, value: usize| {
            place.map_or(1.0 / count as f64, |place| if place == value as f64 { 1.0 } else { 0.0 })
        };
        let share = |value: usize| places.iter().map(|place| has(place, value)).sum::<f64>() / n;
        let alike: f64 = (0..count).map(|value| share(value).powi(2)).sum();
        return ((1.0 - alike) / 2.0).max(0.0).sqrt();
    }
    let mean = places.iter().map(|place| place.unwrap_or(0.5)).sum::<f64>() / n;
    let square = |place: &Option<f64>| place.map_or(1.0 / 12.0 + (0.5 - mean).powi(2), |place| (place - mean).powi(2));
    (places.iter().map(square).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, float, int};
    use crate::rng::{Purpose, stream};

    fn axes() -> Vec<Axis> {
        [float(0.0, 1.0), choice(&["p", "q", "r"])].iter().filter_map(Axis::new).collect()
    }

    fn near(a: f64, b: f64) {
        assert!((a / b - 1.0).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_density_worked_out_by_hand() {
        let points = [vec![Some(0.2), Some(0.0)], vec![Some(0.6), Some(1.0)]];
        let (axes, points) = (axes(), points.iter().collect());
        let density = Density::new(&axes, points, 1e-3);
        // The standard deviation 0.2, and for the choice sqrt((1 - 1/2) / 2), times 1.06 * 2^(-1/6).
        let rule = 1.06 * 2f64.powf(-1.0 / 6.0);
        let (width, share) = (0.2 * rule, 0.5 * rule);
        let (normal, mass) = (|z: f64| (-0.5 * z * z - LN_SQRT_TAU).exp(), |a: f64, b: f64| ln_mass(a, b).exp());
        let first = normal(0.1 / width) / width / mass(-0.2 / width, 0.8 / width);
        let second = normal(0.3 / width) / width / mass(-0.6 / width, 0.4 / width);
        near(density.at(&vec![Some(0.3), Some(0.0)]), 0.5 * (first * (1.0 - share) + second * share / 2.0));
        near(density.at(&vec![Some(0.3), Some(2.0)]), 0.5 * (first + second) * share / 2.0);
    }

    #[test]
    fn a_density_sums_to_one_with_and_without_values() {
        let points =
            [vec![Some(0.02), Some(2.0)], vec![Some(0.9), None], vec![None, Some(0.0)], vec![Some(1.0), Some(2.0)]];
        let (axes, points) = (axes(), points.iter().collect());
        let density = Density::new(&axes, points, 1e-3);
        let steps = 2_000;
        let over_x = |value: Option<f64>| {
            (0..steps).map(|i| density.at(&vec![Some((f64::from(i) + 0.5) / f64::from(steps)), value])).sum::<f64>()
                / f64::from(steps)
        };
        assert!((over_x(None) - 1.0).abs() < 1e-4, "{}", over_x(None));
        let total: f64 = (0..3).map(|value| over_x(Some(f64::from(value)))).sum();
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }

    #[test]
    fn far_from_every_point_densities_are_alike() {
        let (axes, point) = (axes(), vec![Some(0.1), Some(0.0)]);
        let density = Density::new(&axes, vec![&point], 1e-3);
        assert_eq!(density.at(&vec![Some(0.5), Some(0.0)]), density.at(&vec![Some(0.9), Some(1.0)]));
        assert!(density.at(&vec![Some(0.5), Some(0.0)]) > 0.0);
    }

    #[test]
    fn a_choice_is_as_wide_as_its_values_vary_however_they_are_numbered() {
        let axis = &axes()[1];
        let of = |places: &[f64]| spread(axis, &places.iter().copied().map(Some).collect::<Vec<_>>());
        near(of(&[0.0, 1.0, 1.0, 1.0]), (0.25 * 0.75f64).sqrt());
        near(of(&[0.0, 2.0, 2.0, 1.0]), of(&[2.0, 0.0, 0.0, 1.0]));
        assert_eq!(of(&[2.0, 2.0]), 0.0);
        let uniform = Along::new(axis, &[Some(0.0), Some(1.0)], 30, 0.9);
        near(uniform.ln_kernel(0, Some(0.0), Some(0.0)), uniform.ln_kernel(0, Some(0.0), Some(1.0)));
    }

    #[test]
    fn a_single_value_among_points_without_one_is_no_spike() {
        let axes = axes();
        near(spread(&axes[0], &[None, None]), (1.0f64 / 12.0).sqrt());
        near(spread(&axes[0], &[Some(0.9), None]), (0.04 + 1.0 / 24.0f64).sqrt());
        near(spread(&axes[1], &[Some(0.0), None]), ((1.0 - 4.0 / 9.0 - 2.0 / 36.0) / 2.0f64).sqrt());
    }

    #[test]
    fn draws_lie_around_the_points_as_wide_as_is_asked() {
        let points = [vec![Some(0.5), Some(2.0)], vec![Some(0.5), Some(2.0)]];
        let (axes, points) = (axes(), points.iter().collect());
        let density = Density::new(&axes, points, 0.02);
        let mut rng = stream(1, 0, Purpose::Configuration);
        let draws: Vec<Vec<f64>> = (0..2_000).map(|_| density.draw(3.0, &mut rng)).collect();
        let squares: f64 = draws.iter().map(|point| (point[0] - 0.5).powi(2)).sum();
        assert!(((squares / 2_000.0).sqrt() / 0.06 - 1.0).abs() < 0.1);
        let others = draws.iter().filter(|point| point[1] != 2.0).count();
        // A fiftieth is drawn uniformly, a third of that the same again.
        assert!((10..50).contains(&others), "{others}");
    }

    #[test]
    fn where_nothing_is_known_draws_are_uniform() {
        let axes: Vec<Axis> = [int(0, 9), choice(&["p", "q"])].iter().filter_map(Axis::new).collect();
        let nothing = vec![None, None];
        let density = Density::new(&axes, vec![&nothing], 1e-3);
        let mut rng = stream(2, 0, Purpose::Configuration);
        let draws: Vec<Vec<f64>> = (0..1_000).map(|_| density.draw(3.0, &mut rng)).collect();
        for axis in [0, 1] {
            let low = draws.iter().filter(|point| point[axis] < 0.5).count();
            assert!((450..550).contains(&low), "{low}");
        }
        assert_eq!(density.at(&vec![Some(0.3), Some(1.0)]), 0.5);
    }
}
