//! The best trials hardly differ any more.
//!
//! Ray Tune's `ExperimentPlateauStopper`: the standard deviation of the best `top` values stays at or below `std` for more than
//! `patience` results one after the other. On purpose different: there every report is a result, so that the last steps of
//! one trial are a plateau of their own; here a trial is one.

use heats_domain::Params;
use heats_domain::spec;

use super::enough::Rule;

/// See the module.
pub struct Plateau {
    rule: spec::Plateau,
    /// The best losses, the lowest first.
    best: Vec<f64>,
    /// How many results in a row found a plateau.
    still: u32,
}

impl Plateau {
    /// The rule of a sweep file.
    pub const fn new(rule: spec::Plateau) -> Self {
        Self { rule, best: Vec::new(), still: 0 }
    }

    /// The standard deviation of the best, where there are as many as are looked at.
    fn deviation(&self) -> Option<f64> {
        if self.best.len() < self.rule.top as usize {
            return None;
        }
        let count = self.best.len() as f64;
        let mean = self.best.iter().sum::<f64>() / count;
        Some((self.best.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / count).sqrt())
    }
}

impl Rule for Plateau {
    fn result(&mut self, _: &Params, loss: f64) {
        let place = self.best.partition_point(|other| *other <= loss);
        self.best.insert(place, loss);
        self.best.truncate(self.rule.top as usize);
        let is_still = self.deviation().is_some_and(|deviation| deviation <= self.rule.std);
        self.still = if is_still { self.still.saturating_add(1) } else { 0 };
    }

    fn verdict(&self) -> Option<String> {
        let deviation = self.deviation().filter(|_| self.still > self.rule.patience)?;
        let spec::Plateau { top, std, .. } = self.rule;
        Some(format!("its best {top} trials have a standard deviation of {deviation:.3e}; its plateau is {std}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many of the results it is enough.
    fn enough_after(rule: spec::Plateau, losses: &[f64]) -> Option<usize> {
        let mut plateau = Plateau::new(rule);
        losses.iter().position(|loss| {
            plateau.result(&Params::default(), *loss);
            plateau.verdict().is_some()
        })
    }

    #[test]
    fn it_is_enough_once_the_best_are_alike() {
        let rule = |patience| spec::Plateau { top: 3, std: 0.01, patience };
        let losses = [0.9, 0.5, 0.51, 0.7, 0.505, 0.8, 0.1, 0.105, 0.095, 0.6];
        assert_eq!(enough_after(rule(0), &losses), Some(4), "0.5, 0.505 and 0.51");
        assert_eq!(enough_after(rule(1), &losses), Some(5), "one more that changes nothing");
        assert_eq!(enough_after(rule(2), &losses), None, "a better one begins anew, and two are too few");
        assert_eq!(enough_after(rule(0), &[0.5, 0.5]), None, "fewer than are looked at");
    }

    #[test]
    fn the_reason_has_its_numbers() {
        let mut plateau = Plateau::new(spec::Plateau { top: 2, std: 0.25, patience: 0 });
        [1.0, 1.5].into_iter().for_each(|loss| plateau.result(&Params::default(), loss));
        let why = "its best 2 trials have a standard deviation of 2.500e-1; its plateau is 0.25";
        assert_eq!(plateau.verdict().as_deref(), Some(why));
    }
}
