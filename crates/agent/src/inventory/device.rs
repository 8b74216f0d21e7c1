//! GPUs as the machine has them, and where they are looked up.

use std::fmt;

use heats_domain::resources::Gpu;

/// Whose software drives a GPU, and so which variable says that a process may see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// Seen by `CUDA_VISIBLE_DEVICES`.
    Nvidia,
    /// Seen by `ROCR_VISIBLE_DEVICES`.
    Amd,
    /// Pretended, for both.
    Fake,
}

/// A process that uses a GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// Its id, as the driver knows it: within a container, the machine's and not the container's.
    pub pid: u32,
    /// Device memory in bytes that it holds; 0 where the driver does not say.
    pub memory: u64,
}

/// A GPU, or a slice of one, as it is at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// What it is offered as. Its number is the same at every look, whatever becomes of the others.
    pub gpu: Gpu,
    /// Whose it is.
    pub maker: Maker,
    /// Its number among the GPUs of its maker; a slice has that of the GPU that it is of.
    pub ordinal: u32,
    /// Why it cannot be used, as a fragment; `None` where it can.
    pub fault: Option<String>,
    /// Who uses it.
    pub users: Vec<User>,
}

impl Device {
    /// What the maker's variable calls it: its UUID, which means the same whatever else is visible; else its number.
    pub fn handle(&self) -> String {
        if self.gpu.uuid.is_empty() { self.ordinal.to_string() } else { self.gpu.uuid.clone() }
    }

    /// Who uses it, as a fragment: `in use by 2 processes, 1024 MiB`; `None` where nobody does.
    pub fn use_by(&self, users: &[User]) -> Option<String> {
        let memory = users.iter().map(|user| user.memory).sum::<u64>() >> 20;
        match users {
            [] => None,
            [one] => Some(format!("in use by process {}, {memory} MiB", one.pid)),
            many => Some(format!("in use by {} processes, {memory} MiB", many.len())),
        }
    }
}

/// Where an agent looks up its GPUs.
pub trait GpuSource: Send + Sync + fmt::Debug {
    /// Every GPU as it is now, by number, those that cannot be used among them. May take as long as a driver takes to answer.
    fn look(&self) -> Vec<Device>;

    /// The version of the driver; `None` where there is none.
    fn driver(&self) -> Option<String> {
        None
    }

    /// The latest version of CUDA that the driver runs; `None` where there is none.
    fn cuda(&self) -> Option<String> {
        None
    }

    /// Why GPUs may be missing, for people; `None` where nothing says so.
    fn trouble(&self) -> Option<String> {
        None
    }
}
