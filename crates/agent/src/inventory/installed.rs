//! The GPUs that are built into the machine.

use super::amd::Amd;
use super::device::{Device, GpuSource, Maker};
use super::nvidia::Nvidia;

/// What the drivers have, as far as whoever started the agent lets it see them.
#[derive(Debug)]
pub struct Installed {
    nvidia: Nvidia,
    amd: Amd,
    visible: Visible,
}

/// The makers' variables, as the agent was started with them: a batch system, or a person who shares the machine, says
/// with them which GPUs are the agent's. NVML and `/sys` do not heed them.
#[derive(Clone, Debug, Default)]
pub struct Visible {
    cuda: Option<String>,
    rocr: Option<String>,
}

impl Installed {
    /// Looks for the drivers.
    pub fn load() -> Self {
        Self { nvidia: Nvidia::load(), amd: Amd::new("/sys"), visible: Visible::of_this_process() }
    }
}

impl GpuSource for Installed {
    fn look(&self) -> Vec<Device> {
        let mut devices = self.nvidia.look();
        devices.extend(self.amd.look());
        for (device, index) in devices.iter_mut().zip(0..) {
            device.gpu.index = index;
            device.fault = device.fault.take().or_else(|| self.visible.hides(device));
        }
        devices
    }

    fn driver(&self) -> Option<String> {
        let nvidia = self.nvidia.driver().map(|version| format!("nvidia {version}"));
        nvidia.or_else(|| self.amd.driver().map(|version| format!("amdgpu {version}")))
    }

    fn cuda(&self) -> Option<String> {
        self.nvidia.cuda()
    }

    fn trouble(&self) -> Option<String> {
        self.nvidia.trouble()
    }
}

impl Visible {
    fn of_this_process() -> Self {
        let read = |name| std::env::var(name).ok();
        Self { cuda: read("CUDA_VISIBLE_DEVICES"), rocr: read("ROCR_VISIBLE_DEVICES") }
    }

    /// Why `device` is none of the agent's, as a fragment.
    fn hides(&self, device: &Device) -> Option<String> {
        let (name, list) = match device.maker {
            Maker::Nvidia => ("CUDA_VISIBLE_DEVICES", self.cuda.as_ref()?),
            Maker::Amd => ("ROCR_VISIBLE_DEVICES", self.rocr.as_ref()?),
            Maker::Fake => return None,
        };
        let is_number = |word: &str| word.parse::<u32>().is_ok();
        let is_uuid = |word: &str| word.starts_with("GPU-") || word.starts_with("MIG-");
        // What comes after a word that names no device does not count, as for the drivers.
        let mut words = list.split(',').map(str::trim).take_while(|word| is_number(word) || is_uuid(word));
        // The beginning of a UUID is enough, as for the drivers.
        let named =
            |word: &str| word.parse() == Ok(device.ordinal) || (is_uuid(word) && device.gpu.uuid.starts_with(word));
        (!words.any(named)).then(|| format!("the agent was started with {name}=`{list}`, which leaves it out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::resources::Gpu;

    #[test]
    fn what_the_agent_itself_is_kept_from_it_does_not_offer() {
        let device = |ordinal, uuid: &str, maker| {
            let gpu = Gpu { index: 9, uuid: uuid.into(), ..Gpu::default() };
            Device { gpu, maker, ordinal, fault: None, users: Vec::new() }
        };
        let visible = |list: Option<&str>| Visible { cuda: list.map(str::to_owned), rocr: None };
        let cases = [
            (None, true),
            (Some(""), false),
            (Some("0, 2"), true),
            (Some("0,1"), false),
            (Some("-1,2"), false),
            (Some("NoDevFiles"), false),
            (Some("GPU-77,GPU-5a0f"), true),
            (Some("GPU-5b"), false),
        ];
        for (list, sees) in cases {
            let why = visible(list).hides(&device(2, "GPU-5a0f-11", Maker::Nvidia));
            assert_eq!(why.is_none(), sees, "{list:?} {why:?}");
            assert_eq!(visible(list).hides(&device(2, "", Maker::Amd)), None, "it has a variable of its own");
        }
    }
}
