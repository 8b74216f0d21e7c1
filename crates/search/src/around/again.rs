//! Tries the best configuration of each earlier sweep first.
//!
//! So it is among the sweep's own trials, measured as all of them are; and the searcher learns at once how the values of the
//! earlier sweep and of this one compare. What a user enqueued goes before.

use heats_domain::Params;

use crate::{Ask, Event, Prior, Searcher, Suggestion};

/// See the module.
pub struct Again {
    searcher: Box<dyn Searcher>,
    /// The best configurations that this sweep has not tried.
    untried: Vec<Params>,
}

impl Again {
    /// One around `searcher`.
    pub fn new(searcher: Box<dyn Searcher>, priors: &[Prior]) -> Self {
        let mut untried: Vec<Params> = Vec::new();
        for past in priors.iter().filter_map(|prior| prior.ranked().into_iter().next()) {
            if !untried.contains(&past.params) {
                untried.push(past.params.clone());
            }
        }
        Self { searcher, untried }
    }
}

impl Searcher for Again {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::Created { trial: _, params } = event {
            self.untried.retain(|best| best != *params);
        }
        self.searcher.observe(event);
    }

    fn suggest(&self, ask: Ask, fixed: &Params) -> Suggestion {
        match self.untried.first() {
            Some(best) if fixed.is_empty() => Suggestion::Try(best.clone()),
            Some(_) | None => self.searcher.suggest(ask, fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Value;

    use super::*;
    use crate::{Outcome, Past};

    struct Asked;

    impl Searcher for Asked {
        fn observe(&mut self, _: &Event<'_>) {}

        fn suggest(&self, _: Ask, _: &Params) -> Suggestion {
            Suggestion::Exhausted
        }
    }

    fn at(x: f64) -> Params {
        [("x", Value::Float(x))].into_iter().collect()
    }

    fn prior(trials: &[(f64, f64)]) -> Prior {
        let past =
            |(x, loss): &(f64, f64)| Past { params: at(*x), reports: vec![], outcome: Outcome::Completed(*loss) };
        Prior { trials: trials.iter().map(past).collect() }
    }

    #[test]
    fn the_best_of_each_earlier_sweep_is_tried_once_and_then_the_searcher_is_asked() {
        let none = prior(&[(0.9, f64::INFINITY)]);
        let priors = [prior(&[(0.1, 5.0), (0.2, 4.0)]), prior(&[(0.2, -1.0)]), none, prior(&[(0.3, 9.0)])];
        let mut again = Again::new(Box::new(Asked), &priors);
        let none = Params::default();
        assert_eq!(again.suggest(Ask { trial: 0 }, &at(0.5)), Suggestion::Exhausted, "a user's point is not replaced");
        for (trial, x) in [(0, 0.2), (1, 0.3)] {
            assert_eq!(again.suggest(Ask { trial }, &none), Suggestion::Try(at(x)));
            again.observe(&Event::Created { trial, params: &at(x) });
        }
        assert_eq!(again.suggest(Ask { trial: 2 }, &none), Suggestion::Exhausted);
    }
}
