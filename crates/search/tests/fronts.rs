//! How good the fronts are that searchers for several objectives find, beside those of random draws: by the volume that a
//! front dominates, on functions with known fronts. `-- --nocapture` shows the numbers that docs/search.md has.

use std::io::Write as _;

use heats_domain::spec::PlugParams;
use heats_domain::{Domain, Parameter, Params, Space, Value};
use heats_search::{Ask, Event, Outcome, Problem, Suggestion, build_searcher, front};

const TRIALS: u32 = 200;
const SEEDS: u64 = 10;

struct Function {
    name: &'static str,
    dimensions: usize,
    losses: fn(&[f64]) -> Vec<f64>,
    /// The worst that its losses can be.
    worst: &'static [f64],
    /// What its front dominates.
    whole: f64,
}

/// Zitzler, Deb and Thiele, "Comparison of Multiobjective Evolutionary Algorithms", 2000.
const ZDT1: Function = Function {
    name: "ZDT1, 2 objectives",
    dimensions: 5,
    losses: |x| {
        let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
        vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
    },
    worst: &[1.0, 10.0],
    // Below 10 and above 1 - sqrt(x).
    whole: 9.0 + 2.0 / 3.0,
};

/// Deb, Thiele, Laumanns and Zitzler, "Scalable Multi-Objective Optimization Test Problems", 2002.
const DTLZ2: Function = Function {
    name: "DTLZ2, 3 objectives",
    dimensions: 7,
    losses: |x| {
        let r = 1.0 + x[2..].iter().map(|x| (x - 0.5).powi(2)).sum::<f64>();
        let (a, b) = (x[0] * std::f64::consts::FRAC_PI_2, x[1] * std::f64::consts::FRAC_PI_2);
        vec![r * a.cos() * b.cos(), r * a.cos() * b.sin(), r * a.sin()]
    },
    worst: &[2.25, 2.25, 2.25],
    // A cube without the eighth of a unit ball.
    whole: 2.25 * 2.25 * 2.25 - std::f64::consts::PI / 6.0,
};

fn space(function: &Function) -> Space {
    let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
    let parameter = |i| Parameter { name: format!("x{i}"), domain: domain.clone(), when: None };
    Space { parameters: (0..function.dimensions).map(parameter).collect(), constraints: vec![] }
}

/// What the sweep's front dominates, of what the function's does. `parallel` trials run side by side.
fn share(function: &Function, algorithm: &str, parallel: usize, seed: u64) -> f64 {
    let problem = Problem {
        space: space(function),
        seed,
        trials: Some(TRIALS),
        rungs: Vec::new(),
        objectives: 1,
        priors: Vec::new(),
    };
    let mut searcher = build_searcher(&problem, algorithm, &PlugParams::new()).expect("builds");
    let mut points: Vec<Vec<f64>> = Vec::new();
    let mut live: Vec<u32> = Vec::new();
    for trial in 0..TRIALS {
        let Suggestion::Try(params) = searcher.suggest(Ask { trial }, &Params::default()) else { panic!("endless") };
        searcher.observe(&Event::Created { trial, params: &params });
        let x = |i: usize| params.get(&format!("x{i}")).and_then(Value::as_f64).expect("a number");
        points.push((function.losses)(&(0..function.dimensions).map(x).collect::<Vec<_>>()));
        live.push(trial);
        if live.len() == parallel {
            let trial = live.remove(0);
            let losses = &points[trial as usize];
            searcher.observe(&Event::Reported { trial, step: 1, loss: losses[0], rest: losses[1..].to_vec() });
            searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(losses[0]) });
        }
    }
    let points: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
    front::hypervolume(&points, function.worst) / function.whole
}

/// The mean over the seeds.
fn mean(function: &Function, algorithm: &str, parallel: usize) -> f64 {
    let shares: Vec<f64> = (0..SEEDS).map(|seed| share(function, algorithm, parallel, seed)).collect();
    let mean = shares.iter().sum::<f64>() / SEEDS as f64;
    let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
    let error = (variance / SEEDS as f64).sqrt();
    let name = function.name;
    writeln!(std::io::stderr(), "{name}, {parallel} at once: {algorithm} {mean:.3}, standard error {error:.3}")
        .expect("is there");
    mean
}

#[test]
fn searchers_for_several_objectives_find_better_fronts_than_random_draws() {
    for function in [&ZDT1, &DTLZ2] {
        for parallel in [1, 8] {
            let random = mean(function, "random", parallel);
            for (algorithm, gain) in [("nsga2", 0.015), ("tpe", 0.05)] {
                let found = mean(function, algorithm, parallel);
                assert!(found > random + gain, "{}, {parallel} at once: {found} and {random}", function.name);
            }
        }
    }
}
