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
