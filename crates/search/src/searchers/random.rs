//! Independent uniform draws. Knows nothing of losses; the yardstick for everything that does.

use heats_domain::Params;
use heats_domain::spec::PlugParams;

use super::Entry;
use crate::deck::{self, Deck, Order};
use crate::draw;
use crate::plug::{self, Built, NoParams};
use crate::rng::{Purpose, stream};
use crate::{Ask, Event, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "random",
    summary: "uniform draws, each from the seed and the trial's number; without repetition where the space is finite",
    needs_objective: false,
    several_objectives: true,
    is_warm: false,
    ends: deck::ends,
    population: None,
    example: "{}",
    schema: || schemars::schema_for!(NoParams),
    build,
};

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    plug::read::<NoParams>(params)?;
    Ok(Box::new(Random { problem: problem.clone(), deck: Deck::exact(problem, Order::Shuffled) }))
}

/// Draws with replacement where the space is endless (up to [`draw::DRAWS_MAX`] draws until the constraints
/// hold), without where it is finite (up to [`deck::EXACT_POINTS_MAX`] points).
struct Random {
    problem: Problem,
    deck: Option<Deck>,
}

impl Searcher for Random {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Created { trial, params }, Some(deck)) = (event, &mut self.deck) {
            deck.note(*trial, params);
        }
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        if let (Some(deck), true) = (&self.deck, fixed.is_empty()) {
            return deck.deal(trial);
        }
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        let avoid = |params: &Params| self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial));
        draw::configuration(&self.problem.space, fixed, &mut rng, avoid)
    }

    fn is_history_free(&self) -> bool {
        self.deck.as_ref().is_none_or(Deck::is_plain)
    }
}
