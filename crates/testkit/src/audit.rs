//! The auditor: decides from what users can ask for (`heats show`, `trials`, `events`, `export`) and from the
//! scripts' own side file whether a sweep kept every promise. Knows no way to mend anything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::measured::Measured;
use crate::workspace::Workspace;

/// What the test knows that the sweep must have come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    trials: u64,
    measured: Sides,
}

/// How the records and the side file must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sides {
    /// The scripts keep no side file.
    None,
    /// Trials were killed: what they had measured and not yet told may be missing, and may have been measured again.
    Told,
    /// No trial was killed: each measurement was made once, and each is recorded.
    Same,
}

impl Expected {
    /// Exactly so many trials, and every measurement of the side file recorded, once.
    pub const fn trials(trials: u64) -> Self {
        Self { trials, measured: Sides::Same }
    }

    /// Trials were killed before they could tell everything: what is recorded must have been measured, but not
    /// the other way round.
    #[must_use]
    pub const fn with_killed_trials(self) -> Self {
        Self { measured: Sides::Told, ..self }
    }

    /// The scripts keep no side file.
    #[must_use]
    pub const fn without_side_file(self) -> Self {
        Self { measured: Sides::None, ..self }
    }
}

/// One event of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Its name: `trial_leased`.
    pub kind: String,
    /// The trial that it is about.
    pub trial: Option<u64>,
    /// The attempt that it is about.
    pub attempt: Option<u64>,
    /// Its fields.
    pub fact: Value,
}

/// One trial of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Its number.
    pub number: u64,
    /// Its state: `completed`.
    pub state: String,
    /// How its last failed attempt failed: `exit`.
    pub failure: Option<String>,
    /// For people.
    pub detail: String,
    /// Its best value, of those that are finite.
    pub value: Option<f64>,
    /// The last value that it reported, which need not be finite.
    pub last_value: Option<f64>,
    /// How many attempts it took.
    pub attempts: u64,
    /// All its fields.
    pub json: Value,
}

/// A sweep as users see it, and what its scripts say.
#[derive(Clone, PartialEq, Debug)]
pub struct Audit {
    /// The sweep's fields.
    pub sweep: Value,
    /// Its trials.
    pub trials: Vec<Trial>,
    /// Its events, in order.
    pub events: Vec<Event>,
    /// What `heats export -f jsonl` writes.
    pub exported: Vec<Value>,
    /// What the side file holds.
    pub measured: Vec<Measured>,
}

/// A value that a trial reported for the objective.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Report {
    trial: u64,
    attempt: u64,
    step: u64,
    value: f64,
}

const TERMINAL: [&str; 5] = ["completed", "stopped", "failed", "infeasible", "cancelled"];
/// Trials in these states have no place in the ranking.
const UNRANKED: [&str; 3] = ["failed", "infeasible", "cancelled"];

impl Audit {
    /// Asks the coordinator that runs in `workspace` about `sweep`.
    ///
    /// # Panics
    /// Where a command fails or its output is not what it should be.
    pub fn take(workspace: &Workspace, sweep: &str) -> Self {
        let show = workspace.ok(&["show", sweep, "-o", "json"]).json();
        let trials = workspace.ok(&["trials", sweep, "-o", "json"]).json();
        let events = workspace.ok(&["events", sweep, "-o", "jsonl"]).json_lines();
        let exported = workspace.ok(&["export", sweep, "-f", "jsonl"]).json_lines();
        Self {
            sweep: show["sweep"].clone(),
            trials: trials["trials"].as_array().expect("a list of trials").iter().map(Trial::of).collect(),
            events: events.iter().map(Event::of).collect(),
            exported,
            measured: workspace.measured(),
        }
    }

    /// The trial with this number.
    ///
    /// # Panics
    /// Where there is none.
    pub fn trial(&self, number: u64) -> &Trial {
        self.trials.iter().find(|trial| trial.number == number).unwrap_or_else(|| panic!("no trial {number}"))
    }

    /// The best trial and its value, by the recorded reports alone.
    pub fn best(&self) -> Option<(u64, f64)> {
        let ranked = self.trials.iter().filter(|trial| !UNRANKED.contains(&trial.state.as_str()));
        let values = ranked.filter_map(|trial| Some((trial.number, self.best_of(trial.number)?)));
        // The earlier of two that are equally good.
        values.reduce(|best, other| if self.is_better(other.1, best.1) { other } else { best })
    }

    /// Nothing, where the sweep kept every promise.
    ///
    /// # Panics
    /// With every broken promise.
    pub fn expect(&self, expected: &Expected) {
        let faults = self.faults(expected);
        assert!(faults.is_empty(), "the audit of `{}` found:\n  {}", self.sweep["name"], faults.join("\n  "));
    }

    /// Every broken promise, in words.
    pub fn faults(&self, expected: &Expected) -> Vec<String> {
        let mut faults = Vec::new();
        self.check_trials(expected, &mut faults);
        self.check_attempts(&mut faults);
        self.check_quarantines(&mut faults);
        self.check_reports(&mut faults);
        self.check_best(&mut faults);
        self.check_export(&mut faults);
        self.check_sides(expected, &mut faults);
        self.check_provenance(&mut faults);
        faults
    }

    fn check_trials(&self, expected: &Expected, faults: &mut Vec<String>) {
        let numbers: Vec<u64> = self.trials.iter().map(|trial| trial.number).collect();
        if numbers != (0..expected.trials).collect::<Vec<_>>() {
            faults.push(format!("the trials are not those from 0 to {}: {numbers:?}", expected.trials - 1));
        }
        for Trial { number, state, .. } in &self.trials {
            if !TERMINAL.contains(&state.as_str()) {
                faults.push(format!("trial {number} is {state}"));
            }
        }
        let created: Vec<u64> = self.of_kind("trial_created").filter_map(|event| event.trial).collect();
        if created != numbers {
            faults.push(format!("the trials were not created once each, in order: {created:?}"));
        }
        for (count, what) in [("created", None), ("completed", Some("completed")), ("failed", Some("failed"))] {
            let trials = self.trials.iter().filter(|trial| what.is_none_or(|what| trial.state == what)).count();
            if self.sweep["counts"][count] != trials as u64 {
                faults.push(format!("{} {count} are counted, there are {trials}", self.sweep["counts"][count]));
            }
        }
    }

    /// Every attempt begins once, ends once, and nothing is said about it outside of that time. One that spans machines ends when
    /// each of its members has, once.
    fn check_attempts(&self, faults: &mut Vec<String>) {
        #[derive(Default)]
        struct Life {
            last: u64,
            live: Option<u64>,
            /// The ranks that run, where it spans machines.
            ranks: BTreeSet<u64>,
            spans: bool,
            /// Those that failed, and whose failure is the trial's so far.
            failed: BTreeSet<u64>,
            settled: Option<String>,
        }
        let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
        for Event { kind, trial, attempt, fact } in &self.events {
            let Some(number) = *trial else { continue };
            let life = lives.entry(number).or_default();
            let fine = match kind.as_str() {
                "trial_leased" => {
                    let next = life.live.is_none() && *attempt == Some(life.last + 1) && life.settled.is_none();
                    life.last = attempt.unwrap_or_default();
                    life.live = *attempt;
                    let others = fact["members"].as_array().map_or(0, Vec::len) as u64;
                    life.spans = others > 0;
                    life.ranks = if life.spans { (0..=others).collect() } else { BTreeSet::new() };
                    next
                }
                "member_ended" => {
                    let rank = fact["rank"].as_u64().unwrap_or(u64::MAX);
                    life.live == *attempt && life.ranks.remove(&rank)
                }
                "trial_started" => {
                    // What it ran in is recorded (P1).
                    let named = ["environment_name", "hardware_name"].iter().all(|name| fact[name].is_string());
                    life.live == *attempt && named
                }
                "trial_reported" => {
                    let may_report = !life.spans || life.ranks.contains(&0);
                    life.live == *attempt && life.settled.is_none() && may_report
                }
                "attempt_ended" => {
                    let all_ended = life.ranks.is_empty();
                    if fact["failure"].is_string() && fact["excused"] != true {
                        life.failed.extend(*attempt);
                    }
                    life.live.is_some() && std::mem::take(&mut life.live) == *attempt && all_ended
                }
                // A failure is put down to its machine once.
                "attempt_excused" => attempt.is_some_and(|attempt| life.failed.remove(&attempt)),
                "trial_settled" => {
                    let state = fact["state"].as_str().unwrap_or_default();
                    let before = life.settled.replace(state.to_owned());
                    if !TERMINAL.contains(&state) {
                        life.settled = None;
                    }
                    // Only a user's retry brings a failed trial back.
                    before.is_none_or(|before| before == "failed" && life.settled.is_none())
                }
                _ => true,
            };
            if !fine {
                faults.push(format!("trial {number}: `{kind}` of attempt {attempt:?} is out of place: {fact}"));
            }
        }
        for Trial { number, state, attempts, .. } in &self.trials {
            let life = lives.remove(number).unwrap_or_default();
            if let Some(attempt) = life.live {
                faults.push(format!("trial {number}: attempt {attempt} never ended"));
            }
            if life.last != *attempts {
                faults.push(format!("trial {number} tells of {attempts} attempts, its events of {}", life.last));
            }
            if life.settled.as_deref() != Some(state) {
                faults.push(format!("trial {number} is {state}, its events say {:?}", life.settled));
            }
        }
    }

    /// A machine is left alone for attempts that it got and that failed there, in the way that is said.
    fn check_quarantines(&self, faults: &mut Vec<String>) {
        let name = self.sweep["name"].as_str().unwrap_or_default();
        for quarantine in self.sweep["quarantined_agents"].as_array().into_iter().flatten() {
            for failed in quarantine["failures"].as_array().into_iter().flatten() {
                let address = failed["address"].as_str().unwrap_or_default();
                // Trials of other sweeps may have failed there as well.
                let Some(own) = address.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) else { continue };
                let Some((trial, attempt)) = own.split_once('@') else { continue };
                let (trial, attempt) = (trial.parse().ok(), attempt.parse().ok());
                let says = |kind: &str, key: &str, value: &Value| {
                    self.of_kind(kind).any(|e| (e.trial, e.attempt) == (trial, attempt) && e.fact[key] == *value)
                };
                let was_there = says("trial_leased", "agent", &quarantine["agent"]);
                if !was_there || !says("attempt_ended", "failure", &failed["failure"]) {
                    faults.push(format!("{} is left alone for {failed}, which is not so", quarantine["agent_name"]));
                }
            }
        }
    }

    /// Every (trial, step) at most once, and steps only grow.
    fn check_reports(&self, faults: &mut Vec<String>) {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for event in self.of_kind("trial_reported") {
            let (trial, step) = (event.trial.unwrap_or_default(), event.fact["step"].as_u64().unwrap_or_default());
            if let Some(before) = last.insert(trial, step)
                && before >= step
            {
                faults.push(format!("trial {trial}: step {step} was recorded after step {before}"));
            }
        }
    }

    fn check_best(&self, faults: &mut Vec<String>) {
        for trial in &self.trials {
            let recorded = self.best_of(trial.number);
            if trial.value != recorded {
                let number = trial.number;
                faults.push(format!("trial {number} has the value {:?}, its reports {recorded:?}", trial.value));
            }
        }
        let best = &self.sweep["best"];
        let told = best["number"].as_u64().zip(best["value"].as_f64());
        if told != self.best() {
            faults.push(format!("the best is told to be {told:?}, and is {:?}", self.best()));
        }
    }

    fn check_export(&self, faults: &mut Vec<String>) {
        let without_schema = |value: &Value| {
            let mut value = value.clone();
            value.as_object_mut().map(|map| map.remove("schema"));
            value
        };
        let exported: Vec<Value> = self.exported.iter().map(without_schema).collect();
        let listed: Vec<Value> = self.trials.iter().map(|trial| trial.json.clone()).collect();
        if exported != listed {
            faults.push("what is exported is not what is listed".to_owned());
        }
    }

    fn check_sides(&self, expected: &Expected, faults: &mut Vec<String>) {
        if expected.measured == Sides::None {
            return;
        }
        let key = |trial, step, value: f64| (trial, step, value.to_bits());
        let told: BTreeSet<_> = self.measured.iter().map(|line| key(line.trial, line.step, line.value)).collect();
        let reports = self.reports();
        for Report { trial, attempt, step, value } in &reports {
            let line = Measured { trial: *trial, attempt: *attempt, step: *step, value: *value };
            if !told.contains(&key(*trial, *step, *value)) {
                faults.push(format!("recorded, but never measured: {line:?}"));
            }
        }
        if expected.measured == Sides::Same {
            let recorded: BTreeSet<_> = reports.iter().map(|r| key(r.trial, r.step, r.value)).collect();
            // What a trial measures after it was told to stop counts for nothing.
            let ended: BTreeSet<u64> = self.trials.iter().filter(|trial| trial.was_ended()).map(|t| t.number).collect();
            let last = |trial| reports.iter().filter(|report| report.trial == trial).map(|report| report.step).max();
            let mut seen = BTreeSet::new();
            for line in &self.measured {
                let late = ended.contains(&line.trial) && last(line.trial).is_none_or(|last| line.step > last);
                if !late && !recorded.contains(&key(line.trial, line.step, line.value)) {
                    faults.push(format!("measured, but lost: {line:?}"));
                }
                if !seen.insert((line.trial, line.step)) {
                    faults.push(format!("measured twice: {line:?}"));
                }
            }
        }
    }

    /// All that a trial followed from is recorded (P1); what it ran in is checked with its attempts.
    fn check_provenance(&self, faults: &mut Vec<String>) {
        let provenance = &self.sweep["provenance"];
        let (code, data) = (&provenance["code"], &provenance["data"]);
        if !code["archive"].is_string() && !code["as_it_was"]["blake3"].is_string() {
            faults.push(format!("what code the sweep ran is not recorded: {code}"));
        }
        if code.get("git").is_none() {
            faults.push(format!("what git says of the code is not recorded: {code}"));
        }
        let named = self.sweep["spec"]["data"].as_array().map_or(0, Vec::len);
        let told = |one: &Value| one["blake3"].is_string() || one["error"].is_string();
        let fingerprints = data.as_array().map_or(0, |all| all.iter().filter(|one| told(one)).count());
        if fingerprints < named {
            faults.push(format!("of {named} sets of data there are {fingerprints} fingerprints: {data}"));
        }
        if !self.sweep["seed"].is_u64() {
            faults.push("the sweep has no seed".to_owned());
        }
        for Trial { number, json, .. } in &self.trials {
            if !json["params"].is_object() {
                faults.push(format!("trial {number} has no parameters"));
            }
        }
    }

    fn reports(&self) -> Vec<Report> {
        let metric = self.sweep["metric"].as_str().unwrap_or_default();
        let report = |event: &Event| {
            Some(Report {
                trial: event.trial?,
                attempt: event.attempt?,
                step: event.fact["step"].as_u64()?,
                value: float(&event.fact["metrics"][metric])?,
            })
        };
        self.of_kind("trial_reported").filter_map(report).collect()
    }

    /// The best finite value that a trial reported.
    fn best_of(&self, trial: u64) -> Option<f64> {
        let reports = self.reports().into_iter().filter(|report| report.trial == trial && report.value.is_finite());
        let values = reports.map(|report| report.value);
        values.reduce(|best, other| if self.is_better(other, best) { other } else { best })
    }

    fn is_better(&self, one: f64, other: f64) -> bool {
        if self.sweep["direction"] == "maximize" { one > other } else { one < other }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }
}

impl Trial {
    /// Whether somebody else than its script ended it.
    fn was_ended(&self) -> bool {
        self.state == "stopped" || self.state == "cancelled"
    }

    fn of(json: &Value) -> Self {
        let number =
            |key: &str| json[key].as_f64().or_else(|| json.get(format!("{key}_not_finite"))?.as_str()?.parse().ok());
        Self {
            number: json["number"].as_u64().expect("a number"),
            state: json["state"].as_str().expect("a state").to_owned(),
            failure: json["failure"].as_str().map(str::to_owned),
            detail: json["detail"].as_str().unwrap_or_default().to_owned(),
            // Its flag says why there is none; it is no value.
            value: json["value"].as_f64(),
            last_value: number("last_value"),
            attempts: json["attempts"].as_u64().unwrap_or_default(),
            json: json.clone(),
        }
    }
}

impl Event {
    fn of(json: &Value) -> Self {
        Self {
            kind: json["kind"].as_str().expect("a kind").to_owned(),
            trial: json["trial"].as_u64(),
            attempt: json["attempt"].as_u64(),
            fact: json["fact"].clone(),
        }
    }
}

/// A number as the events have it: what is not finite is a text.
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, trial: u64, attempt: u64, fact: Value) -> Event {
        Event { kind: kind.into(), trial: Some(trial), attempt: (attempt > 0).then_some(attempt), fact }
    }

    /// Two trials of two steps each; the second needed two attempts.
    fn sound() -> Audit {
        let step = |step: u64, value: f64| json!({"step": step, "metrics": {"loss": value}});
        let trial = |number: u64, value: f64, attempts: u64| json!({"number": number, "state": "completed", "value": value, "attempts": attempts, "detail": "", "params": {}});
        let events = vec![
            event("trial_created", 0, 0, json!({})),
            event("trial_leased", 0, 1, json!({})),
            event("trial_created", 1, 0, json!({})),
            event("trial_leased", 1, 1, json!({})),
            event("trial_started", 0, 1, json!({"environment_name": "ab", "hardware_name": "cd"})),
            event("trial_reported", 0, 1, step(1, 0.5)),
            event("trial_reported", 1, 1, step(1, 0.4)),
            event("attempt_ended", 1, 1, json!({})),
            event("trial_settled", 1, 0, json!({"state": "waiting"})),
            event("trial_reported", 0, 1, step(2, 0.25)),
            event("attempt_ended", 0, 1, json!({})),
            event("trial_settled", 0, 0, json!({"state": "completed"})),
            event("trial_leased", 1, 2, json!({})),
            event("trial_reported", 1, 2, step(2, 0.3)),
            event("attempt_ended", 1, 2, json!({})),
            event("trial_settled", 1, 0, json!({"state": "completed"})),
        ];
        let listed = [trial(0, 0.25, 1), trial(1, 0.3, 2)];
        let line = |trial, attempt, step, value| Measured { trial, attempt, step, value };
        Audit {
            sweep: json!({
                "name": "s", "metric": "loss", "direction": "minimize",
                "counts": {"created": 2, "completed": 2, "failed": 0}, "best": {"number": 0, "value": 0.25},
                "seed": 7, "spec": {"data": [{"name": "d", "path": "d"}]},
                "provenance": {"code": {"archive": "ef", "git": null}, "data": [{"blake3": "01"}]}
            }),
            trials: listed.iter().map(Trial::of).collect(),
            events,
            exported: listed.into(),
            measured: vec![line(0, 1, 1, 0.5), line(1, 1, 1, 0.4), line(0, 1, 2, 0.25), line(1, 2, 2, 0.3)],
        }
    }

    /// The faults that `break_it` causes in a sound sweep.
    fn faults(break_it: impl Fn(&mut Audit)) -> String {
        let mut audit = sound();
        break_it(&mut audit);
        audit.faults(&Expected::trials(2)).join("\n")
    }

    #[test]
    fn a_sound_sweep_has_no_fault() {
        assert_eq!(faults(|_| {}), "");
    }

    #[test]
    fn a_missing_or_surplus_trial_is_found() {
        assert!(faults(|audit| drop(audit.trials.pop())).contains("not those from 0 to 1: [0]"));
        let found = faults(|audit| audit.events.push(event("trial_created", 2, 0, json!({}))));
        assert!(found.contains("not created once each"), "{found}");
    }

    #[test]
    fn an_attempt_that_overlaps_another_or_never_ends_is_found() {
        let found = faults(|audit| drop(audit.events.remove(7)));
        assert!(found.contains("trial 1: `trial_leased` of attempt Some(2) is out of place"), "{found}");
        let found = faults(|audit| drop(audit.events.remove(10)));
        assert!(found.contains("trial 0: attempt 1 never ended"), "{found}");
        let found = faults(|audit| audit.events.swap(12, 13));
        assert!(found.contains("`trial_reported` of attempt Some(2) is out of place"), "{found}");
    }

    #[test]
    fn a_member_that_outlives_its_attempt_or_ends_twice_is_found() {
        let spans = |audit: &mut Audit| {
            audit.events[1].fact = json!({"members": [{}]});
            audit.events.insert(10, event("member_ended", 0, 1, json!({"rank": 1})));
            audit.events.insert(11, event("member_ended", 0, 1, json!({"rank": 0})));
        };
        assert_eq!(faults(spans), "");
        let found = faults(|audit| {
            spans(audit);
            audit.events.remove(10);
        });
        assert!(found.contains("trial 0: `attempt_ended` of attempt Some(1) is out of place"), "{found}");
        let found = faults(|audit| {
            spans(audit);
            audit.events[10].fact["rank"] = 0.into();
        });
        assert!(found.contains("trial 0: `member_ended` of attempt Some(1) is out of place"), "{found}");
        let found = faults(|audit| {
            spans(audit);
            audit.events.swap(9, 11);
        });
        assert!(found.contains("trial 0: `trial_reported` of attempt Some(1) is out of place"), "{found}");
    }

    #[test]
    fn a_machine_that_is_left_alone_for_what_did_not_happen_there_is_found() {
        let alone = |audit: &mut Audit| {
            audit.events[3].fact = json!({"agent": "agent-1"});
            audit.events[7].fact = json!({"failure": "exit"});
            audit.events.insert(8, event("attempt_excused", 1, 1, json!({})));
            let failures =
                json!([{"address": "s/1@1", "failure": "exit"}, {"address": "other/0@1", "failure": "exit"}]);
            audit.sweep["quarantined_agents"] = json!([{"agent": "agent-1", "agent_name": "a1", "failures": failures}]);
        };
        assert_eq!(faults(alone), "");
        for (place, fact) in [(3, json!({"agent": "agent-2"})), (7, json!({"failure": "signal"}))] {
            let found = faults(|audit| {
                alone(audit);
                audit.events[place].fact = fact.clone();
            });
            assert!(found.contains("is left alone for") && found.contains("s/1@1"), "{found}");
        }
        let found = faults(|audit| {
            alone(audit);
            let twice = audit.events[8].clone();
            audit.events.insert(9, twice);
        });
        assert!(found.contains("trial 1: `attempt_excused` of attempt Some(1) is out of place"), "{found}");
    }

    #[test]
    fn what_is_said_about_a_trial_after_its_end_is_found() {
        let late = json!({"step": 3, "metrics": {"loss": 0.25}});
        let found = faults(|audit| audit.events.push(event("trial_reported", 0, 1, late.clone())));
        assert!(found.contains("trial 0: `trial_reported` of attempt Some(1) is out of place"), "{found}");
        let found = faults(|audit| audit.events.push(event("trial_settled", 0, 0, json!({"state": "stopped"}))));
        assert!(found.contains("`trial_settled`") && found.contains("is completed, its events say"), "{found}");
    }

    #[test]
    fn a_step_that_is_recorded_twice_is_found() {
        let found = faults(|audit| audit.events[9].fact["step"] = 1.into());
        assert!(found.contains("trial 0: step 1 was recorded after step 1"), "{found}");
    }

    #[test]
    fn a_value_that_differs_from_what_the_script_measured_is_found() {
        let found = faults(|audit| audit.measured[2].value = 0.125);
        assert!(found.contains("never measured") && found.contains("but lost"), "{found}");
        let found = faults(|audit| audit.measured.push(audit.measured[0]));
        assert!(found.contains("measured twice"), "{found}");
        let mut audit = sound();
        audit.trials[0].state = "stopped".into();
        audit.measured.push(Measured { trial: 0, attempt: 1, step: 3, value: 9.0 });
        let found = audit.faults(&Expected::trials(2)).join("\n");
        assert!(!found.contains("lost"), "measured after the stop: {found}");
        let mut audit = sound();
        audit.measured.push(Measured { attempt: 2, ..audit.measured[0] });
        audit.measured.push(Measured { trial: 1, attempt: 2, step: 3, value: 9.0 });
        assert_eq!(audit.faults(&Expected::trials(2).with_killed_trials()), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_best_is_found() {
        let found = faults(|audit| audit.sweep["best"] = json!({"number": 1, "value": 0.3}));
        assert!(found.contains("told to be Some((1, 0.3)), and is Some((0, 0.25))"), "{found}");
        let found = faults(|audit| audit.trials[1].value = Some(0.4));
        assert!(found.contains("trial 1 has the value Some(0.4)"), "{found}");
        assert!(faults(|audit| audit.sweep["direction"] = "maximize".into()).contains("the best is told"));
    }

    #[test]
    fn an_attempt_or_a_sweep_whose_origin_is_not_recorded_is_found() {
        let found = faults(|audit| audit.events[4].fact["hardware_name"] = Value::Null);
        assert!(found.contains("trial 0: `trial_started`"), "{found}");
        let found = faults(|audit| audit.sweep["provenance"] = json!({}));
        assert!(found.contains("what code") && found.contains("what git") && found.contains("there are 0"), "{found}");
        assert!(faults(|audit| audit.sweep["seed"] = Value::Null).contains("no seed"));
        assert!(faults(|audit| audit.trials[1].json["params"] = Value::Null).contains("trial 1 has no parameters"));
    }

    #[test]
    fn an_export_that_leaves_something_out_is_found() {
        assert!(faults(|audit| drop(audit.exported.pop())).contains("exported"));
    }
}
