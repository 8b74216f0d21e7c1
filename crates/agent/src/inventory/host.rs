//! Processors, memory, disk, and what the machine is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk;

/// The processors that this process may use.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// What trials may fill of the disk of `data_dir` in bytes, in whole GiB where it has one: what is free, less what must be
/// free for a trial to begin. 0 where nothing is known.
pub fn disk(data_dir: &Path) -> u64 {
    // It may be yet to be made.
    let there = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let space = there.ancestors().find_map(disk::space);
    let free = space.map_or(0, |(free, _)| free.saturating_sub(disk::ROOM));
    // Else every start would offer something else.
    if free >> 30 > 0 { free >> 30 << 30 } else { free }
}

/// What the machine is: `os`, `arch`, `kernel`; and where the system says so, `distribution` and `cpu`, the processor's model.
pub fn facts() -> BTreeMap<String, String> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let told = [
        ("distribution", value(&read("/etc/os-release"), "PRETTY_NAME", '=')),
        ("cpu", value(&read("/proc/cpuinfo"), "model name", ':')),
    ];
    let found = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    [("os", std::env::consts::OS.to_owned()), ("arch", std::env::consts::ARCH.to_owned()), ("kernel", kernel)]
        .into_iter()
        .chain(found)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What the first line `name` of a text says, which has lines of a name, a sign and a value.
fn value(text: &str, name: &str, sign: char) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(sign));
    let mut values = lines.filter(|(word, _)| word.trim() == name).map(|(_, value)| value.trim().trim_matches('"'));
    values.find(|value| !value.is_empty()).map(str::to_owned)
}

/// The machine's memory, or the limit of the control group that this process is in, where that is smaller.
pub fn memory() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim();
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let limit =
        std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| limit(&text, Path::new("/sys/fs/cgroup")));
    match (total, limit) {
        (Some(total), Some(limit)) => total.min(limit),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => 0,
    }
}

/// The smallest limit on the way from this process's control group to the root, in version 2 or 1.
fn limit(groups: &str, root: &Path) -> Option<u64> {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
            let (folder, file) = match controllers {
                "" => (root.to_owned(), "memory.max"),
                "memory" => (root.join("memory"), "memory.limit_in_bytes"),
                _ => return None,
            };
            let group = Path::new(group.trim_start_matches('/'));
            group.ancestors().filter_map(|group| read(folder.join(group).join(file))).min()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_processors_memory_a_disk_and_a_kernel() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(cpus() > 0 && memory() > 1 << 20);
        assert!(disk(&root.path().join("yet/to/be/made")) > 0, "the disk is that of the folder above");
        assert!(["arch", "kernel", "os"].iter().all(|name| facts().contains_key(*name)), "{:?}", facts());
    }

    #[test]
    fn the_processor_and_the_distribution_are_called_as_the_system_calls_them() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7763\n\nprocessor\t: 1\nmodel name\t: another\n";
        assert_eq!(value(cpuinfo, "model name", ':').as_deref(), Some("AMD EPYC 7763"));
        assert_eq!(value("NAME=x\nPRETTY_NAME=\"Debian 13\"\n", "PRETTY_NAME", '=').as_deref(), Some("Debian 13"));
        assert_eq!(value("processor : 0\n", "model name", ':'), None, "not every architecture says so");
    }

    #[test]
    fn the_smallest_limit_above_a_control_group_counts() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("a/b")).expect("creates");
        std::fs::write(root.path().join("a/memory.max"), "1000\n").expect("writes");
        std::fs::write(root.path().join("a/b/memory.max"), "max\n").expect("writes");
        assert_eq!(limit("0::/a/b\n", root.path()), Some(1000));
        assert_eq!(limit("1:cpu:/a\n0::/c\n", root.path()), None);
    }
}
