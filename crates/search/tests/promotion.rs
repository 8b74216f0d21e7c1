//! Whom the pausing rules let go on, and whom a population replaces by a copy of whom: as the implementations decide that they
//! follow, which decided about the reports in `golden/{promotion,population,explored}.json` (`golden/promotion.py` says how).
//!
//! What is otherwise on purpose and so left out of the traces: how many of a rung go on (the paper's floor of n / eta, where
//! Syne Tune's quantile has its ceiling), what of curves that cross and cross back is noise, values that are no numbers, and what
//! the headers of `pbt::rule` and `pbt::explore` list.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, Domain, Params, Space, Value};
use heats_search::pbt::explore::{Move, moved};
use heats_search::pbt::rule::Rule;
use heats_search::pbt::{self};
use heats_search::{Event, Judged, Outcome, Setting, Stopper, Verdict, build_stopper};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct File<T> {
        items: Vec<T>,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("json");
    let text = std::fs::read_to_string(path).expect("is there");
    serde_json::from_str::<File<T>>(&text).expect("reads").items
}

fn setting(direction: Direction) -> Setting {
    Setting { direction, trials: None, seed: 17 }
}

/// What was reported, in order, and who went on then.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Climbing {
    algorithm: String,
    direction: Direction,
    params: PlugParams,
    /// Trial, step and value.
    reports: Vec<(u32, u64, f64)>,
    /// The reports, by their places, by which a trial came to a rung.
    came: BTreeSet<usize>,
    /// The trials that went on after a report: all that might, or of a rule that fills brackets the one that got the place.
    promoted: BTreeMap<usize, Vec<u32>>,
    /// Of a rule that fills brackets, how many trials there were before the first report and after each.
    #[serde(default)]
    created: Vec<u32>,
}

/// The file has the promotions as pairs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    algorithm: String,
    direction: Direction,
    params: PlugParams,
    reports: Vec<(u32, u64, f64)>,
    came: BTreeSet<usize>,
    promoted: Vec<(usize, Vec<u32>)>,
    #[serde(default)]
    created: Vec<u32>,
}

fn climbing() -> Vec<Climbing> {
    let of = |Recorded { algorithm, direction, params, reports, came, promoted, created }| {
        let promoted = promoted.into_iter().collect();
        Climbing { algorithm, direction, params, reports, came, promoted, created }
    };
    read::<Recorded>("promotion").into_iter().map(of).collect()
}

/// Feeds a trace to our rule, and says who went on after each report, where anybody did.
fn promoted(trace: &Climbing) -> BTreeMap<usize, Vec<u32>> {
    let mut rule = build_stopper(&setting(trace.direction), &trace.algorithm, &trace.params).expect("builds");
    let max = trace.params["max"].as_u64().expect("a step");
    let fills_brackets = !trace.created.is_empty();
    let params = Params::default();
    let mut known = 0;
    let mut create = |rule: &mut dyn Stopper, until: u32| {
        (known..until).for_each(|trial| rule.observe(&Event::Created { trial, params: &params }));
        known = known.max(until);
    };
    create(rule.as_mut(), trace.created.first().copied().unwrap_or(0));
    let mut all = BTreeMap::new();
    for (place, &(trial, step, value)) in trace.reports.iter().enumerate() {
        let loss = trace.direction.loss(value);
        if !fills_brackets {
            create(rule.as_mut(), trial + 1);
        }
        let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
        rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        let mut goes_on = Vec::new();
        match (trace.came.contains(&place), &verdict) {
            (true, Verdict::Pause(_)) => rule.observe(&Event::Paused { trial, loss }),
            // It may go on at once, and so did not hold.
            (true, Verdict::Continue) => goes_on.push(trial),
            (false, Verdict::Continue) => {}
            (_, other) => panic!("report {place} of {}: {other:?}", trace.algorithm),
        }
        if step >= max {
            rule.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
        }
        while let Some(promotion) = rule.promotion(true) {
            rule.observe(&Event::Resumed { trial: promotion.trial });
            goes_on.push(promotion.trial);
            if fills_brackets {
                break;
            }
        }
        if let Some(created) = trace.created.get(place + 1) {
            create(rule.as_mut(), *created);
        }
        goes_on.sort_unstable();
        if !goes_on.is_empty() {
            all.insert(place, goes_on);
        }
    }
    all
}

#[test]
fn the_rules_that_pause_let_those_go_on_that_syne_tune_promotes_and_when_it_does() {
    let mut counts = BTreeMap::new();
    for trace in climbing() {
        assert_eq!(promoted(&trace), trace.promoted, "{} {:?}", trace.algorithm, trace.params);
        let count = counts.entry(trace.algorithm.clone()).or_insert((0, 0));
        *count = (count.0 + trace.came.len(), count.1 + trace.promoted.values().map(Vec::len).sum::<usize>());
    }
    let expected = [("asha_promotion", (290, 96)), ("hyperband_sync", (327, 112)), ("pasha", (286, 94))];
    assert_eq!(counts, expected.map(|(rule, count)| (rule.to_owned(), count)).into(), "came to a rung, and went on");
}

/// Members of a population, by their places in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Population {
    direction: Direction,
    params: PlugParams,
    /// Member, step and value.
    reports: Vec<(u32, u64, f64)>,
    /// After which report the member was replaced, by a copy of whom, from which step, and of whom that was drawn.
    replaced: Vec<(usize, u32, u64, Vec<u32>)>,
}

#[test]
fn a_population_replaces_the_member_that_ray_replaces_by_a_copy_of_one_of_those_that_ray_draws_from() {
    let mut count = 0;
    for Population { direction, params, reports, replaced } in read("population") {
        let mut replaced: BTreeMap<usize, (u32, u64, Vec<u32>)> =
            replaced.into_iter().map(|(place, winner, step, best)| (place, (winner, step, best))).collect();
        let mut params = params;
        params.insert("max".into(), u64::MAX.into());
        let parameter = heats_domain::Parameter { name: "x".into(), domain: Domain::Const(Value::Int(1)), when: None };
        let space = Space { parameters: vec![parameter], constraints: Vec::new() };
        let plan = pbt::plan(&space, &params).expect("is valid");
        let members = plan.population;
        let mut rule = Rule::new(&setting(direction), space, plan);
        let with = [("x", Value::Int(1))].into_iter().collect();
        // The trial that is each member now.
        let mut trials: Vec<u32> = (0..members).collect();
        trials.iter().for_each(|trial| rule.observe(&Event::Created { trial: *trial, params: &with }));
        for (place, (member, step, value)) in reports.into_iter().enumerate() {
            let (trial, loss) = (trials[member as usize], direction.loss(value));
            let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
            rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
            let theirs = replaced.remove(&place);
            let ours = if let Verdict::Fork(fork) = &verdict { Some(fork.parent) } else { None };
            assert_eq!(ours.is_some(), theirs.is_some(), "report {place}: {verdict:?}");
            let Some(((winner, from, best), ours)) = theirs.zip(ours) else { continue };
            let best: Vec<u32> = best.into_iter().map(|member| trials[member as usize]).collect();
            assert!(best.contains(&ours), "report {place}: {ours} is not among {best:?}");
            // It goes on as Ray drew.
            let (parent, next) = (trials[winner as usize], members + count);
            rule.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
            rule.observe(&Event::Forked { trial: next, parent, step: from, loss, params: &with });
            trials[member as usize] = next;
            count += 1;
        }
        assert!(replaced.is_empty());
    }
    assert_eq!(count, 121);
}

/// What became of a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explored {
    float: Option<(f64, f64)>,
    int: Option<(i64, i64)>,
    choice: Option<Vec<Value>>,
    from: Value,
    factor: f64,
    to: Value,
}

#[test]
fn a_value_is_moved_as_ray_moves_it_where_that_stays_within_the_bounds() {
    let explored: Vec<Explored> = read("explored");
    assert_eq!(explored.len(), 168);
    for Explored { float, int, choice, from, factor, to } in explored {
        let float = float.map(|(low, high)| Domain::Float { low, high, log: false, step: None });
        let int = int.map(|(low, high)| Domain::Int { low, high, log: false, step: 1 });
        let domain = float.or(int).or(choice.map(Domain::Choice)).expect("one of them");
        assert_eq!(moved(&domain, &from, Move::Times(factor)), to, "{from:?} times {factor}");
    }
}
