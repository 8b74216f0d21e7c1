//! Whether `tpe` finds as good configurations when a sample speaks for its older trials as when every trial counts. Some minutes
//! of a release build, so only on demand: `cargo test --release -p heats-search --test sampled -- --ignored --nocapture`.

use std::f64::consts::PI;

use heats_domain::{Domain, Parameter, Params, Space, Value};
use heats_search::{Ask, Event, Outcome, Problem, Suggestion, build_searcher};

const SEEDS: u64 = 12;
/// After so many trials it is looked who is nearer.
const LOOKS: [u32; 3] = [2_000, 3_000, 4_000];
/// More than there are trials.
const ALL: u32 = u32::MAX;
const SAMPLE: u32 = 1_024;

const FUNCTIONS: [&str; 5] = ["sphere", "rosenbrock", "rastrigin", "ellipsoid", "mixed"];

fn space(mixed: bool) -> Space {
    let named = |name: String, domain| Parameter { name, domain, when: None };
    let float = |place| named(format!("x{place}"), Domain::Float { low: -5.0, high: 5.0, log: false, step: None });
    let mut parameters: Vec<Parameter> = (0..if mixed { 4 } else { 5 }).map(float).collect();
    if mixed {
        parameters.push(named("k".to_owned(), Domain::Int { low: 1, high: 64, log: true, step: 1 }));
        parameters.push(named("c".to_owned(), Domain::Choice((0..3).map(Value::Int).collect())));
    }
    Space { parameters, constraints: vec![] }
}

/// The value of a function at `params`; the least is 0, and nowhere on an edge.
fn loss(function: &str, params: &Params) -> f64 {
    let number = |name: &str| params.get(name).and_then(Value::as_f64).expect("a number");
    let x = |place: i32| number(&format!("x{place}"));
    let off = |place: i32| x(place) - 1.3 + 0.4 * f64::from(place);
    match function {
        "sphere" => (0..5).map(|i| off(i).powi(2)).sum(),
        "rosenbrock" => {
            let half = |place| 0.5 * x(place);
            (0..4).map(|i| 100.0 * (half(i + 1) - half(i).powi(2)).powi(2) + (1.0 - half(i)).powi(2)).sum()
        }
        "rastrigin" => (0..5).map(|i| off(i).powi(2) - 10.0 * (2.0 * PI * off(i)).cos() + 10.0).sum(),
        "ellipsoid" => (0..5).map(|i| off(i).powi(2) * 10f64.powi(i)).sum(),
        "mixed" => {
            let (k, c) = (number("k"), number("c"));
            let floats: f64 = (0..4).map(|i| (off(i) - 0.3 * c * f64::from(i - 1)).powi(2)).sum();
            floats + (k.ln() - 2.5).powi(2) + 0.5 * (c - 1.0).abs()
        }
        other => panic!("there is no function {other}"),
    }
}

/// The best value at each of [`LOOKS`].
fn bests(function: &str, seed: u64, n_older_max: u32) -> Vec<f64> {
    let (space, rungs, priors) = (space(function == "mixed"), Vec::new(), Vec::new());
    let problem = Problem { space, seed, trials: None, rungs, objectives: 1, priors };
    let params = serde_json::from_value(serde_json::json!({ "n_older_max": n_older_max })).expect("a map");
    let mut searcher = build_searcher(&problem, "tpe", &params).expect("builds");
    let (mut best, mut bests) = (f64::INFINITY, Vec::new());
    for trial in 0..LOOKS[2] {
        let suggestion = searcher.suggest(Ask { trial }, &Params::default());
        let Suggestion::Try(params) = suggestion else { panic!("{suggestion:?}") };
        searcher.observe(&Event::Created { trial, params: &params });
        let loss = loss(function, &params);
        searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
        best = best.min(loss);
        if LOOKS.contains(&(trial + 1)) {
            bests.push(best);
        }
    }
    bests
}

#[test]
#[ignore = "takes minutes, in a release build"]
#[expect(clippy::disallowed_macros, reason = "its figures are what it is run for")]
fn a_sample_of_the_older_trials_finds_what_all_of_them_find() {
    let mut logs = [Vec::new(), Vec::new(), Vec::new()];
    for (place, function) in (0..).zip(FUNCTIONS) {
        for seed in 0..SEEDS {
            let seed = seed * 10 + place;
            let (sampled, all) = (bests(function, seed, SAMPLE), bests(function, seed, ALL));
            println!("{function} {seed}: {sampled:.3?} with a sample, {all:.3?} with all");
            for ((logs, sampled), all) in logs.iter_mut().zip(sampled).zip(all) {
                logs.push((sampled / all).ln());
            }
        }
    }
    for (look, logs) in LOOKS.iter().zip(logs) {
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let error = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt();
        let [ratio, low, high] = [mean, mean - 1.96 * error, mean + 1.96 * error].map(f64::exp);
        println!("best value after {look} trials, of that with all: {ratio:.2} [{low:.2}, {high:.2}], {count} runs");
        assert!(low < 1.0, "a sample finds worse configurations");
    }
}
