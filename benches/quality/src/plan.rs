//! What is compared, on what.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use heats_domain::SweepSpec;
use heats_domain::document::{self, Format};
use heats_domain::units::Span;
use heats_sim::benchmark::Benchmark;

/// A searcher with a stopper.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    search: &'static str,
    early_stop: &'static str,
}

/// What every other setting is compared with.
pub(crate) const YARDSTICK: &str = "random + asha";

const WHOLE: &str = r#"{"algorithm": "none"}"#;
/// On `rbv2_xgboost`, whose last step is 27, its last rung is the end.
const HYPERBAND: &str = r#"{"algorithm": "hyperband", "min": 1, "max": 51}"#;
/// With the ladder of the sweep file.
const LADDER: &str = "";

/// The rungs of the `asha` ladder in the sweep files, for the rules that have trials hold at them.
const PROMOTION: &str = r#"{"algorithm": "asha_promotion", "min": 1, "max": 51, "eta": 3}"#;
const SYNCHRONOUS: &str = r#"{"algorithm": "hyperband_sync", "min": 1, "max": 51, "eta": 3}"#;
const PASHA: &str = r#"{"algorithm": "pasha", "min": 1, "max": 51, "eta": 3}"#;

pub(crate) const SETTINGS: [Setting; 14] = [
    Setting { name: "auto + asha", search: r#"{"algorithm": "auto"}"#, early_stop: LADDER },
    Setting { name: YARDSTICK, search: r#"{"algorithm": "random"}"#, early_stop: LADDER },
    Setting { name: "auto + hyperband", search: r#"{"algorithm": "auto"}"#, early_stop: HYPERBAND },
    Setting { name: "auto + asha_promotion", search: r#"{"algorithm": "auto"}"#, early_stop: PROMOTION },
    Setting { name: "random + asha_promotion", search: r#"{"algorithm": "random"}"#, early_stop: PROMOTION },
    Setting { name: "random + hyperband_sync", search: r#"{"algorithm": "random"}"#, early_stop: SYNCHRONOUS },
    Setting { name: "random + pasha", search: r#"{"algorithm": "random"}"#, early_stop: PASHA },
    Setting { name: "bohb + asha", search: r#"{"algorithm": "bohb"}"#, early_stop: LADDER },
    Setting { name: "tpe + asha", search: r#"{"algorithm": "tpe"}"#, early_stop: LADDER },
    Setting { name: "auto", search: r#"{"algorithm": "auto"}"#, early_stop: WHOLE },
    Setting { name: "gp", search: r#"{"algorithm": "gp"}"#, early_stop: WHOLE },
    Setting { name: "tpe", search: r#"{"algorithm": "tpe"}"#, early_stop: WHOLE },
    Setting { name: "cmaes", search: r#"{"algorithm": "cmaes"}"#, early_stop: WHOLE },
    Setting { name: "random", search: r#"{"algorithm": "random"}"#, early_stop: WHOLE },
];

/// Some tasks, a number of agents, and the budgets after which regret is looked at.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    benchmark: &'static str,
    tasks: &'static [&'static str],
    pub(crate) agents: u32,
    /// In average full trainings, for each agent; ascending.
    pub(crate) budgets: &'static [f64],
    /// Settings that are not run here, since they cost more than they would tell.
    left_out: &'static [&'static str],
}

pub(crate) const SUITES: [Suite; 4] = [
    Suite {
        name: "lcbench-4-agents",
        benchmark: "lcbench",
        tasks: &["189909", "168868", "167184", "167168", "168331", "167152"],
        agents: 4,
        budgets: &[1.0, 2.0, 5.0, 10.0],
        left_out: &[],
    },
    // Nobody looked at these before all choices were made.
    Suite {
        name: "lcbench-others-4-agents",
        benchmark: "lcbench",
        tasks: &["168910", "167149", "126029", "189862"],
        agents: 4,
        budgets: &[1.0, 2.0, 5.0, 10.0],
        left_out: &["auto + hyperband", "cmaes", "random + hyperband_sync", "random + pasha"],
    },
    Suite {
        name: "lcbench-32-agents",
        benchmark: "lcbench",
        tasks: &["189909", "168868", "167184", "167168", "168331", "167152"],
        agents: 32,
        budgets: &[1.0, 2.0, 5.0, 10.0],
        left_out: &["auto + hyperband", "bohb + asha", "cmaes", "random + hyperband_sync", "random + pasha"],
    },
    Suite {
        name: "rbv2_xgboost-4-agents",
        benchmark: "rbv2_xgboost",
        tasks: &["1501", "12", "40499", "16"],
        agents: 4,
        budgets: &[1.0, 2.0, 5.0],
        left_out: &[],
    },
];

impl Setting {
    pub(crate) fn fits(&self, suite: &Suite) -> bool {
        !suite.left_out.contains(&self.name)
    }
}

impl Suite {
    pub(crate) fn open(&self, data: &Path) -> Result<Vec<Benchmark>> {
        let files = |name: &str| std::fs::read(data.join(name)).map_err(|error| error.to_string());
        let open = |id: &&str| Ok(Benchmark::open(&format!("{}/{id}", self.benchmark), &files)?);
        self.tasks.iter().map(open).collect()
    }

    /// The sweep of a setting on a task, ended by the largest budget.
    pub(crate) fn spec(&self, setting: &Setting, task: &Benchmark, seed: u64) -> Result<SweepSpec> {
        let path = format!("{}/{}.yaml", env!("CARGO_MANIFEST_DIR"), self.benchmark);
        let bytes = std::fs::read(&path).with_context(|| path.clone())?;
        let (mut spec, _) = document::read(&bytes, Format::Yaml).map_err(|faults| anyhow!("{path}: {faults}"))?;
        spec.search = serde_json::from_str(setting.search)?;
        spec.search.seed = Some(seed);
        if !setting.early_stop.is_empty() {
            spec.early_stop = serde_json::from_str(setting.early_stop)?;
        }
        let most = self.budgets.last().copied().unwrap_or(1.0);
        let ms = (task.full_cost_s() * most * 1e3).round() as u64;
        (spec.budget.wall, spec.budget.trials) = (Some(Span { ms }), Some(1_000_000));
        Ok(spec)
    }
}
