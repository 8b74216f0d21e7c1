//! A scrambled Sobol sequence: points that fill the space more evenly than random ones.
//!
//! Owen-scrambled by hashing (Burley, "Practical Hash-based Owen Scrambling", JCGT 9(4), 2020), with the
//! scramble drawn from the sweep's seed. Knows nothing of losses.

use std::cell::RefCell;
use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Params, Space};
use rand::RngExt;

use super::Entry;
use crate::deck::{self, Deck, Order};
use crate::draw::{self, DRAWS_MAX};
use crate::plug::{self, Built, NoParams};
use crate::rng::{Purpose, stream, sweep_stream};
use crate::{Ask, Event, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "sobol",
    summary: "a scrambled Sobol sequence: fills the space evenly, whatever comes back",
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
    Ok(Box::new(Sobol {
        problem: problem.clone(),
        deck: Deck::exact(problem, Order::Sobol),
        points: Points::new(&problem.space, problem.seed),
        accepted: RefCell::new(Accepted { points: Vec::new(), next: 0, gap: 0 }),
    }))
}

/// The points of one scrambled sequence, as configurations.
#[derive(Clone, Debug)]
pub struct Points {
    scramble: u32,
    dimensions: u32,
}

/// How many points one sequence of the library has; later ones come from a sequence with another scramble.
const SEQUENCE_LEN: u64 = 1 << 16;

impl Points {
    /// The sequence of `space` under `seed`.
    pub fn new(space: &Space, seed: u64) -> Self {
        let scramble = sweep_stream(seed, Purpose::Scramble).random();
        Self { scramble, dimensions: u32::try_from(space.searched().count()).unwrap_or(u32::MAX) }
    }

    /// The configuration of point `index`. Every searched parameter has a dimension of its own, active or
    /// not; constraints are not looked at.
    pub fn at(&self, space: &Space, index: u64) -> Params {
        let mut dimension = 0;
        let mut units = BTreeMap::new();
        for parameter in space.searched() {
            units.insert(parameter.name.as_str(), self.unit(index, dimension));
            dimension += 1;
        }
        debug_assert_eq!(dimension, self.dimensions);
        space.assemble(|parameter, _| parameter.domain.at(units.get(parameter.name.as_str()).copied().unwrap_or(0.5)))
    }

    fn unit(&self, index: u64, dimension: u32) -> f64 {
        let (round, index) = (index / SEQUENCE_LEN, index % SEQUENCE_LEN);
        // Dimensions beyond the library's, and points beyond one sequence's, are padded with other scrambles.
        let (block, dimension) = (dimension / sobol_burley::NUM_DIMENSIONS, dimension % sobol_burley::NUM_DIMENSIONS);
        let scramble = self
            .scramble
            .wrapping_add((round as u32).wrapping_mul(0x9E37_79B9))
            .wrapping_add(block.wrapping_mul(0x85EB_CA6B));
        f64::from(sobol_burley::sample(index as u32, dimension, scramble))
    }
}

/// Where the space is endless, trial `n` gets the `n`-th point that satisfies the constraints; where it is
/// finite, see [`Order::Sobol`].
struct Sobol {
    problem: Problem,
    deck: Option<Deck>,
    points: Points,
    /// Which points satisfy the constraints, as far as they were looked at: a memo, not a state.
    accepted: RefCell<Accepted>,
}

struct Accepted {
    points: Vec<u64>,
    next: u64,
    gap: u32,
}

impl Searcher for Sobol {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Created { trial, params }, Some(deck)) = (event, &mut self.deck) {
            deck.note(*trial, params);
        }
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if !fixed.is_empty() {
            let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
            let avoid = |params: &Params| self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial));
            return draw::configuration(space, fixed, &mut rng, avoid);
        }
        if let Some(deck) = &self.deck {
            return deck.deal(trial);
        }
        if space.constraints.is_empty() {
            return Suggestion::Try(self.points.at(space, u64::from(trial)));
        }
        // With one point or an endless space, some points are refused by the constraints: skip those.
        let mut accepted = self.accepted.borrow_mut();
        while accepted.points.len() <= trial as usize {
            if accepted.gap >= DRAWS_MAX {
                return Suggestion::Infeasible { draws: DRAWS_MAX };
            }
            let index = accepted.next;
            accepted.next += 1;
            if space.is_feasible(&self.points.at(space, index)) {
                accepted.points.push(index);
                accepted.gap = 0;
            } else {
                accepted.gap += 1;
            }
        }
        match accepted.points.get(trial as usize) {
            Some(index) => Suggestion::Try(self.points.at(space, *index)),
            None => Suggestion::Infeasible { draws: accepted.gap },
        }
    }

    fn is_history_free(&self) -> bool {
        self.deck.as_ref().is_none_or(Deck::is_plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{expr, float, parameter, problem};

    fn sobol(space: &Space, seed: u64) -> Box<dyn Searcher> {
        let problem = problem(space.clone(), seed);
        build(&problem, &PlugParams::new()).expect("builds")
    }

    fn point(sobol: &dyn Searcher, trial: u32) -> Params {
        match sobol.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_64_points_have_one_in_each_64th_of_every_dimension() {
        // More dimensions than the library has, so that the padded ones are looked at too.
        let space = Space {
            parameters: (0..300).map(|i| parameter(&format!("x{i}"), float(0.0, 1.0))).collect(),
            constraints: vec![],
        };
        for seed in 0..3 {
            let sobol = sobol(&space, seed);
            let points: Vec<Params> = (0..64).map(|trial| point(sobol.as_ref(), trial)).collect();
            for p in &space.parameters {
                let mut cells: Vec<u32> = points
                    .iter()
                    .filter_map(|point| point.get(&p.name).and_then(heats_domain::Value::as_f64))
                    .map(|x| (x * 64.0) as u32)
                    .collect();
                cells.sort_unstable();
                assert_eq!(cells, (0..64).collect::<Vec<_>>(), "{} under seed {seed}", p.name);
            }
        }
    }

    #[test]
    fn points_go_on_where_the_library_ends() {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let sobol = sobol(&space, 1);
        assert_ne!(point(sobol.as_ref(), 0), point(sobol.as_ref(), 1 << 16), "another scramble");
    }

    #[test]
    fn a_constraint_skips_points_and_changes_no_other() {
        let mut space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let free: Vec<Params> = (0..40).map(|trial| point(sobol(&space, 1).as_ref(), trial)).collect();
        space.constraints = vec![expr("x < 0.5")];
        let bound = sobol(&space, 1);
        let expected: Vec<&Params> = free.iter().filter(|params| space.is_feasible(params)).collect();
        assert!(expected.len() >= 19);
        for (trial, params) in expected.into_iter().enumerate().rev() {
            assert_eq!(point(bound.as_ref(), trial as u32), *params, "trial {trial}, asked backwards");
        }
    }
}
