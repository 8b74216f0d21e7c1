//! BOHB's model: kernel densities of the best trials and of the others, at the highest rung that enough trials have come to.
//!
//! Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (ICML 2018), section 4.1,
//! with the defaults of its package HpBandSter; the ladder itself is the stopper's. A trial's loss at a rung is the lowest
//! that it had reported when it came there; a completed trial has come to every rung and to a last one, which without a
//! ladder is the only one. `kde` has the densities. On purpose different from HpBandSter:
//! * A parameter that has no value beside the others counts neither for nor against a configuration, where HpBandSter
//!   fills in a value at random.
//! * A candidate that breaks a constraint, or that a finite space of up to [`deck::EXACT_POINTS_MAX`] points has suggested
//!   already, makes way for the next best one.
//! * A trial without a number is one of the others at every rung that it came to, an infeasible one at all of them. A rung has
//!   enough trials once `min_points_in_model` good ones have numbers.
//! * A failed trial counts at the rungs that it came to. HpBandSter takes it for a bad one.
//! * Trials that still run teach what they have reported, and do not keep others away.
//! * Trials of earlier sweeps teach as well, each by the share of its own sweep that is better.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Parameter, Params};
use rand::RngExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::deck::{self, Deck, Order};
use crate::draw;
use crate::gp::plane::Plane;
use crate::kde::{Density, Point};
use crate::parzen::axis::Axis;
use crate::plug::{self, Built, Complaint};
use crate::ranked::tidy;
use crate::rng::{Purpose, stream};
use crate::{Ask, Event, Outcome, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "bohb",
    summary: "BOHB: kernel densities of good and bad trials at the highest rung with enough of them",
    needs_objective: true,
    several_objectives: false,
    is_warm: true,
    ends: deck::ends,
    population: None,
    example: r#"{"random_fraction": 0.2}"#,
    schema: || schemars::schema_for!(BohbParams),
    build,
};

/// The parameters of `bohb`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BohbParams {
    /// How many good and how many other trials a rung must have before it is learned from. By default one more than there are
    /// parameters, and never fewer.
    pub min_points_in_model: Option<u32>,
    /// How many of a hundred trials count as good.
    pub top_n_percent: f64,
    /// How many candidates are drawn for one suggestion.
    pub num_samples: u32,
    /// The share of configurations that are drawn uniformly all the same.
    pub random_fraction: f64,
    /// How many times as wide as the density of the good trials candidates are drawn.
    pub bandwidth_factor: f64,
    /// The narrowest bandwidth, as a share of a parameter's range.
    pub min_bandwidth: f64,
}

impl Default for BohbParams {
    fn default() -> Self {
        Self {
            min_points_in_model: None,
            top_n_percent: 15.0,
            num_samples: 64,
            random_fraction: 1.0 / 3.0,
            bandwidth_factor: 3.0,
            min_bandwidth: 1e-3,
        }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: BohbParams = plug::read(params)?;
    let bohb = Bohb::new(problem, params);
    let complaints = bohb.complaints();
    if complaints.is_empty() { Ok(Box::new(bohb)) } else { Err(complaints) }
}

struct Bohb {
    params: BohbParams,
    problem: Problem,
    deck: Option<Deck>,
    plane: Plane,
    /// The names and axes of its coordinates.
    names: Vec<String>,
    axes: Vec<Axis>,
    rungs: Rungs,
    /// Those of earlier sweeps.
    earlier: Vec<Rungs>,
}

impl Searcher for Bohb {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Created { trial, params }, Some(deck)) = (event, &mut self.deck) {
            deck.note(*trial, params);
        }
        self.learn(event);
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if space.check_partial(fixed).is_err() {
            return Suggestion::Infeasible { draws: 0 };
        }
        let at_random = stream(self.problem.seed, trial, Purpose::Share).random::<f64>() < self.params.random_fraction;
        if !at_random && let Some(params) = self.most_promising(trial, fixed) {
            return Suggestion::Try(params);
        }
        let known = |params: &Params| self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial));
        match &self.deck {
            Some(deck) if fixed.is_empty() => deck.deal(trial),
            Some(_) | None => {
                let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
                draw::configuration(space, fixed, &mut rng, known)
            }
        }
    }
}

impl Bohb {
    fn new(problem: &Problem, params: BohbParams) -> Self {
        let axis = |parameter: &Parameter| Some((parameter.name.clone(), Axis::new(&parameter.domain)?));
        let (names, axes) = problem.space.parameters.iter().filter_map(axis).unzip();
        let mut bohb = Self {
            params,
            problem: problem.clone(),
            deck: Deck::exact(problem, Order::Shuffled),
            plane: Plane::new(&problem.space),
            names,
            axes,
            rungs: Rungs::new(&problem.rungs),
            earlier: Vec::new(),
        };
        for prior in &problem.priors {
            prior.events().for_each(|event| bohb.learn(&event));
            bohb.earlier.push(std::mem::replace(&mut bohb.rungs, Rungs::new(&problem.rungs)));
        }
        bohb
    }

    fn complaints(&self) -> Vec<Complaint> {
        let BohbParams { top_n_percent, num_samples, random_fraction, bandwidth_factor, min_bandwidth, .. } =
            self.params;
        let mut complaints = Vec::new();
        let mut check = |holds: bool, name: &str, must: &str| {
            if !holds {
                complaints.push(Complaint::about(name, format!("`{name}` must be {must}")));
            }
        };
        let least = format!("at least {}, one more than there are parameters", self.axes.len() + 1);
        let points = self.params.min_points_in_model;
        check(points.is_none_or(|points| points as usize > self.axes.len()), "min_points_in_model", &least);
        check(top_n_percent > 0.0 && top_n_percent < 100.0, "top_n_percent", "above 0 and below 100");
        check((1..=10_000).contains(&num_samples), "num_samples", "between 1 and 10000");
        check((0.0..=1.0).contains(&random_fraction), "random_fraction", "between 0 and 1");
        check(bandwidth_factor > 0.0 && bandwidth_factor.is_finite(), "bandwidth_factor", "above 0");
        check(min_bandwidth > 0.0 && min_bandwidth <= 1.0, "min_bandwidth", "above 0 and at most 1");
        complaints
    }

    fn learn(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => self.rungs.enter(trial, self.place(params)),
            Event::Reported { trial, step, loss, rest: _ } => self.rungs.report(trial, step, loss),
            // What it reported is known, and may yet become more.
            Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            Event::Ended { trial, outcome } => self.rungs.end(trial, outcome),
        }
    }

    fn place(&self, params: &Params) -> Point {
        let place = |(name, axis): (&String, &Axis)| params.get(name).and_then(|value| axis.place(value));
        self.names.iter().zip(&self.axes).map(place).collect()
    }

    /// Of the candidates that are new, feasible and keep `fixed`, the one that is most of all denser among good trials than
    /// among the others; `None` where there is no model, or no candidate.
    fn most_promising(&self, trial: u32, fixed: &Params) -> Option<Params> {
        let BohbParams { top_n_percent, num_samples, bandwidth_factor, min_bandwidth, .. } = self.params;
        let points_min = self.params.min_points_in_model.map_or(self.axes.len() + 1, |points| points as usize);
        let sweeps: Vec<&Rungs> = self.earlier.iter().chain([&self.rungs]).collect();
        let (good, others) = split(&sweeps, points_min, top_n_percent)?;
        let good = Density::new(&self.axes, good, min_bandwidth);
        let others = Density::new(&self.axes, others, min_bandwidth);
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        let mut best: Option<(f64, Params)> = None;
        for _ in 0..num_samples {
            let Some(params) = self.plane.params(&good.draw(bandwidth_factor, &mut rng), fixed) else { continue };
            if self.deck.as_ref().is_some_and(|deck| deck.knows(&params, trial)) {
                continue;
            }
            let point = self.place(&params);
            let gain = good.at(&point) / others.at(&point);
            if best.as_ref().is_none_or(|(highest, _)| gain > *highest) {
                best = Some((gain, params));
            }
        }
        best.map(|(_, params)| params)
    }
}

/// What trials had reported when they came to each rung.
struct Rungs {
    steps: Vec<u64>,
    courses: BTreeMap<u32, Course>,
    /// By rung, and the last one for where trials complete: losses and trials, the best first, and of those that are alike the
    /// one that came first.
    standings: Vec<Vec<(f64, u32)>>,
}

/// How far one trial has come.
struct Course {
    point: Point,
    /// The lowest loss that it has reported.
    best: f64,
    /// How many rungs it has come to.
    passed: usize,
    has_ended: bool,
}

impl Rungs {
    fn new(steps: &[u64]) -> Self {
        Self { steps: steps.to_vec(), courses: BTreeMap::new(), standings: vec![Vec::new(); steps.len() + 1] }
    }

    fn enter(&mut self, trial: u32, point: Point) {
        let course = Course { point, best: f64::INFINITY, passed: 0, has_ended: false };
        self.courses.entry(trial).or_insert(course);
    }

    fn report(&mut self, trial: u32, step: u64, loss: f64) {
        let reached = self.steps.partition_point(|rung| *rung <= step);
        self.reach(trial, loss, reached);
    }

    fn end(&mut self, trial: u32, outcome: Outcome) {
        let last = self.standings.len();
        match outcome {
            Outcome::Completed(loss) => self.reach(trial, loss, last),
            // Its last report is known already.
            Outcome::Stopped(_) | Outcome::Failed => {}
            Outcome::Infeasible => {
                if let Some(course) = self.courses.get_mut(&trial).filter(|course| !course.has_ended) {
                    // Whatever it has reported: it is none that may be run.
                    (course.passed, course.best) = (0, f64::INFINITY);
                    self.standings.iter_mut().for_each(|standing| standing.retain(|(_, other)| *other != trial));
                    self.reach(trial, f64::INFINITY, last);
                }
            }
        }
        if let Some(course) = self.courses.get_mut(&trial) {
            course.has_ended = true;
        }
    }

    /// Takes in that a trial has come to the first `reached` rungs.
    fn reach(&mut self, trial: u32, loss: f64, reached: usize) {
        let Some(course) = self.courses.get_mut(&trial).filter(|course| !course.has_ended) else { return };
        course.best = course.best.min(tidy(loss));
        for standing in self.standings.iter_mut().take(reached).skip(course.passed) {
            let at = standing.partition_point(|(other, _)| *other <= course.best);
            standing.insert(at, (course.best, trial));
        }
        course.passed = course.passed.max(reached);
    }
}

/// The good points and the others at the highest rung at which these sweeps together have at least `least` of both. They
/// stand in the order of the share of their own sweep that is better.
fn split<'a>(sweeps: &[&'a Rungs], least: usize, percent: f64) -> Option<(Vec<&'a Point>, Vec<&'a Point>)> {
    let rungs = sweeps.iter().map(|sweep| sweep.standings.len()).max()?;
    (0..rungs).rev().find_map(|rung| {
        let mut merged: Vec<(f64, &Point)> = Vec::new();
        for sweep in sweeps {
            let standing = &sweep.standings[rung];
            merged.extend(standing.iter().enumerate().filter_map(|(place, (loss, trial))| {
                let share = (place as f64 + 0.5) / standing.len() as f64;
                let share = if *loss == f64::INFINITY { f64::INFINITY } else { share };
                Some((share, &sweep.courses.get(trial)?.point))
            }));
        }
        merged.sort_by(|a, b| a.0.total_cmp(&b.0));
        let good = ((percent / 100.0 * merged.len() as f64) as usize).max(least);
        if merged.len() < good + least || merged[good - 1].0 == f64::INFINITY {
            return None;
        }
        let others = merged.split_off(good);
        let points = |part: Vec<(f64, &'a Point)>| part.into_iter().map(|(_, point)| point).collect();
        Some((points(merged), points(others)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, conditional, float, parameter, problem, spaces};
    use heats_domain::{Space, Value};

    fn bohb(space: &Space, rungs: &[u64], json: serde_json::Value) -> Bohb {
        let problem = Problem {
            space: space.clone(),
            seed: 3,
            trials: None,
            rungs: rungs.to_vec(),
            objectives: 1,
            priors: Vec::new(),
        };
        Bohb::new(&problem, serde_json::from_value(json).expect("parameters"))
    }

    fn ask(searcher: &dyn Searcher, trial: u32) -> Params {
        match searcher.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        }
    }

    fn number(params: &Params, name: &str) -> f64 {
        params.get(name).and_then(Value::as_f64).expect("a number")
    }

    fn square() -> Space {
        Space { parameters: ["x", "y"].map(|name| parameter(name, float(0.0, 1.0))).to_vec(), constraints: vec![] }
    }

    /// Rungs after steps 1, 3 and 9 with so many trials.
    fn rungs(trials: u32) -> Rungs {
        let mut rungs = Rungs::new(&[1, 3, 9]);
        (0..trials).for_each(|trial| rungs.enter(trial, vec![Some(f64::from(trial))]));
        rungs
    }

    fn trials(part: &[&Point]) -> Vec<f64> {
        part.iter().filter_map(|point| point[0]).collect()
    }

    #[test]
    fn a_loss_at_a_rung_is_the_lowest_until_then() {
        let mut rungs = rungs(3);
        for (step, loss) in [(1, 5.0), (2, 1.0), (3, 4.0), (8, 2.0), (9, 0.5), (10, 0.1)] {
            rungs.report(0, step, loss);
        }
        rungs.report(2, 1, 5.0);
        rungs.report(1, 4, 3.0);
        rungs.report(1, 8, 0.0);
        rungs.end(0, Outcome::Completed(0.1));
        rungs.report(0, 11, 0.0);
        assert_eq!(
            rungs.standings,
            [vec![(3.0, 1), (5.0, 0), (5.0, 2)], vec![(1.0, 0), (3.0, 1)], vec![(0.5, 0)], vec![(0.1, 0)]]
        );
    }

    #[test]
    fn stopped_and_failed_trials_count_where_they_came_and_infeasible_ones_as_the_worst_everywhere() {
        let mut rungs = rungs(5);
        (0..5).for_each(|trial| rungs.report(trial, 1, f64::from(trial)));
        rungs.report(3, 3, f64::NAN);
        rungs.end(0, Outcome::Infeasible);
        rungs.end(1, Outcome::Failed);
        rungs.end(2, Outcome::Stopped(-1.0));
        rungs.report(2, 9, -1.0);
        rungs.end(0, Outcome::Completed(-1.0));
        rungs.end(4, Outcome::Completed(f64::NAN));
        let worst = (f64::INFINITY, 0);
        assert_eq!(rungs.standings[0], [(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4), worst]);
        assert_eq!(
            rungs.standings[1..],
            [vec![(3.0, 3), worst, (4.0, 4)], vec![worst, (4.0, 4)], vec![worst, (4.0, 4)]].map(sorted)
        );
    }

    fn sorted(mut standing: Vec<(f64, u32)>) -> Vec<(f64, u32)> {
        standing.sort_by(|a, b| a.0.total_cmp(&b.0));
        standing
    }

    #[test]
    fn the_highest_rung_with_enough_of_both_kinds_is_split() {
        let mut rungs = rungs(40);
        assert!(split(&[&rungs], 2, 15.0).is_none());
        (0..40).for_each(|trial| rungs.report(trial, 1, f64::from(trial)));
        let (good, others) = split(&[&rungs], 2, 15.0).expect("forty are enough");
        assert_eq!((trials(&good), others.len()), (vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 34));
        (30..33).for_each(|trial| rungs.report(trial, 3, -f64::from(trial)));
        assert_eq!(split(&[&rungs], 2, 15.0).map(|(good, _)| good.len()), Some(6), "three are not enough");
        rungs.report(33, 3, f64::INFINITY);
        let (good, others) = split(&[&rungs], 2, 15.0).expect("four are");
        assert_eq!((trials(&good), trials(&others)), (vec![32.0, 31.0], vec![30.0, 33.0]));
    }

    #[test]
    fn a_rung_whose_good_trials_would_have_no_numbers_is_passed_over() {
        let mut rungs = rungs(8);
        (0..4).for_each(|trial| rungs.report(trial, 1, f64::from(trial)));
        (4..8).for_each(|trial| rungs.report(trial, 9, f64::NAN));
        assert_eq!(split(&[&rungs], 2, 15.0).map(|(good, _)| trials(&good)), Some(vec![0.0, 1.0]));
        rungs.report(0, 9, 7.0);
        rungs.report(3, 9, 7.0);
        assert_eq!(
            split(&[&rungs], 2, 15.0).map(|(good, others)| (trials(&good), others.len())),
            Some((vec![0.0, 3.0], 4))
        );
    }

    #[test]
    fn until_there_is_a_model_and_for_a_share_ever_after_it_draws_what_random_draws() {
        let (_, space) = &spaces()[1];
        let problem = problem(space.clone(), 3);
        let random = crate::build_searcher(&problem, "random", &PlugParams::new()).expect("builds");
        let mut bohb = bohb(space, &[], serde_json::json!({"random_fraction": 0.25}));
        let mut same = Vec::new();
        for trial in 0..112 {
            let params = ask(&bohb, trial);
            same.push(ask(random.as_ref(), trial) == params);
            bohb.observe(&Event::Created { trial, params: &params });
            bohb.observe(&Event::Ended { trial, outcome: Outcome::Completed(f64::from(trial % 7)) });
        }
        // Five parameters with several values: six good ones and six others.
        assert!(same[..12].iter().all(|same| *same));
        let later = same[12..].iter().filter(|same| **same).count();
        assert!((15..35).contains(&later), "{later} of 100");
    }

    #[test]
    fn it_learns_where_losses_are_low() {
        let distance = |fraction: f64| {
            let mut bohb = bohb(&square(), &[], serde_json::json!({ "random_fraction": fraction }));
            let loss = |params: &Params| (number(params, "x") - 0.3).abs() + (number(params, "y") - 0.8).abs();
            for trial in 0..60 {
                let params = ask(&bohb, trial);
                bohb.observe(&Event::Created { trial, params: &params });
                bohb.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss(&params)) });
            }
            (60..100).map(|trial| loss(&ask(&bohb, trial))).sum::<f64>() / 40.0
        };
        assert!(distance(0.0) < 0.4 * distance(1.0), "{} and {}", distance(0.0), distance(1.0));
    }

    #[test]
    fn a_higher_rung_overrules_a_lower_one() {
        let mut bohb = bohb(&square(), &[1, 3], serde_json::json!({"random_fraction": 0.0}));
        let random = bohb_draws(40);
        for (trial, params) in (0..).zip(&random) {
            bohb.observe(&Event::Created { trial, params });
            // Early on small values look best, and later large ones do.
            bohb.observe(&Event::Reported { trial, step: 1, loss: number(params, "x"), rest: Vec::new() });
        }
        let mean = |bohb: &Bohb| (100..140).map(|trial| number(&ask(bohb, trial), "x")).sum::<f64>() / 40.0;
        assert!(mean(&bohb) < 0.3, "{}", mean(&bohb));
        for (trial, params) in (0..20).zip(&random) {
            bohb.observe(&Event::Reported { trial, step: 3, loss: -number(params, "x"), rest: Vec::new() });
        }
        assert!(mean(&bohb) > 0.7, "{}", mean(&bohb));
    }

    fn bohb_draws(count: u32) -> Vec<Params> {
        let bohb = bohb(&square(), &[], serde_json::json!({}));
        (0..count).map(|trial| ask(&bohb, trial)).collect()
    }

    #[test]
    fn a_parameter_that_a_choice_brings_along_is_learned_from_those_that_have_it() {
        let parameters = vec![
            parameter("opt", choice(&["sgd", "adam"])),
            conditional("momentum", float(0.0, 1.0), r#"opt == "sgd""#),
            parameter("lr", float(0.0, 1.0)),
        ];
        let mut bohb =
            bohb(&Space { parameters, constraints: vec![] }, &[], serde_json::json!({"random_fraction": 0.0}));
        let momentum = |params: &Params| params.get("momentum").and_then(Value::as_f64);
        for trial in 0..80 {
            let params = ask(&bohb, trial);
            bohb.observe(&Event::Created { trial, params: &params });
            let loss = momentum(&params).map_or(0.3, |momentum| (momentum - 0.9).abs());
            bohb.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
        }
        let near =
            (80..120).filter(|trial| momentum(&ask(&bohb, *trial)).is_some_and(|x| (x - 0.9).abs() < 0.2)).count();
        assert!(near > 25, "{near} of 40");
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let problem = problem(square(), 0);
        let refused = |json: serde_json::Value| build(&problem, &serde_json::from_value(json).expect("a map")).is_err();
        for json in [
            serde_json::json!({"min_points_in_model": 2}),
            serde_json::json!({"top_n_percent": 0}),
            serde_json::json!({"top_n_percent": 100}),
            serde_json::json!({"num_samples": 0}),
            serde_json::json!({"random_fraction": 1.1}),
            serde_json::json!({"bandwidth_factor": 0}),
            serde_json::json!({"min_bandwidth": 0}),
        ] {
            assert!(refused(json.clone()), "{json}");
        }
        assert!(!refused(serde_json::json!({"min_points_in_model": 3, "random_fraction": 0, "bandwidth_factor": 1})));
    }
}
