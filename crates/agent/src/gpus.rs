//! The GPUs of the machine, as far as its trials are concerned: which of them a trial sees.

use std::sync::Arc;

use crate::inventory::{Device, GpuSource, Maker};

/// The machine's GPUs, as they were when the agent started; by default none.
#[derive(Debug, Default)]
pub struct Gpus {
    devices: Vec<Device>,
}

impl Gpus {
    /// Looks at those of `source`.
    pub async fn look(source: Arc<dyn GpuSource>) -> Self {
        // A driver may take its time.
        let looked = tokio::task::spawn_blocking(move || source.look()).await;
        Self { devices: looked.unwrap_or_default() }
    }

    /// The variables by which a trial sees the GPUs `granted`, and no other. With nothing granted they are empty: a trial
    /// that asked for no GPU must not take one that another leases. `None` on a machine without GPUs: there they stay
    /// as they are.
    pub fn visible(&self, granted: &[u32]) -> Option<[(&'static str, String); 2]> {
        // Another agent of this machine may offer what this one does not.
        if self.devices.iter().all(|device| device.fault.is_some()) {
            return None;
        }
        let seen_by = |maker: Maker| {
            let devices = granted.iter().filter_map(|index| self.devices.iter().find(|d| d.gpu.index == *index));
            let ours = devices.filter(|device| device.maker == maker || device.maker == Maker::Fake);
            ours.map(Device::handle).collect::<Vec<_>>().join(",")
        };
        Some([("CUDA_VISIBLE_DEVICES", seen_by(Maker::Nvidia)), ("ROCR_VISIBLE_DEVICES", seen_by(Maker::Amd))])
    }
}

#[cfg(test)]
pub mod testing {
    use heats_domain::resources::Gpu;

    use super::*;

    /// A GPU of `maker` that has nothing wrong with it.
    pub fn device(index: u32, maker: Maker, uuid: &str) -> Device {
        let gpu = Gpu { index, model: "H100".into(), memory: 80 << 30, uuid: uuid.into(), ..Gpu::default() };
        Device { gpu, maker, ordinal: index, fault: None, users: Vec::new() }
    }

    /// The GPUs of a machine.
    pub fn gpus(devices: Vec<Device>) -> Gpus {
        Gpus { devices }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{device, gpus};
    use super::*;

    #[test]
    fn a_trial_sees_what_it_was_granted_by_the_variable_of_its_maker() {
        let amd = |index, ordinal| Device { ordinal, ..device(index, Maker::Amd, "") };
        let machine = gpus(vec![device(0, Maker::Nvidia, "GPU-a"), device(1, Maker::Nvidia, "MIG-b"), amd(2, 0)]);
        let seen = |granted: &[u32]| machine.visible(granted).expect("offers some").map(|(_, list)| list);
        assert_eq!(seen(&[0, 1]), ["GPU-a,MIG-b", ""]);
        assert_eq!(seen(&[1, 2]), ["MIG-b", "0"], "without a UUID, the number among those of its maker");
        assert_eq!(seen(&[]), ["", ""]);
        let fake = gpus(vec![device(0, Maker::Fake, ""), device(1, Maker::Fake, "")]);
        assert_eq!(fake.visible(&[1]).expect("offers some").map(|(_, list)| list), ["1", "1"]);
    }

    #[test]
    fn where_nobody_offers_a_gpu_the_variables_are_left_alone() {
        assert_eq!(gpus(Vec::new()).visible(&[]), None);
        let broken = Device { fault: Some("broken".into()), ..device(0, Maker::Nvidia, "GPU-a") };
        assert_eq!(gpus(vec![broken]).visible(&[]), None);
    }
}
