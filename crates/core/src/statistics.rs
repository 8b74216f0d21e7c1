//! Means and shares with how far they can be trusted.

/// The mean of `values` with its two-sided 95 % interval by Student's t; no mean of nothing, and no interval of one value.
///
/// The interval holds where the values are drawn alike and about normal, which for a handful of seeds nobody can check.
pub fn mean_interval(values: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    if values.is_empty() {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return Some((mean, None));
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let half = t_975(values.len() - 1) * (squares / (count - 1.0) / count).sqrt();
    Some((mean, Some((mean - half, mean + half))))
}

/// The 97.5 % quantile of Student's t with this many degrees of freedom, at least one.
///
/// Up to nine from the usual table; beyond, the expansion around the normal quantile (Abramowitz and Stegun 26.7.5), which is
/// off by less than one in 100,000 there.
fn t_975(degrees: usize) -> f64 {
    const TABLE: [f64; 9] = [
        12.706_204_736,
        4.302_652_730,
        3.182_446_305,
        2.776_445_105,
        2.570_581_836,
        2.446_911_851,
        2.364_624_252,
        2.306_004_135,
        2.262_157_163,
    ];
    if let Some(quantile) = degrees.checked_sub(1).and_then(|place| TABLE.get(place)) {
        return *quantile;
    }
    let (z, n) = (Z_975, degrees as f64);
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / n) + z
}

/// The 97.5 % quantile of the normal distribution.
const Z_975: f64 = 1.959_963_984_540_054;

#[cfg(test)]
mod tests {
    use super::{mean_interval, t_975};

    #[test]
    fn quantiles_of_t_are_those_of_the_tables() {
        for (degrees, expected) in [
            (1, 12.706_204_7),
            (9, 2.262_157_2),
            (10, 2.228_138_9),
            (11, 2.200_985_2),
            (30, 2.042_272_5),
            (99, 1.984_217_0),
        ] {
            assert!((t_975(degrees) - expected).abs() < 1e-5, "{degrees}: {}", t_975(degrees));
        }
    }

    #[test]
    fn an_interval_of_the_mean_is_students() {
        assert_eq!(mean_interval(&[]), None);
        assert_eq!(mean_interval(&[0.25]), Some((0.25, None)));
        let (mean, interval) = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("of five");
        let (low, high) = interval.expect("of five");
        // Of the standard deviation, which is the root of 2.5, a root of five: 0.7071 times 2.7764.
        assert!((mean - 3.0).abs() < 1e-12 && (low - 1.036_757).abs() < 1e-5 && (high - 4.963_243).abs() < 1e-5);
    }
}
