//! Ends a search that has come to an end of its own: see the rules.
//!
//! Every trial that ended with a value counts once, with the best that it reported, in the order in which they ended. Once a
//! user asks for more trials after that, the rules are silent: who has seen why the sweep ended wants it to go on.

use std::collections::BTreeMap;

use heats_domain::Params;

use crate::ranked::tidy;
use crate::{Ask, Event, Outcome, Searcher, Suggestion};

/// A rule that can tell when another trial is not worth its cost.
pub trait Rule: Send {
    /// Takes in what a trial has come to.
    fn result(&mut self, params: &Params, loss: f64);

    /// Why it is enough, where it is.
    fn verdict(&self) -> Option<String>;
}

/// See the module.
pub struct Enough {
    searcher: Box<dyn Searcher>,
    rules: Vec<Box<dyn Rule>>,
    /// Trials that have not ended, with the lowest loss that each reported.
    open: BTreeMap<u32, (Params, f64)>,
    /// No more trials were proposed than there were.
    is_limited: bool,
    /// And then a user wanted more.
    is_overruled: bool,
}

impl Enough {
    /// `searcher`, until one of `rules` says that it is enough.
    pub const fn new(searcher: Box<dyn Searcher>, rules: Vec<Box<dyn Rule>>) -> Self {
        Self { searcher, rules, open: BTreeMap::new(), is_limited: false, is_overruled: false }
    }
}

impl Searcher for Enough {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => {
                self.open.entry(trial).or_insert_with(|| (params.clone(), f64::INFINITY));
            }
            Event::Reported { trial, loss, .. } => {
                if let Some((_, best)) = self.open.get_mut(&trial) {
                    *best = best.min(tidy(loss));
                }
            }
            Event::Limited { by_user: false } => self.is_limited = true,
            Event::Limited { by_user: true } => self.is_overruled |= self.is_limited,
            Event::Forked { .. } | Event::Paused { .. } | Event::Resumed { .. } | Event::Spared { .. } => {}
            Event::Ended { trial, outcome } => {
                let open = self.open.remove(&trial);
                let has_value = matches!(outcome, Outcome::Completed(_) | Outcome::Stopped(_));
                if let Some((params, best)) = open.filter(|(_, best)| has_value && best.is_finite()) {
                    self.rules.iter_mut().for_each(|rule| rule.result(&params, best));
                }
            }
        }
        self.searcher.observe(event);
    }

    fn suggest(&self, ask: Ask, fixed: &Params) -> Suggestion {
        // What a user enqueued is tried in any case.
        if fixed.is_empty()
            && !self.is_overruled
            && let Some(why) = self.rules.iter().find_map(|rule| rule.verdict())
        {
            return Suggestion::Enough { why };
        }
        self.searcher.suggest(ask, fixed)
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Value;

    use super::*;

    struct Asked;

    impl Searcher for Asked {
        fn observe(&mut self, _: &Event<'_>) {}

        fn suggest(&self, _: Ask, _: &Params) -> Suggestion {
            Suggestion::Try(Params::default())
        }

        fn is_history_free(&self) -> bool {
            true
        }
    }

    /// Enough after so many results.
    struct After(usize, Vec<f64>);

    impl Rule for After {
        fn result(&mut self, _: &Params, loss: f64) {
            self.1.push(loss);
        }

        fn verdict(&self) -> Option<String> {
            (self.1.len() >= self.0).then(|| format!("{:?}", self.1))
        }
    }

    fn run(enough: &mut Enough, trial: u32, losses: &[f64], outcome: Outcome) {
        let params = Params::default();
        enough.observe(&Event::Created { trial, params: &params });
        for (step, loss) in (1..).zip(losses) {
            enough.observe(&Event::Reported { trial, step, loss: *loss, rest: Vec::new() });
        }
        enough.observe(&Event::Ended { trial, outcome });
    }

    fn is_enough(enough: &Enough, fixed: &Params) -> bool {
        matches!(enough.suggest(Ask { trial: 9 }, fixed), Suggestion::Enough { .. })
    }

    #[test]
    fn each_trial_with_a_value_counts_once_with_its_best() {
        let mut enough = Enough::new(Box::new(Asked), vec![Box::new(After(2, Vec::new()))]);
        run(&mut enough, 0, &[0.5, 0.25, 0.75], Outcome::Completed(0.75));
        run(&mut enough, 1, &[0.1], Outcome::Failed);
        run(&mut enough, 2, &[f64::INFINITY], Outcome::Completed(f64::INFINITY));
        run(&mut enough, 3, &[], Outcome::Infeasible);
        assert!(!is_enough(&enough, &Params::default()));
        run(&mut enough, 4, &[0.125], Outcome::Stopped(0.125));
        let why = "[0.25, 0.125]".to_owned();
        assert_eq!(enough.suggest(Ask { trial: 5 }, &Params::default()), Suggestion::Enough { why });
        let fixed = [("x", Value::Float(0.5))].into_iter().collect();
        assert!(!is_enough(&enough, &fixed), "what a user enqueued is tried");
        assert!(!enough.is_history_free(), "it depends on what came of the trials, whatever the searcher does");
    }

    #[test]
    fn who_asks_for_more_after_that_gets_more() {
        let none = Params::default();
        for (limits, fires) in [(vec![], true), (vec![true], true), (vec![false], true), (vec![false, true], false)] {
            let mut enough = Enough::new(Box::new(Asked), vec![Box::new(After(1, Vec::new()))]);
            run(&mut enough, 0, &[0.5], Outcome::Completed(0.5));
            limits.iter().for_each(|by_user| enough.observe(&Event::Limited { by_user: *by_user }));
            assert_eq!(is_enough(&enough, &none), fires, "{limits:?}");
        }
    }
}
