//! Limits of memory that the kernel enforces on a trial, whichever version of control groups the machine has. Needs the right to
//! make groups, which not everybody has: see [`crate::apart`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where groups of version 2 are, as good as everywhere.
const UNIFIED: &str = "/sys/fs/cgroup";

/// Who holds trials to the memory that they are granted.
#[derive(Debug)]
pub enum MemoryLimits {
    /// The agent, as it does for users, below a group that it may have for itself.
    Agent(PathBuf),
    /// The scripts: the agent leaves groups of version 1 alone, and they enter those that are here. What it notices of a kill then
    /// is what it notices on any machine that delegated no group to it.
    Script(PathBuf),
}

impl MemoryLimits {
    /// Those that can be had here; in version 1, mounted at `folder` with a group for each of `limits`, in bytes, named by its
    /// place from 1.
    ///
    /// # Panics
    /// Where none can: [`crate::apart::Own::Memory`] says that before.
    pub fn make(folder: &Path, limits: &[u64]) -> Self {
        let own = format!("heats-test-{}", std::process::id());
        let unified = Path::new(UNIFIED).join(&own);
        if fs::create_dir(&unified).is_ok() {
            if unified.join("memory.max").exists() {
                return Self::Agent(unified);
            }
            fs::remove_dir(&unified).expect("nobody is in it");
        }
        fs::create_dir_all(folder).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "cgroup", "-o", "memory", "memory"]).arg(folder).output();
        let mounted = mounted.expect("there is a command `mount`");
        assert!(mounted.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&mounted.stderr));
        let base = folder.join(own);
        for (place, limit) in (1..).zip(limits) {
            let group = base.join(place.to_string());
            fs::create_dir_all(&group).expect("groups may be made here");
            fs::write(group.join("memory.limit_in_bytes"), limit.to_string()).expect("a limit of memory");
        }
        Self::Script(base)
    }

    /// The variables that tell the agent or its scripts: `HEATS_CGROUPS`, or `LIMITS`, the folder with the groups.
    pub fn variable(&self) -> (&'static str, String) {
        match self {
            Self::Agent(base) => ("HEATS_CGROUPS", base.display().to_string()),
            Self::Script(base) => ("LIMITS", base.display().to_string()),
        }
    }
}

impl Drop for MemoryLimits {
    fn drop(&mut self) {
        let (Self::Agent(base) | Self::Script(base)) = self;
        let groups = fs::read_dir(&*base).into_iter().flatten().flatten().map(|entry| entry.path());
        for group in groups.filter(|group| group.is_dir()).chain([base.clone()]) {
            if let Err(error) = fs::remove_dir(&group) {
                eprintln!("{} could not be removed: {error}", group.display());
            }
        }
    }
}
