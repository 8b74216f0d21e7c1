//! What the machine offers: processors, memory, GPUs.

use std::path::{Path, PathBuf};

use heats_domain::units::Bytes;
use heats_domain::{AgentId, Inventory, resources::Gpu};

/// Why `--gpus` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not say which GPUs: write `fake:N` or `fake:N,MODEL,MEMORY`, for example `fake:4,H100,80GiB`")]
pub struct GpusError {
    text: String,
}

/// The machine's processors and memory, as far as this process may use them, and the GPUs that `gpus` names.
/// Real GPUs are not detected: only pretended ones can be offered, which is enough to try out a sweep's
/// requirements on a machine without any.
///
/// # Errors
/// Where `gpus` is not `fake:N[,MODEL[,MEMORY]]`.
pub fn detect(gpus: Option<&str>) -> Result<Inventory, GpusError> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let gpus = gpus.map_or_else(|| Ok(Vec::new()), fake_gpus)?;
    Ok(Inventory { cpus, memory: memory(), gpus, ..Inventory::default() })
}

fn fake_gpus(text: &str) -> Result<Vec<Gpu>, GpusError> {
    let error = || GpusError { text: text.to_owned() };
    let mut words = text.strip_prefix("fake:").ok_or_else(error)?.split(',');
    let count: u32 = words.next().and_then(|word| word.parse().ok()).filter(|n| *n <= 1024).ok_or_else(error)?;
    let model = words.next().unwrap_or("fake").to_owned();
    let memory: Bytes = words.next().unwrap_or("16GiB").parse().map_err(|_| error())?;
    if words.next().is_some() || model.is_empty() {
        return Err(error());
    }
    Ok((0..count).map(|index| Gpu { index, model: model.clone(), memory: memory.count, ..Gpu::default() }).collect())
}

/// The machine's memory, or the limit of the control group that this process is in, where that is smaller.
fn memory() -> u64 {
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

/// The agent's id from the file at `path`, made with `mint` where there is none.
///
/// # Errors
/// Where the file cannot be read or written, or holds something else.
pub fn id(path: &Path, mint: impl FnOnce() -> AgentId) -> std::io::Result<AgentId> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = mint();
            let aside = path.with_extension("new");
            std::fs::write(&aside, format!("{id}\n"))?;
            std::fs::File::open(&aside)?.sync_all()?;
            std::fs::rename(aside, path)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_processors_and_memory() {
        let Inventory { cpus, memory, gpus, .. } = detect(None).expect("detects");
        assert!(cpus > 0 && memory > 1 << 20 && gpus.is_empty(), "{cpus} {memory}");
    }

    #[test]
    fn pretended_gpus_have_a_model_and_memory() {
        let gpus = detect(Some("fake:2,H100,80GiB")).expect("reads").gpus;
        assert_eq!(gpus[1], Gpu { index: 1, model: "H100".into(), memory: 80 << 30, ..Gpu::default() });
        assert_eq!(detect(Some("fake:4")).expect("reads").gpus.len(), 4);
        for bad in ["", "2", "fake:", "fake:x", "fake:1,,1GiB", "fake:1,a,b", "fake:1,a,1GiB,c", "fake:99999"] {
            assert!(detect(Some(bad)).is_err(), "{bad}");
        }
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

    #[test]
    fn an_agent_is_the_same_agent_after_a_restart() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("id");
        let first = id(&path, || AgentId::mint(5, 6)).expect("mints");
        assert_eq!(id(&path, || AgentId::mint(7, 8)).expect("reads"), first);
        std::fs::write(&path, "agt_").expect("writes");
        assert!(id(&path, || AgentId::mint(7, 8)).is_err());
    }
}
