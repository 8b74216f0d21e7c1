//! How alike the losses of two configurations are expected to be.

/// The Matérn kernel of smoothness 5/2 with a length scale per axis:
/// `scale (1 + √(5 s) + 5 s / 3) exp(-√(5 s))` for the weighted squared distance `s`
/// (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 4.2).
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// For each axis the inverse of the squared length scale.
    pub weights: Vec<f64>,
    /// The variance of a loss before anything is known.
    pub scale: f64,
}

/// The kernel of scale 1 at the weighted squared distance `s`, and how it falls with `s`.
pub fn matern(s: f64) -> (f64, f64) {
    let root = (5.0 * s).sqrt();
    let decay = (-root).exp();
    ((1.0 + root + 5.0 / 3.0 * s) * decay, -5.0 / 6.0 * (1.0 + root) * decay)
}

impl Kernel {
    /// The weighted squared distance of two points. On the axes in `unordered`, whose places are numbers of
    /// values without an order, all values are one apart.
    pub fn distance(&self, unordered: &[bool], a: &[f64], b: &[f64]) -> f64 {
        self.weights
            .iter()
            .zip(a.iter().zip(b))
            .zip(unordered)
            .map(|((weight, (a, b)), unordered)| weight * apart(*unordered, *a, *b))
            .sum()
    }

    /// The covariance of two points.
    pub fn covariance(&self, unordered: &[bool], a: &[f64], b: &[f64]) -> f64 {
        self.scale * matern(self.distance(unordered, a, b)).0
    }
}

/// The squared distance along one axis.
pub fn apart(unordered: bool, a: f64, b: f64) -> f64 {
    if unordered { f64::from(u8::from(a != b)) } else { (a - b) * (a - b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_kernel() {
        for s in [0.01, 0.5, 3.0, 40.0] {
            let h = 1e-6 * s;
            let numeric = (matern(s + h).0 - matern(s - h).0) / (2.0 * h);
            assert!((numeric - matern(s).1).abs() < 1e-6, "{s}");
        }
        assert_eq!(matern(0.0), (1.0, -5.0 / 6.0));
    }

    #[test]
    fn values_without_an_order_are_all_one_apart() {
        let kernel = Kernel { weights: vec![2.0, 0.5], scale: 1.0 };
        assert_eq!(kernel.distance(&[true, false], &[0.0, 0.0], &[7.0, 2.0]), 4.0);
        assert_eq!(kernel.distance(&[true, false], &[7.0, 1.0], &[7.0, 1.0]), 0.0);
    }
}
