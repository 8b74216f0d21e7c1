//! What is recorded of a trial, and what of it is otherwise on this machine. Asks the coordinator; runs nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heats_client::Client;
use heats_domain::spec::Data;
use heats_domain::{Environment, Inventory, Metrics, SweepSpec, TrialState};
use heats_wire::v1;
use serde_json::Value;

use super::super::series::Series;
use crate::exit::{Exit, Failure};
use crate::output::Fields;
use crate::provenance::Surroundings;
use crate::{sweepfile, view, words};

/// One attempt at a trial, with everything that it followed from.
pub(super) struct Recorded {
    /// The sweep.
    pub sweep: v1::Sweep,
    /// What it was submitted as.
    pub spec: SweepSpec,
    /// The trial.
    pub trial: v1::TrialSummary,
    /// Its seed.
    pub seed: u64,
    /// The attempt.
    pub attempt: v1::Attempt,
    /// What the trial reported, by step: of all attempts, for a later one goes on where an earlier one was.
    pub reports: BTreeMap<u64, Metrics>,
    provenance: Value,
    ran_in: Surroundings,
}

impl Recorded {
    /// Trial `number` of `sweep`; its last attempt, unless one is named.
    pub async fn of(client: &Client, sweep: v1::Sweep, number: u32, attempt: Option<u32>) -> Result<Self, Failure> {
        let whole = client.trial(super::super::best::sweep_id(&sweep), number).await?;
        let found = match attempt {
            None => whole.attempts.last(),
            Some(number) => whole.attempts.iter().find(|one| one.number == number),
        };
        let attempt = found.cloned().ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("trial `{}/{number}` has no such attempt", sweep.name))
        })?;
        let ran_in = Surroundings::of(&whole, &attempt);
        let trial = whole.trial.unwrap_or_default();
        let spec = view::spec(&sweep).ok_or_else(|| {
            Failure::failed("the specification of the sweep cannot be read: the coordinator is newer than this command")
        })?;
        let mut reports = BTreeMap::new();
        let mut series = Series::of(client, &sweep, &trial);
        while let Some(points) = series.next().await? {
            reports.extend(points.into_iter().map(|point| (point.step, point.metrics)));
        }
        let provenance = serde_json::from_str(&sweep.provenance).unwrap_or(Value::Null);
        Ok(Self { sweep, spec, trial, seed: whole.seed, attempt, reports, provenance, ran_in })
    }

    /// `digits/12@1`
    pub fn address(&self) -> String {
        format!("{}/{}@{}", self.sweep.name, self.trial.number, self.attempt.number)
    }

    /// Whether it ran until it ended by itself.
    pub fn is_complete(&self) -> bool {
        TrialState::try_from(self.trial.state) == Ok(TrialState::Completed)
    }

    /// Why it cannot be run again by one process, where it cannot.
    pub fn cannot_be_run_here(&self) -> Option<Failure> {
        let nodes = self.attempt.members.len();
        if nodes > 1 {
            let address = self.address();
            let message = format!(
                "{address} ran as {nodes} processes on {nodes} machines: one process here would wait for the others"
            );
            return Some(Failure::usage(message).hint("without `--run` and `--script` all that it was is shown"));
        }
        self.without_beginning()
    }

    /// A fork has no beginning of its own.
    fn without_beginning(&self) -> Option<Failure> {
        let forked = self.trial.forked_from.as_ref()?;
        let (name, number) = (&self.sweep.name, self.trial.number);
        let message = format!(
            "{name}/{number} cannot be run again alone: it went on from the checkpoint of step {} of {name}/{}",
            forked.step, forked.trial
        );
        let hint = format!(
            "`heats best {name}` and `heats show {name}/{number}` list which configuration trained from which step to which; \
             give your script that schedule"
        );
        Some(Failure::usage(message).hint(hint))
    }

    /// What an agent is told to run it.
    pub fn order(&self) -> v1::Run {
        v1::Run {
            key: Some(v1::AttemptKey {
                sweep: self.sweep.id,
                trial: self.trial.number,
                // From its beginning: there is no checkpoint here to go on from.
                attempt: 1,
            }),
            sweep_name: self.sweep.name.clone(),
            params: self.trial.params.clone(),
            grant: self.attempt.grant.clone(),
            forked: false,
            seed: self.seed,
            spec: self.sweep.spec.clone(),
            base_dir: self.sweep.base_dir.clone(),
            code: self.sweep.code.clone(),
            ..Default::default()
        }
    }

    /// What of its environment is not as `found` is. What an earlier version recorded is a line, and so compared as one.
    pub fn environment_changes(&self, found: &Environment) -> Vec<String> {
        if !self.ran_in.has_environment() {
            let (then, now) = (&self.attempt.environment, &found.summary);
            return (then != now).then(|| format!("it was `{then}`, and is `{now}`")).into_iter().collect();
        }
        let here = Surroundings::here(Some(found.clone()), &Inventory::default(), &Surroundings::default());
        self.ran_in.clone().environment_only().changes(&here.environment_only())
    }

    /// What of its machine is otherwise here. What an earlier version recorded says nothing of it.
    fn hardware_changes(&self, machine: &Inventory) -> Vec<String> {
        let then = self.ran_in.clone().hardware_only();
        if then == Surroundings::default() {
            return Vec::new();
        }
        then.changes(&Surroundings::here(None, machine, &then))
    }

    /// What is not here as it was there, but for the environment: sentences. `machine` is this one.
    pub fn differences(&self, machine: &Inventory) -> Vec<String> {
        let mut differences = Vec::new();
        let then = self.provenance.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        for before in &then {
            let text = |key: &str| before.get(key).and_then(Value::as_str).unwrap_or_default();
            let (name, path) = (text("name"), text("path"));
            let now = sweepfile::fingerprint(&Data { name: name.into(), path: path.into() }, "/".as_ref());
            if now.get("error").is_some() {
                differences.push(format!("data `{name}` is not at {path}"));
            } else if now.get("blake3") != before.get("blake3") {
                differences.push(format!("data `{name}` at {path} has changed since"));
            }
        }
        if self.sweep.code.is_empty() {
            let now = crate::code::provenance(&self.spec, self.sweep.base_dir.as_ref(), None);
            let hash = |code: &Value| code.pointer("/as_it_was/blake3").cloned();
            if hash(&now) != self.provenance.get("code").and_then(hash) {
                differences.push(format!(
                    "the folder {} is not as it was, and the sweep brought no code along (`code: {{ path: . }}`)",
                    self.sweep.base_dir
                ));
            }
        }
        differences.extend(self.hardware_changes(machine));
        let version = self.provenance.get("version").and_then(Value::as_str).unwrap_or_default();
        if version != env!("CARGO_PKG_VERSION") {
            differences.push(format!("it was submitted by heats {version}, and this is {}", env!("CARGO_PKG_VERSION")));
        }
        differences
    }

    /// All of it.
    pub fn fields(&self) -> Fields {
        let params: Fields = self
            .trial
            .params
            .iter()
            .flat_map(heats_domain::Params::iter)
            .fold(Fields::new(), |fields, (name, value)| {
                fields.with(name, serde_json::to_value(value).unwrap_or_default())
            });
        Fields::new()
            .with("address", self.address())
            .with("command", self.spec.command.clone())
            .with("params", params)
            .with("seed", self.seed)
            .with("archive", self.sweep.code.as_str())
            .with("code", self.provenance.get("code").cloned())
            .with("data", self.provenance.get("data").cloned())
            .with("environment", self.attempt.environment.as_str())
            .with("surroundings", self.ran_in.fields())
            .with("agent", self.attempt.agent_name.as_str())
            .with("reports", self.reports.len())
    }

    /// The same for people.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let code = self.provenance.get("code");
        let text = |path: &str| code.and_then(|code| code.pointer(path)).and_then(Value::as_str).unwrap_or_default();
        let is_dirty = code.and_then(|code| code.pointer("/git/dirty")) == Some(&Value::Bool(true));
        writeln!(out, "\x1b[1m{}\x1b[0m", self.address())?;
        let command: Vec<String> = self.spec.command.iter().map(|word| words::quoted(word)).collect();
        writeln!(out, "  command      {}", command.join(" "))?;
        for (name, value) in self.trial.params.iter().flat_map(heats_domain::Params::iter) {
            writeln!(out, "  {name:12} {value}")?;
        }
        writeln!(out, "  seed         {}", self.seed)?;
        match self.sweep.code.as_str() {
            "" => writeln!(out, "  code         the folder {} as it was", self.sweep.base_dir)?,
            name => writeln!(out, "  code         archive {name}")?,
        }
        if !text("/git/commit").is_empty() {
            let changed = if is_dirty { ", with changes that were not committed" } else { "" };
            writeln!(out, "  git          {}{changed}", text("/git/commit"))?;
        }
        let line = || Some(self.attempt.environment.clone()).filter(|line| !line.is_empty());
        let environment = self.ran_in.environment_line().or_else(line);
        writeln!(out, "  environment  {}", environment.unwrap_or_else(|| "the agent's own".to_owned()))?;
        if let Some(machine) = self.ran_in.hardware_line() {
            writeln!(out, "  machine      {machine}")?;
        }
        writeln!(out, "  agent        {}", self.attempt.agent_name)
    }
}
