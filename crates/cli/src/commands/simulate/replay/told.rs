//! What is said about a replay: beside what was recorded, for people and as fields.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heats_domain::spec::Objective;
use heats_domain::{Params, SweepSpec, TrialState};
use heats_sim::replay::{Replayed, Stop};
use heats_wire::v1;
use serde_json::{Map, Value};

use super::super::record::Record;
use crate::output::{Fields, Item};
use crate::{view, words};

/// A replay, and what it is one of.
pub(super) struct Told<'a> {
    pub(super) sweep: &'a v1::Sweep,
    pub(super) spec: &'a SweepSpec,
    pub(super) record: &'a Record,
    pub(super) replayed: &'a Replayed,
    pub(super) agents: u32,
    pub(super) notes: Vec<String>,
}

/// What came of a sweep, recorded or replayed.
struct Side {
    status: &'static str,
    best: Option<(u32, f64)>,
    found_ms: Option<u64>,
    took_ms: u64,
    trials: u32,
    stopped: u32,
    steps: u64,
    slot_ms: u64,
    gpu_ms: u64,
}

impl Told<'_> {
    fn recorded(&self) -> Side {
        let Self { sweep, record, .. } = self;
        let (counts, ledger) = (sweep.counts.unwrap_or_default(), sweep.ledger.unwrap_or_default());
        let since = |at_ms: u64| at_ms.saturating_sub(sweep.submitted_ms);
        Side {
            status: view::status(sweep.status()),
            best: sweep.best.first().and_then(|best| Some((best.number, best.value?))),
            found_ms: record.found_ms.map(since),
            took_ms: since(sweep.ended_ms.unwrap_or(record.last_ms)),
            trials: counts.created - counts.confirming,
            stopped: counts.stopped,
            steps: ledger.steps,
            slot_ms: ledger.attempt_ms,
            gpu_ms: ledger.gpu_ms,
        }
    }

    fn replayed(&self) -> Side {
        let Replayed { report, found_ms, .. } = self.replayed;
        let ledger = report.sweep.ledger;
        Side {
            status: report.ending.name(),
            best: report.best().map(|(place, value)| (self.record.number(place), value)),
            found_ms: *found_ms,
            took_ms: report.took_ms,
            trials: report.sweep.created(),
            stopped: report.sweep.counts.of(TrialState::Stopped),
            steps: report.steps,
            slot_ms: ledger.attempt_ms,
            gpu_ms: ledger.gpu_ms,
        }
    }

    /// The fields.
    pub(super) fn item(&self) -> Item {
        let Self { sweep, spec, replayed, agents, notes, .. } = self;
        let objective = spec.objective();
        let fields = Fields::new()
            .with("sweep", sweep.name.as_str())
            .with("agents", *agents)
            .with("early_stop", spec.early_stop.algorithm.as_str())
            .with("metric", objective.map(|objective| objective.metric().to_owned()))
            .with("direction", objective.map(|objective| objective.direction().to_string()));
        let json = self
            .side(fields, &self.replayed())
            .with("stops", replayed.stops.iter().map(|stop| self.stopped(stop).into()).collect::<Vec<Value>>())
            .with("beyond", replayed.beyond.iter().map(|place| self.record.number(*place)).collect::<Vec<u32>>())
            .with("winner", self.winner().map(|(number, fate)| Value::from(self.fate(number, &fate))))
            .with("recorded", self.side(Fields::new(), &self.recorded()))
            .with("notes", notes.clone())
            .done();
        Item { name: sweep.name.clone(), json }
    }

    fn side(&self, fields: Fields, side: &Side) -> Fields {
        let Side { status, best, found_ms, took_ms, trials, stopped, steps, slot_ms, gpu_ms } = side;
        fields
            .with("status", *status)
            .number("best", best.map(|(_, value)| value))
            .with("trial", best.map(|(trial, _)| trial))
            .with("params", best.and_then(|(trial, _)| self.params(trial)).map(json))
            .seconds("found_after", *found_ms)
            .seconds("duration", *took_ms)
            .with("trials", *trials)
            .with("stopped", *stopped)
            .with("steps", *steps)
            .number("slot_hours", hours(*slot_ms))
            .number("gpu_hours", hours(*gpu_ms))
    }

    fn params(&self, trial: u32) -> Option<&Params> {
        self.record.params.get(self.record.place(trial)? as usize)
    }

    /// The recorded best trial, and what becomes of it here.
    fn winner(&self) -> Option<(u32, Fate<'_>)> {
        let number = self.sweep.best.first()?.number;
        let place = self.record.place(number)?;
        let fate = match self.replayed.report.sweep.trial(place) {
            None => Fate::NotStarted,
            Some(trial) => match self.replayed.stops.iter().find(|stop| stop.trial == place) {
                Some(stop) => Fate::Stopped(stop),
                None => Fate::Ended(trial.state),
            },
        };
        Some((number, fate))
    }

    fn fate(&self, number: u32, fate: &Fate<'_>) -> Fields {
        let (survives, state, stop) = match fate {
            Fate::NotStarted => (false, "not_started".to_owned(), None),
            Fate::Stopped(stop) => (false, TrialState::Stopped.to_string(), Some(Value::from(self.stopped(stop)))),
            Fate::Ended(state) => (*state == TrialState::Completed, state.to_string(), None),
        };
        Fields::new().with("number", number).with("survives", survives).with("state", state).with("stop", stop)
    }

    fn stopped(&self, Stop { trial, at_ms, reason }: &Stop) -> Fields {
        let fields = Fields::new().with("number", self.record.number(*trial)).seconds("after", *at_ms);
        view::verdict(fields, reason)
    }

    /// What people read.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { sweep, spec, replayed, agents, notes, .. } = self;
        let (then, now) = (self.recorded(), self.replayed());
        let agents = words::count(u64::from(*agents), "agent");
        writeln!(out, "\x1b[1m{}\x1b[0m replayed on {agents}, early stop {}", sweep.name, spec.early_stop.algorithm)?;
        let best = |side: &Side| {
            side.best.map_or("none".to_owned(), |(trial, value)| format!("{} (trial {trial})", words::short(value)))
        };
        let after = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("after {}", words::duration(ms)));
        let metric = spec.objective().map_or("best", Objective::metric);
        let mut rows = vec![
            (String::new(), "recorded".to_owned(), "replayed".to_owned()),
            (metric.to_owned(), best(&then), best(&now)),
            ("found".to_owned(), after(then.found_ms), after(now.found_ms)),
            ("took".to_owned(), words::duration(then.took_ms), words::duration(now.took_ms)),
            ("trials".to_owned(), then.trials.to_string(), now.trials.to_string()),
            ("stopped".to_owned(), then.stopped.to_string(), now.stopped.to_string()),
            ("slots".to_owned(), spent(then.slot_ms), spent(now.slot_ms)),
        ];
        if then.gpu_ms > 0 || now.gpu_ms > 0 {
            rows.push(("GPUs".to_owned(), spent(then.gpu_ms), spent(now.gpu_ms)));
        }
        let width =
            |of: fn(&(String, String, String)) -> &String| rows.iter().map(|row| of(row).len()).max().unwrap_or(0);
        let (first, second) = (width(|row| &row.0).max("winner".len()), width(|row| &row.1));
        for (what, then, now) in &rows {
            writeln!(out, "  {what:first$}  {then:second$}  {now}")?;
        }
        for line in rungs(&replayed.stops) {
            writeln!(out, "  {:first$}  {line}", "stopped")?;
        }
        if let Some((number, fate)) = self.winner() {
            writeln!(out, "  {:first$}  {}/{number}, the recorded best, {}", "winner", sweep.name, fate.words())?;
        }
        notes.iter().try_for_each(|note| writeln!(out, "  {:first$}  {note}", "note"))
    }
}

/// What becomes of the recorded best trial.
enum Fate<'a> {
    NotStarted,
    Stopped(&'a Stop),
    Ended(TrialState),
}

impl Fate<'_> {
    fn words(&self) -> String {
        match self {
            Self::NotStarted => "would not have been started".to_owned(),
            Self::Stopped(Stop { at_ms, reason, .. }) => {
                format!("would have been stopped after {} by {reason}", words::duration(*at_ms))
            }
            Self::Ended(TrialState::Completed) => "would have survived".to_owned(),
            Self::Ended(state) => format!("would have been {state}"),
        }
    }
}

/// A line for each rule and rung: how many it stopped, and from when to when.
fn rungs(stops: &[Stop]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, Option<u64>), (u64, u64, u64)> = BTreeMap::new();
    for Stop { at_ms, reason, .. } in stops {
        let (count, _, last) = groups.entry((&reason.rule, reason.rung)).or_insert((0, *at_ms, *at_ms));
        (*count, *last) = (*count + 1, *at_ms);
    }
    let line = |((rule, rung), (count, first, last)): ((&str, Option<u64>), (u64, u64, u64))| {
        let rung = rung.map_or_else(String::new, |rung| format!(" at rung {rung}"));
        let when = if first == last {
            format!("after {}", words::duration(first))
        } else {
            format!("{} to {} after the start", words::duration(first), words::duration(last))
        };
        format!("{count} by {rule}{rung}, {when}")
    };
    groups.into_iter().map(line).collect()
}

fn hours(ms: u64) -> f64 {
    ms as f64 / 3_600_000.0
}

/// As a duration; in hours where it is more than one, which is what machines are paid for.
fn spent(ms: u64) -> String {
    if ms < 3_600_000 { words::duration(ms) } else { format!("{:.1} h", hours(ms)) }
}

fn json(params: &Params) -> Map<String, Value> {
    params.iter().map(|(name, value)| (name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null))).collect()
}
