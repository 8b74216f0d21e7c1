//! Whole sweeps in virtual time: what must come out of them whatever goes wrong.

use std::collections::BTreeMap;

use heats_core::Ending;
use heats_core::ops::attempts::End;
use heats_core::testing::SweepBuilder;
use heats_domain::{Inventory, Metrics, TrialState};
use heats_sim::{Faults, Running, SimConfig, SimError, SimReport, Step, Workload, simulate};
use serde_json::{Value, json};

const STEPS: u64 = 9;

fn x(running: &Running<'_>) -> f64 {
    running.params.get("x").and_then(|x| x.as_f64()).expect("every configuration has x")
}

/// What trial `x` reports at `step`: a parabola that comes down with the steps, best at `x` = 0.3.
fn loss(x: f64, step: u64) -> f64 {
    (x - 0.3).powi(2) + 1.0 / (step as f64 + 1.0)
}

fn metrics(loss: f64) -> Metrics {
    [("loss", loss)].into_iter().collect()
}

/// Nine steps of one to two seconds.
fn parabola(running: &Running<'_>, step: u64) -> Step {
    if step > STEPS {
        return Step::Done;
    }
    let took_ms = 1_000 + (x(running) * 1_000.0) as u64;
    Step::Trained { at: step, took_ms, metrics: metrics(loss(x(running), step)) }
}

fn search(algorithm: &str) -> Value {
    json!({"algorithm": algorithm, "seed": 11})
}

fn run(builder: SweepBuilder, config: SimConfig) -> SimReport {
    simulate(&builder.build(), &mut parabola, config).expect("comes to its end")
}

fn everything(seed: u64) -> SimConfig {
    let faults = Faults {
        death_every_ms: Some(120_000),
        cut_every_ms: Some(60_000),
        failover_every_ms: Some(45_000),
        repeat: 0.2,
    };
    SimConfig { agents: 8, seed, faults, ..SimConfig::default() }
}

/// How many trials have each configuration.
fn configurations(report: &SimReport) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for trial in &report.sweep.trials {
        let params = report.sweep.params(trial).expect("was created").to_string();
        *all.entry(params).or_insert(0) += 1;
    }
    all
}

#[test]
fn a_sweep_among_dying_agents_ends_with_exactly_its_budget_and_the_true_best() {
    let faults = Faults { death_every_ms: Some(60_000), ..Faults::default() };
    let config = SimConfig { agents: 8, faults, seed: 5, ..SimConfig::default() };
    let report = run(SweepBuilder::minimize("loss").trials(200), config);
    assert_eq!(report.ending, Ending::Finished);
    assert_eq!(report.sweep.counts.of(TrialState::Completed), 200);
    assert!(report.troubles.deaths > 10 && report.troubles.expired > 3, "{:?}", report.troubles);
    let params = report.sweep.trials.iter().map(|t| report.sweep.params(t).expect("was created"));
    let losses = params.map(|p| loss(p.get("x").and_then(|x| x.as_f64()).expect("has x"), STEPS));
    let true_best = losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
    assert_eq!(report.best(), true_best.map(|(trial, loss)| (trial as u32, loss)));
    assert!(report.steps > 200 * STEPS, "lost attempts trained for nothing");
}

#[test]
fn a_sweep_survives_everything_at_once() {
    for seed in 0..20 {
        let report = run(SweepBuilder::minimize("loss").trials(60), everything(seed));
        assert_eq!((report.ending, report.sweep.created()), (Ending::Finished, 60), "seed {seed}");
        for trial in &report.sweep.trials {
            assert_eq!((trial.state, trial.last_step), (TrialState::Completed, Some(STEPS)), "seed {seed}");
            assert_eq!(u64::from(trial.reports()), STEPS, "every step exactly once, seed {seed}");
        }
    }
}

/// The rules by which trials hold at rungs until they are promoted.
const PROMOTING: [&str; 3] = ["asha_promotion", "hyperband_sync", "pasha"];

fn promoting(rule: &str) -> SweepBuilder {
    let rule = json!({"algorithm": rule, "min": 1, "max": STEPS, "eta": 3});
    SweepBuilder::minimize("loss").trials(60).top("early_stop", rule)
}

/// How many trials ended after each number of steps.
fn lengths(report: &SimReport) -> BTreeMap<u64, u32> {
    let mut lengths = BTreeMap::new();
    for trial in &report.sweep.trials {
        *lengths.entry(trial.last_step.expect("reported")).or_insert(0) += 1;
    }
    lengths
}

#[test]
fn trials_that_hold_at_rungs_survive_everything_at_once_and_come_to_an_end() {
    for rule in PROMOTING {
        for seed in 0..20 {
            let report = run(promoting(rule), everything(seed));
            assert_eq!((report.ending, report.sweep.created()), (Ending::Finished, 60), "{rule}, seed {seed}");
            for trial in &report.sweep.trials {
                let whole = trial.last_step == Some(STEPS);
                let state = if whole { TrialState::Completed } else { TrialState::Stopped };
                assert_eq!(trial.state, state, "{rule}, seed {seed}");
                assert_eq!(Some(u64::from(trial.reports())), trial.last_step, "every step once, {rule}, seed {seed}");
            }
            let rungs: Vec<u64> = lengths(&report).into_keys().collect();
            assert!(rungs.iter().all(|step| [1, 3, 9].contains(step)), "{rule}, seed {seed}: {rungs:?}");
        }
    }
}

#[test]
fn a_third_goes_on_from_each_rung_and_in_brackets_all_wait_for_each_other() {
    let lengths = |rule| lengths(&run(promoting(rule), SimConfig { agents: 1, ..SimConfig::default() }));
    // Of 60 came 20 to the second rung, and 6 of them to the end; none was promoted that would not be now, since one after
    // the other comes to the first.
    let asha = lengths("asha_promotion");
    assert!(asha[&9] >= 6 && asha[&3] + asha[&9] >= 20 && asha[&9] <= 10, "{asha:?}");
    // Hyperband's brackets have 9, 5 and 3 trials: three times 17, and a last one of 9. Of the first kind 3 and then 1 go on,
    // of the second 1, and of the third all are whole.
    assert_eq!(lengths("hyperband_sync"), [(1, 4 * 6), (3, 4 * 2 + 3 * 4), (9, 4 + 3 + 3 * 3)].into());
    // The ranking does not change from rung to rung here.
    assert_eq!(lengths("pasha").into_keys().collect::<Vec<_>>(), [1, 3]);
}

/// The parabola, whose processes keep a checkpoint.
struct Checkpoints;

impl Workload for Checkpoints {
    fn step(&mut self, running: &Running<'_>, step: u64) -> Step {
        parabola(running, step)
    }

    fn resume(&mut self, _: &Running<'_>, reported: u64) -> u64 {
        reported
    }
}

#[test]
fn with_checkpoints_nothing_is_trained_twice() {
    let reports = |report: &SimReport| report.sweep.trials.iter().map(|trial| u64::from(trial.reports())).sum::<u64>();
    for rule in PROMOTING {
        let spec = promoting(rule).build();
        let kept = simulate(&spec, &mut Checkpoints, SimConfig::default()).expect("comes to its end");
        assert_eq!(kept.steps, reports(&kept), "{rule}");
        let lost = simulate(&spec, &mut parabola, SimConfig::default()).expect("comes to its end");
        assert!(lost.steps > reports(&lost), "{rule}: without, a trial that goes on begins again");
    }
}

#[test]
fn each_fault_happens_when_it_is_asked_for() {
    let happened = run(SweepBuilder::minimize("loss").trials(60), everything(1)).troubles;
    assert!(
        happened.deaths > 0
            && happened.cuts > 0
            && happened.failovers > 0
            && happened.expired > 0
            && happened.repeated > 0
            && happened.stale > 0,
        "{happened:?}"
    );
    let calm = run(SweepBuilder::minimize("loss").trials(60), SimConfig::default()).troubles;
    assert_eq!(calm, heats_sim::Troubles::default());
}

#[test]
fn one_seed_replays_one_run() {
    let tpe = || {
        let early_stop = json!({"algorithm": "asha", "min": 1, "max": STEPS, "eta": 3});
        SweepBuilder::minimize("loss").trials(60).top("search", search("tpe")).top("early_stop", early_stop)
    };
    let (one, two) = (run(tpe(), everything(3)), run(tpe(), everything(3)));
    assert_eq!((one.log_hash, one.state_hash, one.took_ms), (two.log_hash, two.state_hash, two.took_ms));
    assert_ne!(one.log_hash, run(tpe(), everything(4)).log_hash);
}

#[test]
fn searchers_without_a_memory_try_the_same_configurations_however_they_are_run() {
    let space = json!({"x": {"float": [0.0, 1.0], "step": 0.25}, "y": {"int": [1, 6]}, "z": {"choice": ["a", "b"]}});
    let endless = json!({"x": {"float": [0.0, 1.0]}, "y": {"int": [1, 6]}});
    for (algorithm, space) in
        [("random", &endless), ("sobol", &endless), ("random", &space), ("sobol", &space), ("grid", &space)]
    {
        let sweep =
            || SweepBuilder::minimize("loss").trials(48).top("space", space.clone()).top("search", search(algorithm));
        let alone = run(sweep(), SimConfig { agents: 1, ..SimConfig::default() });
        let many = run(sweep(), SimConfig { agents: 32, ..SimConfig::default() });
        assert_eq!(configurations(&alone), configurations(&many), "{algorithm}");
        assert_eq!(configurations(&alone), configurations(&run(sweep(), everything(9))), "{algorithm}");
        assert_eq!(alone.sweep.created(), 48, "{algorithm}");
    }
}

#[test]
fn a_grid_without_a_budget_tries_everything_once_and_ends() {
    let space = json!({"x": {"float": [0.0, 1.0], "step": 0.25}, "y": {"int": [1, 6]}});
    let sweep = SweepBuilder::minimize("loss").top("space", space).top("search", search("grid"));
    let report = run(sweep.top("budget", json!({})), everything(2));
    assert_eq!((report.ending, report.sweep.created()), (Ending::Finished, 30));
    assert!(configurations(&report).values().all(|count| *count == 1));
}

#[test]
fn early_stopping_saves_steps_and_keeps_the_best() {
    let sweep = || SweepBuilder::minimize("loss").trials(120).top("search", search("random"));
    let asha = json!({"algorithm": "asha", "min": 1, "max": STEPS, "eta": 3});
    let whole = run(sweep(), SimConfig { agents: 8, ..SimConfig::default() });
    let early = run(sweep().top("early_stop", asha), SimConfig { agents: 8, ..SimConfig::default() });
    assert_eq!(whole.steps, 120 * STEPS);
    assert!(early.steps * 2 < whole.steps, "{} of {}", early.steps, whole.steps);
    assert!(early.took_ms * 2 < whole.took_ms, "{} of {}", early.took_ms, whole.took_ms);
    assert_eq!(early.best(), whole.best());
    let savings = early.sweep.savings();
    assert_eq!((savings.steps, savings.steps + savings.steps_saved), (early.steps, whole.steps));
    for trial in early.sweep.trials.iter().filter(|trial| trial.state == TrialState::Stopped) {
        assert_eq!(early.sweep.verdict(trial).map(|reason| reason.rule).as_deref(), Some("asha"));
    }
}

#[test]
fn tpe_beats_random_draws_on_a_parabola() {
    let space =
        json!({"x": {"float": [0.0, 1.0]}, "y": {"float": [-5.0, 5.0]}, "z": {"float": [1e-5, 1.0], "log": true}});
    let mut bowl = |running: &Running<'_>, step: u64| {
        let get = |name: &str| running.params.get(name).and_then(|v| v.as_f64()).expect("has every parameter");
        let value = (get("x") - 0.3).powi(2) + (get("y") / 5.0 - 0.4).powi(2) + (get("z").log10() / 5.0 + 0.6).powi(2);
        if step > 1 { Step::Done } else { Step::Trained { at: step, took_ms: 1_000, metrics: metrics(value) } }
    };
    let mut mean_log_best = |algorithm: &str| {
        let bests = (0..8).map(|seed| {
            let search = json!({"algorithm": algorithm, "seed": seed});
            let sweep = SweepBuilder::minimize("loss").trials(80).top("space", space.clone()).top("search", search);
            let report = simulate(&sweep.build(), &mut bowl, SimConfig::default()).expect("comes to its end");
            report.best().expect("has a best").1.ln()
        });
        bests.sum::<f64>() / 8.0
    };
    let (tpe, random) = (mean_log_best("tpe"), mean_log_best("random"));
    assert!(tpe < random - 1.0, "ln of the best loss: tpe {tpe:.2}, random {random:.2}");
}

#[test]
fn trials_that_fail_are_tried_again_and_then_counted() {
    let mut flaky = |running: &Running<'_>, step: u64| match running.trial % 3 {
        0 if step == 2 && running.attempt < 3 => Step::Ended { after_ms: 10, end: End::Exited(1) },
        1 if step == 3 => Step::Ended { after_ms: 10, end: End::OutOfMemory },
        _ => parabola(running, step),
    };
    let sweep = SweepBuilder::minimize("loss").trials(30).build();
    let report = simulate(&sweep, &mut flaky, everything(6)).expect("comes to its end");
    let counts = report.sweep.counts;
    // Those that failed on two machines where others had ended well are put down to their configurations.
    let (failed, infeasible) = (counts.of(TrialState::Failed), counts.of(TrialState::Infeasible));
    assert_eq!((counts.of(TrialState::Completed), failed + infeasible), (20, 10));
    assert!(failed > 0 && infeasible > 0, "{counts:?}");
    for trial in &report.sweep.trials {
        assert_eq!(trial.retries_used, [2, 2, 0][trial.number as usize % 3], "trial {}", trial.number);
    }
}

#[test]
fn a_sweep_stops_when_its_virtual_time_is_over() {
    let sweep = SweepBuilder::minimize("loss").trials(10_000).set("budget", "wall", "10m");
    let report = run(sweep, SimConfig { agents: 8, ..SimConfig::default() });
    assert_eq!((report.ending, report.took_ms / 1_000), (Ending::Stopped, 600));
}

#[test]
fn a_trial_that_fits_on_no_agent_is_said_to() {
    let sweep = SweepBuilder::minimize("loss").set("resources", "cpus", 4).build();
    let outcome = simulate(&sweep, &mut parabola, SimConfig::default()).map(|report| report.ending);
    assert_eq!(outcome, Err(SimError::Stalled { trials: 0 }));
    let inventory = Inventory { cpus: 4, memory: 0, gpus: Vec::new(), ..Inventory::default() };
    assert!(simulate(&sweep, &mut parabola, SimConfig { inventory, ..SimConfig::default() }).is_ok());
}

#[test]
fn a_workload_without_an_end_and_an_unknown_searcher_are_refused() {
    let mut endless =
        |_: &Running<'_>, step: u64| Step::Trained { at: step, took_ms: 1, metrics: metrics(step as f64) };
    let sweep = SweepBuilder::minimize("loss").build();
    let outcome = simulate(&sweep, &mut endless, SimConfig { steps_max: 1_000, ..SimConfig::default() });
    assert_eq!(outcome.map(|report| report.ending), Err(SimError::TooLong { steps: 1_001 }));
    let sweep = SweepBuilder::minimize("loss").top("search", search("oracle")).build();
    let outcome = simulate(&sweep, &mut parabola, SimConfig::default()).map(|report| report.ending);
    assert!(matches!(outcome, Err(SimError::Refused(_))), "{outcome:?}");
}

/// The parabola with a luck that follows from the seed alone: up to one either way.
fn lucky(running: &Running<'_>, step: u64) -> Step {
    if step > 1 {
        return Step::Done;
    }
    let luck = (running.seed as f64 / f64::from(u32::MAX)).mul_add(2.0, -1.0);
    Step::Trained { at: 1, took_ms: 1_000, metrics: metrics((x(running) - 0.3).powi(2) + luck) }
}

#[test]
fn the_value_that_chose_a_winner_flatters_it_and_the_mean_of_its_fresh_runs_does_not() {
    let confirm = json!({"top": 3, "seeds": 8});
    for (seed, config) in [(1, SimConfig::default()), (2, everything(2)), (3, everything(3))] {
        let builder = SweepBuilder::minimize("loss").trials(60).set("objective", "confirm", confirm.clone());
        let builder = builder.top("search", json!({"algorithm": "random", "seed": seed}));
        let report = simulate(&builder.build(), &mut lucky, config).expect("comes to its end");
        let sweep = &report.sweep;
        assert_eq!((report.ending, sweep.proposed, sweep.created()), (Ending::Finished, 60, 84), "seed {seed}");
        let (winner, value) = report.best().expect("has one");
        let confirmation = sweep.confirmation(sweep.trial(winner).expect("is there")).expect("was confirmed");
        let (low, high) = confirmation.interval.expect("of eight");
        let truth = (sweep.params(sweep.trial(winner).expect("is there")).and_then(|p| p.get("x")?.as_f64()))
            .map(|x| (x - 0.3).powi(2))
            .expect("has x");
        assert!(value < low && low < truth && truth < high, "seed {seed}: {value}, {low} to {high}, truly {truth}");
        let values: Vec<f64> = report.improvements.iter().map(|(_, value)| *value).collect();
        assert!(values.is_sorted_by(|a, b| a > b), "a confirmation is no improvement: {values:?}");
    }
}
