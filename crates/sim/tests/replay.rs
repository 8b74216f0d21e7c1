//! Sweeps that ran in virtual time are replayed from their records: what a replay says must be what a run would have been.

use std::collections::BTreeMap;
use std::sync::Arc;

use heats_core::ops::attempts::End;
use heats_core::testing::SweepBuilder;
use heats_core::trial::{self, Trial};
use heats_domain::{SweepSpec, TrialState};
use heats_sim::replay::{Attempt, Recorded, Replayed, Report, replay};
use heats_sim::{Faults, Running, SimConfig, SimReport, Step, Workload, simulate};
use serde_json::json;

const STEPS: u64 = 9;
const SEED: u64 = 11;
const AGENTS: u32 = 8;

/// Nine steps of one to two seconds, of a parabola that comes down with the steps; then it saves something.
fn parabola(running: &Running<'_>, step: u64) -> Step {
    let x = running.params.get("x").and_then(|x| x.as_f64()).expect("every configuration has x");
    if step > STEPS {
        return Step::Ended { after_ms: 250, end: End::Exited(0) };
    }
    let loss = (x - 0.3).powi(2) + 1.0 / (step as f64 + 1.0);
    Step::Trained { at: step, took_ms: 1_000 + (x * 1_000.0) as u64, metrics: [("loss", loss)].into_iter().collect() }
}

/// Its constraint is about a parameter that only the replay's space has, and where it must not count.
fn sweep() -> SweepBuilder {
    SweepBuilder::minimize("loss")
        .trials(60)
        .top("search", json!({"algorithm": "random", "seed": SEED}))
        .top("constraints", json!(["recorded < 3"]))
}

fn asha() -> SweepBuilder {
    sweep().top("early_stop", json!({"algorithm": "asha", "min": 1, "max": STEPS, "eta": 3, "brackets": 2}))
}

fn run(spec: &SweepSpec, faults: Faults) -> SimReport {
    let config = SimConfig { agents: AGENTS, faults, ..SimConfig::default() };
    simulate(spec, &mut parabola, config).expect("comes to its end")
}

/// What a client reads of a sweep.
fn record(report: &SimReport) -> Vec<Recorded> {
    let sweep = &report.sweep;
    let attempts = |trial: &Arc<Trial>| {
        let attempt = |(place, attempt): (usize, &std::sync::Arc<trial::Attempt>)| {
            let reports = (0..trial.series.len()).filter_map(|place| sweep.report(trial, place));
            let own = reports.filter(|(report, _)| report.attempt as usize == place + 1);
            let reports = own
                .map(|(report, at_ms)| Report { at_ms, step: report.step, metrics: report.metrics.clone() })
                .collect();
            let end = attempt.end.expect("has ended");
            Attempt::new(attempt.started_ms.unwrap_or(attempt.leased_ms), reports, end.at_ms, end.failure)
        };
        trial.attempts.iter().enumerate().map(attempt).collect::<Vec<Attempt>>()
    };
    sweep.trials.iter().map(|trial| Recorded::new(trial.state, attempts(trial))).collect()
}

fn replayed(spec: &SweepSpec, trials: &[Recorded]) -> Replayed {
    replay(spec, SEED, trials, AGENTS).expect("comes to its end")
}

fn verdicts(report: &SimReport) -> BTreeMap<u32, (u64, Option<u64>)> {
    let stopped = report.sweep.trials.iter().filter_map(|trial| Some((trial, report.sweep.verdict(trial)?)));
    stopped.map(|(trial, reason)| (trial.number, (reason.step, reason.rung))).collect()
}

#[test]
fn a_replay_under_the_same_settings_is_the_recorded_sweep() {
    let spec = sweep().build();
    let whole = run(&spec, Faults::default());
    let again = replayed(&spec, &record(&whole));
    assert_eq!((again.report.best(), again.report.took_ms), (whole.best(), whole.took_ms));
    assert_eq!(again.report.sweep.ledger, whole.sweep.ledger);
    assert_eq!((again.stops.len(), again.beyond.len()), (0, 0));
    let found = again.found_ms.expect("has a best");
    assert_eq!(whole.improvements.last().map(|(at_ms, _)| *at_ms), Some(found));
}

#[test]
fn a_replay_under_a_rule_stops_what_a_run_under_it_stops_and_when() {
    let whole = run(&sweep().build(), Faults::default());
    let early = run(&asha().build(), Faults::default());
    let again = replayed(&asha().build(), &record(&whole));
    assert!(verdicts(&early).len() > 20, "{}", verdicts(&early).len());
    assert_eq!(verdicts(&again.report), verdicts(&early));
    assert_eq!((again.report.best(), again.report.took_ms), (early.best(), early.took_ms));
    assert_eq!(again.report.sweep.ledger, early.sweep.ledger);
    assert_eq!(again.stops.len(), verdicts(&early).len());
    assert!(again.stops.is_sorted_by_key(|stop| stop.at_ms) && again.stops[0].at_ms > 0);
    assert_eq!(again.beyond, Vec::<u32>::new(), "the whole of every curve is known");
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
fn trials_that_hold_go_on_in_a_replay_where_they_were() {
    let promoting =
        sweep().top("early_stop", json!({"algorithm": "asha_promotion", "min": 1, "max": STEPS, "eta": 3})).build();
    let config = SimConfig { agents: AGENTS, ..SimConfig::default() };
    let early = simulate(&promoting, &mut Checkpoints, config).expect("comes to its end");
    let whole = run(&sweep().build(), Faults::default());
    let lengths = |report: &SimReport| report.sweep.trials.iter().map(|trial| trial.last_step).collect::<Vec<_>>();
    for record in [record(&whole), record(&early)] {
        let again = replayed(&promoting, &record);
        assert_eq!(lengths(&again.report), lengths(&early));
        assert_eq!((again.report.best(), again.report.steps), (early.best(), early.steps));
    }
    // A record of trials that held is a record of what they trained, whatever came in between.
    let again = replayed(&sweep().build(), &record(&early));
    assert_eq!(lengths(&again.report), lengths(&early));
    let stopped = early.sweep.trials.iter().filter(|trial| trial.state == TrialState::Stopped);
    assert_eq!(again.beyond, stopped.map(|trial| trial.number).collect::<Vec<_>>());
}

#[test]
fn a_trial_that_would_go_on_past_its_record_ends_there_and_is_counted() {
    let early = run(&asha().build(), Faults::default());
    let again = replayed(&sweep().build(), &record(&early));
    assert_eq!(again.beyond, verdicts(&early).into_keys().collect::<Vec<_>>());
    assert_eq!(again.report.steps, early.steps, "nothing is made up");
    assert_eq!(again.report.best(), early.best());
    // Under the same rule every trial ends where it did, and nothing is missing.
    let same = replayed(&asha().build(), &record(&early));
    assert_eq!((verdicts(&same.report), same.beyond.len()), (verdicts(&early), 0));
}

#[test]
fn a_trial_that_failed_fails_again_in_the_same_way() {
    // Configurations do not keep a process from being started, so that one failure to start is all that no machine is blamed for.
    let ends = [End::Exited(1), End::OutOfMemory, End::TimedOut, End::Signaled(11), End::Exited(2), End::Infeasible];
    let mut flaky = |running: &Running<'_>, step: u64| match ends.get(running.trial as usize % 10) {
        Some(_) if running.trial == 4 => Step::Ended { after_ms: 10, end: End::StartFailed },
        Some(end) if step > u64::from(running.trial % 3) => Step::Ended { after_ms: 10, end: *end },
        _ => parabola(running, step),
    };
    let spec = sweep().set("run", "retries", 1).build();
    let config = SimConfig { agents: AGENTS, ..SimConfig::default() };
    let whole = simulate(&spec, &mut flaky, config).expect("comes to its end");
    let again = replayed(&spec, &record(&whole));
    let fates = |report: &SimReport| {
        let fate = |trial: &Arc<Trial>| {
            (
                trial.state,
                trial.attempts.iter().map(|attempt| attempt.end.and_then(|end| end.failure)).collect::<Vec<_>>(),
            )
        };
        report.sweep.trials.iter().map(fate).collect::<Vec<_>>()
    };
    // Some failed on two machines on which others had ended well.
    let counts = whole.sweep.counts;
    assert_eq!(counts.of(TrialState::Failed) + counts.of(TrialState::Infeasible), 30 + 6);
    assert!(counts.of(TrialState::Failed) > 0 && counts.of(TrialState::Infeasible) > 6, "{counts:?}");
    assert_eq!(fates(&again.report), fates(&whole));
    assert_eq!((again.report.took_ms, again.beyond.len()), (whole.took_ms, 0));
    // What a third attempt would have come to is not known.
    let more = replayed(&sweep().set("run", "retries", 2).build(), &record(&whole));
    // But of those that are known to fail wherever they are tried.
    let known = |trial: &&Arc<Trial>| trial.state == TrialState::Infeasible && trial.reports() == 0;
    let known = whole.sweep.trials.iter().filter(known).filter(|trial| trial.attempt() > 1).count();
    assert_eq!(more.beyond.len(), 30 - known);
    let counts = more.report.sweep.counts;
    let (whole, unreported) = (24, 11);
    assert_eq!(counts.of(TrialState::Completed), whole + 30 - unreported, "as they stand");
    assert_eq!(counts.of(TrialState::Infeasible), 6 + unreported);
}

#[test]
fn attempts_that_were_lost_are_lost_again() {
    let faults = Faults { death_every_ms: Some(60_000), ..Faults::default() };
    let spec = sweep().build();
    let whole = run(&spec, faults);
    let tries = |report: &SimReport| report.sweep.trials.iter().map(|trial| trial.attempt()).collect::<Vec<_>>();
    assert!(tries(&whole).iter().any(|attempts| *attempts > 1));
    let again = replayed(&spec, &record(&whole));
    assert_eq!((tries(&again.report), again.report.best()), (tries(&whole), whole.best()));
    assert_eq!(again.beyond, Vec::<u32>::new());
}

#[test]
fn the_budget_of_the_replay_counts_and_no_more_is_dealt_than_was_recorded() {
    let whole = run(&sweep().build(), Faults::default());
    let created = |builder: SweepBuilder| replayed(&builder.build(), &record(&whole)).report.sweep.created();
    assert_eq!([created(sweep().trials(25)), created(sweep().trials(600))], [25, 60]);
    let short = replayed(&sweep().set("budget", "wall", "30s").build(), &record(&whole));
    assert_eq!(short.report.took_ms, 30_000);
    assert!(!short.stops.is_empty() && short.stops.iter().all(|stop| stop.reason.rule == "wall"));
}

#[test]
fn an_agent_has_what_one_trial_needs() {
    let whole = run(&sweep().build(), Faults::default());
    let spec = sweep().set("resources", "gpus", 2).set("resources", "cpus", 4).set("resources", "memory", "1GiB");
    let ledger = replayed(&spec.build(), &record(&whole)).report.sweep.ledger;
    assert_eq!((ledger.attempt_ms, ledger.gpu_ms), (whole.sweep.ledger.attempt_ms, 2 * ledger.attempt_ms));
}

#[test]
fn a_trial_of_which_nothing_is_known_costs_nothing() {
    let mut trials = record(&run(&sweep().build(), Faults::default()));
    trials[0] = Recorded::new(TrialState::Cancelled, []);
    let again = replayed(&sweep().build(), &trials);
    assert_eq!(again.beyond, [0]);
    assert_eq!(again.report.sweep.counts.of(TrialState::Completed), 59);
    assert_eq!(again.report.sweep.counts.of(TrialState::Failed), 0, "it must not count towards `budget.max_failures`");
}
