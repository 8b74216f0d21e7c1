//! The sweep file, field by field. These types are the file: YAML, TOML and JSON read into them, the
//! published JSON schema is made from them, and the log keeps them as JSON.
//!
//! They say what may be written, not whether it makes sense together: see `check`.

mod notify;
mod resources;
mod retry;
mod run;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Span};
use crate::{Direction, Domain, Expr, Parameter, Params, Space, Value};

pub use notify::{Notify, NotifyOn};
pub use resources::{Needs, Resources};
pub use retry::{OutOfMemory, Retry, Variants};
pub use run::{Checkpoints, ExitMeaning, Run};

/// A map of plug parameters: whatever stands beside `algorithm`. The plug itself refuses what it does not know.
pub type PlugParams = BTreeMap<String, serde_json::Value>;

/// A sweep: what to run, over which space, for which objective, within which limits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepSpec {
    /// The version of this format: 1.
    #[serde(default = "one")]
    pub version: u32,
    /// What the sweep is called. Letters, digits, `-`, `_` and `.`; unique among live sweeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The project that the sweep is part of: what quotas and shares are counted for, beside users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Which sweeps get places first, from 0 to 100: those of a higher priority, and a sweep that waits long takes places of
    /// lower ones.
    #[serde(default = "usual_priority", skip_serializing_if = "is_usual_priority")]
    pub priority: u32,
    /// The program and its arguments. `${args}` is every parameter as `--name=value`; `${name}` one
    /// value; also `${args_json_file}`, `${trial.number}`, `${seed}`; `$$` is a dollar sign. No shell is involved.
    pub command: Vec<String>,
    /// The code that the command needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The environment that the command runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Env>,
    /// Data whose fingerprint becomes part of the provenance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Data>,
    /// The parameters, by name.
    #[serde(default)]
    pub space: SpaceSpec,
    /// What every configuration must satisfy, in CEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Expr>,
    /// What to make small or large. Without it, the sweep runs its trials and ranks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objectives>,
    /// How configurations are proposed.
    #[serde(default)]
    pub search: Search,
    /// When a trial is stopped before its end.
    #[serde(default)]
    pub early_stop: EarlyStop,
    /// How much the sweep may use.
    #[serde(default)]
    pub budget: Budget,
    /// What one trial needs of a machine, or several such needs in order of preference.
    #[serde(default)]
    pub resources: Needs,
    /// How a trial's process is treated.
    #[serde(default)]
    pub run: Run,
    /// Which checkpoints of the trials are kept.
    #[serde(default, skip_serializing_if = "Checkpoints::is_default")]
    pub checkpoints: Checkpoints,
    /// Who is told about what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The priority of sweeps that say none.
pub const PRIORITY: u32 = 50;
/// The highest priority.
pub const PRIORITY_MAX: u32 = 100;
/// The project of sweeps that say none.
pub const PROJECT: &str = "default";

const fn usual_priority() -> u32 {
    PRIORITY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_usual_priority(priority: &u32) -> bool {
    *priority == PRIORITY
}

/// The code of the command. It is sent along with the sweep, in an archive that is named by its content: each attempt runs
/// in a copy of its own, on whichever machine. Without this, trials run in the sweep file's folder as it is then, which has
/// to be on their machine. Left out are what `.gitignore` and `.heatsignore` name, `.git`, and virtual environments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The folder, relative to the sweep file; the sweep file's own where it is not given. The command runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A revision of the git repository that the folder is in: a branch, a tag or a commit. The folder is then sent as it was
    /// committed there, whatever it holds now. Or a repository elsewhere, by its address or path, with a revision of it:
    /// `https://host/repo.git#v1.2`; `path` is then a folder in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Patterns to leave out, as in `.gitignore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// How large the archive may be; 256 MiB unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Bytes>,
}

/// The environment that the command runs in: one of these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Env {
    /// A Python virtual environment with the packages of this requirements file, relative to the sweep
    /// file; made once per agent and cached by the file's hash.
    Python(String),
    /// An environment that is there already: its `bin` comes first on the path.
    Prefix(String),
    /// A container image, by the name under which docker or podman has it or fetches it; or the file of an apptainer image. It
    /// is fetched once per agent, and run by whichever of these the agent has; `command` takes the place of the image's own.
    Container(String),
}

/// A named input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// What it is called.
    pub name: String,
    /// Where it is, relative to the sweep file.
    pub path: String,
}

/// The parameters in the file's order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SpaceSpec {
    /// Name and domain.
    pub parameters: Vec<(String, ParameterSpec)>,
}

impl Serialize for SpaceSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.parameters.iter().map(|(name, spec)| (name, spec)))
    }
}

impl<'de> Deserialize<'de> for SpaceSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = SpaceSpec;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping from parameter names to domains")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<SpaceSpec, A::Error> {
                let mut parameters = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    parameters.push(entry);
                }
                Ok(SpaceSpec { parameters })
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl JsonSchema for SpaceSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Space".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, ParameterSpec>::json_schema(generator)
    }
}

/// What one parameter can be: a range, a choice, or a constant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ParameterSpec {
    /// Real numbers.
    Float(FloatSpec),
    /// Whole numbers.
    Int(IntSpec),
    /// One of a list.
    Choice(ChoiceSpec),
    /// Always the same.
    Const(Value),
}

/// Real numbers from the first to the second, both included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FloatSpec {
    /// The smallest and the largest value.
    pub float: [f64; 2],
    /// Uniform in the logarithm.
    #[serde(default, skip_serializing_if = "is_false")]
    pub log: bool,
    /// Only multiples of this above the smallest; it must divide the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// A CEL condition over other parameters; where it does not hold, this one has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
}

/// Whole numbers from the first to the second, both included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntSpec {
    /// The smallest and the largest value.
    pub int: [i64; 2],
    /// Uniform in the logarithm.
    #[serde(default, skip_serializing_if = "is_false")]
    pub log: bool,
    /// Only multiples of this above the smallest; it must divide the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    /// A CEL condition over other parameters; where it does not hold, this one has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
}

/// One of a list of scalars, in no order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceSpec {
    /// The values.
    pub choice: Vec<Value>,
    /// A CEL condition over other parameters; where it does not hold, this one has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
}

/// One objective, or several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Objectives {
    /// One.
    One(Objective),
    /// Two to four: the sweep looks for the Pareto front, the trials that no other is better than in one objective without
    /// being worse in another. A report counts once it has all of their metrics; a trial stands where its last such report is.
    Several(Vec<Objective>),
}

/// What to make small or large: exactly one of `minimize` and `maximize`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The name of a metric of which small values are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimize: Option<String>,
    /// The name of a metric of which large values are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximize: Option<String>,
    /// End the sweep once a trial reports a value at least as good as this; of several objectives, once one report reaches
    /// every `stop_at` there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<f64>,
    /// Once all trials have ended, run the leaders again on fresh seeds, and rank them by the mean of these runs alone: the
    /// value that made a trial the best of many is too good on average. The runs come on top of `budget.trials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
}

impl Objective {
    /// The metric's name.
    pub fn metric(&self) -> &str {
        self.minimize.as_deref().or(self.maximize.as_deref()).unwrap_or_default()
    }

    /// Which way is better.
    pub const fn direction(&self) -> Direction {
        if self.maximize.is_some() { Direction::Maximize } else { Direction::Minimize }
    }
}

/// How the winner is confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// How many of the best trials are run again; of those with the same configuration, one.
    pub top: u32,
    /// With how many fresh seeds each. One gives a mean and no interval.
    pub seeds: u32,
}

/// How configurations are proposed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    /// The searcher: `auto`, `random`, `grid`, `sobol`, `tpe`, `gp`, `cmaes`, `bohb`, `nsga2`, `pbt`.
    #[serde(default = "auto")]
    pub algorithm: String,
    /// What every random choice of the sweep follows from; drawn at submission where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Configurations to try first; what one leaves open, the searcher fills in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<Params>,
    /// Earlier sweeps to learn from, by name or id: trials of theirs that are configurations of this space. What they found out
    /// becomes part of this sweep when it is submitted, and the best of each is tried first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The searcher's own parameters.
    #[serde(flatten)]
    pub params: PlugParams,
}

impl Default for Search {
    fn default() -> Self {
        Self { algorithm: auto(), seed: None, enqueue: Vec::new(), from: Vec::new(), params: PlugParams::new() }
    }
}

fn auto() -> String {
    "auto".into()
}

/// When a trial is stopped before its end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EarlyStop {
    /// The stopper: `none`, `asha`, `asha_promotion`, `hyperband`, `hyperband_sync`, `pasha`, `median`, `threshold`,
    /// `patience`, `wilcoxon`.
    pub algorithm: String,
    /// What a step counts, for people: `epoch`, `iteration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The share of doomed trials that run on as a control group, above 0 and below 1: what became of them says whether the
    /// rule ends good ones (`heats show`). It changes no verdict on the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<f64>,
    /// The stopper's own parameters.
    #[serde(flatten)]
    pub params: PlugParams,
}

impl Default for EarlyStop {
    fn default() -> Self {
        Self { algorithm: "none".into(), resource: None, audit: None, params: PlugParams::new() }
    }
}

/// How much the sweep may use.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How many trials are created. Without it, a grid runs to its end, and everything else needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// How many may run at once; as many as fit where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// How long the sweep may take; running trials are then stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<Span>,
    /// How many GPU-hours its attempts may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
    /// The sweep ends once its best trials hardly differ any more: no more are proposed, and those that run finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
    /// The sweep ends likewise once the best there is can be expected to be no more than this better than the best found,
    /// in the objective's own units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
    /// The sweep fails once this many trials have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
}

/// When the best trials hardly differ any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// How many of the best trials are looked at.
    pub top: u32,
    /// The largest standard deviation of their values, in the objective's own units, that is a plateau.
    pub std: f64,
    /// So many trials may end on a plateau, one after the other, before it counts.
    pub patience: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { top: 10, std: 0.001, patience: 0 }
    }
}

impl SweepSpec {
    /// The objectives, in the file's order; none where there is none.
    pub fn objectives(&self) -> &[Objective] {
        match &self.objective {
            None => &[],
            Some(Objectives::One(objective)) => std::slice::from_ref(objective),
            Some(Objectives::Several(list)) => list,
        }
    }

    /// The first objective, where there is one.
    pub fn objective(&self) -> Option<&Objective> {
        self.objectives().first()
    }

    /// The same, asking of machines what its environment needs of them: for a container, something that runs it.
    #[must_use]
    pub fn for_its_environment(self) -> Self {
        match &self.env {
            Some(Env::Container(_)) => Self { resources: self.resources.in_container(), ..self },
            Some(Env::Python(_) | Env::Prefix(_)) | None => self,
        }
    }

    /// What a trial needs of a machine: the variants, the preferred first. Never empty in a sweep that was checked.
    pub fn variants(&self) -> &[Resources] {
        match &self.resources {
            Needs::One(need) => std::slice::from_ref(need),
            Needs::Several(list) => list,
        }
    }

    /// The search space, each parameter after those that its condition mentions. A parameter whose
    /// condition mentions itself, directly or by way of others, is left out; `check` reports it.
    pub fn space(&self) -> Space {
        let mut waiting: Vec<Parameter> =
            self.space.parameters.iter().map(|(name, spec)| spec.parameter(name)).collect();
        let mut parameters: Vec<Parameter> = Vec::new();
        loop {
            // In the file's order: the first whose condition mentions none that still waits.
            let ready = waiting.iter().position(|candidate| {
                candidate.when.as_ref().is_none_or(|when| {
                    let mentions = when.mentions();
                    !waiting.iter().any(|other| mentions.contains(&other.name))
                })
            });
            match ready {
                Some(i) => parameters.push(waiting.remove(i)),
                None => break,
            }
        }
        Space { parameters, constraints: self.constraints.clone() }
    }
}

impl ParameterSpec {
    /// The condition, where there is one.
    pub const fn when(&self) -> Option<&Expr> {
        match self {
            Self::Float(spec) => spec.when.as_ref(),
            Self::Int(spec) => spec.when.as_ref(),
            Self::Choice(spec) => spec.when.as_ref(),
            Self::Const(_) => None,
        }
    }

    fn parameter(&self, name: &str) -> Parameter {
        let domain = match self {
            Self::Float(FloatSpec { float: [low, high], log, step, when: _ }) => {
                Domain::Float { low: *low, high: *high, log: *log, step: *step }
            }
            Self::Int(IntSpec { int: [low, high], log, step, when: _ }) => {
                Domain::Int { low: *low, high: *high, log: *log, step: step.unwrap_or(1) }
            }
            Self::Choice(ChoiceSpec { choice, when: _ }) => Domain::Choice(choice.clone()),
            Self::Const(value) => Domain::Const(value.clone()),
        };
        Parameter { name: name.to_owned(), domain, when: self.when().cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SweepSpec {
        serde_json::from_value(json).expect("a valid spec")
    }

    #[test]
    fn a_spec_survives_its_own_json() {
        let spec = spec(serde_json::json!({
            "command": ["python", "train.py", "${args}"],
            "env": {"python": "requirements.txt"},
            "space": {
                "lr": {"float": [1e-5, 0.1], "log": true},
                "width": {"int": [32, 512], "step": 32},
                "opt": {"choice": ["sgd", "adamw", 3, 1.5, true]},
                "momentum": {"float": [0.0, 0.99], "when": "opt == \"sgd\""},
                "epochs": 27
            },
            "objective": {"minimize": "val_loss", "stop_at": 0.05},
            "search": {"algorithm": "tpe", "seed": 7, "n_startup_trials": 20},
            "early_stop": {"algorithm": "asha", "min": 1, "max": 27, "eta": 3},
            "run": {"timeout": "2h", "exit_codes": {"75": "retry"}}
        }));
        let text = serde_json::to_string(&spec).expect("serialises");
        assert_eq!(serde_json::from_str::<SweepSpec>(&text).expect("parses"), spec);
        assert_eq!(spec.search.params["n_startup_trials"], 20);
        let names: Vec<&str> = spec.space.parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lr", "width", "opt", "momentum", "epochs"], "the file's order");
    }

    #[test]
    fn a_parameter_comes_after_those_that_its_condition_mentions() {
        let spec = spec(serde_json::json!({
            "command": ["true"],
            "space": {
                "b": {"int": [1, 2], "when": "c > 0"},
                "a": {"int": [1, 2]},
                "c": {"int": [0, 2], "when": "a == 1"},
                "x": {"int": [0, 2], "when": "y == 1"},
                "y": {"int": [0, 2], "when": "x == 1"}
            }
        }));
        let names: Vec<String> = spec.space().parameters.into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a", "c", "b"], "the cycle of x and y is left out");
    }
}
