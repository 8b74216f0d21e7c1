//! What a new sweep takes over from earlier ones: which of their trials are configurations of its space, and of many which.
//!
//! Looks at what has ended; never at what an earlier sweep took over itself.

use std::collections::BTreeSet;

use heats_domain::{Domain, Params, Space, SweepSpec, TrialState};
use prost::Message;

use super::submit::TEXT_MAX;
use crate::prior::{Prior, PriorTrial};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Sweep;
use crate::trial::Trial;

/// The most trials that a sweep takes over, from all earlier ones together. Their share of the log entry is bounded besides,
/// as that of a specification is: by [`TEXT_MAX`].
pub const TRIALS_MAX: usize = 1_000;
/// So many of an earlier sweep's trials are looked at: the best of them, and others evenly.
const LOOKED_AT: usize = 10_000;
/// So many reports of a trial are taken over, beside its best and its last one.
const REPORTS_MAX: usize = 16;

/// What `spec` takes over from the sweeps that its `search.from` names; the same sweep under two names once.
pub fn priors(state: &State, spec: &SweepSpec) -> Result<Vec<Prior>, Refusal> {
    let mut sweeps: Vec<&Sweep> = Vec::new();
    for text in &spec.search.from {
        let sweep = state.find(text).ok_or_else(|| Refusal::NoSuchSweep(text.clone()))?;
        if !sweeps.iter().any(|other| other.id == sweep.id) {
            comparable(spec, sweep)?;
            sweeps.push(sweep);
        }
    }
    let (space, rungs) = (spec.space(), heats_search::stoppers::rungs(&spec.early_stop));
    let share = |all: usize| all / sweeps.len().max(1);
    let limits = Limits { trials: share(TRIALS_MAX), bytes: share(TEXT_MAX) };
    sweeps.into_iter().map(|sweep| prior(sweep, &space, &rungs, limits)).collect()
}

fn nothing_to_learn(sweep: &Sweep, why: String) -> Refusal {
    Refusal::NothingToLearn { name: sweep.name.clone(), why }
}

/// Whether the values of both mean the same.
fn comparable(spec: &SweepSpec, sweep: &Sweep) -> Result<(), Refusal> {
    let asks = |spec: &SweepSpec| match spec.objectives() {
        [objective] => Some((objective.metric().to_owned(), objective.direction())),
        _ => None,
    };
    let (here, there) = (asks(spec), asks(&sweep.spec));
    if here.is_some() && here == there {
        return Ok(());
    }
    let says = |asked: Option<(String, heats_domain::Direction)>| {
        asked.map_or_else(|| "has no single objective".to_owned(), |(metric, to)| format!("would {to} `{metric}`"))
    };
    Err(nothing_to_learn(sweep, format!("it {}, and this sweep {}", says(there), says(here))))
}

#[derive(Clone, Copy)]
struct Limits {
    trials: usize,
    bytes: usize,
}

fn prior(sweep: &Sweep, space: &Space, rungs: &[u64], limits: Limits) -> Result<Prior, Refusal> {
    let (mut fitting, mut unfit, mut why) = (Vec::new(), 0, None);
    for trial in looked_at(sweep) {
        match sweep.params(trial).map(|params| translated(&params, &sweep.space, space)) {
            Some(Ok(params)) => fitting.push((trial, params)),
            Some(Err(misfit)) => {
                unfit += 1;
                why.get_or_insert(misfit);
            }
            None => {}
        }
    }
    if !fitting.iter().any(|(trial, _)| trial.best.is_some() && trial.state != TrialState::Infeasible) {
        let why = match (why, sweep.counts.terminal()) {
            (Some(misfit), _) => format!("none of its trials is a configuration of this sweep's space: {misfit}"),
            (None, 0) => "none of its trials has ended".to_owned(),
            (None, _) => "none of its trials that ended has a value of the objective".to_owned(),
        };
        return Err(nothing_to_learn(sweep, why));
    }
    let ended = sweep.trials.iter().filter(|trial| teaches(trial)).count();
    let mut count = fitting.len().min(limits.trials);
    loop {
        let kept = kept(sweep, &fitting, count);
        let trials: Vec<PriorTrial> = kept.iter().map(|(trial, params)| taken(sweep, trial, params, rungs)).collect();
        let left_out = (ended - unfit as usize - trials.len()) as u32;
        let prior = Prior { sweep: sweep.id, name: sweep.name.clone(), trials, unfit, left_out };
        let bytes = prior.encoded_len();
        if bytes <= limits.bytes || count <= 1 {
            return Ok(prior);
        }
        count = (count * limits.bytes / bytes).clamp(1, count - 1);
    }
}

/// Whether it ended with something to learn from. A fresh run of a leader is no part of its own sweep's search, nor of this;
/// and what a fork came to is not its configuration's alone.
fn teaches(trial: &Trial) -> bool {
    trial.confirms.is_none()
        && trial.forked.is_none()
        && matches!(trial.state, TrialState::Completed | TrialState::Stopped | TrialState::Infeasible)
}

/// Trials that ended with something to learn from; of very many the best half of [`LOOKED_AT`], and others evenly.
fn looked_at(sweep: &Sweep) -> Vec<&Trial> {
    let each = sweep.trials.len().div_ceil(LOOKED_AT / 2).max(1);
    let evenly = (0..sweep.created()).step_by(if sweep.trials.len() <= LOOKED_AT { 1 } else { each });
    let best = sweep.ranking.iter().take(LOOKED_AT / 2).map(|ranked| ranked.trial);
    let numbers: BTreeSet<u32> = evenly.chain(best).collect();
    numbers.into_iter().filter_map(|number| sweep.trial(number)).filter(|trial| teaches(trial)).collect()
}

/// Of more than `count` the best half, and others evenly: what is bad has to be known as well.
fn kept<'a>(sweep: &Sweep, fitting: &'a [(&'a Trial, Params)], count: usize) -> Vec<&'a (&'a Trial, Params)> {
    if fitting.len() <= count {
        return fitting.iter().collect();
    }
    let loss = |trial: &Trial| trial.best.map_or(f64::INFINITY, |best| sweep.loss(best.value));
    let mut ranked: Vec<usize> = (0..fitting.len()).collect();
    ranked.sort_by(|a, b| loss(fitting[*a].0).total_cmp(&loss(fitting[*b].0)));
    let mut others = ranked.split_off(count.div_ceil(2));
    others.sort_unstable();
    let more = count / 2;
    ranked.extend((0..more).map(|i| others[i * others.len() / more]));
    ranked.sort_unstable();
    ranked.into_iter().map(|place| &fitting[place]).collect()
}

/// A configuration of `old` as one of `new`, or why it is none. What `new` does not have is dropped, and a constant of `new`
/// takes the place of another constant of `old`, or of nothing: it is the same for all of its trials.
fn translated(params: &Params, old: &Space, new: &Space) -> Result<Params, String> {
    let mut misfit = None;
    let made = new.assemble(|parameter, _| {
        let name = &parameter.name;
        match params.get(name) {
            Some(value) if parameter.domain.contains(value) => return value.clone(),
            Some(value) => misfit.get_or_insert_with(|| format!("{value:?} is not a value of `{name}`")),
            None => misfit.get_or_insert_with(|| format!("`{name}` had no value")),
        };
        parameter.domain.at(0.5)
    });
    for (name, value) in made.iter() {
        let is_const = |space: &Space| space.get(name).is_some_and(|p| matches!(p.domain, Domain::Const(_)));
        let other = params.get(name).filter(|other| *other != value);
        if let Some(other) = other.filter(|_| is_const(new) && !is_const(old)) {
            misfit.get_or_insert_with(|| format!("`{name}` was {other:?}, and is always {value:?} here"));
        }
    }
    if let Some(constraint) = new.broken_constraint(&made) {
        misfit.get_or_insert_with(|| format!("the constraint `{}` does not hold", constraint.source()));
    }
    misfit.map_or(Ok(made), Err)
}

/// What is recorded of a trial: its reports at `rungs`, its best and its last.
fn taken(sweep: &Sweep, trial: &Trial, params: &Params, rungs: &[u64]) -> PriorTrial {
    let metric = sweep.objective().map(|objective| objective.metric()).unwrap_or_default();
    let at = |place: usize| {
        let (report, _) = sweep.report(trial, place)?;
        Some((report.step, report.metrics.get(metric)?))
    };
    let mut reports: Vec<(u64, f64)> = rungs
        .iter()
        .take(REPORTS_MAX)
        .filter_map(|rung| at(first_at(sweep, trial, *rung)))
        .chain(trial.series.len().checked_sub(1).and_then(at))
        .chain(trial.best.map(|best| (best.step, best.value)))
        .collect();
    reports.sort_by_key(|(step, _)| *step);
    reports.dedup_by_key(|(step, _)| *step);
    let (steps, values) = reports.into_iter().unzip();
    let value = match trial.state {
        TrialState::Completed => trial.best.map(|best| best.value),
        _ => trial.last_value,
    };
    PriorTrial { trial: trial.number, params: params.clone(), steps, values, state: trial.state.into(), value }
}

/// The place of the first report at `step` or beyond; the number of reports where there is none.
fn first_at(sweep: &Sweep, trial: &Trial, step: u64) -> usize {
    let (mut low, mut high) = (0, trial.series.len());
    while low < high {
        let middle = low.midpoint(high);
        match sweep.report(trial, middle) {
            Some((report, _)) if report.step < step => low = middle + 1,
            Some(_) | None => high = middle,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use heats_domain::{SweepId, Value};
    use prost::Message;
    use serde_json::json;

    use super::Limits;

    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder, submit};
    use crate::{Op, Prior, Refusal, history};

    /// A sweep named `a` over `x` from 0 to 1, whose trials are at 0, 0.001, 0.002 and so on, each reporting at steps 1 to 9.
    fn earlier(cluster: &mut Cluster, builder: SweepBuilder, trials: u32) -> SweepId {
        let id = cluster.submit(builder.top("name", "a").trials(trials));
        cluster.attach(1, trials);
        for key in cluster.dispatch() {
            run(cluster, key);
        }
        id
    }

    /// Trial n reports 10 n + 10 - step.
    fn run(cluster: &mut Cluster, key: Key) {
        for step in 1..=9 {
            cluster.report(key, step, f64::from(10 * key.trial) + 10.0 - step as f64).expect("is live");
        }
        cluster.finish(key, End::Exited(0));
    }

    fn later(space: serde_json::Value) -> SweepBuilder {
        SweepBuilder::minimize("loss")
            .top("space", space)
            .top("search", json!({"algorithm": "tpe", "seed": 7, "from": ["a"]}))
    }

    fn x() -> serde_json::Value {
        json!({"x": {"float": [0.0, 1.0]}})
    }

    fn priors(cluster: &Cluster, id: SweepId) -> Vec<Prior> {
        cluster.sweep(id).submitted().expect("was submitted").0.priors.clone()
    }

    /// The configurations that are learned from, and how many are not of the space.
    fn learned(old: serde_json::Value, new: serde_json::Value) -> Result<(Vec<String>, u32), String> {
        let mut cluster = Cluster::default();
        earlier(&mut cluster, SweepBuilder::minimize("loss").top("space", old), 3);
        let op = Op::Submit(Box::new(submit(SweepId { bits: 99 }, 99, later(new))));
        match cluster.op(op) {
            Ok(_) => {
                let prior = priors(&cluster, SweepId { bits: 99 }).remove(0);
                Ok((prior.trials.iter().map(|trial| trial.params.to_string()).collect(), prior.unfit))
            }
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    #[test]
    fn a_trial_is_taken_with_its_reports_at_the_new_rungs_its_best_and_its_last() {
        let mut cluster = Cluster::default();
        earlier(&mut cluster, SweepBuilder::minimize("loss"), 2);
        let asha = json!({"algorithm": "asha", "min": 2, "max": 27, "eta": 2});
        let id = cluster.submit(later(x()).top("early_stop", asha));
        let prior = priors(&cluster, id).remove(0);
        assert_eq!((prior.name.as_str(), prior.unfit, prior.left_out), ("a", 0, 0));
        let second = &prior.trials[1];
        assert_eq!((second.trial, second.params.get("x")), (1, Some(&Value::Float(0.001))));
        assert_eq!(
            (second.steps.as_slice(), second.values.as_slice()),
            ([2, 4, 8, 9].as_slice(), [18.0, 16.0, 12.0, 11.0].as_slice())
        );
        assert_eq!(second.value, Some(11.0));
    }

    #[test]
    fn what_was_learned_from_outlives_its_sweep_and_its_leader() {
        let mut cluster = Cluster::default();
        let old = earlier(&mut cluster, SweepBuilder::minimize("loss"), 9);
        let id = cluster.submit(later(x()));
        cluster.op(Op::Remove(old)).expect("has ended");
        cluster.fail_over();
        let searcher = history::searcher(cluster.sweep(id)).expect("builds");
        let ask = heats_search::Ask { trial: 0 };
        let best = [("x", Value::Float(0.0))].into_iter().collect();
        let suggestion = searcher.suggest(ask, &heats_domain::Params::default());
        assert_eq!(suggestion, heats_search::Suggestion::Try(best), "the earlier sweep's best is tried first");
    }

    #[test]
    fn a_trial_teaches_where_it_is_a_configuration_of_the_new_space() {
        let of = |x: &[&str], unfit| Ok((x.iter().map(|text| (*text).to_owned()).collect(), unfit));
        let all = ["x=0.0", "x=0.001", "x=0.002"];
        assert_eq!(learned(x(), x()), of(&all, 0));
        assert_eq!(learned(x(), json!({"x": {"float": [0.001, 9.0]}})), of(&all[1..], 1), "others are outside of it");
        assert_eq!(learned(json!({"x": {"float": [0.0, 1.0]}, "k": 3}), x()), of(&all, 0), "more than is asked for");
        let constant = json!({"x": {"float": [0.0, 1.0]}, "k": 4});
        let with = ["k=4 x=0.0", "k=4 x=0.001", "k=4 x=0.002"];
        assert_eq!(learned(x(), constant.clone()), of(&with, 0), "a constant is the same for all");
        assert_eq!(learned(json!({"x": {"float": [0.0, 1.0]}, "k": 3}), constant), of(&with, 0), "another one, too");
        let absent = learned(x(), json!({"x": {"float": [0.0, 1.0]}, "k": {"int": [1, 3]}}));
        assert_eq!(
            absent.expect_err("is refused"),
            "nothing can be learned from sweep `a`: none of its trials is a configuration of this sweep's space: \
             `k` had no value"
        );
        let fixed = learned(x(), json!({"x": 0.002}));
        assert_eq!(fixed, of(&["x=0.002"], 2), "what was searched and is a constant now has to have been just that");
        let conditional = json!({"x": {"float": [0.0, 1.0]}, "k": {"int": [1, 3], "when": "x > 0.5"}});
        assert_eq!(learned(x(), conditional), of(&all, 0), "what has no value there need not have had one");
    }

    #[test]
    fn a_constraint_of_the_new_sweep_leaves_trials_out() {
        let mut cluster = Cluster::default();
        earlier(&mut cluster, SweepBuilder::minimize("loss"), 3);
        let id = cluster.submit(later(x()).top("constraints", json!(["x > 0.0005"])));
        assert_eq!((priors(&cluster, id)[0].trials.len(), priors(&cluster, id)[0].unfit), (2, 1));
    }

    #[test]
    fn a_sweep_that_teaches_nothing_is_refused_with_the_reason() {
        let mut cluster = Cluster::default();
        let refused = |cluster: &mut Cluster, builder: SweepBuilder| {
            let refusal =
                cluster.op(Op::Submit(Box::new(submit(SweepId { bits: 99 }, 99, builder)))).expect_err("is refused");
            refusal.to_string()
        };
        assert_eq!(refused(&mut cluster, later(x())), "there is no sweep `a`");
        let id = cluster.submit(SweepBuilder::minimize("loss").top("name", "a"));
        let nothing = |why: &str| format!("nothing can be learned from sweep `a`: {why}");
        assert_eq!(refused(&mut cluster, later(x())), nothing("none of its trials has ended"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.finish(key, End::Exited(65));
        assert_eq!(
            refused(&mut cluster, later(x())),
            nothing("none of its trials that ended has a value of the objective")
        );
        assert_eq!(
            refused(&mut cluster, later(x()).top("objective", json!({"maximize": "loss"}))),
            nothing("it would minimize `loss`, and this sweep would maximize `loss`")
        );
        assert_eq!(
            refused(&mut cluster, later(x()).top("objective", json!({"minimize": "error"}))),
            nothing("it would minimize `loss`, and this sweep would minimize `error`")
        );
        assert!(!cluster.sweep(id).is_ended(), "a sweep that runs may be learned from");
        assert_eq!(Refusal::NoSuchSweep("a".into()).code(), "H0001");
    }

    #[test]
    fn of_many_trials_the_best_half_is_kept_and_others_evenly() {
        let mut cluster = Cluster::default();
        let id = earlier(&mut cluster, SweepBuilder::minimize("loss"), 15);
        let sweep = cluster.sweep(id);
        let prior = super::prior(sweep, &sweep.space, &[], Limits { trials: 10, bytes: 1 << 20 }).expect("teaches");
        let numbers: Vec<u32> = prior.trials.iter().map(|trial| trial.trial).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 7, 9, 11, 13], "losses grow with the number");
        assert_eq!((prior.unfit, prior.left_out), (0, 5));
    }

    #[test]
    fn configurations_that_take_much_room_are_fewer() {
        let mut cluster = Cluster::default();
        let id = earlier(&mut cluster, SweepBuilder::minimize("loss"), 15);
        let spec = later(json!({"x": {"float": [0.0, 1.0]}, "text": "x".repeat(10_000)})).build();
        let limits = Limits { trials: 1_000, bytes: 100_000 };
        let prior = super::prior(cluster.sweep(id), &spec.space(), &[], limits).expect("teaches");
        assert!((8..10).contains(&prior.trials.len()), "{} of 10 kB each", prior.trials.len());
        assert!(prior.encoded_len() <= 100_000);
        assert_eq!(prior.trials.len() + prior.left_out as usize, 15);
    }
}
