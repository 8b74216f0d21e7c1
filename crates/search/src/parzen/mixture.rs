//! A mixture of product kernels, one per observation and one for the prior.
//!
//! The kernels are those of Optuna 5's `_ParzenEstimator`: truncated normals whose width is the larger gap
//! to a neighbour (the outer ones have one neighbour only), held between the range over `min(100, n + 2)`
//! and the range; a value of a step or a whole number has the mass of its cell; a choice has its observed
//! value raised over a uniform base. Older observations weigh less once there are 25.
//!
//! One that stands for several others has the weight of all of them, and wherever the number of observations counts, theirs does.
//! Its narrowest normals are wider, so that together they fill the volume of as many kernels, and it is no higher a peak than one.
//! Otherwise the places of those that it stands for would look as if nothing had been tried there.

use rand::{Rng, RngExt};

use super::axis::{Axis, Kind};
use super::crowd::Members;
use super::history::{SIGMA_FLOOR, Track};
use super::normal::{LN_SQRT_TAU, ln_mass, truncated};

/// Along fewer axes than five, kernels that stand for several are wider by the fifth root: along one axis the best width of a kernel
/// follows the number of observations so (Scott, "Multivariate Density Estimation", 1992), and a sample leaves no holes there.
const FIFTH: usize = 5;

/// A point of the cube: a place on each of the mixture's axes.
pub type Place = Vec<f64>;

/// A mixture over some axes.
#[derive(Debug)]
pub struct Mixture<'a> {
    /// Cumulative weights, the prior's last.
    cumulative: Vec<f64>,
    /// By kernel: the logarithm of its weight and of every factor that no point changes.
    base: Vec<f64>,
    axes: Vec<Kernels<'a>>,
}

#[derive(Debug)]
struct Kernels<'a> {
    axis: &'a Axis,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// By kernel, the observed choice; the prior has none.
    Choice {
        observed: Vec<u32>,
        count: usize,
        /// What the uniform base has of each choice, where an observation has 1.
        share: f64,
    },
    /// By kernel.
    Line { mu: Vec<f64>, sigma: Vec<f64>, per_sigma: Vec<f64> },
    /// Kernels that are alike are kept once: there are few places.
    Cells { kind: Vec<u32>, mu: Vec<f64>, sigma: Vec<f64>, ln_inside: Vec<f64> },
}

/// The weight of the observation that `older` of `n` are older than: the newest 25 count fully, the others ever less.
fn weight(older: f64, n: f64) -> f64 {
    const FULL: f64 = 25.0;
    let ramp = n - FULL;
    if older >= ramp {
        return 1.0;
    }
    let step = if ramp > 1.0 { (1.0 - 1.0 / n) / (ramp - 1.0) } else { 0.0 };
    1.0 / n + older * step
}

/// The weights of observations, the oldest first; each has what those that it stands for have together.
fn weights(stands_for: &[f64], n: f64) -> Vec<f64> {
    let mut older = 0.0;
    let of = |count: &f64| {
        // Of those that it stands for, it is the one in the middle.
        let weight = count * weight(older + (count - 1.0) / 2.0, n);
        older += count;
        weight
    };
    stands_for.iter().map(of).collect()
}

impl<'a> Mixture<'a> {
    /// The mixture of those `members` that have a place on every one of `tracks`.
    pub fn new(tracks: &[&'a Track], members: &Members, prior_weight: f64) -> Self {
        let is_placed = |slot: u32| tracks.iter().all(|track| !track.places[slot as usize].is_nan());
        let placed = members.slots.iter().zip(&members.stands_for).filter(|(slot, _)| is_placed(**slot));
        let (slots, stands_for): (Vec<u32>, Vec<f64>) = placed.unzip();
        let n = stands_for.iter().sum::<f64>().round();
        let mut weights = weights(&stands_for, n);
        weights.push(if n == 0.0 { 1.0 } else { prior_weight });
        let total: f64 = weights.iter().sum();
        let mut base: Vec<f64> = weights.iter().map(|weight| (weight / total).ln()).collect();
        let cumulative = weights
            .iter()
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let lines = tracks.iter().filter(|track| !matches!(track.axis.kind, Kind::Choice(_))).count();
        let root = 1.0 / lines.max(FIFTH) as f64;
        let wider: Vec<f64> = stands_for.iter().map(|count| count.powf(root)).collect();
        let whole = Whole { slots: &slots, wider: &wider, n, prior_weight };
        let axes = tracks
            .iter()
            .map(|track| Kernels { axis: &track.axis, shape: Shape::new(track, &whole, &mut base) })
            .collect();
        Self { cumulative, base, axes }
    }

    /// One point drawn from the mixture.
    pub fn sample(&self, rng: &mut (impl Rng + ?Sized)) -> Place {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let at = total * rng.random::<f64>();
        let kernel = self.cumulative.partition_point(|sum| *sum <= at).min(self.cumulative.len() - 1);
        self.axes
            .iter()
            .map(|Kernels { axis, shape }| match shape {
                Shape::Choice { observed, count, share } => {
                    let base = *share * *count as f64;
                    match observed.get(kernel) {
                        Some(choice) if rng.random::<f64>() * (1.0 + base) < 1.0 => f64::from(*choice),
                        _ => rng.random_range(0..*count) as f64,
                    }
                }
                Shape::Line { mu, sigma, per_sigma: _ } => truncated(mu[kernel], sigma[kernel], rng),
                Shape::Cells { kind, mu, sigma, .. } => {
                    let kind = kind[kernel] as usize;
                    axis.snap(truncated(mu[kind], sigma[kind], rng))
                }
            })
            .collect()
    }

    /// The logarithm of the density (of the mass, along axes with cells) at each of `points`.
    pub fn ln_density(&self, points: &[Place]) -> Vec<f64> {
        let mut rows: Vec<Vec<(u64, Vec<f64>)>> = self.axes.iter().map(|_| Vec::new()).collect();
        let mut terms = vec![0.0; self.base.len()];
        points
            .iter()
            .map(|point| {
                terms.copy_from_slice(&self.base);
                for ((kernels, x), rows) in self.axes.iter().zip(point).zip(&mut rows) {
                    kernels.add_to(&mut terms, *x, rows);
                }
                ln_sum_exp(&terms)
            })
            .collect()
    }
}

/// What the kernels along an axis need to know of all of the mixture's.
struct Whole<'a> {
    /// Whose they are, the oldest first.
    slots: &'a [u32],
    /// How many times as wide the narrowest of each is.
    wider: &'a [f64],
    /// How many observations they stand for.
    n: f64,
    prior_weight: f64,
}

impl Shape {
    /// The kernels along `track`; what no point changes goes into `base`.
    fn new(track: &Track, whole: &Whole<'_>, base: &mut [f64]) -> Self {
        let &Whole { slots, wider, n, prior_weight } = whole;
        let prior = slots.len();
        if let Kind::Choice(count) = track.axis.kind {
            let share = prior_weight / (n + 1.0);
            let whole = 1.0 + share * count as f64;
            base[..prior].iter_mut().for_each(|term| *term += (share / whole).ln());
            base[prior] -= (count as f64).ln();
            let observed = slots.iter().map(|slot| track.places[*slot as usize] as u32).collect();
            return Self::Choice { observed, count, share };
        }
        let floor = 1.0 / (n + 2.0).min(1.0 / SIGMA_FLOOR);
        let mut mu = vec![0.5; prior + 1];
        let mut sigma = vec![1.0; prior + 1];
        let mut ln_inside = vec![ln_mass(-0.5, 0.5); prior + 1];
        let in_order = in_order(track, slots);
        for (at, &member) in in_order.iter().enumerate() {
            let place_of = |member: usize| track.places[slots[member] as usize];
            let place = place_of(member);
            let before = at.checked_sub(1).map(|before| in_order[before]);
            let after = in_order.get(at + 1);
            let gap = match (before, after) {
                // The outer ones ignore the ends of the range, but a single one has nothing else.
                (None, None) => place.max(1.0 - place),
                (None, Some(after)) => place_of(*after) - place,
                (Some(before), None) => place - place_of(before),
                (Some(before), Some(after)) => (place - place_of(before)).max(place_of(*after) - place),
            };
            let width = gap.max(floor * wider[member]).min(1.0);
            mu[member] = place;
            sigma[member] = width;
            ln_inside[member] = match before {
                _ if width == SIGMA_FLOOR => track.floor_mass[slots[member] as usize],
                Some(last) if mu[last] == place && sigma[last] == width => ln_inside[last],
                Some(_) | None => ln_mass(-place / width, (1.0 - place) / width),
            };
        }
        match track.axis.kind {
            Kind::Continuous | Kind::Choice(_) => {
                for (term, (sigma, inside)) in base.iter_mut().zip(sigma.iter().zip(&ln_inside)) {
                    *term -= sigma.ln() + LN_SQRT_TAU + inside;
                }
                let per_sigma = sigma.iter().map(|sigma| 1.0 / sigma).collect();
                Self::Line { mu, sigma, per_sigma }
            }
            Kind::Even(_) | Kind::Log { .. } => {
                let mut kind = vec![0; prior + 1];
                let mut alike = (Vec::new(), Vec::new(), Vec::new());
                for member in in_order.into_iter().chain([prior]) {
                    let this = (mu[member], sigma[member]);
                    if alike.0.last().copied().zip(alike.1.last().copied()) != Some(this) {
                        alike.0.push(this.0);
                        alike.1.push(this.1);
                        alike.2.push(ln_inside[member]);
                    }
                    kind[member] = alike.0.len() as u32 - 1;
                }
                Self::Cells { kind, mu: alike.0, sigma: alike.1, ln_inside: alike.2 }
            }
        }
    }
}

/// The places of `slots` in that list, by where they are along `track`; of those at one place, the older first.
fn in_order(track: &Track, slots: &[u32]) -> Vec<usize> {
    // One number for both, for that is what sorts fastest: a place is not negative, and orders as its bits do.
    let key = |(member, slot): (usize, &u32)| u128::from(track.places[*slot as usize].to_bits()) << 64 | member as u128;
    let mut keys: Vec<u128> = slots.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u64 as usize).collect()
}

impl Kernels<'_> {
    /// Adds each kernel's logarithm at `x` to `terms`. `rows` remembers what was computed for other points.
    fn add_to(&self, terms: &mut [f64], x: f64, rows: &mut Vec<(u64, Vec<f64>)>) {
        match &self.shape {
            Shape::Choice { observed, share, .. } => {
                let (raise, x) = (((1.0 + share) / share).ln(), x as u32);
                for (term, choice) in terms.iter_mut().zip(observed) {
                    // Added to each, for nobody could guess to which: a branch would be taken wrongly more often than not.
                    *term += if *choice == x { raise } else { 0.0 };
                }
            }
            Shape::Line { mu, sigma: _, per_sigma } => {
                for (term, (mu, per_sigma)) in terms.iter_mut().zip(mu.iter().zip(per_sigma)) {
                    let z = (x - mu) * per_sigma;
                    *term -= 0.5 * z * z;
                }
            }
            Shape::Cells { kind, mu, sigma, ln_inside } => {
                let known = rows.iter().position(|(bits, _)| *bits == x.to_bits());
                let place = known.unwrap_or_else(|| {
                    let (low, high) = self.axis.cell(x).unwrap_or((x, x));
                    let row = (mu.iter().zip(sigma).zip(ln_inside))
                        .map(|((mu, sigma), inside)| ln_mass((low - mu) / sigma, (high - mu) / sigma) - inside)
                        .collect();
                    rows.push((x.to_bits(), row));
                    rows.len() - 1
                });
                if let Some((_, row)) = rows.get(place) {
                    for (term, kind) in terms.iter_mut().zip(kind) {
                        *term += row[*kind as usize];
                    }
                }
            }
        }
    }
}

fn ln_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    // Terms this far below the largest add nothing that a double could hold.
    let sum: f64 = terms.iter().map(|term| term - largest).filter(|x| *x > -40.0).map(f64::exp).sum();
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, parameter};
    use crate::parzen::history::History;
    use crate::rng::{Purpose, stream};
    use crate::{Event, Outcome};
    use heats_domain::{Domain, Parameter, Params, Value};

    fn parameters() -> Vec<Parameter> {
        vec![
            parameter("x", Domain::Float { low: 0.0, high: 1.0, log: false, step: None }),
            parameter("lr", Domain::Float { low: 1e-4, high: 1.0, log: true, step: None }),
            parameter("depth", Domain::Int { low: 1, high: 64, log: true, step: 1 }),
            parameter("width", Domain::Int { low: 32, high: 512, log: false, step: 32 }),
            parameter("drop", Domain::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) }),
            parameter("c", choice(&["p", "q", "r"])),
        ]
    }

    /// Values in the order of `parameters`.
    fn configuration(numbers: [f64; 5], c: &str) -> Params {
        let [x, lr, depth, width, drop] = numbers;
        [
            ("x", Value::Float(x)),
            ("lr", Value::Float(lr)),
            ("depth", Value::Int(depth as i64)),
            ("width", Value::Int(width as i64)),
            ("drop", Value::Float(drop)),
            ("c", Value::Str(c.to_owned())),
        ]
        .into_iter()
        .collect()
    }

    fn history(n: u32) -> History {
        let mut history = History::new(&parameters(), usize::MAX);
        for trial in 0..n {
            let i = f64::from(trial);
            let numbers = [
                i * 37.0 % 100.0 / 100.0,
                10f64.powf(-4.0 + 4.0 * (i * 53.0 % 100.0) / 100.0),
                1.0 + i * 29.0 % 64.0,
                32.0 * (1.0 + i * 7.0 % 16.0),
                0.1 * (i * 5.0 % 6.0),
            ];
            let params = configuration(numbers, ["p", "q", "r"][trial as usize % 3]);
            history.observe(&Event::Created { trial, params: &params });
            history.observe(&Event::Ended { trial, outcome: Outcome::Completed(0.0) });
        }
        history
    }

    fn points(tracks: &[&Track]) -> Vec<Place> {
        [
            configuration([0.5, 0.01, 8.0, 256.0, 0.2], "p"),
            configuration([0.07, 1e-4, 1.0, 32.0, 0.0], "q"),
            configuration([1.0, 0.9, 64.0, 512.0, 0.5], "r"),
        ]
        .iter()
        .map(|params| {
            let place = |track: &&Track| track.axis.place(params.get(&track.name).expect("has it")).expect("is there");
            tracks.iter().map(place).collect()
        })
        .collect()
    }

    /// What `_ParzenEstimator.log_pdf` of Optuna 5.0.0 gives for the same observations and points; along `lr`
    /// Optuna's density is over the logarithm, so that `ln(ln(1) - ln(1e-4))` was added. Which of several
    /// observations at one place gets the wide kernel is left to chance there; `numpy.argsort` was made stable.
    #[test]
    fn densities_are_those_of_optuna() {
        let check = |n: u32, names: &[&str], expected: [f64; 3]| {
            let history = history(n);
            let tracks: Vec<&Track> = history.tracks().iter().filter(|t| names.contains(&t.name.as_str())).collect();
            let members = history.split(|_| 0, true, u32::MAX).above;
            let densities = Mixture::new(&tracks, &members, 1.0).ln_density(&points(&tracks));
            for (density, expected) in densities.iter().zip(expected) {
                assert!((density - expected).abs() < 1e-8, "{n} {names:?}: {densities:?}, not {expected}");
            }
        };
        check(5, &["x"], [0.0162260183955, 0.468406213852, -0.939937808789]);
        check(5, &["lr"], [-0.0525777161597, 0.730966724328, -1.19034234554]);
        check(5, &["depth"], [-4.09348028334, -2.21701020319, -4.90680545604]);
        check(5, &["width"], [-2.80254484404, -2.98550682315, -2.71264579465]);
        check(5, &["drop"], [-1.87093836983, -2.24069345609, -1.67383222583]);
        check(5, &["c"], [-0.99325177301, -0.99325177301, -1.34992671695]);
        let all = ["x", "lr", "depth", "width", "drop", "c"];
        check(0, &all, [-9.12496576701, -7.43690741471, -11.7642295651]);
        check(1, &all, [-8.79066752847, -7.15212351533, -12.3015963807]);
        check(2, &all, [-8.9604515591, -6.53317673782, -12.7144806402]);
        check(5, &all, [-8.76120157932, -4.94776420785, -13.4428977682]);
        check(30, &["x", "lr", "c"], [-3.48458031902, -0.161313501048, -4.61380288771]);
        check(30, &["depth"], [-4.41231013038, -4.24704906714, -4.46244068169]);
        check(30, &["width"], [-2.81504106401, -3.1452904958, -2.68458729243]);
        check(30, &["drop"], [-1.72790132307, -1.87189997109, -1.78003045947]);
        check(130, &["x"], [0.00266593068897, 0.0237157782571, -0.665453386577]);
        check(130, &["lr"], [-0.354352083386, 0.367843203629, -0.271913810552]);
        check(130, &["depth"], [-3.98917988052, -3.70395661434, -4.58067311312]);
        check(130, &["width"], [-2.67486519054, -2.7146158392, -2.71822505177]);
        check(130, &["drop"], [-1.8207064015, -1.80682649613, -1.76137685305]);
        check(130, &["c"], [-1.08632113081, -1.11107959852, -1.09858937858]);
        check(30, &all, [-12.4777895644, -7.39898338512, -15.1170448575]);
        check(130, &["x", "lr", "c"], [-2.5567577309, -5.60233618705, -5.62923239184]);
    }

    #[test]
    fn samples_follow_the_density() {
        let history = history(7);
        let tracks: Vec<&Track> =
            history.tracks().iter().filter(|t| ["drop", "c"].contains(&t.name.as_str())).collect();
        let members = history.split(|_| 0, true, u32::MAX).above;
        let mixture = Mixture::new(&tracks, &members, 1.0);
        let mut rng = stream(2, 0, Purpose::Configuration);
        let draws: Vec<Place> = (0..20_000).map(|_| mixture.sample(&mut rng)).collect();
        let mut whole = 0.0;
        for drop in 0..6 {
            for c in 0..3 {
                let point = vec![(f64::from(drop) + 0.5) / 6.0, f64::from(c)];
                let hits = draws.iter().filter(|d| (d[0] - point[0]).abs() < 1e-9 && d[1] == point[1]).count();
                let expected = mixture.ln_density(&[point])[0].exp();
                whole += expected;
                assert!((hits as f64 / 20_000.0 - expected).abs() < 0.012, "{drop} {c}: {hits} of {expected}");
            }
        }
        assert!((whole - 1.0).abs() < 1e-9, "the masses add up to {whole}");
    }

    #[test]
    fn older_observations_weigh_less_from_25_on() {
        let each = |n: usize| weights(&vec![1.0; n], n as f64);
        assert_eq!(each(3), [1.0; 3]);
        assert_eq!(each(25), [1.0; 25]);
        assert_eq!(each(26)[..2], [1.0 / 26.0, 1.0]);
        let many = each(50);
        assert_eq!((many[0], many[24], many[49]), (0.02, 1.0, 1.0));
        assert!(many.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn one_that_stands_for_others_weighs_what_they_do() {
        let each: f64 = weights(&[1.0; 500], 500.0)[..400].iter().sum();
        let several = weights(&[&[8.0; 50][..], &[1.0; 100]].concat(), 500.0);
        assert!((several[..50].iter().sum::<f64>() - each).abs() < 1e-9);
        assert_eq!(several[50..], weights(&[1.0; 500], 500.0)[400..]);
    }
}
