//! What a search algorithm is.

use heats_domain::{Params, Space, SweepSpec};

use crate::{Event, Prior, stoppers};

/// What a searcher is built for: fixed for the sweep's life.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Where to search.
    pub space: Space,
    /// What every random choice follows from.
    pub seed: u64,
    /// How many trials the sweep may create, where it has a limit.
    pub trials: Option<u32>,
    /// The steps at which the stopper decides who goes on, ascending; empty where it looks at every report alike.
    pub rungs: Vec<u64>,
    /// How many objectives there are.
    pub objectives: usize,
    /// What earlier sweeps found out, one for each. A searcher whose entry says that it is not warm does not look at them.
    pub priors: Vec<Prior>,
}

impl Problem {
    /// What a sweep asks of its searcher, with the seed that it was given, where nothing is known from earlier sweeps.
    pub fn of(spec: &SweepSpec, seed: u64) -> Self {
        let rungs = stoppers::rungs(&spec.early_stop);
        let (objectives, priors) = (spec.objectives().len(), Vec::new());
        Self { space: spec.space(), seed, trials: spec.budget.trials, rungs, objectives, priors }
    }
}

/// A request for one configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The number that the trial will have. The randomness of a suggestion follows from
    /// `(problem.seed, trial)` and nothing else.
    pub trial: u32,
}

/// The answer to an [`Ask`].
#[derive(Clone, PartialEq, Debug)]
pub enum Suggestion {
    /// Try this: complete, inside the space, every constraint satisfied.
    Try(Params),
    /// Every configuration of the space has been suggested.
    Exhausted,
    /// Another trial is not worth its cost any more.
    Enough {
        /// Why not, in a sentence without its full stop.
        why: String,
    },
    /// No configuration that satisfies the constraints was found in this many draws.
    Infeasible {
        /// How many configurations were drawn.
        draws: u32,
    },
}

/// A search algorithm: a fold over the events of its sweep.
pub trait Searcher: Send {
    /// Takes one event in.
    fn observe(&mut self, event: &Event<'_>);

    /// Proposes the configuration of trial `ask.trial`: a pure function of the events so far, the
    /// problem and the trial's number. `fixed` values, where the user enqueued some, are kept.
    ///
    /// A searcher that learns knows of an earlier suggestion only from its [`Event::Created`]: of two that
    /// are made with nothing observed in between, the second may repeat the first in a finite space.
    fn suggest(&self, ask: Ask, fixed: &Params) -> Suggestion;

    /// Whether a suggestion depends on nothing but the trial's number, so that it may be made ahead
    /// of time and is the same whatever the number of workers or leader changes.
    fn is_history_free(&self) -> bool {
        false
    }
}
