//! The tree-structured Parzen estimator: proposes what is likely among good configurations and unlikely
//! among the others.
//!
//! Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, with the semantics of
//! Optuna 5's `TPESampler` (multivariate, constant liar). On purpose different from Optuna:
//! * Parameters are estimated jointly with those that have the same `when`, as Optuna's `group=True` does,
//!   but read off the conditions instead of discovered from trials.
//! * A candidate that breaks a constraint, or that a finite space of up to [`deck::EXACT_POINTS_MAX`] points
//!   has suggested already, makes way for the next best one.
//! * A trial without a number (NaN) teaches the estimator of bad configurations, where Optuna leaves it out;
//!   neither it nor an infeasible one ever counts as good.
//! * With several objectives, the good ones are those on the first fronts, and of the front that does not fit those that together
//!   dominate the largest volume, as in Optuna; but they are a tenth up to 100 (Optuna has no limit), so that a suggestion's cost
//!   is bounded, and all weigh alike (there by what each adds to the volume).
//! * Of more than a thousand trials that are not good, a sample speaks for those that are not new (see `parzen::crowd`), so that
//!   a suggestion costs the same after a thousand trials and after a hundred thousand.
//! * Trials of earlier sweeps teach as well: the best of each are good, whatever their losses are beside another sweep's.
//! * Every trial has its own random stream, so that a suggestion is a function of events, seed and number.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Params, Value};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::deck::{self, Deck, Order};
use crate::draw;
use crate::parzen::crowd::Members;
use crate::parzen::history::{History, Sides, Track};
use crate::parzen::mixture::{Mixture, Place};
use crate::plug::{self, Built, Complaint};
use crate::rng::{Purpose, stream};
use crate::{Ask, Event, Problem, Searcher, Suggestion};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "tpe",
    summary: "tree-structured Parzen estimator: learns from losses which regions are good",
    needs_objective: true,
    several_objectives: true,
    is_warm: true,
    ends: deck::ends,
    population: None,
    example: r#"{"n_startup_trials": 10}"#,
    schema: || schemars::schema_for!(TpeParams),
    build,
};

/// How often new candidates are drawn when none of the last could be used.
const WAVES: u32 = 4;
/// The smallest sample that may speak for the older trials.
const OLDER_LEAST: u32 = 64;

/// The parameters of `tpe`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TpeParams {
    /// How many trials must have ended (completed, stopped or infeasible) before anything is learned: until
    /// then configurations are drawn at random.
    pub n_startup_trials: u32,
    /// How many candidates are drawn for one suggestion.
    pub n_ei_candidates: u32,
    /// Estimate parameters jointly, so that their interactions count; otherwise each by itself. Where it is not given, jointly
    /// for one objective, and each by itself for several: the good configurations are then a front, and have less in common.
    pub multivariate: Option<bool>,
    /// Count trials that still run among the bad ones, so that parallel suggestions keep apart.
    pub constant_liar: bool,
    /// The weight of the uniform prior beside one observation's.
    pub prior_weight: f64,
    /// How many of the trials that have ended, beside the newest 512 of all, count at most among the bad ones. Of more, a sample
    /// does, of half as many at least, each for all that it stands for. A number beyond that of all trials has each of them
    /// count.
    pub n_older_max: u32,
}

impl Default for TpeParams {
    fn default() -> Self {
        Self {
            n_startup_trials: 10,
            n_ei_candidates: 24,
            multivariate: None,
            constant_liar: true,
            prior_weight: 1.0,
            n_older_max: 1_024,
        }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: TpeParams = plug::read(params)?;
    let mut complaints = Vec::new();
    if !(1..=10_000).contains(&params.n_ei_candidates) {
        complaints.push(Complaint::about("n_ei_candidates", "`n_ei_candidates` must be between 1 and 10000"));
    }
    if !(params.prior_weight > 0.0 && params.prior_weight.is_finite()) {
        complaints.push(Complaint::about("prior_weight", "`prior_weight` must be above 0"));
    }
    if params.n_older_max < OLDER_LEAST {
        let message = format!("`n_older_max` must be at least {OLDER_LEAST}");
        complaints.push(Complaint::about("n_older_max", message).hint("fewer would say little of all trials"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let mut history = History::new(&problem.space.parameters, params.n_older_max as usize);
    problem.priors.iter().for_each(|prior| history.learn(prior));
    let mut groups: Vec<(Option<String>, Group)> = Vec::new();
    for (place, track) in history.tracks().iter().enumerate() {
        let when = problem.space.get(&track.name).and_then(|p| p.when.as_ref()).map(|when| when.source().to_owned());
        match groups.iter_mut().find(|(other, _)| *other == when) {
            Some((_, group)) => group.tracks.push(place),
            None => groups.push((when, Group { tracks: vec![place] })),
        }
    }
    let apart = (0..history.tracks().len()).map(|place| Group { tracks: vec![place] }).collect();
    Ok(Box::new(Tpe {
        problem: problem.clone(),
        deck: Deck::exact(problem, Order::Shuffled),
        joint: groups.into_iter().map(|(_, group)| group).collect(),
        apart,
        params,
        history,
    }))
}

/// How many of `known` trials count as good, where there is one objective, and where there are several.
fn good(known: usize, several: bool) -> usize {
    known.div_ceil(10).min(if several { 100 } else { 25 })
}

struct Tpe {
    params: TpeParams,
    problem: Problem,
    /// Where the space is finite: what was suggested, and what is left when the estimator has no new idea.
    deck: Option<Deck>,
    history: History,
    /// The parameters that are active together, together.
    joint: Vec<Group>,
    /// Each by itself.
    apart: Vec<Group>,
}

/// Parameters that are estimated together; where one is active, all are.
struct Group {
    /// Which of the history's tracks.
    tracks: Vec<usize>,
}

impl Searcher for Tpe {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Created { trial, params }, Some(deck)) = (event, &mut self.deck) {
            deck.note(*trial, params);
        }
        self.history.observe(event);
    }

    fn suggest(&self, Ask { trial }: Ask, fixed: &Params) -> Suggestion {
        let space = &self.problem.space;
        if space.check_partial(fixed).is_err() {
            return Suggestion::Infeasible { draws: 0 };
        }
        let mut rng = stream(self.problem.seed, trial, Purpose::Configuration);
        if self.history.known() >= self.params.n_startup_trials as usize
            && let Some(params) = self.estimate(trial, fixed, &mut rng)
        {
            return Suggestion::Try(params);
        }
        match &self.deck {
            Some(deck) if fixed.is_empty() => deck.deal(trial),
            Some(deck) => draw::configuration(space, fixed, &mut rng, |params| deck.knows(params, trial)),
            None => draw::configuration(space, fixed, &mut rng, |_| false),
        }
    }
}

impl Tpe {
    /// The best of the candidates that is new, feasible and keeps `fixed`; `None` where there is none.
    fn estimate(&self, trial: u32, fixed: &Params, rng: &mut ChaCha8Rng) -> Option<Params> {
        let space = &self.problem.space;
        let several = self.history.has_several();
        let good = |known| good(known, several);
        let groups = if self.params.multivariate.unwrap_or(!several) { &self.joint } else { &self.apart };
        let sides = self.history.split(good, self.params.constant_liar, trial);
        let mut estimates: Vec<Estimate<'_>> =
            groups.iter().map(|group| self.group_estimate(group, &sides, fixed)).collect();
        for _ in 0..WAVES {
            estimates.iter_mut().for_each(|estimate| estimate.ranked = None);
            for rank in 0..self.params.n_ei_candidates as usize {
                let mut chosen: BTreeMap<&str, Value> = BTreeMap::new();
                let params = space.assemble(|parameter, so_far| {
                    if let Some(value) = fixed.get(&parameter.name) {
                        return value.clone();
                    }
                    if let Some(value) = chosen.get(parameter.name.as_str()) {
                        return value.clone();
                    }
                    let estimate = estimates.iter_mut().find(|e| e.tracks.iter().any(|t| t.name == parameter.name));
                    if let Some(estimate) = estimate {
                        estimate.rank_candidates(self.params.n_ei_candidates, rng);
                        chosen.extend(estimate.choose(rank, space, so_far));
                    }
                    // A parameter of one value belongs to no group.
                    chosen.get(parameter.name.as_str()).cloned().unwrap_or_else(|| parameter.domain.at(0.5))
                });
                let known = self.deck.as_ref().is_some_and(|deck| deck.knows(&params, trial));
                if !known && draw::keeps(&params, fixed) && space.is_feasible(&params) {
                    return Some(params);
                }
            }
        }
        None
    }

    fn group_estimate<'a>(&'a self, group: &Group, sides: &Sides, fixed: &Params) -> Estimate<'a> {
        let tracks: Vec<&Track> = group
            .tracks
            .iter()
            .map(|place| &self.history.tracks()[*place])
            .filter(|track| fixed.get(&track.name).is_none())
            .collect();
        let mixture = |members: &Members| Mixture::new(&tracks, members, self.params.prior_weight);
        let (below, above) = (mixture(&sides.below), mixture(&sides.above));
        Estimate { tracks, below, above, ranked: None }
    }
}

/// The two estimators of one group.
struct Estimate<'a> {
    tracks: Vec<&'a Track>,
    below: Mixture<'a>,
    above: Mixture<'a>,
    /// Candidates, the most promising first; `None` until they are needed.
    ranked: Option<Vec<Place>>,
}

impl<'a> Estimate<'a> {
    fn rank_candidates(&mut self, count: u32, rng: &mut ChaCha8Rng) {
        if self.ranked.is_some() {
            return;
        }
        let points: Vec<Place> = (0..count).map(|_| self.below.sample(rng)).collect();
        let below = self.below.ln_density(&points);
        let above = self.above.ln_density(&points);
        let gain: Vec<f64> = below.iter().zip(&above).map(|(below, above)| below - above).collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| gain[*b].total_cmp(&gain[*a]));
        self.ranked = Some(order.into_iter().map(|i| points[i].clone()).collect());
    }

    /// The values of the candidate at `rank`, or of the first after it that breaks no constraint beside
    /// `so_far` (one that mentions parameters still to come does not count yet).
    fn choose(&self, rank: usize, space: &heats_domain::Space, so_far: &Params) -> Vec<(&'a str, Value)> {
        let candidates = self.ranked.as_deref().unwrap_or_default();
        let values = |point: &Place| -> Vec<(&'a str, Value)> {
            self.tracks.iter().zip(point).map(|(track, x)| (track.name.as_str(), track.axis.value(*x))).collect()
        };
        let feasible = |point: &&Place| {
            let mut params = so_far.clone();
            for (name, value) in values(point) {
                params.insert(name, value);
            }
            space.is_feasible(&params)
        };
        let rest = candidates.get(rank..).unwrap_or_default();
        match rest.iter().find(|point| space.constraints.is_empty() || feasible(point)) {
            Some(point) => values(point),
            None => rest.first().map(values).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use crate::conformance::{float, parameter, problem, spaces};
    use heats_domain::Space;

    fn tpe(space: &Space, json: serde_json::Value) -> Box<dyn Searcher> {
        let problem = problem(space.clone(), 3);
        build(&problem, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    fn ask(tpe: &dyn Searcher, trial: u32) -> Params {
        match tpe.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        }
    }

    fn run(tpe: &mut dyn Searcher, trials: u32, loss: impl Fn(&Params) -> f64) {
        for trial in 0..trials {
            let params = ask(tpe, trial);
            tpe.observe(&Event::Created { trial, params: &params });
            tpe.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss(&params)) });
        }
    }

    fn x(params: &Params) -> f64 {
        params.get("x").and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    #[test]
    fn a_tenth_counts_as_good_and_never_more_than_25() {
        assert_eq!([0, 1, 10, 11, 250, 10_000].map(|known| good(known, false)), [0, 1, 1, 2, 25, 25]);
        assert_eq!([11, 251, 10_000].map(|known| good(known, true)), [2, 26, 100], "a front is more than a best");
    }

    #[test]
    fn until_enough_trials_ended_it_draws_what_random_draws() {
        let (_, space) = &spaces()[1];
        let problem = problem(space.clone(), 3);
        let random = crate::build_searcher(&problem, "random", &PlugParams::new()).expect("builds");
        let mut tpe = tpe(space, serde_json::json!({"n_startup_trials": 4}));
        for trial in 0..8 {
            let params = ask(tpe.as_ref(), trial);
            let as_random = ask(random.as_ref(), trial) == params;
            // A trial that failed taught nothing: of the first five, four count.
            assert_eq!(as_random, trial < 5, "trial {trial}");
            tpe.observe(&Event::Created { trial, params: &params });
            let outcome = if trial == 1 { Outcome::Failed } else { Outcome::Completed(1.0) };
            tpe.observe(&Event::Ended { trial, outcome });
        }
    }

    #[test]
    fn every_trial_counts_while_they_are_few_and_a_sample_of_many_changes_what_is_suggested() {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let differ = |trials: u32| {
            let asked = [64, u32::MAX].map(|n_older_max| {
                let mut tpe = tpe(&space, serde_json::json!({ "n_older_max": n_older_max }));
                for trial in 0..trials {
                    let params = [("x", Value::Float(f64::from(trial * 37 % 101) / 101.0))].into_iter().collect();
                    tpe.observe(&Event::Created { trial, params: &params });
                    tpe.observe(&Event::Ended { trial, outcome: Outcome::Completed((x(&params) - 0.3).abs()) });
                }
                (trials..trials + 20).map(|trial| ask(tpe.as_ref(), trial)).collect::<Vec<_>>()
            });
            asked[0].iter().zip(&asked[1]).filter(|(sampled, all)| sampled != all).count()
        };
        assert_eq!(differ(512 + 64), 0);
        assert_ne!(differ(3_000), 0);
    }

    #[test]
    fn the_liar_keeps_parallel_suggestions_apart() {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let spread = |liar: bool| {
            let mut tpe = tpe(&space, serde_json::json!({"constant_liar": liar}));
            run(tpe.as_mut(), 30, |params| (x(params) - 0.3).powi(2));
            let side_by_side: Vec<f64> = (30..60)
                .map(|trial| {
                    let params = ask(tpe.as_ref(), trial);
                    tpe.observe(&Event::Created { trial, params: &params });
                    x(&params)
                })
                .collect();
            let mean = side_by_side.iter().sum::<f64>() / 30.0;
            (side_by_side.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 30.0).sqrt()
        };
        assert!(spread(true) > 2.0 * spread(false), "{} and {}", spread(true), spread(false));
    }

    #[test]
    fn joint_estimation_sees_an_interaction_that_separate_ones_cannot() {
        let space = Space {
            parameters: vec![parameter("x", float(0.0, 1.0)), parameter("y", float(0.0, 1.0))],
            constraints: vec![],
        };
        let ridge = |params: &Params| {
            let y = params.get("y").and_then(Value::as_f64).unwrap_or(f64::NAN);
            (x(params) - y).abs()
        };
        let off = |multivariate: bool| {
            let mut tpe = tpe(&space, serde_json::json!({"multivariate": multivariate}));
            run(tpe.as_mut(), 60, ridge);
            (60..90).map(|trial| ridge(&ask(tpe.as_ref(), trial))).sum::<f64>() / 30.0
        };
        assert!(off(true) < 0.7 * off(false), "{} and {}", off(true), off(false));
    }

    #[test]
    fn what_no_other_trial_dominates_is_good() {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let mut tpe = tpe(&space, serde_json::json!({}));
        // Between 0.4 and 0.6 one loss is traded for the other; elsewhere both are worse.
        let losses = |x: f64| [(x - 0.4).abs() + (x - 0.6).max(0.0), (x - 0.6).abs() + (0.4 - x).max(0.0)];
        let mut inside = 0;
        for trial in 0..80 {
            let params = ask(tpe.as_ref(), trial);
            let [loss, other] = losses(x(&params));
            tpe.observe(&Event::Created { trial, params: &params });
            // The first report says the contrary: what a trial comes to is its last.
            tpe.observe(&Event::Reported { trial, step: 1, loss: -loss, rest: vec![-other] });
            tpe.observe(&Event::Reported { trial, step: 2, loss, rest: vec![other] });
            tpe.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
            inside += u32::from(trial >= 40 && (0.35..0.65).contains(&x(&params)));
        }
        assert!(inside > 25, "{inside} of 40, where 12 are by chance");
    }

    #[test]
    fn every_setting_stays_in_every_space() {
        for (name, space) in spaces() {
            for json in [
                serde_json::json!({"multivariate": false, "constant_liar": false}),
                serde_json::json!({"n_startup_trials": 0, "n_ei_candidates": 1, "prior_weight": 0.01}),
            ] {
                let mut tpe = tpe(&space, json);
                let trials = space.cardinality().filter(|n| *n > 1).map_or(25, |_| 10);
                run(tpe.as_mut(), trials, |params| {
                    assert_eq!(space.check(params), Ok(()), "{name}");
                    0.0
                });
            }
        }
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let problem = problem(Space::default(), 0);
        let refused = |json: serde_json::Value| build(&problem, &serde_json::from_value(json).expect("a map")).is_err();
        assert!(refused(serde_json::json!({"n_ei_candidates": 0})));
        assert!(refused(serde_json::json!({"prior_weight": 0.0})));
        assert!(refused(serde_json::json!({"n_older_max": 63})));
        assert!(!refused(serde_json::json!({"n_startup_trials": 0})));
    }
}
