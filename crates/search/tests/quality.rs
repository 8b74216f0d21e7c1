//! Whether searching pays: each searcher that learns against random draws on functions whose optimum is known, over many seeds.
//!
//! Says nothing about time, and nothing about real training runs.

use heats_domain::spec::PlugParams;
use heats_domain::{Domain, Expr, Parameter, Params, Space, Value};
use heats_search::{Ask, Event, Outcome, Problem, Suggestion, build_searcher};

const SEEDS: u64 = 20;
const TRIALS: u32 = 60;

fn parameter(name: &str, domain: Domain, when: Option<&str>) -> Parameter {
    Parameter { name: name.to_owned(), domain, when: when.map(|source| Expr::parse(source).expect("parses")) }
}

fn float(low: f64, high: f64) -> Domain {
    Domain::Float { low, high, log: false, step: None }
}

fn number(params: &Params, name: &str) -> f64 {
    params.get(name).and_then(Value::as_f64).expect("a number")
}

/// The best loss after [`TRIALS`] trials, for each seed, ascending. Every `parallel` trials run side by side.
fn bests(space: &Space, algorithm: &str, parallel: u32, loss: impl Fn(&Params) -> f64) -> Vec<f64> {
    let mut bests: Vec<f64> = (0..SEEDS)
        .map(|seed| {
            let problem = Problem {
                space: space.clone(),
                seed,
                trials: Some(TRIALS),
                rungs: Vec::new(),
                objectives: 1,
                priors: Vec::new(),
            };
            let mut searcher = build_searcher(&problem, algorithm, &PlugParams::new()).expect("builds");
            let mut best = f64::INFINITY;
            let mut live: Vec<(u32, f64)> = Vec::new();
            for trial in 0..TRIALS {
                let suggestion = searcher.suggest(Ask { trial }, &Params::default());
                let Suggestion::Try(params) = suggestion else { panic!("{suggestion:?}") };
                searcher.observe(&Event::Created { trial, params: &params });
                live.push((trial, loss(&params)));
                if live.len() == parallel as usize {
                    let (trial, loss) = live.remove(0);
                    best = best.min(loss);
                    searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
                }
            }
            live.iter().fold(best, |best, (_, loss)| best.min(*loss))
        })
        .collect();
    bests.sort_by(f64::total_cmp);
    bests
}

/// The median of `algorithm` is at most `share` of random's, and most of its runs beat random's median.
fn check_beats_random(algorithm: &str, space: &Space, parallel: u32, share: f64, loss: impl Fn(&Params) -> f64 + Copy) {
    let learned = bests(space, algorithm, parallel, loss);
    let random = bests(space, "random", parallel, loss);
    let median = |bests: &[f64]| bests[bests.len() / 2];
    let wins = learned.iter().filter(|best| **best < median(&random)).count();
    assert!(median(&learned) < share * median(&random), "medians {} and {}", median(&learned), median(&random));
    assert!(wins >= 17, "{wins} of {SEEDS} runs beat the median of random draws");
}

fn quadratic() -> Space {
    Space {
        parameters: (0..5).map(|i| parameter(&format!("x{i}"), float(-5.0, 5.0), None)).collect(),
        constraints: vec![],
    }
}

fn quadratic_loss(params: &Params) -> f64 {
    (0..5).map(|i| (number(params, &format!("x{i}")) - 1.0 - 0.3 * f64::from(i)).powi(2)).sum()
}

/// Logarithms, steps, a choice, and a parameter that one choice alone has.
fn mixed() -> Space {
    let texts = |values: &[&str]| Domain::Choice(values.iter().map(|v| Value::Str((*v).to_owned())).collect());
    Space {
        parameters: vec![
            parameter("lr", Domain::Float { low: 1e-5, high: 0.1, log: true, step: None }, None),
            parameter("width", Domain::Int { low: 32, high: 512, log: false, step: 32 }, None),
            parameter("depth", Domain::Int { low: 1, high: 64, log: true, step: 1 }, None),
            parameter("opt", texts(&["sgd", "adam", "adamw"]), None),
            parameter("momentum", float(0.0, 0.99), Some(r#"opt == "sgd""#)),
            parameter("decay", Domain::Float { low: 0.0, high: 0.5, log: false, step: Some(0.05) }, None),
        ],
        constraints: vec![],
    }
}

fn mixed_loss(params: &Params) -> f64 {
    let common = (number(params, "lr").log10() + 2.7).powi(2)
        + ((number(params, "width") - 288.0) / 160.0).powi(2)
        + 0.5 * (number(params, "depth").ln() - 2.0).powi(2)
        + 10.0 * (number(params, "decay") - 0.15).powi(2);
    match params.get("opt") {
        Some(Value::Str(opt)) if opt == "sgd" => common + 4.0 * (number(params, "momentum") - 0.9).powi(2),
        Some(Value::Str(opt)) if opt == "adam" => common + 0.4,
        _ => common + 0.25,
    }
}

#[test]
fn tpe_beats_random_on_a_quadratic() {
    check_beats_random("tpe", &quadratic(), 1, 0.3, quadratic_loss);
}

#[test]
fn tpe_beats_random_with_eight_trials_side_by_side() {
    check_beats_random("tpe", &quadratic(), 8, 0.6, quadratic_loss);
}

#[test]
fn tpe_beats_random_on_a_mixed_and_conditional_space() {
    check_beats_random("tpe", &mixed(), 1, 0.7, mixed_loss);
}

#[test]
fn tpe_beats_random_under_a_constraint() {
    let mut space = quadratic();
    space.constraints = vec![Expr::parse("x0 + x1 <= 1.5").expect("parses"), Expr::parse("x2 >= x3").expect("parses")];
    check_beats_random("tpe", &space, 1, 0.5, |params| {
        assert!(number(params, "x0") + number(params, "x1") <= 1.5);
        quadratic_loss(params)
    });
}

#[test]
fn gp_and_auto_come_far_closer_than_random_on_a_quadratic() {
    check_beats_random("gp", &quadratic(), 1, 0.02, quadratic_loss);
    check_beats_random("auto", &quadratic(), 1, 0.02, quadratic_loss);
}

#[test]
fn gp_beats_random_with_eight_trials_side_by_side() {
    check_beats_random("gp", &quadratic(), 8, 0.1, quadratic_loss);
}

#[test]
fn gp_and_auto_beat_random_on_a_mixed_and_conditional_space() {
    check_beats_random("gp", &mixed(), 1, 0.3, mixed_loss);
    check_beats_random("auto", &mixed(), 1, 0.3, mixed_loss);
}

#[test]
fn tpe_finds_the_best_of_a_finite_space_sooner_than_random() {
    let digits = |name: &str| parameter(name, Domain::Int { low: 0, high: 19, log: false, step: 1 }, None);
    let space = Space { parameters: vec![digits("a"), digits("b"), digits("c")], constraints: vec![] };
    let loss = |params: &Params| {
        (number(params, "a") - 3.0).powi(2) + (number(params, "b") - 15.0).powi(2) + (number(params, "c") - 8.0).powi(2)
    };
    check_beats_random("tpe", &space, 1, 0.5, loss);
}

#[test]
fn configurations_that_were_stopped_early_or_infeasible_are_avoided() {
    let space = Space { parameters: vec![parameter("x", float(0.0, 1.0), None)], constraints: vec![] };
    let problem = Problem { space, seed: 4, trials: None, rungs: Vec::new(), objectives: 1, priors: Vec::new() };
    let mut searcher = build_searcher(&problem, "tpe", &PlugParams::new()).expect("builds");
    let mut good = 0;
    for trial in 0..60 {
        let Suggestion::Try(params) = searcher.suggest(Ask { trial }, &Params::default()) else { panic!("endless") };
        let x = number(&params, "x");
        searcher.observe(&Event::Created { trial, params: &params });
        let outcome = if x < 0.7 {
            // Its loss would look best of all, had it not been reported so early.
            searcher.observe(&Event::Reported { trial, step: 1, loss: -x, rest: Vec::new() });
            Outcome::Stopped(-x)
        } else if x < 0.8 {
            Outcome::Infeasible
        } else {
            searcher.observe(&Event::Reported { trial, step: 9, loss: 5.0 - x, rest: Vec::new() });
            Outcome::Stopped(5.0 - x)
        };
        searcher.observe(&Event::Ended { trial, outcome });
        good += u32::from(trial >= 30 && x >= 0.8);
    }
    assert!(good >= 20, "{good} of 30 lie where trials came far");
}
