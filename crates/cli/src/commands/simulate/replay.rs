//! `heats simulate --from`: what a recorded sweep would have found under other settings.

mod told;

use std::path::Path;

use heats_domain::SweepSpec;
use heats_search::{Problem, build_searcher};
use heats_sim::replay::{Replayed, replay};
use heats_wire::v1;
use serde_json::Value;

use super::record::{self, Record};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Printer};
use crate::select::{Selector, Trials};
use crate::sweepfile::{self, Inline, Overrides};
use crate::{view, words};

/// The parts of a sweep that say where it runs. What ran does not matter here, and need not be on this machine.
const PLACES: [&str; 6] = ["version", "name", "command", "code", "env", "data"];

/// What there is to choose.
pub(super) struct Options<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) overrides: Overrides,
    pub(super) sweep: &'a Selector,
    pub(super) agents: Option<u32>,
}

/// Replays a sweep.
pub(super) fn run(context: &Context, printer: &Printer, options: &Options<'_>) -> Outcome {
    let Options { file, overrides, sweep: Selector { sweep: name, trials, .. }, agents } = options;
    if *trials != Trials::Unnamed {
        return Err(Failure::usage("`--from` takes a sweep, not a trial").hint(format!("--from {name}")));
    }
    let (sweep, recorded, mut spec, record) = context.block_on(async {
        let client = context.client()?;
        let sweep = client.get(name).await?.sweep.unwrap_or_default();
        let recorded = spec_of(&sweep)?;
        let spec = match file {
            Some(file) => super::load(file, overrides)?,
            None => changed(&recorded, overrides)?,
        };
        super::may_be_simulated(&spec)?;
        let record = record::read(&client, &sweep, metric(&sweep, &spec)?).await?;
        Ok((sweep, recorded, spec, record))
    })?;
    // What it learned from decided on configurations only, and those are recorded.
    spec.search.from.clear();
    expect(&sweep, &spec, &record)?;
    let agents = agents.unwrap_or(record.at_once.max(1));
    let replayed = replay(&spec, sweep.seed, &record.trials, agents)
        .map_err(|error| Failure::failed(format!("cannot replay `{}`: {error}", sweep.name)))?;
    let notes = notes(&sweep, &recorded, &spec, &record, &replayed);
    let exit = if replayed.report.best().is_some() { Exit::Ok } else { Exit::NoBest };
    let told = told::Told { sweep: &sweep, spec: &spec, record: &record, replayed: &replayed, agents, notes };
    printer.one("replay", &Fields::new().done(), &told.item(), |out| told.write(out))?;
    Ok(exit)
}

/// The recorded sweep, with the limit of its trials as it was at last.
fn spec_of(sweep: &v1::Sweep) -> Result<SweepSpec, Failure> {
    let mut spec = view::spec(sweep).ok_or_else(|| {
        Failure::failed(format!("the specification of `{}` cannot be read by this version of heats", sweep.name))
    })?;
    spec.budget.trials = sweep.trials_max;
    Ok(spec)
}

/// The recorded sweep with what the command line changes, checked like one that is made of options.
fn changed(recorded: &SweepSpec, overrides: &Overrides) -> Result<SweepSpec, Failure> {
    if overrides.set.is_empty() {
        return Ok(recorded.clone());
    }
    let parts = match serde_json::to_value(recorded) {
        Ok(Value::Object(parts)) => parts,
        Ok(_) | Err(_) => return Err(Failure::failed("the recorded sweep cannot be written as JSON")),
    };
    let parts = parts.into_iter().filter(|(key, _)| !PLACES.contains(&key.as_str()));
    let set = parts.map(|(key, part)| format!("{key}={part}")).chain(overrides.set.iter().cloned()).collect();
    let inline = Inline { command: vec!["true".to_owned()], ..Inline::default() };
    let loaded = sweepfile::of_inline(&inline, &Overrides { set, name: None, project: None });
    Ok(loaded.map_err(sweepfile::Invalid::say)?.spec)
}

fn metric<'a>(sweep: &v1::Sweep, spec: &'a SweepSpec) -> Result<&'a str, Failure> {
    let objective = spec.objective().ok_or_else(|| {
        Failure::new(Exit::Conflict, format!("`{}` has no objective: nothing it did can be ranked", sweep.name))
            .hint("--with objective.minimize=METRIC")
    })?;
    Ok(objective.metric())
}

/// There must be something to replay.
fn expect(sweep: &v1::Sweep, spec: &SweepSpec, record: &Record) -> Result<(), Failure> {
    let metric = metric(sweep, spec)?;
    if record.metrics.contains(metric) {
        return Ok(());
    }
    let failure = Failure::new(Exit::Conflict, format!("no trial of `{}` has reported `{metric}`", sweep.name));
    if record.metrics.is_empty() {
        return Err(failure.hint("none has reported anything: there is nothing to replay"));
    }
    let known: Vec<String> = record.metrics.iter().cloned().collect();
    Err(failure.hint(format!("they reported {}: `--with objective.minimize=METRIC`", words::list(&known))))
}

/// What the replay does not know, and what about it is not as its settings say.
fn notes(
    sweep: &v1::Sweep,
    recorded: &SweepSpec,
    spec: &SweepSpec,
    record: &Record,
    replayed: &Replayed,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !view::is_over(sweep.status()) {
        notes.push(format!("`{}` has not ended: it is replayed as far as it is", sweep.name));
    }
    if !replayed.beyond.is_empty() {
        let trials = words::count(replayed.beyond.len() as u64, "trial");
        notes.push(format!(
            "{trials} would have gone on past the end of what was recorded: there each ends as it stands, and what it would have come to is not known"
        ));
    }
    let algorithm = &recorded.search.algorithm;
    let problem = Problem::of(recorded, sweep.seed);
    let searcher = build_searcher(&problem, algorithm, &recorded.search.params);
    if !searcher.is_ok_and(|searcher| searcher.is_history_free()) {
        notes.push(format!(
            "the configurations are those that `{algorithm}` proposed when this was recorded; it learns from what it sees, and would have proposed others here"
        ));
    } else if (&spec.search.algorithm, &spec.search.params) != (algorithm, &recorded.search.params) {
        notes.push("the configurations are the recorded ones, whatever `search` says".to_owned());
    }
    let ranked =
        |spec: &SweepSpec| spec.objective().map(|objective| (objective.metric().to_owned(), objective.direction()));
    if recorded.objectives().len() > 1 {
        let first = recorded.objective().map_or_else(String::new, |objective| format!("`{}`", objective.metric()));
        notes
            .push(format!("the recorded best is the trial of the front that is best in {first}, as it was at its end"));
    }
    if let Some((metric, direction)) = ranked(recorded).filter(|was| Some(was) != ranked(spec).as_ref()) {
        notes.push(format!("the recorded best is the one that would {direction} `{metric}`"));
    }
    let confirming = sweep.counts.unwrap_or_default().confirming;
    if confirming > 0 {
        let runs = words::count(u64::from(confirming), "run");
        notes
            .push(format!("the {runs} on fresh seeds that confirmed leaders are left out: values are the trials' own"));
    }
    let created = record.trials.len() as u32;
    if let Some(trials) = spec.budget.trials.filter(|trials| *trials > created) {
        notes.push(format!(
            "the budget allows {trials} trials, and {created} were recorded: the replay ends with those"
        ));
    }
    notes
}
