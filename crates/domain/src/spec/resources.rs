//! What a trial asks of a machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one;
use crate::resources::GPU_PARTS;
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
    /// Machines that one trial spans.
    #[serde(default = "one")]
    pub nodes: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { when: None, gpus: 0.0, gpu_memory: None, cpus: 1, memory: None, disk: None, require: None, nodes: 1 }
    }
}

impl Resources {
    /// The GPUs in hundredths of one, see [`GPU_PARTS`].
    pub fn gpu_parts(&self) -> u32 {
        (self.gpus * f64::from(GPU_PARTS)).round() as u32
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
