//! The covariance matrix adaptation evolution strategy: draws from a normal distribution that learns where losses are low, and
//! along which directions they change together.
//!
//! Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv:1604.00772), with the defaults, bounds and ends of the Python
//! package `cmaes` 0.13 as Optuna uses it; IPOP restarts (Auger and Hansen, CEC 2005); the margin of whole numbers (Hamano et
//! al., GECCO 2022). `cma/` has the parts. On purpose different:
//! * Trials run side by side and end in any order. The distribution learns from every `population` results, those of trials
//!   that were drawn from an older one too: they are points like any other, no farther away than a sample would lie. To leave
//!   late ones out costs about twice the trials with eight workers, ever more with more, and under early stopping the best of all
//!   results, since these come last. With one worker there is no difference.
//! * A point that a user enqueued counts in the same way, at its place.
//! * A choice is drawn by itself, by chances that move towards the values of the better half of each generation: see
//!   `cma/choices.rs`. Optuna draws it uniformly.
//! * A parameter that has no value beside the others has a coordinate all the same, drawn like the others: without an effect on
//!   the loss, it wanders and does not shrink.
//! * With earlier sweeps to learn from, the first distribution is the promising one of their best trials (Nomura et al., AAAI 2021),
//!   whatever `sigma0` is.
//! * A restart begins at the next point of the sweep's Sobol sequence. What was drawn before it counts no more.
//!
//! Completed and stopped trials count with their loss; one without a number, or infeasible, is behind all others; one that
//! failed counts for nothing, and the next one takes its place. A candidate that breaks a constraint, or that a finite space of
//! up to [`deck::EXACT_POINTS_MAX`] points has suggested already, is drawn again; when that leads nowhere, the trial's
//! configuration is drawn uniformly.

use std::collections::BTreeMap;

use heats_domain::Params;
use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::cma::distribution::Distribution;
use crate::cma::run::{Place, Run, Start};
use crate::deck::{self, Deck, Order};
use crate::draw;
use crate::parzen::axis::{Axis, Kind};
use crate::plug::{self, Built, Complaint};
use crate::rng::{Purpose, stream};
use crate::searchers::sobol::Points;
use crate::{Ask, Event, Outcome, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "cmaes",
    summary: "CMA-ES: an evolution strategy for numbers that interact, with a hundred trials or more",
    needs_objective: true,
    several_objectives: false,
    is_warm: true,
    ends: deck::ends,
    population: None,
    example: r#"{"population": 8}"#,
    schema: || schemars::schema_for!(CmaesParams),
    build,
};

/// So many points are drawn in the hope of one inside of the bounds, and as many more are moved there.
const DRAWS_INSIDE: usize = 100;

/// So large a share of an earlier sweep's trials is promising, and each of those is taken to be so wide, as a share of a
/// parameter's range: the paper's gamma and alpha.
const PROMISING_SHARE: f64 = 0.1;
const PROMISING_WIDTH: f64 = 0.1;

/// With more results than this before anything is learned, nothing would be.
const POPULATION_MAX: usize = 10_000;

/// The parameters of `cmaes`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CmaesParams {
    /// How many results the distribution learns from at a time. By default `4 + 3 ln d`, rounded down, for `d` parameters.
    pub population: Option<u32>,
    /// How wide the first distribution is along every parameter, as a share of its range.
    pub sigma0: f64,
    /// Begin elsewhere, with twice the population, when the distribution has converged or become ill.
    pub restarts: bool,
    /// Keep whole and stepped numbers from freezing at one value.
    pub margin: bool,
}

impl Default for CmaesParams {
    fn default() -> Self {
        Self { population: None, sigma0: 1.0 / 6.0, restarts: true, margin: true }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: CmaesParams = plug::read(params)?;
    let mut complaints = Vec::new();
    if params.population.is_some_and(|population| !(4..=POPULATION_MAX).contains(&(population as usize))) {
        complaints.push(Complaint::about("population", format!("`population` must be between 4 and {POPULATION_MAX}")));
    }
    if !(params.sigma0 > 0.0 && params.sigma0 <= 1.0) {
        complaints.push(Complaint::about("sigma0", "`sigma0` must be above 0 and at most 1"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Box::new(Cmaes::new(problem, params)))
}

/// Which parameters are numbers, and so have an axis, and which are choices.
struct Chart {
    slots: BTreeMap<String, Slot>,
    axes: Vec<Axis>,
    choices: Vec<(Axis, usize)>,
}

#[derive(Clone, Copy)]
enum Slot {
    Number(usize),
    Choice(usize),
}

impl Chart {
    fn new(problem: &Problem) -> Self {
        let mut chart = Self { slots: BTreeMap::new(), axes: Vec::new(), choices: Vec::new() };
        for parameter in &problem.space.parameters {
            let Some(axis) = Axis::new(&parameter.domain) else { continue };
            let slot = match axis.kind {
                Kind::Choice(count) => {
                    chart.choices.push((axis, count));
                    Slot::Choice(chart.choices.len() - 1)
                }
                Kind::Continuous | Kind::Even(_) | Kind::Log { .. } => {
                    chart.axes.push(axis);
                    Slot::Number(chart.axes.len() - 1)
                }
            };
            chart.slots.insert(parameter.name.clone(), slot);
        }
        chart
    }

    /// How many values each choice has.
    fn counts(&self) -> Vec<usize> {
        self.choices.iter().map(|(_, count)| *count).collect()
    }

    /// The coordinates of a configuration, `missing` where it has none, and the numbers of its choices' values.
    fn place(&self, params: &Params, missing: impl Fn(usize) -> f64) -> (Vec<f64>, Vec<Option<usize>>) {
        let mut point: Vec<f64> = (0..self.axes.len()).map(missing).collect();
        let mut values = vec![None; self.choices.len()];
        for (name, value) in params.iter() {
            match self.slots.get(name) {
                Some(Slot::Number(axis)) => point[*axis] = self.axes[*axis].place(value).unwrap_or(point[*axis]),
                Some(Slot::Choice(choice)) => {
                    values[*choice] = self.choices[*choice].0.place(value).map(|k| k as usize)
                }
                None => {}
            }
        }
        (point, values)
    }
}

/// Where the best tenth of each earlier sweep's trials lie; `None` where there are none.
fn promising(problem: &Problem, chart: &Chart) -> Option<Distribution> {
    let mut points = Vec::new();
    for prior in &problem.priors {
        let ranked = prior.ranked();
        let good = (PROMISING_SHARE * ranked.len() as f64).ceil() as usize;
        points.extend(ranked.into_iter().take(good).map(|past| chart.place(&past.params, |_| 0.5).0));
    }
    Distribution::promising(&points, PROMISING_WIDTH)
}

struct Cmaes {
    params: CmaesParams,
    problem: Problem,
    chart: Chart,
    deck: Option<Deck>,
    run: Run,
    restarts: u32,
    /// Trials that were created in this run and have not ended.
    waiting: BTreeMap<u32, Place>,
}

impl Searcher for Cmaes {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => {
                let place = self.place(trial, params);
                self.waiting.entry(trial).or_insert(place);
                if let Some(deck) = &mut self.deck {
                    deck.note(trial, params);
                }
            }
            Event::Forked { .. }
            | Event::Reported { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            // Most that hold never go on: their generation does not wait for them.
            Event::Paused { trial, loss } => {
                if let Some(place) = self.waiting.remove(&trial) {
                    self.take(place, loss);
                }
            }
            Event::Ended { trial, outcome } => {
                let Some(place) = self.waiting.remove(&trial) else { return };
                match outcome {
                    Outcome::Completed(loss) | Outcome::Stopped(loss) => self.take(place, loss),
                    Outcome::Infeasible => self.take(place, f64::INFINITY),
                    Outcome::Failed => {}
                }
            }
        }
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if space.check_partial(fixed).is_err() {
            return Suggestion::Infeasible { draws: 0 };
        }
        let known = |params: &Params| self.deck.as_ref().is_some_and(|deck| deck.knows(params, trial));
        let fits = |params: &Params| draw::keeps(params, fixed) && space.is_feasible(params) && !known(params);
        if let Some((_, params)) = self.draws(trial, fixed).find(|(_, params)| fits(params)) {
            return Suggestion::Try(params);
        }
        match &self.deck {
            Some(deck) if fixed.is_empty() => deck.deal(trial),
            Some(_) | None => {
                let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
                draw::configuration(space, fixed, &mut rng, known)
            }
        }
    }
}

impl Cmaes {
    fn new(problem: &Problem, params: CmaesParams) -> Self {
        let chart = Chart::new(problem);
        let dimensions = (chart.axes.len() + chart.choices.len()).max(1) as f64;
        let population =
            params.population.map_or(4 + (3.0 * dimensions.ln()) as usize, |population| population as usize);
        let run = match promising(problem, &chart) {
            Some(distribution) => Run::within(distribution, population, &chart.counts(), params.margin),
            None => {
                let centre = Start { mean: vec![0.5; chart.axes.len()], sigma: params.sigma0, population };
                Run::new(centre, &chart.counts(), params.margin)
            }
        };
        Self {
            run,
            deck: Deck::exact(problem, Order::Shuffled),
            problem: problem.clone(),
            params,
            chart,
            restarts: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// The candidates for `trial`, in the order in which they are looked at, each with the point that it was made from.
    fn draws<'a>(&'a self, trial: u32, fixed: &'a Params) -> impl Iterator<Item = (Vec<f64>, Params)> + 'a {
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        (0..2 * DRAWS_INSIDE).filter_map(move |draw| {
            let mut point = self.run.draw_point(&mut rng);
            let bounded = point.iter_mut().zip(&self.chart.axes).filter(|(_, axis)| self.is_bounded(axis));
            for (x, _) in bounded {
                if draw < DRAWS_INSIDE && !(0.0..=1.0).contains(x) {
                    return None;
                }
                *x = x.clamp(0.0, 1.0);
            }
            let params = self.problem.space.assemble(|parameter, _| {
                if let Some(value) = fixed.get(&parameter.name) {
                    return value.clone();
                }
                match self.chart.slots.get(&parameter.name) {
                    Some(Slot::Number(axis)) => self.chart.axes[*axis].value(point[*axis]),
                    Some(Slot::Choice(choice)) => {
                        let value = self.run.draw_value(*choice, &mut rng);
                        self.chart.choices[*choice].0.value(value as f64)
                    }
                    None => parameter.domain.at(0.5),
                }
            });
            Some((point, params))
        })
    }

    /// The margin lets the last whole number have all that lies beyond it.
    fn is_bounded(&self, axis: &Axis) -> bool {
        match axis.kind {
            Kind::Even(_) | Kind::Log { .. } => !self.params.margin,
            Kind::Continuous | Kind::Choice(_) => true,
        }
    }

    /// Where a new trial lies. Its coordinates before they became whole numbers are in no event: they are drawn again. Those
    /// of a trial that did not come from this distribution are where its values are.
    fn place(&self, trial: u32, params: &Params) -> Place {
        let (at_values, values) = self.chart.place(params, |axis| self.run.mean(axis));
        match self.draws(trial, &Params::default()).find(|(_, drawn)| drawn == params) {
            Some((point, _)) => Place { point, values, drawn_in: Some(self.run.generation()) },
            None => Place { point: at_values, values, drawn_in: None },
        }
    }

    fn take(&mut self, place: Place, loss: f64) {
        self.run.take(place, loss, &self.chart.axes);
        if self.run.is_over() && self.params.restarts {
            self.restarts += 1;
            let params =
                Points::new(&self.problem.space, self.problem.seed).at(&self.problem.space, u64::from(self.restarts));
            let (mean, _) = self.chart.place(&params, |_| 0.5);
            let population = (2 * self.run.population()).min(POPULATION_MAX);
            let start = Start { mean, sigma: self.params.sigma0, population };
            self.run = Run::new(start, &self.chart.counts(), self.params.margin);
            self.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{choice, conditional, float, int, parameter, problem};
    use heats_domain::{Space, Value};

    fn space(parameters: Vec<heats_domain::Parameter>) -> Space {
        Space { parameters, constraints: Vec::new() }
    }

    fn cmaes(space: &Space, seed: u64, json: serde_json::Value) -> Cmaes {
        let problem = problem(space.clone(), seed);
        Cmaes::new(&problem, serde_json::from_value(json).expect("parameters"))
    }

    fn ask(cmaes: &Cmaes, trial: u32) -> Params {
        match cmaes.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        }
    }

    fn number(params: &Params, name: &str) -> f64 {
        params.get(name).and_then(Value::as_f64).expect("a number")
    }

    /// The best loss after `trials`, of which `workers` run side by side and end in the order in which they began.
    fn best(cmaes: &mut Cmaes, trials: std::ops::Range<u32>, workers: usize, loss: impl Fn(&Params) -> f64) -> f64 {
        let mut live = std::collections::VecDeque::new();
        let mut best = f64::INFINITY;
        let end = |cmaes: &mut Cmaes, (trial, loss)| {
            cmaes.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) })
        };
        for trial in trials {
            let params = ask(cmaes, trial);
            cmaes.observe(&Event::Created { trial, params: &params });
            best = loss(&params).min(best);
            live.push_back((trial, loss(&params)));
            if live.len() == workers {
                live.pop_front().into_iter().for_each(|ended| end(cmaes, ended));
            }
        }
        live.into_iter().for_each(|ended| end(cmaes, ended));
        best
    }

    const CUBE: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn cube() -> Space {
        space(CUBE.iter().map(|name| parameter(name, float(-5.0, 5.0))).collect())
    }

    fn place(params: &Params) -> [f64; 5] {
        CUBE.map(|name| number(params, name))
    }

    /// Whose lowest point is another for each seed.
    fn sphere(params: &Params, seed: u64) -> f64 {
        let optimum = |i: usize| (seed * 5 + i as u64) as f64 * 2.713 % 8.0 - 4.0;
        place(params).iter().enumerate().map(|(i, x)| (x - optimum(i)).powi(2)).sum()
    }

    /// Ten thousand times as steep along one direction as along another, none of them an axis.
    fn ellipsoid(params: &Params) -> f64 {
        let x = place(params).map(|x| x - 1.5);
        let total: f64 = x.iter().sum();
        // The reflection in the plane across the diagonal turns every axis.
        (0..5).map(|i| 10f64.powi(i) * (x[i as usize] - 0.4 * total).powi(2)).sum()
    }

    fn rosenbrock(params: &Params) -> f64 {
        place(params).windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
    }

    fn median(mut bests: Vec<f64>) -> f64 {
        bests.sort_by(f64::total_cmp);
        bests[bests.len() / 2]
    }

    fn medians(trials: u32, workers: usize, loss: impl Fn(&Params, u64) -> f64) -> f64 {
        let one = |seed| {
            best(&mut cmaes(&cube(), seed, serde_json::json!({})), 0..trials, workers, |params| loss(params, seed))
        };
        median((0..11).map(one).collect())
    }

    #[test]
    fn numbers_that_interact_are_found_as_fast_as_by_the_library() {
        // The medians of `cmaes` 0.13.1 on such functions are 0.57, 0.030, 50 and 4.7.
        assert!(medians(100, 1, sphere) < 1.2);
        assert!(medians(200, 1, sphere) < 0.08);
        assert!(medians(200, 1, |params, _| ellipsoid(params)) < 120.0);
        assert!(medians(200, 1, |params, _| rosenbrock(params)) < 8.0);
    }

    #[test]
    fn late_results_are_not_lost() {
        // With none but a generation's own trials counted these would be about 0.3 and 0.5.
        assert!(medians(200, 8, sphere) < 0.15);
        assert!(medians(400, 32, sphere) < 0.2);
    }

    #[test]
    fn the_margin_keeps_whole_numbers_from_freezing() {
        let reals = ["x", "y"].map(|name| parameter(name, float(-5.0, 5.0)));
        let space = space([reals.to_vec(), vec![parameter("j", int(0, 1)), parameter("k", int(0, 8))]].concat());
        // The numbers matter more than the whole ones, and the best values of these lie at their ends.
        let loss = |params: &Params| {
            let number = |name| number(params, name);
            (number("x") - 1.0).powi(2)
                + (number("y") + 2.0).powi(2)
                + 0.01 * (number("j") + (number("k") - 8.0).powi(2))
        };
        let solved = |margin: bool| {
            let json = serde_json::json!({"margin": margin, "restarts": false});
            (0..12).filter(|seed| best(&mut cmaes(&space, *seed, json.clone()), 0..600, 1, loss) < 0.005).count()
        };
        assert!(solved(true) == 12 && solved(false) < 11, "{} and {}", solved(true), solved(false));
    }

    #[test]
    fn a_trial_is_where_it_was_drawn_and_an_enqueued_one_where_its_values_are() {
        let parameters = vec![
            parameter("x", float(0.0, 1.0)),
            parameter("k", int(0, 4)),
            parameter("c", choice(&["p", "q"])),
            conditional("y", float(0.0, 1.0), r#"c == "p""#),
        ];
        let mut cmaes = cmaes(&space(parameters), 1, serde_json::json!({}));
        let params = ask(&cmaes, 0);
        cmaes.observe(&Event::Created { trial: 0, params: &params });
        let enqueued =
            [("x", Value::Float(0.25)), ("k", Value::Int(4)), ("c", Value::Str("q".into()))].into_iter().collect();
        cmaes.observe(&Event::Created { trial: 1, params: &enqueued });
        let drawn = &cmaes.waiting[&0];
        assert_eq!((drawn.drawn_in, drawn.point[0]), (Some(0), number(&params, "x")));
        let cell = number(&params, "k") / 5.0;
        assert!((cell..cell + 0.2).contains(&drawn.point[1]) && drawn.point[1] != cell + 0.1, "{drawn:?}");
        let expected = Place { point: vec![0.25, 0.9, 0.5], values: vec![Some(1)], drawn_in: None };
        assert_eq!(cmaes.waiting[&1], expected);
    }

    #[test]
    fn what_lies_out_of_bounds_is_drawn_again_and_the_last_whole_numbers_have_what_lies_beyond() {
        let space = space(vec![parameter("x", float(0.0, 1.0)), parameter("k", int(0, 4))]);
        let drawn = |margin: bool| {
            let cmaes = cmaes(&space, 1, serde_json::json!({"sigma0": 1.0, "margin": margin}));
            let all: Vec<Params> = (0..200).map(|trial| ask(&cmaes, trial)).collect();
            let at_edge = all.iter().filter(|params| [0.0, 1.0].contains(&number(params, "x"))).count();
            (at_edge, all.iter().filter(|params| [0.0, 4.0].contains(&number(params, "k"))).count())
        };
        let ((at_edge, last), (_, last_without)) = (drawn(true), drawn(false));
        // Beyond 0.3 standard deviations from the middle lie 76 of 100, and 35 of those within 0.5.
        assert_eq!(at_edge, 0);
        assert!((130..175).contains(&last) && last_without < 100, "{last} and {last_without}");
    }

    #[test]
    fn points_enqueued_in_a_corner_do_not_lead_it_astray() {
        let mut cmaes = cmaes(&cube(), 2, serde_json::json!({}));
        let corner: Params = CUBE.map(|name| (name, Value::Float(-5.0))).into_iter().collect();
        for trial in 0..30 {
            cmaes.observe(&Event::Created { trial, params: &corner });
            cmaes.observe(&Event::Ended { trial, outcome: Outcome::Completed(sphere(&corner, 2)) });
        }
        let best = best(&mut cmaes, 30..330, 1, |params| sphere(params, 2));
        assert!(best < 0.01, "{best}");
    }

    #[test]
    fn trials_that_fail_are_replaced_and_infeasible_ones_avoided() {
        let mut cmaes = cmaes(&cube(), 3, serde_json::json!({}));
        let mut last = Vec::new();
        for trial in 0..300 {
            let params = ask(&cmaes, trial);
            cmaes.observe(&Event::Created { trial, params: &params });
            let a = number(&params, "a");
            let outcome = match trial % 3 {
                0 => Outcome::Failed,
                _ if a < 0.0 => Outcome::Infeasible,
                1 => Outcome::Stopped(a),
                _ => Outcome::Completed(a),
            };
            cmaes.observe(&Event::Ended { trial, outcome });
            last.push(a);
        }
        assert_eq!(cmaes.run.generation(), 25, "of 300 trials 200 count, eight at a time");
        let near = last[250..].iter().filter(|a| (0.0..0.5).contains(*a)).count();
        assert!(near > 20, "{near} of 50 lie beside the forbidden half");
    }

    #[test]
    fn when_nothing_is_left_to_learn_it_begins_elsewhere_with_twice_the_population() {
        let flat = |restarts: bool| {
            let mut cmaes = cmaes(&cube(), 4, serde_json::json!({ "restarts": restarts }));
            // Two that began before the restart and end after it.
            let early = [1000, 1001].map(|trial| (trial, ask(&cmaes, trial)));
            early.iter().for_each(|(trial, params)| cmaes.observe(&Event::Created { trial: *trial, params }));
            best(&mut cmaes, 0..8 * 29, 1, |_| 1.0);
            early.iter().for_each(|(trial, _)| {
                cmaes.observe(&Event::Ended { trial: *trial, outcome: Outcome::Completed(0.0) });
            });
            best(&mut cmaes, 300..315, 1, |_| 1.0);
            cmaes
        };
        let mut begun = flat(true);
        assert_eq!((begun.restarts, begun.run.population(), begun.run.generation()), (1, 16, 0));
        let first = begun.run.mean(0);
        best(&mut begun, 400..400 + 16 * 20, 1, |_| 1.0);
        assert_eq!((begun.restarts, begun.run.population()), (2, 32));
        assert!(first != 0.5 && ![first, 0.5].contains(&begun.run.mean(0)), "each begins elsewhere");
        assert_eq!((flat(false).restarts, flat(false).run.population()), (0, 8));
    }

    #[test]
    fn the_better_value_of_a_choice_becomes_the_more_likely_one() {
        let space = space(vec![parameter("x", float(0.0, 1.0)), parameter("c", choice(&["p", "q", "r"]))]);
        let mut cmaes = cmaes(&space, 5, serde_json::json!({}));
        let is_q = |params: &Params| params.get("c") == Some(&Value::Str("q".into()));
        best(&mut cmaes, 0..100, 1, |params| if is_q(params) { 0.0 } else { 1.0 } + number(params, "x"));
        let often = (200..300).filter(|trial| is_q(&ask(&cmaes, *trial))).count();
        assert!((60..90).contains(&often), "{often}: more than a third, and less than always");
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let problem = problem(cube(), 0);
        let refused = |json: serde_json::Value| build(&problem, &serde_json::from_value(json).expect("a map")).is_err();
        assert!(refused(serde_json::json!({"population": 3})));
        assert!(refused(serde_json::json!({"sigma0": 0.0})));
        assert!(refused(serde_json::json!({"sigma0": 1.5})));
        assert!(!refused(serde_json::json!({"population": null, "sigma0": 0.3, "restarts": false, "margin": false})));
    }
}
