//! GPUs that are not there, to try out what a sweep asks for.

use heats_domain::resources::Gpu;

use super::device::{Device, GpuSource, Maker};

/// So many of one model; none is the machine without GPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fake {
    /// How many.
    pub count: u32,
    /// The model of each.
    pub model: String,
    /// The memory of each in bytes.
    pub memory: u64,
}

impl GpuSource for Fake {
    fn look(&self) -> Vec<Device> {
        let gpu = |index| Gpu { index, model: self.model.clone(), memory: self.memory, ..Gpu::default() };
        let device =
            |index| Device { gpu: gpu(index), maker: Maker::Fake, ordinal: index, fault: None, users: Vec::new() };
        (0..self.count).map(device).collect()
    }
}
