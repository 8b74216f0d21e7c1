//! That earlier sweeps help, and that misleading ones do no lasting harm.

use heats_domain::{Domain, Parameter, Params, Space, SweepSpec, Value};
use heats_search::{Ask, Event, Outcome, Past, Prior, Searcher, Suggestion, around};

const SEEDS: u64 = 12;
const TRIALS: u32 = 12;

fn spec(algorithm: &str) -> SweepSpec {
    let unit = serde_json::json!({"float": [0.0, 1.0]});
    serde_json::from_value(serde_json::json!({
        "command": ["true"],
        "space": {"a": unit, "b": unit, "c": unit, "d": unit},
        "objective": {"minimize": "loss"},
        "search": {"algorithm": algorithm},
        "budget": {"trials": TRIALS},
    }))
    .expect("a spec")
}

/// A bowl whose lowest point lies elsewhere for each seed, `off` away from it along every axis.
fn bowl(params: &Params, seed: u64, off: f64) -> f64 {
    params
        .iter()
        .zip(1..)
        .map(|((_, value), axis)| {
            let lowest = 0.2 + 0.6 * ((seed * 7 + axis) as f64 * 0.618).fract();
            (value.as_f64().expect("a number") - lowest - off).powi(2)
        })
        .sum()
}

/// Forty configurations all over the space.
fn earlier(seed: u64, loss: impl Fn(&Params) -> f64) -> Prior {
    let space = Space {
        parameters: ["a", "b", "c", "d"]
            .map(|name| Parameter {
                name: name.into(),
                domain: Domain::Float { low: 0.0, high: 1.0, log: false, step: None },
                when: None,
            })
            .to_vec(),
        constraints: vec![],
    };
    let mut rng = heats_search::rng::stream(seed, 1, heats_search::rng::Purpose::Shuffle);
    let past = |params: Params| Past { reports: vec![], outcome: Outcome::Completed(loss(&params)), params };
    Prior { trials: (0..40).map(|_| past(space.sample(&mut rng))).collect() }
}

/// The best loss of a sweep of [`TRIALS`].
fn best(searcher: &mut dyn Searcher, loss: impl Fn(&Params) -> f64) -> f64 {
    (0..TRIALS).fold(f64::INFINITY, |best, trial| {
        let suggestion = searcher.suggest(Ask { trial }, &Params::default());
        let Suggestion::Try(params) = suggestion else { panic!("{suggestion:?}") };
        let loss = loss(&params);
        searcher.observe(&Event::Created { trial, params: &params });
        searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
        best.min(loss)
    })
}

/// The mean over seeds of the logarithm of the best loss, after earlier sweeps that `priors` makes.
fn mean(algorithm: &str, priors: impl Fn(u64) -> Vec<Prior>) -> f64 {
    let one = |seed: u64| {
        let mut searcher = around::searcher(&spec(algorithm), seed, priors(seed)).expect("builds");
        best(searcher.as_mut(), |params| bowl(params, seed, 0.0)).ln()
    };
    (0..SEEDS).map(one).sum::<f64>() / SEEDS as f64
}

const WARM: [&str; 5] = ["auto", "gp", "tpe", "cmaes", "bohb"];

#[test]
fn a_sweep_that_knows_an_earlier_one_finds_better_configurations() {
    for algorithm in WARM {
        let cold = mean(algorithm, |_| Vec::new());
        let warm = mean(algorithm, |seed| vec![earlier(seed, |params| bowl(params, seed, 0.0))]);
        assert!(warm < cold - 0.3, "{algorithm}: {warm} is not better than {cold}");
    }
}

#[test]
fn it_helps_as_well_where_all_values_were_others() {
    for algorithm in WARM {
        let cold = mean(algorithm, |_| Vec::new());
        let shifted = mean(algorithm, |seed| vec![earlier(seed, |params| 50.0 * bowl(params, seed, 0.05) - 900.0)]);
        let higher = mean(algorithm, |seed| vec![earlier(seed, |params| 0.05 * bowl(params, seed, 0.05) + 900.0)]);
        assert!(shifted.max(higher) < cold - 0.2, "{algorithm}: {shifted} and {higher} are not better than {cold}");
    }
}

#[test]
fn an_earlier_sweep_that_says_nothing_does_little_harm() {
    for algorithm in WARM {
        let cold = mean(algorithm, |_| Vec::new());
        let misled = mean(algorithm, |seed| {
            let chance = |params: &Params| params.iter().map(|(_, value)| chaos(value)).sum::<f64>().fract();
            vec![earlier(seed, chance)]
        });
        assert!(misled < cold + 0.8, "{algorithm}: {misled} is much worse than {cold}");
    }
}

fn chaos(value: &Value) -> f64 {
    value.as_f64().expect("a number") * 7919.0
}
