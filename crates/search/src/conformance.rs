//! What every searcher and every stopper must satisfy, run over the registries: a new plug is checked by
//! being registered. The generators (spaces, sweeps, learning curves) are for the tests of other crates too.
//!
//! Checks behaviour that all share; what a plug does better or otherwise is tested beside it.

mod spaces;

use std::collections::BTreeSet;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, Params, Space, StopReason, Value};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::rng::{Purpose, stream};
use crate::{
    About, Ask, Event, Judged, Outcome, Past, Prior, Problem, Searcher, Setting, Stopper, Suggestion, Verdict,
    searchers, stoppers,
};

pub use spaces::{choice, conditional, configurations, expr, finite, float, int, parameter, spaces};

/// An [`Event`] that owns its configuration.
#[derive(Clone, PartialEq, Debug)]
pub enum Happened {
    /// See [`Event::Created`].
    Created(u32, Params),
    /// See [`Event::Reported`]: trial, step, loss.
    Reported(u32, u64, f64),
    /// The same with several objectives: trial, step, losses.
    Measured(u32, u64, Vec<f64>),
    /// See [`Event::Ended`].
    Ended(u32, Outcome),
}

impl Happened {
    /// The event.
    pub fn event(&self) -> Event<'_> {
        match self {
            Self::Created(trial, params) => Event::Created { trial: *trial, params },
            Self::Reported(trial, step, loss) => {
                Event::Reported { trial: *trial, step: *step, loss: *loss, rest: Vec::new() }
            }
            Self::Measured(trial, step, losses) => {
                Event::Reported { trial: *trial, step: *step, loss: losses[0], rest: losses[1..].to_vec() }
            }
            Self::Ended(trial, outcome) => Event::Ended { trial: *trial, outcome: *outcome },
        }
    }
}

/// How a made-up sweep goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Luck {
    /// Every trial completes with a number.
    Plain,
    /// Trials complete, are stopped, fail, are infeasible, and report infinities and nothing at all.
    Mixed,
    /// No trial ever reports a number.
    NoNumbers,
    /// As mixed, with two objectives.
    Several,
}

/// Runs a made-up sweep of `trials` on `workers`, asking `searcher` for each configuration: what happened, in
/// order, and what was suggested. Trials end in an order of their own. Ends early where nothing is left.
pub fn sweep(
    searcher: &mut dyn Searcher,
    luck: Luck,
    trials: u32,
    workers: usize,
    seed: u64,
) -> (Vec<Happened>, Vec<Suggestion>) {
    let mut rng = stream(seed, trials, Purpose::Configuration);
    let (mut events, mut suggestions, mut live, mut next) = (Vec::new(), Vec::new(), Vec::<(u32, u64)>::new(), 0);
    let mut record = |searcher: &mut dyn Searcher, happened: Happened| {
        searcher.observe(&happened.event());
        events.push(happened);
    };
    loop {
        while next < trials && live.len() < workers {
            let suggestion = searcher.suggest(Ask { trial: next }, &Params::default());
            suggestions.push(suggestion.clone());
            let Suggestion::Try(params) = suggestion else {
                next = trials;
                break;
            };
            record(searcher, Happened::Created(next, params));
            live.push((next, 0));
            next += 1;
        }
        if live.is_empty() {
            return (events, suggestions);
        }
        let at = rng.random_range(0..live.len());
        let (trial, step) = live[at];
        let loss = luck.loss(&mut rng);
        // Of several objectives, nobody ends before the first report.
        if rng.random::<f64>() < 0.5 || (luck == Luck::Several && step == 0) {
            live[at].1 = step + rng.random_range(1..4u64);
            record(searcher, luck.report(trial, live[at].1, loss, &mut rng));
        } else {
            live.swap_remove(at);
            record(searcher, Happened::Ended(trial, luck.outcome(loss, &mut rng)));
        }
    }
}

impl Luck {
    fn report(self, trial: u32, step: u64, loss: f64, rng: &mut ChaCha8Rng) -> Happened {
        match self {
            Self::Plain | Self::Mixed | Self::NoNumbers => Happened::Reported(trial, step, loss),
            Self::Several => Happened::Measured(trial, step, vec![loss, self.loss(rng)]),
        }
    }

    fn loss(self, rng: &mut ChaCha8Rng) -> f64 {
        let x = rng.random::<f64>() * 4.0 - 2.0;
        match self {
            Self::Plain => x,
            Self::NoNumbers => f64::INFINITY,
            Self::Mixed | Self::Several => match rng.random_range(0..10) {
                0 => f64::INFINITY,
                1 => f64::NEG_INFINITY,
                // Ties, with both zeros among them.
                2 => 0.0,
                3 => -0.0,
                _ => x,
            },
        }
    }

    fn outcome(self, loss: f64, rng: &mut ChaCha8Rng) -> Outcome {
        match self {
            Self::Plain => Outcome::Completed(loss),
            Self::Mixed | Self::NoNumbers | Self::Several => match rng.random_range(0..6) {
                0 => Outcome::Failed,
                1 => Outcome::Infeasible,
                2 | 3 => Outcome::Stopped(loss),
                _ => Outcome::Completed(loss),
            },
        }
    }
}

/// Reports of `trials` learning curves, interleaved, with jumps over steps, ties and losses without a number.
/// Trials end in an order of their own, some while others have not begun.
pub fn curves(trials: u32, seed: u64) -> Vec<Happened> {
    let mut rng = stream(seed, trials, Purpose::Configuration);
    let params = Params::default();
    let mut events = Vec::new();
    let mut waiting: Vec<u32> = (0..trials).rev().collect();
    let mut live: Vec<(u32, u64, f64)> = Vec::new();
    while !(waiting.is_empty() && live.is_empty()) {
        if live.len() < 8
            && let Some(trial) = waiting.pop()
        {
            events.push(Happened::Created(trial, params.clone()));
            live.push((trial, 0, rng.random::<f64>() * 4.0 - 2.0));
        }
        let at = rng.random_range(0..live.len());
        let (trial, step, level) = &mut live[at];
        *step += if rng.random::<f64>() < 0.2 { rng.random_range(2..12) } else { 1 };
        let loss = match rng.random_range(0..12) {
            0 => f64::INFINITY,
            1 => (*level * 2.0).round() / 2.0,
            _ => *level + (rng.random::<f64>() - 0.6) * 0.2,
        };
        events.push(Happened::Reported(*trial, *step, loss));
        if *step >= 27 || rng.random::<f64>() < 0.03 {
            events.push(Happened::Ended(*trial, Outcome::Completed(loss)));
            live.swap_remove(at);
        }
    }
    events
}

/// The parameters in a plug's `example`.
pub fn example(text: &str) -> PlugParams {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("the example {text} is no map: {error}"))
}

/// What a sweep with one objective asks for whose stopper has no rungs.
pub fn problem(space: Space, seed: u64) -> Problem {
    Problem { space, seed, trials: None, rungs: Vec::new(), objectives: 1, priors: Vec::new() }
}

/// The searcher of `entry` for `space`; `None` where it refuses the space, which only some may.
fn searcher(entry: &searchers::Entry, space: &Space, seed: u64) -> Option<Box<dyn Searcher>> {
    let problem =
        Problem { space: space.clone(), seed, trials: None, rungs: vec![1, 3, 9], objectives: 1, priors: Vec::new() };
    match (entry.build)(&problem, &example(entry.example)) {
        Ok(searcher) => Some(searcher),
        Err(complaints) => {
            let about_space = |about: &About| matches!(about, About::Space(_));
            let vast = space.cardinality().is_none();
            assert!(
                vast && complaints.iter().all(|c| about_space(&c.about) || c.hint.is_some()),
                "{} refuses a finite space, or does not say what to do: {complaints:?}",
                entry.name
            );
            None
        }
    }
}

/// Every suggestion is a complete configuration of the space; asking twice changes nothing; folding the same
/// events at once instead of one by one gives the same suggestion; an existing trial's is not another's.
pub fn check_searcher_folds(entry: &searchers::Entry) {
    for (name, space) in spaces() {
        let lucks = [Luck::Plain, Luck::Mixed, Luck::NoNumbers, Luck::Several];
        for luck in lucks.into_iter().filter(|luck| *luck != Luck::Several || entry.several_objectives) {
            let Some(mut first) = searcher(entry, &space, 7) else { continue };
            let history_free = first.is_history_free();
            let (events, suggestions) = sweep(first.as_mut(), luck, 40, 4, 1);
            for suggestion in &suggestions {
                match suggestion {
                    Suggestion::Try(params) => {
                        assert_eq!(space.check(params), Ok(()), "{} in {name}: {params}", entry.name);
                    }
                    Suggestion::Exhausted => assert!(space.cardinality().is_some(), "{} in {name}", entry.name),
                    Suggestion::Infeasible { .. } => panic!("{} finds nothing in {name}", entry.name),
                    Suggestion::Enough { why } => panic!("{} gives up in {name}: {why}", entry.name),
                }
            }
            let mut asked = 0;
            for (place, happened) in events.iter().enumerate() {
                let Happened::Created(trial, params) = happened else { continue };
                if trial % 9 != 0 && *trial != 39 {
                    continue;
                }
                let Some(mut second) = searcher(entry, &space, 7) else { continue };
                events[..place].iter().for_each(|happened| second.observe(&happened.event()));
                let ask = Ask { trial: *trial };
                let again = second.suggest(ask, &Params::default());
                assert_eq!(again, Suggestion::Try(params.clone()), "{} in {name}, trial {trial}", entry.name);
                assert_eq!(second.suggest(ask, &Params::default()), again, "{} in {name}, asked twice", entry.name);
                asked += 1;
            }
            assert!(asked > 0);
            if history_free {
                let Some(fresh) = searcher(entry, &space, 7) else { continue };
                for (trial, suggestion) in suggestions.iter().enumerate().rev() {
                    let ask = Ask { trial: trial as u32 };
                    let alone = fresh.suggest(ask, &Params::default());
                    assert_eq!(alone, *suggestion, "{} in {name}, trial {trial} without a history", entry.name);
                    assert_eq!(first.suggest(ask, &Params::default()), alone, "{} in {name}, afterwards", entry.name);
                }
                assert!(first.is_history_free(), "{} in {name}: its own trials are no surprise", entry.name);
            }
        }
    }
}

/// Another seed gives other configurations, except where there is an order that none may change.
pub fn check_searcher_seeds(entry: &searchers::Entry) {
    let space = &spaces()[1].1;
    let all = |seed| {
        let mut searcher = searcher(entry, space, seed)?;
        Some(sweep(searcher.as_mut(), Luck::Plain, 12, 1, 1).1)
    };
    let (Some(one), Some(same), Some(other)) = (all(1), all(1), all(2)) else { return };
    assert_eq!(one, same, "{}: the same seed", entry.name);
    assert!(one.iter().zip(&other).all(|(a, b)| a != b), "{}: another seed", entry.name);
}

/// A finite space is suggested to its last configuration, none twice, and then no more.
pub fn check_searcher_exhausts(entry: &searchers::Entry) {
    let choices = Space {
        parameters: vec![parameter("a", choice(&["p", "q", "r"])), parameter("b", int(0, 6))],
        constraints: vec![],
    };
    for space in [finite(), choices] {
        let all = configurations(&space);
        for workers in [1, 3] {
            let Some(mut searcher) = searcher(entry, &space, 11) else { continue };
            let (_, suggestions) = sweep(searcher.as_mut(), Luck::Mixed, all.len() as u32 + 5, workers, 2);
            let mut seen = BTreeSet::new();
            for suggestion in &suggestions[..all.len()] {
                let Suggestion::Try(params) = suggestion else { panic!("{}: {suggestion:?} too early", entry.name) };
                assert!(seen.insert(params.to_string()), "{} suggests {params} twice", entry.name);
            }
            assert_eq!(seen, all, "{}", entry.name);
            assert_eq!(suggestions[all.len()..], [Suggestion::Exhausted], "{}", entry.name);
        }
    }
}

/// What an earlier sweep found out, when `searcher` goes through it.
pub fn prior(searcher: &mut dyn Searcher, luck: Luck, trials: u32) -> Prior {
    let mut past: Vec<Past> = Vec::new();
    for happened in sweep(searcher, luck, trials, 3, 5).0 {
        match happened {
            Happened::Created(_, params) => past.push(Past { params, reports: Vec::new(), outcome: Outcome::Failed }),
            Happened::Reported(trial, step, loss) => past[trial as usize].reports.push((step, loss)),
            Happened::Measured(trial, step, losses) => past[trial as usize].reports.push((step, losses[0])),
            Happened::Ended(trial, outcome) => past[trial as usize].outcome = outcome,
        }
    }
    Prior { trials: past }
}

/// One that learns from earlier sweeps folds its own events as ever, stays in its space, and tries all that there is to
/// try: what an earlier sweep has tried may be tried here.
pub fn check_searcher_begins_with_priors(entry: &searchers::Entry) {
    for (name, space) in spaces() {
        for luck in [Luck::Plain, Luck::Mixed, Luck::NoNumbers] {
            let Some(mut earlier) = searcher(entry, &space, 8) else { continue };
            let priors = vec![prior(earlier.as_mut(), luck, 40), Prior::default()];
            let problem =
                Problem { space: space.clone(), seed: 7, trials: None, rungs: vec![1, 3, 9], objectives: 1, priors };
            let build = || (entry.build)(&problem, &example(entry.example)).expect("it took the space before");
            let mut first = build();
            let (events, suggestions) = sweep(first.as_mut(), luck, 30, 4, 1);
            for suggestion in &suggestions {
                if let Suggestion::Try(params) = suggestion {
                    assert_eq!(space.check(params), Ok(()), "{} in {name}: {params}", entry.name);
                }
            }
            let created = |happened: &Happened| matches!(happened, Happened::Created(..));
            if (entry.ends)(&space) {
                let all = configurations(&space).len().min(30);
                assert_eq!(events.iter().filter(|happened| created(happened)).count(), all, "{} in {name}", entry.name);
            }
            let last = events.iter().rposition(created).expect("there is a trial");
            let Happened::Created(trial, params) = &events[last] else { continue };
            let mut second = build();
            events[..last].iter().for_each(|happened| second.observe(&happened.event()));
            let again = second.suggest(Ask { trial: *trial }, &Params::default());
            assert_eq!(again, Suggestion::Try(params.clone()), "{} in {name}, trial {trial}", entry.name);
        }
    }
}

/// Where there is one configuration, a searcher that cannot end repeats it, and a budget means repetitions.
pub fn check_searcher_repeats_the_only_configuration(entry: &searchers::Entry) {
    for (name, space) in spaces() {
        if space.cardinality() != Some(1) {
            continue;
        }
        let Some(mut searcher) = searcher(entry, &space, 5) else { continue };
        let (_, suggestions) = sweep(searcher.as_mut(), Luck::Mixed, 30, 2, 3);
        let expected = if (entry.ends)(&space) { 2 } else { 30 };
        assert_eq!(suggestions.len(), expected, "{} in {name}", entry.name);
    }
}

/// Values that the user fixed are kept; those that cannot be kept make the suggestion infeasible.
pub fn check_searcher_keeps_fixed_values(entry: &searchers::Entry) {
    let of = |pairs: &[(&str, Value)]| pairs.iter().cloned().collect::<Params>();
    let text = |s: &str| Value::Str(s.to_owned());
    let space = finite();
    let kept = [
        of(&[("depth", Value::Int(4))]),
        of(&[("opt", text("adam"))]),
        of(&[("momentum", Value::Float(0.3))]),
        of(&[("opt", text("sgd")), ("momentum", Value::Float(0.3)), ("depth", Value::Int(8)), ("seed", Value::Int(1))]),
    ];
    let refused = [
        of(&[("depth", Value::Int(6))]),
        of(&[("depth", Value::Int(3))]),
        of(&[("depth", Value::Float(4.0))]),
        of(&[("seed", Value::Int(2))]),
        of(&[("other", Value::Int(2))]),
        of(&[("opt", text("adam")), ("momentum", Value::Float(0.3))]),
        of(&[("momentum", Value::Float(0.9)), ("depth", Value::Int(2))]),
    ];
    for trials in [0, 12] {
        let Some(mut searcher) = searcher(entry, &space, 3) else { continue };
        sweep(searcher.as_mut(), Luck::Mixed, trials, 2, 4);
        let ask = Ask { trial: trials };
        for fixed in &kept {
            let Suggestion::Try(params) = searcher.suggest(ask, fixed) else {
                panic!("{} finds nothing with {fixed}", entry.name)
            };
            assert_eq!(space.check(&params), Ok(()), "{} with {fixed}", entry.name);
            assert!(fixed.iter().all(|(name, value)| params.get(name) == Some(value)), "{fixed} in {params}");
        }
        for fixed in &refused {
            let suggestion = searcher.suggest(ask, fixed);
            assert!(matches!(suggestion, Suggestion::Infeasible { .. }), "{} with {fixed}: {suggestion:?}", entry.name);
        }
    }
}

/// An enqueued configuration is not suggested again, and costs no other its turn.
pub fn check_searcher_makes_room_for_enqueued(entry: &searchers::Entry) {
    let space = finite();
    let all = configurations(&space);
    let Some(mut searcher) = searcher(entry, &space, 13) else { return };
    let mut seen = BTreeSet::new();
    for trial in 0..all.len() as u32 {
        let enqueued = trial % 5 == 2;
        let depth = [("depth", Value::Int(4))].into_iter().collect();
        let fixed = if enqueued { depth } else { Params::default() };
        let suggestion = searcher.suggest(Ask { trial }, &fixed);
        let Suggestion::Try(params) = suggestion else { panic!("{}: {suggestion:?} at {trial}", entry.name) };
        let new = seen.insert(params.to_string());
        assert!(new || enqueued, "{} suggests {params} twice", entry.name);
        searcher.observe(&Event::Created { trial, params: &params });
        searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(f64::from(trial)) });
    }
    assert!(seen.is_subset(&all));
}

/// Constraints that nothing satisfies are said, not searched for ever.
pub fn check_searcher_gives_up(entry: &searchers::Entry) {
    for domain in [int(0, 30), float(0.0, 1.0)] {
        let space = Space { parameters: vec![parameter("x", domain)], constraints: vec![expr("double(x) > 99.0")] };
        let Some(searcher) = searcher(entry, &space, 1) else { continue };
        let suggestion = searcher.suggest(Ask { trial: 0 }, &Params::default());
        assert!(matches!(suggestion, Suggestion::Infeasible { draws: 1.. }), "{}: {suggestion:?}", entry.name);
    }
}

/// The schema names and explains each parameter; an unknown one is refused by name.
fn check_schema(name: &str, schema: &schemars::Schema, complaints: impl Fn(&PlugParams) -> Vec<crate::Complaint>) {
    let none = serde_json::Map::new();
    let properties = schema.get("properties").and_then(|p| p.as_object()).unwrap_or(&none);
    for (parameter, schema) in properties {
        assert!(schema.get("description").is_some(), "`{parameter}` of {name} is not explained");
        assert!(schema.get("default").is_some(), "`{parameter}` of {name} has no default");
        let wrong = PlugParams::from([(parameter.clone(), serde_json::json!({"no": "such"}))]);
        assert_eq!(complaints(&wrong)[0].about, About::Param(parameter.clone()), "{name}");
    }
    let unknown = PlugParams::from([("no_such_parameter".to_owned(), serde_json::json!(1))]);
    let complaints = complaints(&unknown);
    assert_eq!(complaints[0].about, About::Param("no_such_parameter".to_owned()), "{name}");
    assert!(complaints[0].hint.is_some(), "{name}");
}

/// See [`check_schema`].
pub fn check_searcher_parameters(entry: &searchers::Entry) {
    let problem =
        Problem { space: finite(), seed: 0, trials: None, rungs: vec![1, 3, 9], objectives: 1, priors: Vec::new() };
    check_schema(entry.name, &(entry.schema)(), |params| {
        (entry.build)(&problem, params).err().unwrap_or_else(|| panic!("{} takes {params:?}", entry.name))
    });
}

/// Everything that a searcher must satisfy.
pub fn check_searcher(entry: &searchers::Entry) {
    check_searcher_folds(entry);
    check_searcher_seeds(entry);
    check_searcher_exhausts(entry);
    check_searcher_begins_with_priors(entry);
    check_searcher_repeats_the_only_configuration(entry);
    check_searcher_keeps_fixed_values(entry);
    check_searcher_makes_room_for_enqueued(entry);
    check_searcher_gives_up(entry);
    check_searcher_parameters(entry);
}

fn stopper(entry: &stoppers::Entry, direction: Direction) -> Box<dyn Stopper> {
    let setting = Setting { direction, trials: Some(100), seed: 9 };
    (entry.build)(&setting, &example(entry.example))
        .unwrap_or_else(|complaints| panic!("{} refuses its own example: {complaints:?}", entry.name))
}

/// The report that a stopper judges, where it is one.
fn judged(happened: &Happened) -> Option<Judged<'_>> {
    match happened {
        Happened::Created(..) | Happened::Ended(..) => None,
        Happened::Reported(trial, step, loss) => Some(Judged { trial: *trial, step: *step, loss: *loss, rest: &[] }),
        Happened::Measured(trial, step, losses) => {
            Some(Judged { trial: *trial, step: *step, loss: losses[0], rest: &losses[1..] })
        }
    }
}

/// The same events with a second objective.
pub fn measured(events: Vec<Happened>, seed: u64) -> Vec<Happened> {
    let mut rng = stream(seed, 0, Purpose::Share);
    let second = |happened| match happened {
        Happened::Reported(trial, step, loss) => {
            Happened::Measured(trial, step, vec![loss, Luck::Mixed.loss(&mut rng)])
        }
        other => other,
    };
    events.into_iter().map(second).collect()
}

/// Folds `events` into `stopper`, judging each report before it is taken in.
pub fn verdicts(stopper: &mut dyn Stopper, events: &[Happened]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for happened in events {
        verdicts.extend(judged(happened).map(|report| stopper.judge(report)));
        stopper.observe(&happened.event());
    }
    verdicts
}

/// The same events give the same verdicts, whoever folded them and however often they are judged.
pub fn check_stopper_folds(entry: &stoppers::Entry) {
    let one = (0..4).map(|seed| curves(30, seed));
    let several = (0..4).map(|seed| measured(curves(30, seed), seed)).filter(|_| entry.several_objectives);
    for events in one.chain(several) {
        let first = verdicts(stopper(entry, Direction::Minimize).as_mut(), &events);
        let mut reports = 0;
        for (place, happened) in events.iter().enumerate() {
            let Some(report) = judged(happened) else { continue };
            if reports % 37 == 0 {
                let mut again = stopper(entry, Direction::Minimize);
                events[..place].iter().for_each(|happened| again.observe(&happened.event()));
                assert_eq!(again.judge(report), first[reports], "{}, report {reports}", entry.name);
                assert_eq!(again.judge(report), first[reports], "{}, judged twice", entry.name);
            }
            reports += 1;
        }
    }
}

/// Minimizing and maximizing are mirror images: the same losses, the same verdicts, values with the other sign.
/// (An example's bounds in the objective's units must be mirror images of each other.)
pub fn check_stopper_mirrors(entry: &stoppers::Entry) {
    let events = curves(40, 21);
    let minimized = verdicts(stopper(entry, Direction::Minimize).as_mut(), &events);
    let maximized = verdicts(stopper(entry, Direction::Maximize).as_mut(), &events);
    for (a, b) in minimized.into_iter().zip(maximized) {
        assert_eq!(std::mem::discriminant(&a), std::mem::discriminant(&b), "{}", entry.name);
        let mirrored =
            b.reason().cloned().map(|StopReason { rule, step, value, rung, rank, peers, cutoff, winner }| StopReason {
                rule,
                step,
                value: -value,
                rung,
                rank,
                peers,
                cutoff: cutoff.map(|c| -c),
                winner,
            });
        assert_eq!(a.reason(), mirrored.as_ref(), "{}", entry.name);
    }
}

/// Every stop says by which rule, at which step, and for which numbers; none of them is NaN.
pub fn check_stopper_reasons(entry: &stoppers::Entry) {
    let mut stops = 0;
    for seed in 0..6 {
        let events = curves(60, seed);
        let reports = events.iter().filter_map(|happened| match happened {
            Happened::Reported(_, step, _) | Happened::Measured(_, step, _) => Some(*step),
            Happened::Created(..) | Happened::Ended(..) => None,
        });
        let verdicts = verdicts(stopper(entry, Direction::Maximize).as_mut(), &events);
        for (at_step, verdict) in reports.zip(verdicts) {
            let Some(reason) = verdict.reason() else { continue };
            stops += 1;
            assert_eq!((reason.rule.as_str(), reason.step), (entry.name, at_step));
            assert!(!reason.value.is_nan() && !reason.cutoff.is_some_and(f64::is_nan), "{reason}");
            assert!(reason.rung.is_none_or(|rung| rung <= at_step), "{reason}");
            assert_eq!(reason.rank.is_some(), reason.peers.is_some(), "{reason}");
            let stops_for_its_rank = matches!(verdict, Verdict::Stop(_));
            if let (Some(rank), Some(peers), true) = (reason.rank, reason.peers, stops_for_its_rank) {
                assert!((2..=peers).contains(&rank), "the best is never stopped for its rank: {reason}");
                assert!(reason.cutoff.is_some_and(|cutoff| reason.value < cutoff), "{reason}");
            }
        }
    }
    assert!(stops > 0 || !entry.needs_objective, "{} never stopped anything", entry.name);
}

/// Losses that are all `+inf` or `-inf`, unknown trials and ends out of order bring no rule down.
pub fn check_stopper_survives(entry: &stoppers::Entry) {
    for loss in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN] {
        let mut stopper = stopper(entry, Direction::Minimize);
        assert_eq!(
            stopper.judge(Judged { trial: 7, step: 0, loss: 0.0, rest: &[] }),
            Verdict::Continue,
            "{}",
            entry.name
        );
        let mut events = Vec::new();
        for step in [0, 1, 2, 3, 9, 27, u64::MAX] {
            events.extend((0..200).map(|trial| Happened::Reported(trial, step, loss)));
        }
        events.extend((0..200).rev().map(|trial| Happened::Ended(trial, Outcome::Stopped(loss))));
        events.push(Happened::Ended(999, Outcome::Failed));
        events.push(Happened::Reported(3, 3, loss));
        for verdict in verdicts(stopper.as_mut(), &events) {
            if let Some(reason) = verdict.reason() {
                assert!(!reason.value.is_nan() && !reason.cutoff.is_some_and(f64::is_nan), "{reason}");
            }
        }
    }
}

/// See [`check_schema`].
pub fn check_stopper_parameters(entry: &stoppers::Entry) {
    let setting = Setting { direction: Direction::Minimize, trials: None, seed: 0 };
    check_schema(entry.name, &(entry.schema)(), |params| {
        (entry.build)(&setting, params).err().unwrap_or_else(|| panic!("{} takes {params:?}", entry.name))
    });
}

/// Everything that a stopper must satisfy.
pub fn check_stopper(entry: &stoppers::Entry) {
    check_stopper_folds(entry);
    check_stopper_mirrors(entry);
    check_stopper_reasons(entry);
    check_stopper_survives(entry);
    check_stopper_parameters(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_searcher_is_a_fold_that_stays_in_its_space() {
        searchers::ALL.iter().for_each(check_searcher_folds);
    }

    #[test]
    fn every_searcher_follows_its_seed() {
        searchers::ALL.iter().for_each(check_searcher_seeds);
    }

    #[test]
    fn every_searcher_exhausts_a_finite_space_without_a_repetition() {
        searchers::ALL.iter().for_each(check_searcher_exhausts);
    }

    #[test]
    fn every_searcher_begins_with_what_earlier_sweeps_found_out() {
        searchers::ALL.iter().for_each(check_searcher_begins_with_priors);
    }

    #[test]
    fn every_searcher_repeats_the_only_configuration_or_ends() {
        searchers::ALL.iter().for_each(check_searcher_repeats_the_only_configuration);
    }

    #[test]
    fn every_searcher_keeps_fixed_values_or_says_that_it_cannot() {
        searchers::ALL.iter().for_each(check_searcher_keeps_fixed_values);
    }

    #[test]
    fn every_searcher_makes_room_for_enqueued_configurations() {
        searchers::ALL.iter().for_each(check_searcher_makes_room_for_enqueued);
    }

    #[test]
    fn every_searcher_gives_up_where_nothing_satisfies_the_constraints() {
        searchers::ALL.iter().for_each(check_searcher_gives_up);
    }

    #[test]
    fn every_parameter_of_a_plug_is_explained_and_every_other_refused() {
        searchers::ALL.iter().for_each(check_searcher_parameters);
        stoppers::ALL.iter().for_each(check_stopper_parameters);
    }

    #[test]
    fn every_stopper_is_a_fold() {
        stoppers::ALL.iter().for_each(check_stopper_folds);
    }

    #[test]
    fn every_stopper_treats_minimize_and_maximize_as_mirror_images() {
        stoppers::ALL.iter().for_each(check_stopper_mirrors);
    }

    #[test]
    fn every_stop_carries_its_reason() {
        stoppers::ALL.iter().for_each(check_stopper_reasons);
    }

    #[test]
    fn every_stopper_survives_losses_that_are_no_numbers_and_events_out_of_order() {
        stoppers::ALL.iter().for_each(check_stopper_survives);
    }

    /// The rule of a population, as if it were registered among the stoppers.
    const PBT: stoppers::Entry = stoppers::Entry {
        name: searchers::pbt::ENTRY.name,
        example: searchers::pbt::ENTRY.example,
        build: |setting, params| {
            let population = searchers::pbt::ENTRY.population.expect("it trains one");
            (population.rule)(setting, &problem(finite(), 0), params)
        },
        ..stoppers::none::ENTRY
    };

    #[test]
    fn the_rule_of_a_population_is_a_rule_like_any_other() {
        check_stopper_folds(&PBT);
        check_stopper_mirrors(&PBT);
        check_stopper_reasons(&stoppers::Entry { needs_objective: true, ..PBT });
        check_stopper_survives(&PBT);
    }

    #[test]
    fn no_name_is_registered_twice() {
        let names = |all: Vec<&'static str>| all.len() == all.iter().collect::<BTreeSet<_>>().len();
        assert!(names(searchers::ALL.iter().map(|e| e.name).collect()));
        assert!(names(stoppers::ALL.iter().map(|e| e.name).collect()));
    }
}
