//! What earlier sweeps found out, for a searcher to begin with.
//!
//! Values of two sweeps need not be alike: the data may be others, the code has moved on. So no searcher compares a value of
//! one sweep with a value of another as it stands: a trial counts by its rank among those of its own sweep (`tpe`, `bohb`,
//! `cmaes`), or by a scale that this sweep's own trials are fitted to (`auto`, `gp`). Nor does a configuration that an earlier
//! sweep has tried count as tried here.

use heats_domain::Params;

use crate::ranked::tidy;
use crate::{Event, Outcome};

/// What is known of one earlier sweep: trials whose configurations are of the new sweep's space.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prior {
    /// In the order in which they were created.
    pub trials: Vec<Past>,
}

/// A trial of an earlier sweep.
#[derive(Clone, PartialEq, Debug)]
pub struct Past {
    /// Its configuration: complete, inside the new space, every constraint satisfied.
    pub params: Params,
    /// Steps, which increase, and for each the lowest loss until then.
    pub reports: Vec<(u64, f64)>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Past {
    /// The events of this trial, as if it were `trial` of a sweep.
    pub fn events(&self, trial: u32) -> impl Iterator<Item = Event<'_>> {
        let report = move |&(step, loss): &(u64, f64)| Event::Reported { trial, step, loss, rest: Vec::new() };
        let reports = self.reports.iter().map(report);
        std::iter::once(Event::Created { trial, params: &self.params })
            .chain(reports)
            .chain(std::iter::once(Event::Ended { trial, outcome: self.outcome }))
    }

    /// Its lowest loss; `+inf` where it has no number, or may not be run.
    pub fn loss(&self) -> f64 {
        let last = match self.outcome {
            Outcome::Completed(loss) | Outcome::Stopped(loss) => loss,
            Outcome::Failed | Outcome::Infeasible => return f64::INFINITY,
        };
        self.reports.iter().map(|(_, loss)| *loss).chain([last]).map(tidy).fold(f64::INFINITY, f64::min)
    }
}

impl Prior {
    /// The events of its trials, numbered in their order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        (0..).zip(&self.trials).flat_map(|(trial, past)| past.events(trial))
    }

    /// Trials with a finite loss, the best first: those that ran to their end before those that were stopped, whose values may
    /// mislead.
    pub fn ranked(&self) -> Vec<&Past> {
        let stopped = |past: &Past| !matches!(past.outcome, Outcome::Completed(_));
        let mut ranked: Vec<&Past> = self.trials.iter().filter(|past| past.loss().is_finite()).collect();
        ranked.sort_by(|a, b| stopped(a).cmp(&stopped(b)).then(a.loss().total_cmp(&b.loss())));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(reports: &[(u64, f64)], outcome: Outcome) -> Past {
        Past { params: Params::default(), reports: reports.to_vec(), outcome }
    }

    #[test]
    fn those_that_completed_rank_before_those_that_were_stopped_and_no_number_ranks_nowhere() {
        let prior = Prior {
            trials: vec![
                past(&[(1, -9.0)], Outcome::Stopped(-8.0)),
                past(&[], Outcome::Completed(0.5)),
                past(&[(3, 0.1)], Outcome::Completed(0.2)),
                past(&[], Outcome::Completed(f64::NAN)),
                past(&[(1, -9.0)], Outcome::Infeasible),
            ],
        };
        assert_eq!(prior.ranked().iter().map(|past| past.loss()).collect::<Vec<_>>(), [0.1, 0.5, -9.0]);
    }
}
