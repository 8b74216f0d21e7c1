//! Every configuration of a finite space, one after the other. Draws nothing and learns nothing.

use heats_domain::Params;
use heats_domain::spec::PlugParams;

use super::Entry;
use crate::deck::{Deck, Order};
use crate::draw;
use crate::plug::{self, Built, Complaint, NoParams};
use crate::rng::{Purpose, stream};
use crate::{Ask, Event, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "grid",
    summary: "every configuration once, the last parameter changing fastest; ends by itself",
    needs_objective: false,
    ends: |_| true,
    example: "{}",
    schema: || schemars::schema_for!(NoParams),
    build,
};

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    plug::read::<NoParams>(params)?;
    let endless: Vec<Complaint> = problem
        .space
        .parameters
        .iter()
        .filter(|p| p.domain.cardinality().is_none())
        .map(|p| {
            let message = format!("a grid needs a `step` for `{}`: it has endlessly many values", p.name);
            Complaint::about_space(&p.name, message).hint("add a `step`, or search with `sobol`")
        })
        .collect();
    if !endless.is_empty() {
        return Err(endless);
    }
    match Deck::new(problem, Order::Counted) {
        Some(deck) => Ok(Box::new(Grid { problem: problem.clone(), deck })),
        None => {
            Err(vec![Complaint::overall("the grid has more than 2^64 points").hint("search with `sobol` or `random`")])
        }
    }
}

/// Deals the lattice by rank. Configurations that differ in inactive parameters only are one.
struct Grid {
    problem: Problem,
    deck: Deck,
}

impl Searcher for Grid {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::Created { trial, params } = event {
            self.deck.note(*trial, params);
        }
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        if fixed.is_empty() {
            return self.deck.deal(trial);
        }
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        draw::configuration(&self.problem.space, fixed, &mut rng, |params| self.deck.knows(params, trial))
    }

    fn is_history_free(&self) -> bool {
        self.deck.is_plain()
    }
}
