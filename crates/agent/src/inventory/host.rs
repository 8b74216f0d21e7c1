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

/// What the machine is: `os`, `arch`, `kernel`.
pub fn facts() -> BTreeMap<String, String> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    [("os", std::env::consts::OS.to_owned()), ("arch", std::env::consts::ARCH.to_owned()), ("kernel", kernel)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
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
        assert_eq!(facts().keys().collect::<Vec<_>>(), ["arch", "kernel", "os"]);
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
