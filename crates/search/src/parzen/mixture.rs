//! A mixture of product kernels, one per observation and one for the prior.
//!
//! The kernels are those of Optuna 5's `_ParzenEstimator`: truncated normals whose width is the larger gap
//! to a neighbour (the outer ones have one neighbour only), held between the range over `min(100, n + 2)`
//! and the range; a value of a step or a whole number has the mass of its cell; a choice has its observed
//! value raised over a uniform base. Older observations weigh less once there are 25.

use rand::{Rng, RngExt};

use super::axis::{Axis, Kind};
use super::history::{SIGMA_FLOOR, Side, Track};
use super::normal::{LN_SQRT_TAU, ln_mass, truncated};

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
    Line { mu: Vec<f64>, sigma: Vec<f64> },
    /// Kernels that are alike are kept once: there are few places.
    Cells { kind: Vec<u32>, mu: Vec<f64>, sigma: Vec<f64>, ln_inside: Vec<f64> },
}

/// The weights of `n` observations, oldest first: the newest 25 count fully, older ones ever less.
fn weights(n: usize) -> Vec<f64> {
    const FULL: usize = 25;
    let ramp = n.saturating_sub(FULL);
    let step = if ramp > 1 { (1.0 - 1.0 / n as f64) / (ramp - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i < ramp { 1.0 / n as f64 + i as f64 * step } else { 1.0 }).collect()
}

impl<'a> Mixture<'a> {
    /// The mixture of the trials on `side` that have a place on every one of `tracks`.
    pub fn new(tracks: &[&'a Track], sides: &[Side], side: Side, prior_weight: f64) -> Self {
        let members: Vec<u32> = (0..sides.len() as u32)
            .filter(|slot| {
                let slot = *slot as usize;
                sides[slot] == side && tracks.iter().all(|track| !track.places[slot].is_nan())
            })
            .collect();
        let n = members.len();
        let mut weights = weights(n);
        weights.push(if n == 0 { 1.0 } else { prior_weight });
        let total: f64 = weights.iter().sum();
        let mut base: Vec<f64> = weights.iter().map(|weight| (weight / total).ln()).collect();
        let cumulative = weights
            .iter()
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let mut index = vec![u32::MAX; sides.len()];
        members.iter().zip(0..).for_each(|(slot, member)| index[*slot as usize] = member);
        let axes = tracks
            .iter()
            .map(|track| Kernels {
                axis: &track.axis,
                shape: Shape::new(track, &members, &index, prior_weight, &mut base),
            })
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
                Shape::Line { mu, sigma } => truncated(mu[kernel], sigma[kernel], rng),
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

impl Shape {
    /// The kernels of `members` along `track`; what no point changes goes into `base`.
    fn new(track: &Track, members: &[u32], index: &[u32], prior_weight: f64, base: &mut [f64]) -> Self {
        let n = members.len();
        if let Kind::Choice(count) = track.axis.kind {
            let share = prior_weight / (n + 1) as f64;
            let whole = 1.0 + share * count as f64;
            base[..n].iter_mut().for_each(|term| *term += (share / whole).ln());
            base[n] -= (count as f64).ln();
            let observed = members.iter().map(|slot| track.places[*slot as usize] as u32).collect();
            return Self::Choice { observed, count, share };
        }
        let floor = 1.0 / ((n + 2) as f64).min(1.0 / SIGMA_FLOOR);
        let mut mu = vec![0.5; n + 1];
        let mut sigma = vec![1.0; n + 1];
        let mut ln_inside = vec![ln_mass(-0.5, 0.5); n + 1];
        let mut ascending = track
            .ascending
            .iter()
            .filter_map(|(place, slot)| Some((*place, *slot, index[*slot as usize])).filter(|m| m.2 != u32::MAX))
            .peekable();
        let mut before: Option<f64> = None;
        let mut in_order = Vec::with_capacity(n);
        while let Some((place, slot, member)) = ascending.next() {
            let gap = match (before, ascending.peek()) {
                // The outer ones ignore the ends of the range, but a single one has nothing else.
                (None, None) => place.max(1.0 - place),
                (None, Some((after, ..))) => after - place,
                (Some(before), None) => place - before,
                (Some(before), Some((after, ..))) => (place - before).max(after - place),
            };
            before = Some(place);
            let width = gap.clamp(floor, 1.0);
            let member = member as usize;
            mu[member] = place;
            sigma[member] = width;
            in_order.push(member);
            ln_inside[member] = match in_order.len().checked_sub(2).map(|i| in_order[i]) {
                _ if width == SIGMA_FLOOR => track.floor_mass[slot as usize],
                Some(last) if mu[last] == place && sigma[last] == width => ln_inside[last],
                Some(_) | None => ln_mass(-place / width, (1.0 - place) / width),
            };
        }
        match track.axis.kind {
            Kind::Continuous | Kind::Choice(_) => {
                for (term, (sigma, inside)) in base.iter_mut().zip(sigma.iter().zip(&ln_inside)) {
                    *term -= sigma.ln() + LN_SQRT_TAU + inside;
                }
                Self::Line { mu, sigma }
            }
            Kind::Even(_) | Kind::Log { .. } => {
                in_order.push(n);
                let mut kind = vec![0; n + 1];
                let mut alike = (Vec::new(), Vec::new(), Vec::new());
                for member in in_order {
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

impl Kernels<'_> {
    /// Adds each kernel's logarithm at `x` to `terms`. `rows` remembers what was computed for other points.
    fn add_to(&self, terms: &mut [f64], x: f64, rows: &mut Vec<(u64, Vec<f64>)>) {
        match &self.shape {
            Shape::Choice { observed, share, .. } => {
                let raise = ((1.0 + share) / share).ln();
                for (term, choice) in terms.iter_mut().zip(observed) {
                    if f64::from(*choice) == x {
                        *term += raise;
                    }
                }
            }
            Shape::Line { mu, sigma } => {
                for (term, (mu, sigma)) in terms.iter_mut().zip(mu.iter().zip(sigma)) {
                    let z = (x - mu) / sigma;
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
        let mut history = History::new(&parameters());
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
            let sides = history.split(|_| 0, true, u32::MAX);
            let densities = Mixture::new(&tracks, &sides, Side::Above, 1.0).ln_density(&points(&tracks));
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
        let sides = history.split(|_| 0, true, u32::MAX);
        let mixture = Mixture::new(&tracks, &sides, Side::Above, 1.0);
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
        assert_eq!(weights(3), [1.0; 3]);
        assert_eq!(weights(25), [1.0; 25]);
        assert_eq!(weights(26)[..2], [1.0 / 26.0, 1.0]);
        let many = weights(50);
        assert_eq!((many[0], many[24], many[49]), (0.02, 1.0, 1.0));
        assert!(many.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
