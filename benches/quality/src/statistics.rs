//! Means of runs, and how far they can be trusted.

use std::collections::BTreeMap;

/// How often runs are drawn anew.
const DRAWS: u64 = 2_000;

/// A number with the interval that holds it in 95 of 100 cases.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// One run's number, on one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of<'a> {
    pub(crate) task: &'a str,
    pub(crate) value: f64,
}

/// The mean over tasks of the mean over each task's runs; the interval is by a bootstrap of the runs of each task, since the
/// tasks are given and the seeds are drawn.
pub(crate) fn mean(runs: &[Of<'_>]) -> Estimate {
    let tasks = by_task(runs);
    let value = tasks.iter().map(|runs| middle(runs)).sum::<f64>() / tasks.len() as f64;
    let mut draw = Draw { state: 1 };
    interval(value, || {
        let of_task =
            |runs: &Vec<f64>| (0..runs.len()).map(|_| runs[draw.below(runs.len())]).sum::<f64>() / runs.len() as f64;
        tasks.iter().map(of_task).sum::<f64>() / tasks.len() as f64
    })
}

/// The mean of `runs` by that of `others`, run for run on the same tasks; the interval is by a bootstrap of tasks and of runs
/// within them, so that it speaks about tasks that are not among these.
pub(crate) fn ratio(runs: &[Of<'_>], others: &[Of<'_>]) -> Estimate {
    let (ours, theirs) = (by_task(runs), by_task(others));
    let sum = |of: &[Vec<f64>]| of.iter().map(|runs| middle(runs)).sum::<f64>();
    let value = sum(&ours) / sum(&theirs);
    let mut draw = Draw { state: 2 };
    interval(value, || {
        let (mut a, mut b) = (0.0, 0.0);
        for _ in 0..ours.len() {
            let task = draw.below(ours.len());
            for _ in 0..ours[task].len() {
                let run = draw.below(ours[task].len());
                a += ours[task][run] / ours[task].len() as f64;
                b += theirs[task][run] / ours[task].len() as f64;
            }
        }
        a / b
    })
}

/// The mean place of each among all, over tasks and run numbers: 1 is the best, equals share theirs.
pub(crate) fn mean_ranks(settings: &[Vec<Of<'_>>]) -> Vec<f64> {
    let cases = settings.iter().map(Vec::len).min().unwrap_or(0);
    let mut sums = vec![0.0; settings.len()];
    for case in 0..cases {
        for (place, setting) in settings.iter().enumerate() {
            let value = setting[case].value;
            let better = settings.iter().filter(|other| other[case].value < value).count();
            let equal = settings.iter().filter(|other| other[case].value == value).count();
            sums[place] += better as f64 + (equal as f64 + 1.0) / 2.0;
        }
    }
    sums.into_iter().map(|sum| sum / cases as f64).collect()
}

fn by_task(runs: &[Of<'_>]) -> Vec<Vec<f64>> {
    let mut of: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in runs {
        of.entry(run.task).or_default().push(run.value);
    }
    of.into_values().collect()
}

fn middle(runs: &[f64]) -> f64 {
    runs.iter().sum::<f64>() / runs.len() as f64
}

fn interval(value: f64, mut drawn: impl FnMut() -> f64) -> Estimate {
    let mut all: Vec<f64> = (0..DRAWS).map(|_| drawn()).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    Estimate { value, low: at(0.025), high: at(0.975) }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same tables from the same runs, whenever they are made.
struct Draw {
    state: u64,
}

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[(&'static str, f64)]) -> Vec<Of<'static>> {
        values.iter().map(|(task, value)| Of { task, value: *value }).collect()
    }

    #[test]
    fn tasks_count_alike_however_many_runs_they_have() {
        let estimate = mean(&runs(&[("a", 1.0), ("a", 3.0), ("b", 6.0)]));
        assert_eq!(estimate.value, 4.0);
        assert!(estimate.low < 4.0 && estimate.high > 4.0 && estimate.low >= 3.5 && estimate.high <= 4.5);
    }

    #[test]
    fn a_ratio_of_equal_runs_is_certain() {
        let ours = runs(&[("a", 1.0), ("a", 2.0), ("b", 5.0), ("b", 9.0)]);
        let twice: Vec<Of<'_>> = ours.iter().map(|of| Of { task: of.task, value: 2.0 * of.value }).collect();
        let ratio = ratio(&ours, &twice);
        assert!([ratio.value, ratio.low, ratio.high].iter().all(|x| (x - 0.5).abs() < 1e-12), "{ratio:?}");
    }

    #[test]
    fn equals_share_their_places() {
        let a = runs(&[("a", 1.0), ("b", 4.0)]);
        let b = runs(&[("a", 1.0), ("b", 3.0)]);
        let c = runs(&[("a", 2.0), ("b", 9.0)]);
        assert_eq!(mean_ranks(&[a, b, c]), [1.75, 1.25, 3.0]);
    }
}
