//! What the machine offers: processors, memory, disk, GPUs.

mod amd;
mod device;
mod fake;
mod host;
mod id;
mod installed;
pub mod labels;
mod nvidia;
pub mod rendezvous;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use heats_domain::Inventory;
use heats_domain::resources::Gpu;
use heats_domain::units::Bytes;

pub use device::{Device, GpuSource, Maker, User};
pub use fake::Fake;
pub use id::id;

/// Most GPUs that can be pretended.
const FAKES_MOST: u32 = 1024;

/// Which GPUs are offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gpus {
    /// `auto`: those that the machine has.
    Auto,
    /// `none`: none, whatever it has.
    None,
    /// `fake:N[,MODEL[,MEMORY]]`: some that are not there.
    Fake(Fake),
}

/// Why `--gpus` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` does not say which GPUs: write `auto`, `none`, `fake:N` or `fake:N,MODEL,MEMORY`, for example \
     `fake:4,H100,80GiB`"
)]
pub struct GpusError {
    text: String,
}

impl FromStr for Gpus {
    type Err = GpusError;

    fn from_str(text: &str) -> Result<Self, GpusError> {
        let error = || GpusError { text: text.to_owned() };
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mut words = text.strip_prefix("fake:").ok_or_else(error)?.split(',');
        let count = words.next().and_then(|word| word.parse().ok()).filter(|n| *n <= FAKES_MOST).ok_or_else(error)?;
        let model = words.next().unwrap_or("fake").to_owned();
        let memory: Bytes = words.next().unwrap_or("16GiB").parse().map_err(|_| error())?;
        if words.next().is_some() || model.is_empty() {
            return Err(error());
        }
        Ok(Self::Fake(Fake { count, model, memory: memory.count }))
    }
}

impl Gpus {
    /// Where they are looked up.
    pub fn source(&self) -> Arc<dyn GpuSource> {
        match self {
            Self::Auto => Arc::new(installed::Installed::load()),
            Self::None => Arc::new(Fake { count: 0, model: String::new(), memory: 0 }),
            Self::Fake(fake) => Arc::new(fake.clone()),
        }
    }
}

/// What was found on the machine.
#[derive(Clone)]
pub struct Hardware {
    /// What is offered: no label, and of the GPUs those that can be used.
    pub inventory: Inventory,
    /// Every GPU.
    pub devices: Vec<Device>,
    /// Why GPUs may be missing, for people.
    pub trouble: Option<String>,
    /// Where the GPUs are looked up.
    pub source: Arc<dyn GpuSource>,
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hardware").field("inventory", &self.inventory).finish_non_exhaustive()
    }
}

/// What the machine offers, as far as this process may use it: the GPUs of `source`, and the disk of `data_dir`.
pub fn detect(source: Arc<dyn GpuSource>, data_dir: &Path) -> Hardware {
    let devices = source.look();
    let gpus: Vec<Gpu> =
        devices.iter().filter(|device| device.fault.is_none()).map(|device| device.gpu.clone()).collect();
    let mut facts = host::facts();
    facts.extend(source.driver().map(|driver| ("driver".to_owned(), driver)));
    facts.extend(source.cuda().map(|cuda| ("cuda".to_owned(), cuda)));
    let (cpus, memory, disk) = (host::cpus(), host::memory(), host::disk(data_dir));
    let inventory = Inventory { cpus, memory, gpus, disk, facts, ..Inventory::default() };
    Hardware { inventory, devices, trouble: source.trouble(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretended_gpus_have_a_model_and_memory() {
        let fake: Gpus = "fake:2,H100,80GiB".parse().expect("reads");
        let Hardware { inventory, devices, .. } = detect(fake.source(), Path::new("/"));
        assert_eq!(inventory.gpus[1], Gpu { index: 1, model: "H100".into(), memory: 80 << 30, ..Gpu::default() });
        assert_eq!(devices[1].handle(), "1", "it has no UUID");
        assert_eq!("none".parse::<Gpus>().expect("reads").source().look(), []);
        for bad in ["", "2", "fake:", "fake:x", "fake:1,,1GiB", "fake:1,a,b", "fake:1,a,1GiB,c", "fake:99999"] {
            assert!(bad.parse::<Gpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gpu_with_a_fault_is_found_and_not_offered() {
        #[derive(Debug)]
        struct OneBroken;
        impl GpuSource for OneBroken {
            fn look(&self) -> Vec<Device> {
                let mut devices = Fake { count: 2, model: "H100".into(), memory: 1 }.look();
                devices[0].fault = Some("it is on fire".into());
                devices
            }
            fn driver(&self) -> Option<String> {
                Some("nvidia 570.1".into())
            }
        }
        let Hardware { inventory, devices, .. } = detect(Arc::new(OneBroken), Path::new("/"));
        assert_eq!((inventory.gpus.len(), inventory.gpus[0].index, devices.len()), (1, 1, 2));
        assert_eq!(inventory.facts["driver"], "nvidia 570.1");
    }
}
