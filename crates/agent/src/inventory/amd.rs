//! AMD's GPUs, by what their kernel driver says of them below `/sys`.
//!
//! `class/drm/cardN/device` has the card; `class/kfd/kfd` (the driver's side for computing) has the processes, with the
//! number that it gives each GPU itself: both sides know the render node, such as `renderD128`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use heats_domain::resources::Gpu;

use super::device::{Device, Maker, User};

/// AMD, in the numbers of the PCI bus.
const VENDOR: &str = "0x1002";
/// With less memory of its own it is taken for the graphics of a processor, on which nobody trains.
const MEMORY_LEAST: u64 = 4 << 30;

/// A tree such as `/sys`.
#[derive(Debug)]
pub struct Amd {
    root: PathBuf,
}

impl Amd {
    /// The GPUs of the tree at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Every GPU, in the order of the cards.
    pub fn look(&self) -> Vec<Device> {
        let computing = self.computing();
        let cards = names(&self.root.join("class/drm"), "card").into_iter().map(|(_, card)| card.join("device"));
        let ours = cards.filter(|card| text(&card.join("vendor")).as_deref() == Some(VENDOR));
        ours.zip(0..).map(|(card, ordinal)| device(&card, ordinal, &computing)).collect()
    }

    /// The driver's version: of the module that comes apart from the kernel; the kernel's own has none.
    pub fn driver(&self) -> Option<String> {
        text(&self.root.join("module/amdgpu/version"))
    }

    /// Who computes on what: processes by the number of the render node.
    fn computing(&self) -> BTreeMap<u64, Vec<User>> {
        let kfd = self.root.join("class/kfd/kfd");
        let processes = names(&kfd.join("proc"), "");
        let node = |node: PathBuf| {
            let id = text(&node.join("gpu_id")).filter(|id| id != "0")?;
            let properties = text(&node.join("properties"))?;
            let minor =
                properties.lines().find_map(|line| line.strip_prefix("drm_render_minor "))?.trim().parse().ok()?;
            let memory = |process: &Path| text(&process.join(format!("vram_{id}")))?.parse::<u64>().ok();
            let users = processes.iter().filter_map(|(pid, process)| {
                let memory = memory(process).filter(|bytes| *bytes > 0)?;
                Some(User { pid: u32::try_from(*pid).ok()?, memory })
            });
            Some((minor, users.collect()))
        };
        names(&kfd.join("topology/nodes"), "").into_iter().filter_map(|(_, path)| node(path)).collect()
    }
}

fn device(card: &Path, ordinal: u32, computing: &BTreeMap<u64, Vec<User>>) -> Device {
    let read = |file: &str| text(&card.join(file));
    let number = |file: &str| read(file).and_then(|text| text.parse::<u64>().ok());
    let model = read("product_name").unwrap_or_else(|| format!("AMD {}", read("device").unwrap_or_default()));
    let uuid = read("unique_id").map(|id| format!("GPU-{}", id.trim_start_matches("0x"))).unwrap_or_default();
    let memory = number("mem_info_vram_total");
    let fault = match memory {
        None => Some("its driver does not say how much memory it has".to_owned()),
        Some(memory) if memory < MEMORY_LEAST => {
            Some(format!("it has {} MiB of its own: the graphics of a processor, it seems", memory >> 20))
        }
        Some(_) => None,
    };
    let renders = names(&card.join("drm"), "renderD");
    let users = renders.iter().filter_map(|(minor, _)| computing.get(minor)).flatten().copied().collect();
    let gpu = Gpu { index: 0, model, memory: memory.unwrap_or(0), uuid, slice: String::new() };
    Device { gpu, maker: Maker::Amd, ordinal, fault, users }
}

/// The entries of `folder` whose names are `before` and a number, by that.
fn names(folder: &Path, before: &str) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix(before)?.parse::<u64>().ok();
    let mut found: Vec<(u64, PathBuf)> =
        entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort_unstable();
    found
}

/// What a file says, where it says something.
fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            std::fs::write(path, format!("{text}\n")).expect("writes");
        }
    }

    #[test]
    fn cards_are_found_with_their_memory_and_who_computes_on_them() {
        let root = tempfile::tempdir().expect("a folder");
        let card = |n: u32, file: &str| format!("class/drm/card{n}/device/{file}");
        let files = [
            // The tenth card comes after the second.
            (card(10, "vendor"), "0x1002"),
            (card(10, "device"), "0x740f"),
            (card(10, "mem_info_vram_total"), "68702699520"),
            (card(10, "drm/renderD129/dev"), "226:129"),
            (card(2, "vendor"), "0x1002"),
            (card(2, "mem_info_vram_total"), "68702699520"),
            (card(2, "product_name"), "AMD Instinct MI210"),
            (card(2, "unique_id"), "e7d5a2c1b0987654"),
            (card(2, "drm/renderD128/dev"), "226:128"),
            (card(3, "vendor"), "0x8086"),
            (card(4, "vendor"), "0x1002"),
            (card(4, "mem_info_vram_total"), "536870912"),
            ("class/drm/card2-DP-1/status".into(), "connected"),
            ("class/kfd/kfd/topology/nodes/0/gpu_id".into(), "0"),
            ("class/kfd/kfd/topology/nodes/1/gpu_id".into(), "4711"),
            ("class/kfd/kfd/topology/nodes/1/properties".into(), "simd_count 416\ndrm_render_minor 129\n"),
            ("class/kfd/kfd/proc/77/vram_4711".into(), "1048576"),
            ("class/kfd/kfd/proc/78/vram_4711".into(), "0"),
        ];
        put(root.path(), &files.each_ref().map(|(file, text)| (file.as_str(), *text)));
        let [instinct, graphics, tenth] = &Amd::new(root.path()).look()[..] else { panic!("three of AMD's") };
        assert_eq!((instinct.gpu.model.as_str(), instinct.gpu.memory), ("AMD Instinct MI210", 68_702_699_520));
        assert_eq!((instinct.handle().as_str(), &instinct.fault), ("GPU-e7d5a2c1b0987654", &None));
        assert!(instinct.users.is_empty(), "{instinct:?}");
        assert!(graphics.fault.as_ref().expect("is too small").contains("512 MiB"), "{graphics:?}");
        assert_eq!((tenth.gpu.model.as_str(), tenth.handle().as_str()), ("AMD 0x740f", "2"));
        assert_eq!(tenth.users, [User { pid: 77, memory: 1 << 20 }]);
    }

    #[test]
    fn a_machine_without_amds_driver_has_none_of_its_gpus() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(Amd::new(root.path()).look().is_empty() && Amd::new(root.path()).driver().is_none());
    }
}
