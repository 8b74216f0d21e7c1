//! A searcher that proposes what a [`Model`] of its ladder promises most from.

use std::cell::RefCell;
use std::sync::Arc;

use heats_domain::Params;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::acquire::most_promising;
use super::ground::Ground;
use super::ladder::{Ladder, Model};
use super::plane::Plane;
use crate::deck::{Deck, Order};
use crate::draw;
use crate::rng::{Purpose, stream};
use crate::{Ask, Event, Problem, Searcher, Suggestion};

/// How likely a configuration is drawn at random while little is known: this, times the axes, by the trials known so far.
const EARLY: f64 = 0.5;
/// So many of the best points are looked around.
const LOOKED_AROUND: usize = 5;

/// See the module.
#[derive(Debug)]
pub struct Modelled {
    problem: Problem,
    /// How many trials must have come to the lowest rung before the model is asked.
    startup: usize,
    /// How likely a configuration is drawn at random all the same.
    random_fraction: f64,
    plane: Plane,
    ladder: Ladder,
    /// Where the space is finite: what was suggested, and what is left when the model has no new idea.
    deck: Option<Deck>,
    /// What the reports say: a memo, not a state.
    model: RefCell<Option<Model>>,
}

impl Modelled {
    /// One that has seen nothing. It tells apart trials at `rungs` and those that completed.
    pub fn new(problem: &Problem, rungs: &[u64], startup: u32, random_fraction: f64) -> Self {
        let plane = Plane::new(&problem.space);
        let ground = Ground::new(&problem.priors, rungs, &plane, LOOKED_AROUND).map(Arc::new);
        Self {
            startup: startup as usize,
            random_fraction,
            ladder: Ladder::new(rungs, ground),
            plane,
            deck: Deck::exact(problem, Order::Shuffled),
            problem: problem.clone(),
            model: RefCell::new(None),
        }
    }

    /// Whether trial `trial` is one of the random share. That is larger while little is known: a model that has seen bad
    /// configurations only takes the differences between them for all that there is.
    fn is_random(&self, trial: u32) -> bool {
        let early = EARLY * self.plane.len() as f64 / self.ladder.known().max(1) as f64;
        let share = if self.random_fraction > 0.0 { self.random_fraction.max(early) } else { 0.0 };
        stream(self.problem.seed, trial, Purpose::Share).random::<f64>() < share
    }

    fn knows(&self, params: &Params, trial: u32) -> bool {
        self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial))
    }

    /// The most promising configuration that is new; `None` where the model has none.
    fn propose(&self, trial: u32, fixed: &Params, rng: &mut ChaCha8Rng) -> Option<Params> {
        if self.plane.is_empty() || self.ladder.known() < self.startup {
            return None;
        }
        let mut model = self.model.borrow_mut();
        *model = Model::new(&self.ladder, &self.plane, model.take());
        let model = model.as_ref()?;
        let good = model.good(&self.ladder, LOOKED_AROUND);
        let points = most_promising(model, &self.plane, model.best(&self.ladder), &good, fixed, rng);
        let mut params = points.iter().filter_map(|point| self.plane.params(point, fixed));
        params.find(|params| !self.knows(params, trial))
    }
}

impl Searcher for Modelled {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Created { trial, params }, Some(deck)) = (event, &mut self.deck) {
            deck.note(*trial, params);
        }
        self.ladder.observe(event, &self.plane);
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if space.check_partial(fixed).is_err() {
            return Suggestion::Infeasible { draws: 0 };
        }
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        if !self.is_random(trial)
            && let Some(params) = self.propose(trial, fixed, &mut rng)
        {
            return Suggestion::Try(params);
        }
        match &self.deck {
            Some(deck) if fixed.is_empty() => deck.deal(trial),
            Some(_) | None => draw::configuration(space, fixed, &mut rng, |params| self.knows(params, trial)),
        }
    }
}
