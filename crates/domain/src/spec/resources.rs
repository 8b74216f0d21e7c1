//! What a trial asks of a machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one;
use crate::resources::{CONTAINER_FACT, GPU_PARTS};
use crate::units::Bytes;
use crate::{Expr, Params};

/// What one trial needs of a machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Needs {
    /// The same for every trial.
    One(Resources),
    /// Variants, the preferred first: a trial takes the first for which there is a place, of those whose `when` holds for its
    /// configuration.
    Several(Vec<Resources>),
}

impl Needs {
    /// The same, and machines that run containers.
    pub(super) fn in_container(self) -> Self {
        match self {
            Self::One(resources) => Self::One(resources.in_container()),
            Self::Several(variants) => Self::Several(variants.into_iter().map(Resources::in_container).collect()),
        }
    }
}

impl Default for Needs {
    fn default() -> Self {
        Self::One(Resources::default())
    }
}

/// What one trial needs of a machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// A CEL condition over the parameters: this variant is for configurations for which it holds, and for all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
    /// GPUs: a whole number, or below 1 a share of one device, to 0.01.
    #[serde(default)]
    pub gpus: f64,
    /// Device memory that each of these GPUs has at least; of a shared device, that the share of its memory is at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<Bytes>,
    /// Processors.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Disk that the trial may fill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// A CEL condition over a machine and each GPU that is taken of it: `gpu.name in ["A100", "H100"] && labels.zone == "a"`.
    /// There are `gpu.name`, `gpu.model`, `gpu.memory`, `gpu.slice`, `cpus`, `memory`, `disk`, `agent.name`, `labels.NAME` and
    /// `facts.NAME`; sizes are in bytes, and all are what the machine has, not what is free. What a machine does not say makes
    /// no condition true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Expr>,
    /// Machines that one trial spans, each of which gives all of the above: 1 to 64. Above 1 its processes get `MASTER_ADDR`,
    /// `MASTER_PORT`, `WORLD_SIZE` and `NODE_RANK`, and begin and end together.
    #[serde(default = "one")]
    pub nodes: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { when: None, gpus: 0.0, gpu_memory: None, cpus: 1, memory: None, disk: None, require: None, nodes: 1 }
    }
}

impl Resources {
    /// The same, and a machine that runs containers.
    fn in_container(self) -> Self {
        if self.asks_for_containers() {
            return self;
        }
        let runs = runs_containers();
        let both = match &self.require {
            None => runs,
            Some(require) => format!("({}) && {runs}", require.source()),
        };
        // What was a condition is one with this at its end, unless it is too long: then trials find out for themselves.
        let require = Expr::parse(&both).ok().or_else(|| self.require.clone());
        Self { require, ..self }
    }

    /// Whether it is for machines that run containers.
    pub fn asks_for_containers(&self) -> bool {
        self.require.as_ref().is_some_and(|require| require.source().ends_with(&runs_containers()))
    }

    /// The GPUs in hundredths of one, see [`GPU_PARTS`].
    pub fn gpu_parts(&self) -> u32 {
        (self.gpus * f64::from(GPU_PARTS)).round() as u32
    }

    /// The same on all of its machines together.
    pub fn gpu_parts_in_all(&self) -> u64 {
        u64::from(self.gpu_parts()) * u64::from(self.nodes)
    }

    /// Whether it takes several machines.
    pub const fn spans_machines(&self) -> bool {
        self.nodes > 1
    }

    /// Whether this variant is for the configuration. A condition that cannot be computed for it does not hold.
    pub fn is_for(&self, params: &Params) -> bool {
        self.when.as_ref().is_none_or(|when| when.holds(params) == Ok(true))
    }

    /// Whether it asks for no less memory than `other`, of the machine and of its GPUs together: a trial that ran out of memory
    /// with `other` may fit.
    pub fn asks_for_no_less_memory_than(&self, other: &Self) -> bool {
        let memory = |need: &Self| need.memory.map_or(0, |memory| memory.count);
        let of_gpus = |need: &Self| {
            let each = need.gpu_memory.map_or(0, |memory| u128::from(memory.count));
            // Of a shared device, `gpu_memory` is what the share of it is.
            each * u128::from(need.gpu_parts().div_ceil(GPU_PARTS))
        };
        memory(self) >= memory(other) && of_gpus(self) >= of_gpus(other)
    }

    /// Whether it is a share of a device that others may have shares of.
    pub fn shares_a_gpu(&self) -> bool {
        (1..GPU_PARTS).contains(&self.gpu_parts())
    }
}

/// What holds for machines that run containers.
fn runs_containers() -> String {
    format!("has(facts.{CONTAINER_FACT})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inventory, Machine, SweepSpec};

    #[test]
    fn a_sweep_in_a_container_asks_for_machines_that_run_one_beside_what_it_asks_for_itself() {
        let spec = |require: serde_json::Value| -> SweepSpec {
            let file = serde_json::json!({
                "command": ["true"], "env": {"container": "python:3.12"}, "budget": {"trials": 1},
                "resources": {"require": require},
            });
            serde_json::from_value(file).expect("a specification")
        };
        let holds = |spec: &SweepSpec, cpus, runtime: Option<&str>| {
            let facts = runtime.map(|runtime| (CONTAINER_FACT.to_owned(), runtime.to_owned()));
            let inventory = Inventory { cpus, facts: facts.into_iter().collect(), ..Inventory::default() };
            let [need] = spec.variants() else { panic!("one") };
            let require = need.require.as_ref().expect("has one");
            Machine { name: "a", inventory: &inventory }.satisfies(require, None).expect("is computed")
        };
        let plain = spec(serde_json::Value::Null).for_its_environment();
        assert!(holds(&plain, 1, Some("podman 5.0")) && !holds(&plain, 1, None));
        let large = spec("cpus > 4 || cpus == 1".into()).for_its_environment();
        assert!(holds(&large, 8, Some("docker 27")) && !holds(&large, 8, None) && !holds(&large, 2, Some("docker 27")));
        assert_eq!(large.clone().for_its_environment(), large, "once is enough");
    }
}
