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
    several_objectives: true,
    is_warm: false,
    ends: |_| true,
    population: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, conditional, expr, int, parameter, problem};
    use heats_domain::Space;

    fn grid(space: Space) -> Box<dyn Searcher> {
        let problem = problem(space, 0);
        build(&problem, &PlugParams::new()).expect("builds")
    }

    fn all(grid: &dyn Searcher) -> Vec<String> {
        (0..)
            .map_while(|trial| match grid.suggest(Ask { trial }, &Params::default()) {
                Suggestion::Try(params) => Some(params.to_string()),
                Suggestion::Exhausted | Suggestion::Enough { .. } | Suggestion::Infeasible { .. } => None,
            })
            .collect()
    }

    #[test]
    fn the_last_parameter_changes_fastest_and_inactive_ones_count_once() {
        let space = Space {
            parameters: vec![
                parameter("a", choice(&["p", "q"])),
                conditional("b", int(1, 2), r#"a == "q""#),
                parameter("c", int(1, 2)),
            ],
            constraints: vec![expr("c < 2 || a == \"p\"")],
        };
        assert_eq!(all(grid(space).as_ref()), ["a=p c=1", "a=p c=2", "a=q b=1 c=1", "a=q b=2 c=1"]);
    }

    #[test]
    fn a_vast_grid_is_walked_not_laid_out() {
        let digits = |name: &str| parameter(name, int(0, 999));
        let parameters = vec![digits("a"), digits("b"), digits("c"), digits("d"), digits("e"), digits("f")];
        // All but one value of `b` is refused, each together with everything after it.
        let space = Space { parameters, constraints: vec![expr("b == 999")] };
        let Suggestion::Try(params) = grid(space).suggest(Ask { trial: 1234 }, &Params::default()) else {
            panic!("finds it")
        };
        assert_eq!(params.to_string(), "a=0 b=999 c=0 d=0 e=1 f=234");
    }

    #[test]
    fn a_grid_beyond_counting_is_refused() {
        let parameters = (0..7).map(|i| parameter(&format!("x{i}"), int(0, 999))).collect();
        let problem = Problem {
            space: Space { parameters, constraints: vec![] },
            seed: 0,
            trials: None,
            rungs: Vec::new(),
            objectives: 1,
            priors: Vec::new(),
        };
        let complaints = build(&problem, &PlugParams::new()).err().expect("is refused");
        assert_eq!(complaints[0].message, "the grid has more than 2^64 points");
    }
}
