//! Benchmarks: what a surrogate and a table answer, and whole sweeps over them.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use heats_core::testing::SweepBuilder;
use heats_domain::spec::EarlyStop;
use heats_domain::{Params, Value};
use heats_sim::benchmark::{Benchmark, BenchmarkError, Training};
use heats_sim::{Running, SimConfig, SimReport, Step, Workload, simulate};
use serde_json::json;

/// The files of `tests/data`, or of another folder.
fn files(folder: PathBuf) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    move |name| std::fs::read(folder.join(name)).map_err(|error| error.to_string())
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn open(name: &str) -> Benchmark {
    Benchmark::open(name, &files(here())).expect("is there")
}

fn params(values: &[(&str, Value)]) -> Params {
    values.iter().map(|(name, value)| (*name, value.clone())).collect()
}

#[derive(serde::Deserialize)]
struct Golden {
    scenario: String,
    instance: String,
    config: BTreeMap<String, Value>,
    fidelity: f64,
    expect: BTreeMap<String, f64>,
}

/// Every answer of `golden.json` in `folder`; `step` says which step a fidelity is.
fn expect_golden(folder: PathBuf, step: impl Fn(&str, f64) -> u64) -> usize {
    let text = std::fs::read_to_string(folder.join("golden.json")).expect("is there");
    let golden: Vec<Golden> = serde_json::from_str(&text).expect("reads");
    let files = files(folder);
    let mut answered = 0;
    for Golden { scenario, instance, config, fidelity, expect } in &golden {
        let name = format!("{scenario}/{instance}");
        let benchmark = Benchmark::open(&name, &files).expect("is there");
        let params: Params = config.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let evaluated = benchmark.evaluate(&params, step(scenario, *fidelity), 0).expect("evaluates");
        let Some(evaluation) = evaluated else {
            // The untrained network: nobody reports that.
            assert_eq!((scenario.as_str(), *fidelity), ("lcbench", 1.0));
            continue;
        };
        answered += 1;
        for (metric, expected) in expect {
            let found = evaluation.metrics.get(metric).expect("is answered");
            // f32 in another order of the sums.
            let near = 2e-4 * expected.abs() + 5e-4;
            assert!((found - expected).abs() <= near, "{name} {config:?} {fidelity}: {metric} {found} {expected}");
        }
    }
    answered
}

#[test]
fn a_surrogate_answers_what_its_network_says() {
    let step = |scenario: &str, fidelity: f64| match scenario {
        "lcbench" => fidelity as u64 - 1,
        _ => (fidelity * 9.0).round() as u64,
    };
    assert_eq!(expect_golden(here(), step), 8);
}

#[test]
#[ignore = "needs the data of the benchmarks: HEATS_BENCH_DATA=DIR"]
fn the_real_surrogates_answer_what_their_files_say() {
    let folder = std::env::var_os("HEATS_BENCH_DATA").expect("HEATS_BENCH_DATA");
    let step = |scenario: &str, fidelity: f64| match scenario {
        "lcbench" => fidelity as u64 - 1,
        _ => (fidelity * 27.0).round() as u64,
    };
    assert_eq!(expect_golden(folder.into(), step), 79);
}

#[test]
fn a_table_answers_what_was_trained_with_that_configuration_and_seed() {
    let table = open("hpobench/tiny");
    let answer = |depth, width: f64, seed| {
        let params = params(&[("depth", Value::Int(depth)), ("width", Value::Float(width))]);
        let evaluation = table.evaluate(&params, 1, seed).expect("is there").expect("at its only step");
        (evaluation.metrics.get("val_acc").expect("is there"), evaluation.cost_s)
    };
    let near = |(value, cost): (f64, f64), expected: (f64, f64)| {
        assert!((value - expected.0).abs() < 1e-6, "{value} {expected:?}");
        assert_eq!(cost, expected.1);
    };
    near(answer(1, 16.0, 0), (0.1, 1.0));
    near(answer(1, 1.0000001e-8, 1), (0.4, 2.0));
    near(answer(3, 16.0, 4), (0.9, 5.0));
    near(answer(3, 1e-8, 3), (0.1, 6.0));
}

#[test]
fn regret_is_counted_in_parts_of_the_range() {
    let curves = open("lcbench/11");
    assert_eq!((curves.full_cost_s(), curves.target().metric.as_str()), (80.0, "val_accuracy"));
    for (accuracy, regret) in [(80.0, 0.0), (70.0, 0.2), (30.0, 1.0), (81.0, 0.0)] {
        assert!((curves.target().regret(accuracy) - regret).abs() < 1e-9, "{accuracy}");
    }
}

#[test]
fn what_is_no_benchmark_and_what_is_none_of_its_configurations_is_said() {
    let files = files(here());
    let names = |name: &str| Benchmark::names(name, &files);
    assert_eq!(names("lcbench"), Ok(vec!["lcbench/11".to_owned(), "lcbench/12".to_owned()]));
    assert_eq!(names("hpobench"), Ok(vec!["hpobench/tiny".to_owned()]));
    let unknown = |name: &str| names(name).expect_err("is none").to_string();
    assert!(unknown("imagenet").contains("lcbench, rbv2_xgboost, hpobench, hpolib"), "{}", unknown("imagenet"));
    assert!(unknown("lcbench/13").contains("lcbench/11, lcbench/12"), "{}", unknown("lcbench/13"));
    let elsewhere = Benchmark::open("lcbench/11", &|_| Err("no such file".to_owned())).expect_err("nothing is there");
    assert!(matches!(elsewhere, BenchmarkError::File { .. }), "{elsewhere}");

    let lacks = |name: &str, given: &[(&str, Value)]| {
        let error = open(name).evaluate(&params(given), 1, 0).expect_err("lacks something");
        let BenchmarkError::Parameter { parameter, .. } = error else { panic!("{error}") };
        parameter
    };
    assert_eq!(lacks("lcbench/11", &[("width", Value::Int(3))]), "lr");
    assert_eq!(lacks("lcbench/11", &[("lr", Value::Str("high".into()))]), "lr");
    let booster = |name: &str| [("booster", Value::Str(name.into())), ("alpha", Value::Float(1.0))];
    assert_eq!(lacks("rbv2_xgboost/12", &booster("forest")), "booster");
    assert!(open("rbv2_xgboost/12").evaluate(&params(&booster("gblinear")), 1, 0).is_ok(), "eta may be missing");
    assert_eq!(lacks("hpobench/tiny", &[("depth", Value::Int(4))]), "depth");
}

/// What a trial does from its beginning to its end.
fn trained(benchmark: &Benchmark, algorithm: &str, given: &[(&str, Value)]) -> Vec<(u64, u64)> {
    let params = params(given);
    let early_stop = EarlyStop { algorithm: algorithm.to_owned(), ..EarlyStop::default() };
    let mut training = Training::new(benchmark, &early_stop);
    let running = Running { trial: 0, attempt: 1, params: &params, seed: 0 };
    let steps = (1..).map(|step| training.step(&running, step));
    let trained = steps.map_while(|step| match step {
        Step::Trained { at, took_ms, .. } => Some((at, took_ms)),
        Step::Done | Step::Ended { .. } => None,
    });
    trained.collect()
}

#[test]
fn epochs_go_on_and_shares_begin_anew() {
    let lr = [("lr", Value::Float(0.1))];
    let curves = open("lcbench/11");
    let epochs = trained(&curves, "asha", &lr);
    assert_eq!(epochs.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let cost = |step| curves.evaluate(&params(&lr), step, 0).expect("is there").expect("reports").cost_s;
    let highest = (1..=5).map(cost).fold(0.0, f64::max);
    let whole: u64 = epochs.iter().map(|(_, took_ms)| took_ms).sum();
    assert!((whole as f64 / 1e3 - highest).abs() < 0.01, "the whole takes what the last epoch says");
    assert_eq!(trained(&curves, "none", &lr), epochs, "they cost nothing on the way");

    let trees = open("rbv2_xgboost/12");
    let config = [("booster", Value::Str("gbtree".into())), ("alpha", Value::Float(2.0)), ("eta", Value::Float(0.3))];
    let shares = trained(&trees, "asha", &config);
    assert_eq!(shares.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 3, 9]);
    let last = trained(&trees, "none", &config);
    assert_eq!(last.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [9], "nobody asks on the way");
    assert!(shares.iter().all(|(_, took_ms)| *took_ms >= 1) && shares[2].1 >= last[0].1);
}

fn sweep(benchmark: &Benchmark, agents: u32) -> SimReport {
    let space = json!({"lr": {"float": [1e-3, 1.0], "log": true}});
    let spec = SweepBuilder::maximize("val_accuracy").top("space", space).trials(40).build();
    let mut training = Training::new(benchmark, &spec.early_stop);
    let report =
        simulate(&spec, &mut training, SimConfig { agents, ..SimConfig::default() }).expect("comes to its end");
    assert_eq!(training.broken(), None);
    report
}

#[test]
fn a_sweep_over_a_benchmark_finds_its_best_and_takes_less_time_with_more_agents() {
    let curves = open("lcbench/12");
    let (few, many) = (sweep(&curves, 2), sweep(&curves, 8));
    assert!(many.took_ms * 3 < few.took_ms, "{} {}", many.took_ms, few.took_ms);
    let (trial, value) = few.best().expect("has one");
    let params = few.sweep.trial(trial).and_then(|trial| few.sweep.params(trial)).expect("is there");
    let steps = curves.steps().map(|step| curves.evaluate(&params, step, 0).expect("is there").expect("reports"));
    let best = steps.filter_map(|evaluation| evaluation.metrics.get("val_accuracy")).fold(f64::MIN, f64::max);
    assert_eq!(value, best);
}
