//! NSGA-II: breeds configurations from those that no other dominates, for several objectives.
//!
//! Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation
//! 6(2), 2002, with the operators and defaults of Optuna 5's `NSGAIISampler`: uniform crossover, and mutation that draws a
//! parameter anew. Trials end one by one and in any order, so a generation is the trials that ended since the last one was
//! chosen, once they are as many as the population: nobody waits for the slowest, and whatever ends counts once. The next
//! parents are the best of that generation and of the parents before it. Until there are parents, configurations are drawn at
//! random.
//!
//! * A stopped trial ranks after all that completed, by how far it came; one without a number, or infeasible, fills its
//!   generation and is never a parent; one that failed is as if it had not been. One that the user enqueued is like any other.
//!   One that holds at a rung is as one that was stopped: what it comes to if it goes on does not count again.
//! * On purpose different from Optuna: tournaments look at the crowding distance too, as in the paper; and a child that is like
//!   one of its parents' generation, or that a finite space has tried, is bred again.

use std::collections::BTreeMap;

use heats_domain::Params;
use heats_domain::spec::PlugParams;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::deck::{self, Deck, Order};
use crate::plug::{self, Built, Complaint};
use crate::rng::{Purpose, stream};
use crate::standing::{Class, Last, Level};
use crate::{Ask, Event, Outcome, Problem, Searcher, Suggestion, draw, front};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "nsga2",
    summary: "NSGA-II: breeds from the trials that no other dominates; for several objectives and many cheap trials",
    needs_objective: true,
    several_objectives: true,
    is_warm: false,
    ends: deck::ends,
    population: None,
    example: r#"{"population": 8}"#,
    schema: || schemars::schema_for!(Nsga2Params),
    build,
};

/// How many children are bred until one can be tried.
const TRIES: u32 = 100;

/// The parameters of `nsga2`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga2Params {
    /// How many trials make a generation, and how many of the best are parents.
    pub population: u32,
    /// How likely a configuration has two parents instead of one.
    pub crossover_prob: f64,
    /// How likely each parameter is then the second parent's.
    pub swapping_prob: f64,
    /// How likely each parameter is drawn anew. One in as many as there are parameters where it is not given.
    pub mutation_prob: Option<f64>,
}

impl Default for Nsga2Params {
    fn default() -> Self {
        Self { population: 50, crossover_prob: 0.9, swapping_prob: 0.5, mutation_prob: None }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: Nsga2Params = plug::read(params)?;
    let mut complaints = Vec::new();
    if !(2..=10_000).contains(&params.population) {
        complaints.push(Complaint::about("population", "`population` must be between 2 and 10000"));
    }
    let shares = [
        ("crossover_prob", Some(params.crossover_prob)),
        ("swapping_prob", Some(params.swapping_prob)),
        ("mutation_prob", params.mutation_prob),
    ];
    for (name, _) in shares.into_iter().filter(|(_, share)| share.is_some_and(|share| !(0.0..=1.0).contains(&share))) {
        complaints.push(Complaint::about(name, format!("`{name}` must be between 0 and 1")));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Box::new(Nsga2::new(problem, params)))
}

struct Nsga2 {
    problem: Problem,
    params: Nsga2Params,
    mutation: f64,
    deck: Option<Deck>,
    /// The best so far, at most as many as the population.
    parents: Vec<Parent>,
    /// What has ended since the parents were chosen.
    generation: Vec<Individual>,
    /// Trials that have not ended.
    live: BTreeMap<u32, (Params, Last)>,
}

/// A trial that ended.
#[derive(Clone, Debug)]
struct Individual {
    params: Params,
    level: Level,
    losses: Vec<f64>,
}

/// One that others are bred from.
#[derive(Clone, Debug)]
struct Parent {
    one: Individual,
    /// On which front it is, 0 for the best.
    rank: usize,
    /// How much room it has there.
    room: f64,
}

impl Searcher for Nsga2 {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => {
                if let Some(deck) = &mut self.deck {
                    deck.note(trial, params);
                }
                self.live.entry(trial).or_insert_with(|| (params.clone(), Last::default()));
            }
            Event::Reported { trial, step, loss, ref rest } => {
                if let Some((_, last)) = self.live.get_mut(&trial) {
                    last.report(step, loss, rest);
                }
            }
            Event::Paused { trial, loss } => self.end(trial, Outcome::Stopped(loss)),
            Event::Forked { .. } | Event::Resumed { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            Event::Ended { trial, outcome } => self.end(trial, outcome),
        }
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if space.check_partial(fixed).is_err() {
            return Suggestion::Infeasible { draws: 0 };
        }
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        let known = |params: &Params| self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial));
        for _ in 0..if self.parents.len() < 2 { 0 } else { TRIES } {
            let child = self.child(fixed, &mut rng);
            let is_new = !known(&child) && self.parents.iter().all(|parent| parent.one.params != child);
            if is_new && draw::keeps(&child, fixed) && space.is_feasible(&child) {
                return Suggestion::Try(child);
            }
        }
        match &self.deck {
            Some(deck) if fixed.is_empty() => deck.deal(trial),
            Some(_) | None => draw::configuration(space, fixed, &mut rng, known),
        }
    }
}

impl Nsga2 {
    fn new(problem: &Problem, params: Nsga2Params) -> Self {
        let axes = problem.space.searched().count().max(1);
        Self {
            problem: problem.clone(),
            mutation: params.mutation_prob.unwrap_or(1.0 / axes as f64),
            params,
            deck: Deck::exact(problem, Order::Shuffled),
            parents: Vec::new(),
            generation: Vec::new(),
            live: BTreeMap::new(),
        }
    }

    fn end(&mut self, trial: u32, outcome: Outcome) {
        let Some((params, last)) = self.live.remove(&trial) else { return };
        let Some((level, losses)) = last.standing(outcome) else { return };
        self.generation.push(Individual { params, level, losses });
        let population = self.params.population as usize;
        if self.generation.len() >= population {
            let before = std::mem::take(&mut self.parents).into_iter().map(|parent| parent.one);
            let all = before.chain(std::mem::take(&mut self.generation)).collect();
            self.parents = fittest(all, population);
        }
    }

    fn child(&self, fixed: &Params, rng: &mut ChaCha8Rng) -> Params {
        let first = self.tournament(None, rng);
        let second = self.tournament(Some(first), rng);
        let second = if rng.random::<f64>() < self.params.crossover_prob { second } else { first };
        let genes = [first, second].map(|place| &self.parents[place].one.params);
        self.problem.space.assemble(|parameter, _| {
            if let Some(value) = fixed.get(&parameter.name) {
                return value.clone();
            }
            let swapped = rng.random::<f64>() < self.params.swapping_prob;
            let mutated = rng.random::<f64>() < self.mutation;
            let [one, other] = if swapped { [genes[1], genes[0]] } else { genes };
            // A parameter that is active in neither parent is drawn.
            let inherited = one.get(&parameter.name).or_else(|| other.get(&parameter.name)).filter(|_| !mutated);
            inherited.cloned().unwrap_or_else(|| parameter.domain.at(rng.random()))
        })
    }

    /// The better of two parents that are drawn from all but `other`.
    fn tournament(&self, other: Option<usize>, rng: &mut ChaCha8Rng) -> usize {
        let left = self.parents.len() - usize::from(other.is_some());
        let mut draw = || {
            let place = rng.random_range(0..left);
            place + usize::from(other.is_some_and(|other| place >= other))
        };
        let (a, b) = (draw(), draw());
        let (one, two) = (&self.parents[a], &self.parents[b]);
        if one.rank.cmp(&two.rank).then(two.room.total_cmp(&one.room)).is_le() { a } else { b }
    }
}

/// The `count` best of those that have a number: level by level, front by front, and of the last front those with most room.
fn fittest(mut all: Vec<Individual>, count: usize) -> Vec<Parent> {
    all.retain(|one| matches!(one.level.class, Class::Completed | Class::Stopped));
    all.sort_by_key(|one| one.level);
    let mut fittest: Vec<Parent> = Vec::new();
    let mut rank = 0;
    for level in all.chunk_by(|a, b| a.level == b.level) {
        let points: Vec<&[f64]> = level.iter().map(|one| one.losses.as_slice()).collect();
        for front in front::fronts(&points) {
            let room = front::crowding(&points, &front);
            let mut members: Vec<Parent> =
                front.iter().zip(room).map(|(place, room)| Parent { one: level[*place].clone(), rank, room }).collect();
            members.sort_by(|a, b| b.room.total_cmp(&a.room));
            members.truncate(count - fittest.len());
            fittest.extend(members);
            rank += 1;
        }
    }
    fittest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, conditional, float, parameter, problem};
    use heats_domain::{Space, Value};

    fn nsga2(parameters: Vec<heats_domain::Parameter>, json: serde_json::Value) -> Nsga2 {
        let space = Space { parameters, constraints: vec![] };
        let problem = problem(space, 3);
        Nsga2::new(&problem, serde_json::from_value(json).expect("parameters"))
    }

    fn ask(nsga2: &Nsga2, trial: u32) -> Params {
        match nsga2.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        }
    }

    fn line() -> Vec<heats_domain::Parameter> {
        vec![parameter("x", float(0.0, 1.0)), parameter("y", float(0.0, 1.0))]
    }

    fn at(x: f64) -> Params {
        [("x", Value::Float(x)), ("y", Value::Float(x))].into_iter().collect()
    }

    fn run(nsga2: &mut Nsga2, trial: u32, losses: &[f64]) {
        nsga2.observe(&Event::Created { trial, params: &at(f64::from(trial) / 100.0) });
        nsga2.observe(&Event::Reported { trial, step: 1, loss: losses[0], rest: losses[1..].to_vec() });
        nsga2.observe(&Event::Ended { trial, outcome: Outcome::Completed(losses[0]) });
    }

    fn parents(nsga2: &Nsga2) -> Vec<(Params, usize)> {
        nsga2.parents.iter().map(|parent| (parent.one.params.clone(), parent.rank)).collect()
    }

    #[test]
    fn the_parents_are_the_first_fronts_and_of_the_last_those_with_most_room() {
        let mut nsga2 = nsga2(line(), serde_json::json!({"population": 4}));
        for (trial, losses) in [[3.0, 3.0], [0.0, 9.0], [9.0, 0.0], [1.0, 1.0]].iter().enumerate() {
            assert!(nsga2.parents.is_empty());
            run(&mut nsga2, trial as u32, losses);
        }
        let found = |numbers: &[(u32, usize)]| {
            numbers.iter().map(|(trial, rank)| (at(f64::from(*trial) / 100.0), *rank)).collect::<Vec<_>>()
        };
        assert_eq!(parents(&nsga2), found(&[(1, 0), (2, 0), (3, 0), (0, 1)]));
        // Those of the next generation compete with them: the front has five, and the most crowded is left out.
        for (trial, losses) in (4..).zip([[20.0, 20.0], [0.9, 1.2], [4.0, 0.5], [21.0, 21.0]]) {
            run(&mut nsga2, trial, &losses);
        }
        assert_eq!(parents(&nsga2), found(&[(1, 0), (2, 0), (5, 0), (6, 0)]));
    }

    #[test]
    fn whoever_ends_first_makes_a_generation_and_whoever_ends_late_counts_in_the_next() {
        let mut nsga2 = nsga2(line(), serde_json::json!({"population": 2}));
        nsga2.observe(&Event::Created { trial: 90, params: &at(0.9) });
        nsga2.observe(&Event::Reported { trial: 90, step: 1, loss: 0.0, rest: vec![0.0] });
        run(&mut nsga2, 1, &[2.0, 2.0]);
        run(&mut nsga2, 2, &[3.0, 3.0]);
        assert_eq!(nsga2.parents.len(), 2);
        nsga2.observe(&Event::Ended { trial: 90, outcome: Outcome::Completed(0.0) });
        run(&mut nsga2, 4, &[4.0, 4.0]);
        assert_eq!(parents(&nsga2), [(at(0.9), 0), (at(0.01), 1)]);
    }

    #[test]
    fn what_was_stopped_ranks_after_what_completed_and_what_has_no_number_is_no_parent() {
        let mut nsga2 = nsga2(line(), serde_json::json!({"population": 6}));
        let ends = [
            (Outcome::Stopped(0.0), 3, [0.0, 0.0]),
            (Outcome::Stopped(0.0), 9, [1.0, 1.0]),
            (Outcome::Completed(5.0), 1, [5.0, 5.0]),
            (Outcome::Completed(0.0), 1, [0.0, f64::INFINITY]),
            (Outcome::Infeasible, 1, [0.0, 0.0]),
            (Outcome::Failed, 1, [0.0, 0.0]),
            (Outcome::Stopped(2.0), 3, [2.0, 2.0]),
        ];
        for (trial, (outcome, step, losses)) in (0..).zip(ends) {
            assert!(nsga2.parents.is_empty(), "one that failed is not counted");
            nsga2.observe(&Event::Created { trial, params: &at(f64::from(trial) / 100.0) });
            nsga2.observe(&Event::Reported { trial, step, loss: losses[0], rest: vec![losses[1]] });
            nsga2.observe(&Event::Ended { trial, outcome });
        }
        let ranks = [(2, 0), (1, 1), (0, 2), (6, 3)];
        assert_eq!(parents(&nsga2), ranks.map(|(trial, rank)| (at(f64::from(trial) / 100.0), rank)));
    }

    #[test]
    fn one_that_holds_counts_as_stopped_and_not_again_when_it_ends() {
        let mut nsga2 = nsga2(line(), serde_json::json!({"population": 2}));
        nsga2.observe(&Event::Created { trial: 5, params: &at(0.5) });
        nsga2.observe(&Event::Reported { trial: 5, step: 1, loss: 0.0, rest: Vec::new() });
        nsga2.observe(&Event::Paused { trial: 5, loss: 0.0 });
        run(&mut nsga2, 1, &[2.0]);
        assert_eq!(parents(&nsga2), [(at(0.01), 0), (at(0.5), 1)]);
        nsga2.observe(&Event::Resumed { trial: 5 });
        nsga2.observe(&Event::Ended { trial: 5, outcome: Outcome::Completed(0.0) });
        assert!(nsga2.generation.is_empty());
    }

    #[test]
    fn a_child_has_its_parents_values_but_for_those_that_are_drawn_anew() {
        let names: Vec<String> = (0..10).map(|i| format!("x{i}")).collect();
        let parameters = || names.iter().map(|name| parameter(name, float(0.0, 1.0))).collect::<Vec<_>>();
        let all = |value: f64| -> Params { names.iter().map(|name| (name.as_str(), Value::Float(value))).collect() };
        let counts = |json: serde_json::Value| {
            let mut nsga2 = nsga2(parameters(), json);
            for (trial, value) in (0..).zip([0.25, 0.75]) {
                nsga2.observe(&Event::Created { trial, params: &all(value) });
                nsga2.observe(&Event::Reported { trial, step: 1, loss: value, rest: vec![-value] });
                nsga2.observe(&Event::Ended { trial, outcome: Outcome::Completed(value) });
            }
            let children: Vec<Params> = (2..302).map(|trial| ask(&nsga2, trial)).collect();
            let count = |value: f64| {
                let values = children.iter().flat_map(Params::iter);
                values.filter(|(_, x)| x.as_f64() == Some(value)).count() as f64 / 3000.0
            };
            (count(0.25), count(0.75))
        };
        let (one, other) = counts(serde_json::json!({"population": 2}));
        assert!((one + other - 0.9).abs() < 0.02, "a tenth is new: {one} and {other}");
        assert!((one - other).abs() < 0.1, "both parents alike: {one} and {other}");
        let (one, other) = counts(serde_json::json!({"population": 2, "mutation_prob": 1.0}));
        assert_eq!((one, other), (0.0, 0.0));
        let near = |json: serde_json::Value| {
            let (one, other) = counts(json);
            one + other
        };
        assert_eq!(near(serde_json::json!({"population": 2, "mutation_prob": 0.0, "crossover_prob": 1.0})), 1.0);
    }

    #[test]
    fn a_parameter_that_neither_parent_has_is_drawn() {
        let parameters = vec![
            parameter("c", choice(&["p", "q"])),
            conditional("x", float(0.0, 1.0), r#"c == "q""#),
            parameter("y", float(0.0, 1.0)),
        ];
        let mut nsga2 = nsga2(parameters, serde_json::json!({"population": 2, "mutation_prob": 0.5}));
        for trial in 0..2 {
            let y = Value::Float(f64::from(trial) / 2.0);
            let params: Params = [("c", Value::Str("p".into())), ("y", y)].into_iter().collect();
            nsga2.observe(&Event::Created { trial, params: &params });
            nsga2.observe(&Event::Ended { trial, outcome: Outcome::Completed(0.0) });
        }
        let drawn = (2..50).map(|trial| ask(&nsga2, trial)).filter(|params| params.get("x").is_some()).count();
        assert!(drawn > 5, "{drawn}");
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let problem = problem(Space::default(), 0);
        let refused = |json: serde_json::Value| build(&problem, &serde_json::from_value(json).expect("a map")).is_err();
        assert!(refused(serde_json::json!({"population": 1})));
        assert!(refused(serde_json::json!({"crossover_prob": 1.5})));
        assert!(refused(serde_json::json!({"mutation_prob": -0.1})));
        assert!(!refused(serde_json::json!({"population": 2, "swapping_prob": 0.0, "mutation_prob": null})));
    }
}
