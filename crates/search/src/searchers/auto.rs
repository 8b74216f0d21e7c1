//! The searcher for whoever has no reason to choose another: it learns from every report at every rung. With several
//! objectives, which its model does not have, it is `tpe`.

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Entry, tpe};
use crate::gp::searcher::Modelled;
use crate::plug::{self, Built, Complaint};
use crate::{Problem, Searcher, deck};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "auto",
    summary: "learns from every report at every rung of early stopping; the one to begin with",
    needs_objective: true,
    several_objectives: true,
    is_warm: true,
    ends: deck::ends,
    population: None,
    example: r#"{"n_startup_trials": 4}"#,
    schema: || schemars::schema_for!(AutoParams),
    build,
};

/// The parameters of `auto`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutoParams {
    /// How many trials must have come to the first rung (or completed, where nothing is stopped early) before anything is
    /// learned: until then configurations are drawn at random. Two for each parameter where it is not given, and from 5 to
    /// 20.
    pub n_startup_trials: Option<u32>,
    /// The share of configurations that are drawn at random all the same, so that no mistake of the model lasts. More are
    /// while few trials are known; none are where it is 0.
    pub random_fraction: f64,
}

impl Default for AutoParams {
    fn default() -> Self {
        Self { n_startup_trials: None, random_fraction: 0.05 }
    }
}

fn build(problem: &Problem, params: &PlugParams) -> Built<dyn Searcher> {
    let params: AutoParams = plug::read(params)?;
    if !(0.0..=1.0).contains(&params.random_fraction) {
        return Err(vec![Complaint::about("random_fraction", "`random_fraction` must be between 0 and 1")]);
    }
    if problem.objectives > 1 {
        return (tpe::ENTRY.build)(problem, &PlugParams::new());
    }
    let axes = problem.space.searched().count() as u32;
    let startup = params.n_startup_trials.unwrap_or_else(|| axes.saturating_mul(2).clamp(5, 20));
    Ok(Box::new(Modelled::new(problem, &problem.rungs, startup, params.random_fraction)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{float, parameter, problem};
    use crate::{Ask, Event, Outcome, Suggestion};
    use heats_domain::{Params, Space, Value};

    fn searcher(entry: &Entry, json: serde_json::Value, seed: u64) -> Box<dyn Searcher> {
        let space = Space {
            parameters: vec![parameter("x", float(0.0, 1.0)), parameter("y", float(0.0, 1.0))],
            constraints: vec![],
        };
        let problem = Problem { space, seed, trials: None, rungs: vec![1, 3], objectives: 1, priors: Vec::new() };
        (entry.build)(&problem, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    /// How far from the best configuration.
    fn far(params: &Params) -> f64 {
        let off = |name: &str, best: f64| params.get(name).and_then(Value::as_f64).map_or(f64::NAN, |x| x - best);
        off("x", 0.3).hypot(off("y", 0.8))
    }

    /// Everybody is stopped at the first rung, where losses are higher than they would become.
    fn all_stopped(searcher: &mut dyn Searcher, trials: u32) -> Vec<f64> {
        let suggest = |searcher: &dyn Searcher, trial| match searcher.suggest(Ask { trial }, &Params::default()) {
            Suggestion::Try(params) => params,
            other => panic!("{other:?}"),
        };
        (0..trials)
            .map(|trial| {
                let params = suggest(searcher, trial);
                let loss = 1.0 + far(&params);
                searcher.observe(&Event::Created { trial, params: &params });
                searcher.observe(&Event::Reported { trial, step: 1, loss, rest: Vec::new() });
                searcher.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
                far(&params)
            })
            .collect()
    }

    #[test]
    fn it_learns_from_trials_that_were_all_stopped_at_the_first_rung() {
        let near = |entry: &Entry, seed: u64| {
            let fars = all_stopped(searcher(entry, serde_json::json!({}), seed).as_mut(), 40);
            fars.iter().filter(|far| **far < 0.1).count()
        };
        for seed in 0..3 {
            // One that knows only what completed has learned nothing.
            let (auto, gp) = (near(&ENTRY, seed), near(&super::super::gp::ENTRY, seed));
            assert!(auto >= 9 && gp <= 4, "{auto} {gp}");
        }
    }

    #[test]
    fn a_share_of_configurations_is_drawn_at_random_and_more_of_the_first() {
        let wide = |fraction: f64, trials: std::ops::Range<usize>| {
            let json = serde_json::json!({"random_fraction": fraction, "n_startup_trials": 1});
            let fars = all_stopped(searcher(&ENTRY, json, 5).as_mut(), 80);
            fars[trials].iter().filter(|far| **far > 0.3).count()
        };
        let (none, half) = (wide(0.0, 20..80), wide(0.5, 20..80));
        assert!(half > 15 && half > none + 10, "{none} {half}");
        let (first, later) = (wide(0.01, 5..20), wide(0.01, 65..80));
        assert!(first > later, "{first} {later}");
    }

    #[test]
    fn with_several_objectives_it_is_tpe() {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: vec![] };
        let one = Problem { space, seed: 3, trials: None, rungs: vec![1, 3], objectives: 1, priors: Vec::new() };
        let two = Problem { objectives: 2, ..one.clone() };
        let suggested = |entry: &Entry, problem: &Problem| {
            let mut searcher = (entry.build)(problem, &PlugParams::new()).expect("builds");
            (0..30)
                .map(|trial| {
                    let suggestion = searcher.suggest(Ask { trial }, &Params::default());
                    let Suggestion::Try(params) = suggestion else { panic!("{suggestion:?}") };
                    searcher.observe(&Event::Created { trial, params: &params });
                    let loss = far(&params);
                    searcher.observe(&Event::Reported { trial, step: 1, loss, rest: vec![1.0 - loss] });
                    searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
                    params
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(suggested(&ENTRY, &two), suggested(&tpe::ENTRY, &two));
        assert_ne!(suggested(&ENTRY, &one), suggested(&tpe::ENTRY, &one));
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        let problem = problem(Space::default(), 0);
        for share in [-0.1, 1.1] {
            let params = serde_json::from_value(serde_json::json!({ "random_fraction": share })).expect("a map");
            assert!(build(&problem, &params).is_err());
        }
    }
}
