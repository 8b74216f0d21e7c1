//! Control groups, version 2: the kernel holds an attempt to what it was granted, and ends its whole tree in one stroke.
//!
//! Only below a group that was handed to the agent (delegated). There the agent and the supervisors of its trials live in
//! the group [`LEAF`], because a group with controllers for its children may have no process itself, and each attempt's
//! command lives in a group of its own beside it. Its supervisor stays outside: it has to note an end that comes to all.
//!
//! Files and folders throughout; see the kernel's `Documentation/admin-guide/cgroup-v2.rst` for what each one does.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// The group of the agent itself, the name that the unit file gives it, too.
const LEAF: &str = "agent";
/// What a group of trials can be held to.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// At most so many processes and threads of one attempt: far more than training takes, and far less than a machine has.
const PIDS_MAX: u32 = 16_384;
/// `cpu.weight` for each processor, up to the kernel's limit.
const WEIGHT: u32 = 100;
const WEIGHT_MOST: u32 = 10_000;
/// How long the processes of a group are waited for once they are killed.
const EMPTY_WAIT: Duration = Duration::from_secs(5);
const EMPTY_TICK: Duration = Duration::from_millis(2);

/// Whether attempts get control groups, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cgroups {
    /// `auto`: where the agent's own group was delegated to it.
    #[default]
    Auto,
    /// `off`: nowhere.
    Off,
    /// Below this group, a folder of a mounted hierarchy, which is made where it is missing.
    At(PathBuf),
}

impl FromStr for Cgroups {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            other => Err(format!("`{other}` is not `auto`, `off` or a folder such as `/sys/fs/cgroup/heats`")),
        }
    }
}

/// How the attempts of an agent are kept apart, beyond a session of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Each in a control group of its own.
    Groups {
        /// The group above them.
        base: PathBuf,
        /// The agent's own.
        home: PathBuf,
        /// What they are held to.
        controllers: Vec<&'static str>,
    },
    /// By nothing else.
    SessionOnly {
        /// Why, as a fragment.
        why: String,
    },
}

/// `control groups with memory, cpu, pids`
impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups { controllers, .. } if controllers.is_empty() => {
                f.write_str("control groups without controllers: trees are ended whole, nothing is limited")
            }
            Self::Groups { controllers, .. } => write!(f, "control groups with {}", controllers.join(", ")),
            Self::SessionOnly { why } => write!(f, "session only ({why})"),
        }
    }
}

/// Where groups can be made, before anything is changed.
struct Place {
    base: PathBuf,
    home: PathBuf,
    /// Whether the agent is in the base, and has to make room.
    is_in_base: bool,
}

impl Isolation {
    /// What an agent in this process would have, as far as it can be told without changing anything.
    pub fn expected(setting: &Cgroups) -> Self {
        match find(setting) {
            Ok(Place { base, home, .. }) => {
                let controllers = offered(&base);
                Self::Groups { base, home, controllers }
            }
            Err(why) => Self::SessionOnly { why },
        }
    }

    /// Takes the groups over, where there are any to be had: from here on this process is in the group [`LEAF`].
    pub fn enter(setting: &Cgroups) -> Self {
        find(setting).and_then(Place::take).unwrap_or_else(|why| Self::SessionOnly { why })
    }

    /// The group of an attempt that is called `name` among the agent's.
    pub fn group(&self, name: &str) -> Option<Group> {
        match self {
            Self::Groups { base, home, .. } => Some(Group { path: base.join(name), home: home.clone() }),
            Self::SessionOnly { .. } => None,
        }
    }

    /// Makes `group`, for an attempt that was granted so many processors and so many bytes of memory; 0 is no limit.
    ///
    /// # Errors
    /// Where the kernel refuses one of it.
    pub fn make(&self, group: &Group, cpus: u32, memory: u64) -> io::Result<()> {
        let Self::Groups { controllers, .. } = self else { return Ok(()) };
        match std::fs::create_dir(&group.path) {
            // An earlier agent made it and went down before anything was started in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let has = |name| controllers.contains(&name);
        if has("pids") {
            group.write("pids.max", &PIDS_MAX.to_string())?;
        }
        if has("cpu") && cpus > 0 {
            group.write("cpu.weight", &cpus.saturating_mul(WEIGHT).min(WEIGHT_MOST).to_string())?;
        }
        if has("memory") && memory > 0 {
            group.write("memory.max", &memory.to_string())?;
            // Half of a trial is no trial: where one of its processes has to go, all go.
            group.write("memory.oom.group", "1")?;
            // A kernel without swap has no such file, and nothing to keep it from.
            let _no_swap = group.write("memory.swap.max", "0");
        }
        Ok(())
    }

    /// Ends and removes the groups whose names begin with `prefix`, but for those in `kept`: nobody supervises them any more.
    pub fn tidy(&self, prefix: &str, kept: &[PathBuf]) {
        let Self::Groups { base, home, .. } = self else { return };
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
            if is_ours && path.is_dir() && !kept.contains(&path) {
                tracing::info!(group = %path.display(), "a group that an earlier agent left is removed");
                Group { path, home: home.clone() }.end();
            }
        }
    }
}

impl Place {
    fn take(self) -> Result<Isolation, String> {
        let Self { base, home, is_in_base } = self;
        let refused = |what: &Path| {
            let what = what.display().to_string();
            move |error: io::Error| format!("{what} cannot be used: {error}")
        };
        std::fs::create_dir_all(&base).map_err(refused(&base))?;
        if is_in_base {
            std::fs::create_dir_all(&home).map_err(refused(&home))?;
            // Whoever shares the group, a shell or a container's first process, has to go along.
            let processes = std::fs::read_to_string(base.join("cgroup.procs")).map_err(refused(&base))?;
            for process in processes.lines() {
                // One that has ended meanwhile need not.
                let _ended = std::fs::write(home.join("cgroup.procs"), process);
            }
        }
        let enable = |name: &&str| std::fs::write(base.join("cgroup.subtree_control"), format!("+{name}")).is_ok();
        let controllers: Vec<&'static str> = offered(&base).into_iter().filter(enable).collect();
        // Better to know now than at the first trial: in and out again.
        let probe = Group { path: base.join(format!("probe-{}", std::process::id())), home: home.clone() };
        std::fs::create_dir_all(&probe.path).map_err(refused(&probe.path))?;
        let visited = probe.within(|| ());
        probe.remove();
        visited.map_err(refused(&probe.path))?;
        Ok(Isolation::Groups { base, home, controllers })
    }
}

fn find(setting: &Cgroups) -> Result<Place, String> {
    let none = || "the kernel has no control groups of version 2 mounted".to_owned();
    let read = |path| std::fs::read_to_string(path).map_err(|_| none());
    if *setting == Cgroups::Off {
        return Err("switched off".to_owned());
    }
    let root = mounted(&read("/proc/self/mountinfo")?).ok_or_else(none)?;
    place(setting, &read("/proc/self/cgroup")?, &root)
}

/// Where the hierarchy of version 2 is mounted.
fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// `groups` is this process's `/proc/self/cgroup`, and `root` where the hierarchy is mounted.
fn place(setting: &Cgroups, groups: &str, root: &Path) -> Result<Place, String> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).filter(|own| !own.contains(".."));
    let own = root.join(own.ok_or("this process is in no control group of version 2 that it can see")?);
    if let Cgroups::At(base) = setting {
        let is_in_base = own == *base;
        let home = if is_in_base { base.join(LEAF) } else { own };
        return Ok(Place { base: base.clone(), home, is_in_base });
    }
    let above =
        own.parent().filter(|above| above.starts_with(root) && own.ends_with(LEAF) && is_delegated(above, root));
    let (base, is_in_base) = match above {
        Some(above) => (above.to_owned(), false),
        None if !is_delegated(&own, root) => {
            return Err(format!("the control group {} was not delegated to the agent", own.display()));
        }
        // Started again while trials run, it would be put into a group that may have no process any more.
        None if own.extension().is_some_and(|kind| kind == "service") => {
            return Err("its service needs DelegateSubgroup=agent, which systemd has from version 254 on".to_owned());
        }
        None => (own, true),
    };
    if offered(&base).is_empty() {
        return Err(format!("{} has none of the controllers {}", base.display(), CONTROLLERS.join(", ")));
    }
    Ok(Place { home: base.join(LEAF), base, is_in_base })
}

/// Whether systemd says that it handed `group` over, or it is the topmost that a container sees.
fn is_delegated(group: &Path, root: &Path) -> bool {
    let says = |name: &str| {
        let mut value = [0; 1];
        rustix::fs::getxattr(group, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    };
    // Of the machine's own topmost group there is no type.
    let is_containers = group == root && group.join("cgroup.type").exists();
    let is_handed_over = says("user.delegate") || says("trusted.delegate") || is_containers;
    is_handed_over && rustix::fs::access(group.join("cgroup.subtree_control"), rustix::fs::Access::WRITE_OK).is_ok()
}

/// Those of the controllers that `group` can give to its children.
fn offered(group: &Path) -> Vec<&'static str> {
    let text = std::fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    CONTROLLERS.into_iter().filter(|name| text.split_ascii_whitespace().any(|word| word == *name)).collect()
}

/// The group of one attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its folder.
    pub path: PathBuf,
    /// That of its supervisor.
    pub home: PathBuf,
}

impl Group {
    /// Does `f` while this process is in the group: whatever it starts stays there.
    ///
    /// # Errors
    /// Where the kernel does not let it in, or not out again.
    pub fn within<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        // 0 is whoever writes it.
        self.write("cgroup.procs", "0")?;
        let done = f();
        std::fs::write(self.home.join("cgroup.procs"), "0")?;
        Ok(done)
    }

    /// Takes in a process that has been somewhere else so far.
    ///
    /// # Errors
    /// Where the kernel does not let it in.
    pub fn admit(&self, process: Pid) -> io::Result<()> {
        self.write("cgroup.procs", &process.as_raw_nonzero().to_string())
    }

    /// Kills all that is in it. A kernel before 5.14 cannot: who calls this kills by other means, too.
    pub fn kill(&self) {
        let _too_old_or_gone = self.write("cgroup.kill", "1");
    }

    /// How many of its processes the kernel has killed because memory ran out; `None` where it is not held to any.
    pub fn out_of_memory_kills(&self) -> Option<u64> {
        let events = std::fs::read_to_string(self.path.join("memory.events")).ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// Kills all that is in it and removes it.
    pub fn end(&self) {
        let deadline = Instant::now() + EMPTY_WAIT;
        loop {
            self.kill();
            if self.remove() || Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(EMPTY_TICK);
        }
    }

    /// Removes it with the groups that its processes made below it; whether it is gone. Refused while somebody is in it.
    fn remove(&self) -> bool {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                Self { path: entry.path(), home: self.home.clone() }.remove();
            }
        }
        match std::fs::remove_dir(&self.path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        std::fs::write(self.path.join(file), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            std::fs::write(path, text).expect("writes");
        }
    }

    /// Whether `own` can be used below `root`, and if not, why not.
    fn base(own: &str, root: &Path) -> Result<(PathBuf, bool), String> {
        place(&Cgroups::Auto, &format!("1:name=systemd:/x\n0::{own}\n"), root)
            .map(|place| (place.base.strip_prefix(root).expect("is below it").to_owned(), place.is_in_base))
    }

    #[test]
    fn groups_are_made_where_systemd_or_a_container_handed_one_over_and_nowhere_else() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for group in ["run.scope", "heats.service", "old.service", "plain.scope", "bare.scope"] {
            put(root, &[(&format!("{group}/cgroup.subtree_control"), "")]);
            put(root, &[(&format!("{group}/cgroup.controllers"), "cpuset cpu io memory pids\n")]);
            if group != "plain.scope" {
                let handed = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(root.join(group), "user.delegate", b"1", handed).expect("is supported");
            }
        }
        put(root, &[("bare.scope/cgroup.controllers", "hugetlb\n")]);
        assert_eq!(base("/run.scope", root), Ok(("run.scope".into(), true)));
        assert_eq!(base("/run.scope/agent", root), Ok(("run.scope".into(), false)), "it has made room before");
        assert_eq!(base("/heats.service/agent", root), Ok(("heats.service".into(), false)));
        assert!(base("/old.service", root).expect_err("cannot be started again").contains("DelegateSubgroup"));
        assert!(base("/plain.scope", root).expect_err("is systemd's").contains("not delegated"));
        assert!(base("/bare.scope", root).expect_err("holds to nothing").contains("none of the controllers"));
        assert!(base("/", root).expect_err("is the machine's").contains("not delegated"));
        put(root, &[("cgroup.type", "domain\n"), ("cgroup.subtree_control", ""), ("cgroup.controllers", "memory")]);
        assert_eq!(base("/", root), Ok(("".into(), true)), "is a container's");
        let off = Isolation::expected(&Cgroups::Off);
        assert_eq!(off.to_string(), "session only (switched off)");
    }

    #[test]
    fn a_group_is_held_to_what_was_granted() {
        let root = tempfile::tempdir().expect("a folder");
        let controllers = CONTROLLERS.to_vec();
        let groups = Isolation::Groups { base: root.path().to_owned(), home: root.path().join(LEAF), controllers };
        let group = groups.group("a.1").expect("has groups");
        groups.make(&group, 3, 1 << 20).expect("makes");
        let read = |file: &str| std::fs::read_to_string(group.path.join(file)).unwrap_or_default();
        let files = ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.weight", "pids.max"];
        assert_eq!(files.map(read), ["1048576", "0", "1", "300", "16384"]);
        assert_eq!(group.out_of_memory_kills(), None);
        put(&group.path, &[("memory.events", "low 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 1\n")]);
        assert_eq!(group.out_of_memory_kills(), Some(1));
        let unlimited = groups.group("a.2").expect("has groups");
        groups.make(&unlimited, 400, 0).expect("makes");
        assert!(!unlimited.path.join("memory.max").exists(), "the sweep asks for no memory");
        let weight = std::fs::read_to_string(unlimited.path.join("cpu.weight")).expect("reads");
        assert_eq!(weight, "10000", "more the kernel does not take");
    }

    #[test]
    fn the_hierarchy_of_version_2_is_found_among_the_mounts() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 29 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mounted("30 29 0:26 / /proc rw - proc proc rw\n"), None);
    }
}
