//! Minimization of a smooth function inside of a box.

use super::factor::dot;

/// How many steps the curvature is estimated from.
const MEMORY: usize = 8;

/// The least decrease that a step must bring, as a share of what the slope promises.
const ARMIJO: f64 = 1e-4;

/// Where `minimize` came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Lowest {
    /// The point.
    pub at: Vec<f64>,
    /// The function there.
    pub value: f64,
}

/// Goes down from `start` by projected L-BFGS (Nocedal and Wright, "Numerical Optimization", 2006,
/// algorithm 7.4), at most `rounds` steps. `f` returns its value and writes its gradient; a value that is
/// not a number counts as too high. `bounds` are inclusive.
pub fn minimize(
    start: &[f64],
    bounds: &[(f64, f64)],
    rounds: usize,
    tolerance: f64,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Lowest {
    let clip = |x: &mut [f64]| x.iter_mut().zip(bounds).for_each(|(x, (low, high))| *x = x.clamp(*low, *high));
    let n = start.len();
    let mut at = start.to_vec();
    clip(&mut at);
    let mut gradient = vec![0.0; n];
    let mut value = f(&at, &mut gradient);
    let mut past: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for _ in 0..rounds {
        // Coordinates that press against a bound stay there.
        let free: Vec<bool> = (0..n)
            .map(|i| !(at[i] <= bounds[i].0 && gradient[i] > 0.0 || at[i] >= bounds[i].1 && gradient[i] < 0.0))
            .collect();
        let slope: Vec<f64> = (0..n).map(|i| if free[i] { gradient[i] } else { 0.0 }).collect();
        if !value.is_finite() || slope.iter().all(|g| g.abs() < tolerance) {
            break;
        }
        let mut direction = quasi_newton(&slope, &past);
        direction.iter_mut().zip(&free).for_each(|(d, free)| {
            if !free {
                *d = 0.0
            }
        });
        if dot(&direction, &slope) >= 0.0 {
            past.clear();
            direction = slope.iter().map(|g| -g).collect();
        }
        let mut step = if past.is_empty() { (1.0 / dot(&slope, &slope).sqrt()).min(1.0) * 0.25 } else { 1.0 };
        let mut next = None;
        for _ in 0..20 {
            let mut x: Vec<f64> = at.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            clip(&mut x);
            let moved: Vec<f64> = x.iter().zip(&at).map(|(x, old)| x - old).collect();
            let mut g = vec![0.0; n];
            let v = f(&x, &mut g);
            if v <= value + ARMIJO * dot(&moved, &slope) {
                next = Some((x, v, g, moved));
                break;
            }
            step *= 0.4;
        }
        let Some((x, v, g, moved)) = next else {
            if past.is_empty() {
                break;
            }
            past.clear();
            continue;
        };
        let turned: Vec<f64> = g.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        if dot(&turned, &moved) > 1e-12 * dot(&turned, &turned) {
            past.push((moved, turned));
            if past.len() > MEMORY {
                past.remove(0);
            }
        }
        let gained = value - v;
        (at, value, gradient) = (x, v, g);
        if gained < 1e-9 * (1.0 + value.abs()) {
            break;
        }
    }
    Lowest { at, value }
}

/// The direction down that the past steps' curvature suggests.
fn quasi_newton(slope: &[f64], past: &[(Vec<f64>, Vec<f64>)]) -> Vec<f64> {
    let mut q: Vec<f64> = slope.to_vec();
    let mut shares = Vec::with_capacity(past.len());
    for (moved, turned) in past.iter().rev() {
        let share = dot(moved, &q) / dot(moved, turned);
        q.iter_mut().zip(turned).for_each(|(q, y)| *q -= share * y);
        shares.push(share);
    }
    if let Some((moved, turned)) = past.last() {
        let unit = dot(moved, turned) / dot(turned, turned);
        q.iter_mut().for_each(|q| *q *= unit);
    }
    for ((moved, turned), share) in past.iter().zip(shares.into_iter().rev()) {
        let back = dot(turned, &q) / dot(moved, turned);
        q.iter_mut().zip(moved).for_each(|(q, s)| *q += (share - back) * s);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley: its lowest point is at (1, 1).
    fn valley(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        g[0] = -2.0 * a - 400.0 * x[0] * b;
        g[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    #[test]
    fn it_finds_the_end_of_a_bent_valley() {
        let lowest = minimize(&[-1.2, 1.0], &[(-5.0, 5.0); 2], 200, 1e-8, valley);
        assert!(lowest.value < 1e-9, "{lowest:?}");
    }

    #[test]
    fn it_stays_in_the_box_and_goes_along_its_wall() {
        let lowest = minimize(&[-1.2, 0.2], &[(-5.0, 0.5), (-5.0, 5.0)], 200, 1e-8, valley);
        assert_eq!(lowest.at[0], 0.5);
        assert!((lowest.at[1] - 0.25).abs() < 1e-5, "{lowest:?}");
    }

    #[test]
    fn what_is_no_number_ends_it_where_it_began() {
        let lowest = minimize(&[0.3], &[(0.0, 1.0)], 10, 1e-8, |_, _| f64::NAN);
        assert_eq!(lowest.at, [0.3]);
    }
}
