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

/// The 95 % interval of a share of which `count` in `all` were seen, by Wilson's score (1927). It stays within 0 and 1 and is of
/// use for few and for none, where the usual one is a point. All that is known of none in none is that it is a share.
pub fn wilson(count: u32, all: u32) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (f64::from(all), Z_975 * Z_975);
    let p = f64::from(count) / n;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_975 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The middle of `values`, or halfway between the two in the middle; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(*values.get(low)?, *values.get(high)?))
}

/// Spearman's rank correlation of pairs, from -1 to 1; those that tie share their ranks' mean. `None` where one side is
/// always the same. Infinities rank like other numbers.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let a = ranks(pairs.iter().map(|(a, _)| *a));
    let b = ranks(pairs.iter().map(|(_, b)| *b));
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (sum(&a, &a) * sum(&b, &b)).sqrt();
    (spread > 0.0).then(|| sum(&a, &b) / spread)
}

/// The rank of each value, from 1.
fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<(f64, usize)> = values.zip(0..).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0.0; sorted.len()];
    let mut before = 0;
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|(_, place)| ranks[*place] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::{mean_interval, median, spearman, t_975, wilson};

    #[test]
    fn the_interval_of_a_share_is_wilsons() {
        let near = |(low, high): (f64, f64), (l, h): (f64, f64)| (low - l).abs() < 5e-5 && (high - h).abs() < 5e-5;
        assert!(near(wilson(2, 12), (0.0470, 0.4480)), "{:?}", wilson(2, 12));
        assert!(near(wilson(0, 10), (0.0, 0.2775)), "{:?}", wilson(0, 10));
        assert!(near(wilson(10, 10), (0.7225, 1.0)), "{:?}", wilson(10, 10));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn ranks_correlate_whatever_the_distances_and_ties_share_theirs() {
        assert_eq!(spearman(&[(1.0, 10.0), (2.0, 1e9), (3.0, f64::INFINITY)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (1.0, 2.0)]), None);
        // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 over the root of 4.5 times 5.
        let tied = spearman(&[(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (4.0, 4.0)]).expect("varies");
        assert!((tied - 4.5 / 22.5f64.sqrt()).abs() < 1e-12, "{tied}");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(
            [vec![], vec![3.0], vec![4.0, 1.0], vec![9.0, 1.0, 2.0]].map(median),
            [None, Some(3.0), Some(2.5), Some(2.0)]
        );
    }

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
