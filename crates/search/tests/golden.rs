//! The stoppers decide as the implementations do whose rules they follow: Ray Tune's and Optuna's schedulers decided
//! about the reports in `golden/*.json` (`golden/make.py` says how), and so must ours, report for report.
//!
//! What our rules do otherwise on purpose is in a file of its own, with what both decide.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::path::Path;

use heats_domain::Direction;
use heats_domain::spec::PlugParams;
use heats_search::stoppers::{hyperband, wilcoxon};
use heats_search::{Event, Judged, Outcome, Setting, Stopper, Verdict, build_stopper};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What was reported, in order, and what the reference said to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trace {
    /// Where it shows a difference: which.
    #[serde(default)]
    name: String,
    algorithm: String,
    direction: Direction,
    params: PlugParams,
    /// Trial, step and value.
    reports: Vec<(u32, u64, Number)>,
    /// The reports, by their places, at which the reference ended the trial.
    stopped: Vec<usize>,
    /// The reports after which the trial completed.
    completed: Vec<usize>,
    /// Those of `stopped` whose loss ties with the one that the quantile falls on: rounding lifted the cutoff a hair
    /// above it.
    #[serde(default)]
    ties: Vec<usize>,
    /// For each trial, the ladder that it climbs; empty where there is one only.
    #[serde(default)]
    ladders: String,
}

/// A number, or the name of one that JSON cannot write.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(f64),
    Named(String),
}

impl Number {
    fn value(&self) -> f64 {
        match self {
            Self::Plain(value) => *value,
            Self::Named(name) => name.parse().expect("a number"),
        }
    }
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct File<T> {
        items: Vec<T>,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("json");
    let text = std::fs::read_to_string(path).expect("is there");
    serde_json::from_str::<File<T>>(&text).expect("reads").items
}

fn build(trace: &Trace) -> Box<dyn Stopper> {
    let setting = Setting { direction: trace.direction, trials: None, seed: 17 };
    build_stopper(&setting, &trace.algorithm, &trace.params).unwrap_or_else(|error| panic!("{error}"))
}

/// Our numbers for the trials of `trace`. Our stopper draws a trial's ladder from its number, the reference in its own
/// way: so each trial gets the next number that climbs the same ladder.
fn numbers(trace: &Trace) -> Vec<u32> {
    let trials = trace.reports.iter().map(|(trial, ..)| *trial + 1).max().unwrap_or(0);
    if trace.ladders.is_empty() {
        return (0..trials).collect();
    }
    let entry = heats_search::stoppers::find(&trace.algorithm).expect("is registered");
    let rungs = (entry.plan)(&trace.params).expect("a rule with rungs").steps;
    // A rule with many equal losses at every rung of every ladder: it ends a worse one at the first rung of its own.
    let mut probe = build(trace);
    for trial in 1_000_000..1_001_000 {
        rungs
            .iter()
            .for_each(|step| probe.observe(&Event::Reported { trial, step: *step, loss: 0.0, rest: Vec::new() }));
    }
    let ladder = |trial| {
        let ends = |step: &u64| probe.judge(Judged { trial, step: *step, loss: 1.0, rest: &[] }) != Verdict::Continue;
        rungs.iter().position(ends).unwrap_or(rungs.len())
    };
    let mut unused: Vec<(u32, usize)> = (0..20_000).map(|trial| (trial, ladder(trial))).collect();
    let same = |climbed: char| {
        let at = unused.iter().position(|(_, ladder)| Some(*ladder as u32) == climbed.to_digit(10));
        unused.remove(at.expect("some trial climbs it")).0
    };
    trace.ladders.chars().map(same).collect()
}

/// The reports at which our stopper ends the trial. Trials end where the reference ended them.
fn stopped(trace: &Trace) -> Vec<usize> {
    let (mut stopper, numbers) = (build(trace), numbers(trace));
    let mut stopped = Vec::new();
    for (place, (trial, step, value)) in trace.reports.iter().enumerate() {
        let (trial, step, loss) = (numbers[*trial as usize], *step, trace.direction.loss(value.value()));
        if stopper.judge(Judged { trial, step, loss, rest: &[] }) != Verdict::Continue {
            stopped.push(place);
        }
        stopper.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        if trace.stopped.contains(&place) {
            stopper.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
        } else if trace.completed.contains(&place) {
            stopper.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
        }
    }
    stopped
}

/// Every decision of the traces in `name` is ours, but for ties that the reference calls worse. How many decisions, how
/// many stops among them, and how many such ties among these.
fn expect_equal(name: &str) -> [usize; 3] {
    let traces: Vec<Trace> = read(name);
    for (place, trace) in traces.iter().enumerate() {
        let theirs: Vec<usize> = trace.stopped.iter().copied().filter(|report| !trace.ties.contains(report)).collect();
        assert_eq!(stopped(trace), theirs, "trace {place} of {name}");
    }
    let count = |of: fn(&Trace) -> usize| traces.iter().map(of).sum();
    [count(|trace| trace.reports.len()), count(|trace| trace.stopped.len()), count(|trace| trace.ties.len())]
}

#[test]
fn asha_decides_as_rays_scheduler_does() {
    assert_eq!(expect_equal("asha"), [3107, 816, 4]);
}

#[test]
fn hyperband_decides_as_rays_scheduler_does_on_several_ladders() {
    assert_eq!(expect_equal("hyperband"), [2639, 369, 4]);
}

#[test]
fn median_decides_as_rays_rule_does() {
    assert_eq!(expect_equal("median"), [2917, 332, 0]);
}

#[test]
fn wilcoxon_decides_as_optunas_pruner_does() {
    assert_eq!(expect_equal("wilcoxon"), [3224, 309, 0]);
}

#[test]
fn p_values_are_those_of_scipy() {
    for (differences, theirs) in read::<(Vec<f64>, f64)>("p_values") {
        let ours = wilcoxon::p_value(&differences);
        assert!((ours - theirs).abs() <= 1e-12 * theirs, "{ours}, not {theirs}, for {differences:?}");
    }
}

#[test]
fn hyperbands_shares_are_those_of_optunas_pruner() {
    for (min, max, eta, theirs) in read::<(u64, u64, f64, Vec<f64>)>("shares") {
        let params = serde_json::json!({"min": min, "max": max, "eta": eta});
        let ours = hyperband::plan(&serde_json::from_value(params).expect("a map")).expect("is sound").shares;
        if (min, max, eta) == (1, 243, 3.0) {
            // Optuna's logarithm of 3^5 lies a hair below 5.
            assert_eq!((theirs.len(), ours.len()), (5, 6));
        } else {
            assert_eq!(ours, theirs, "{min} to {max} by {eta}");
        }
    }
}

#[test]
fn where_our_rules_differ_on_purpose_they_differ_like_this() {
    let differences: Vec<Trace> = read("differences");
    let both: Vec<(&str, &[usize], Vec<usize>)> =
        differences.iter().map(|trace| (&*trace.name, &*trace.stopped, stopped(trace))).collect();
    let expected: [(&str, &[usize], Vec<usize>); 6] = [
        // Ray never ends a trial without a number, and leaves it out of the ranking; here it is the worst of it.
        ("asha: no number", &[2], vec![1]),
        // Ray fills the rungs that a report jumped over with the next ones, so that others are held against them.
        ("asha: a jump", &[3, 4], vec![]),
        // Ray leaves a trial with a step that is no number out of the median; here its other steps count.
        ("median: no number", &[], vec![5]),
        // Ray counts a trial that reached the step without a report at it.
        ("median: a step left out", &[4], vec![]),
        // Ray counts the last report of a trial that ended twice.
        ("median: an end", &[4], vec![]),
        // Optuna never ends a trial that reported something that is no number; here it is worst.
        ("wilcoxon: no number", &[], vec![7]),
    ];
    assert_eq!(both, expected);
}
