//! What `/proc` says about processes: who descends from whom, what started when, what the kernel killed.
//!
//! Reads only, apart from [`kill`]; a process that is gone by the time it is read is left out.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The fields of `/proc/PID/stat` that the agent uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// The process.
    pub pid: i32,
    /// Its parent, or the subreaper that took it over.
    pub parent: i32,
    /// The session that it is in.
    pub session: i32,
    /// When it started, in clock ticks since the machine's boot: with the id, this names a process for ever.
    pub started_ticks: u64,
    /// Whether it has ended and only waits to be reaped.
    pub zombie: bool,
}

/// The state of process `pid`, or `None` where there is none.
pub fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in parentheses and may itself hold spaces and parentheses, so fields count from the last one.
fn parse(pid: i32, text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        zombie: *fields.first()? == "Z",
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started_ticks: fields.get(19)?.parse().ok()?,
    })
}

fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter_map(stat).collect()
}

/// Every process that descends from `root`, `root` itself left out, parents before children.
/// Complete where `root` is a subreaper: then a double fork or a session of its own does not leave the tree.
pub fn descendants(root: i32) -> Vec<Stat> {
    let mut children: BTreeMap<i32, Vec<Stat>> = BTreeMap::new();
    for stat in all() {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for stat in children.remove(&parent).unwrap_or_default() {
            next.push(stat.pid);
            found.push(stat);
        }
    }
    found
}

/// What is left of a tree whose root is gone: the members of its `session`, where that is known, and every process whose
/// environment holds `mark` (`NAME=value`). Only what this user may look into is found.
pub fn remains(session: Option<i32>, mark: &str) -> Vec<Stat> {
    let is_left = |stat: &Stat| !stat.zombie && (Some(stat.session) == session || is_marked(stat.pid, mark));
    all().into_iter().filter(is_left).collect()
}

/// Whether the process `pid` was started with the variable `mark` (`NAME=value`), as far as this user may look.
pub fn is_marked(pid: i32, mark: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|&b| b == 0).any(|variable| variable == mark.as_bytes()))
}

/// Sends `signal` to exactly the process that `target` describes, even if its id was given to another since.
pub fn kill(target: Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(target.pid) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The handle pins the process, so that what is read after it was opened is true of what gets the signal.
    if stat(target.pid).is_some_and(|now| now.started_ticks == target.started_ticks) {
        // Fails only where the process has just ended.
        let _ended = pidfd_send_signal(handle, signal);
    }
}

/// [`out_of_memory_kills`] as it was a moment ago: the kernel takes long to write it, compared to starting a process.
#[derive(Debug)]
pub struct OutOfMemoryKills {
    count: u64,
    counted: Instant,
}

impl OutOfMemoryKills {
    const STALE: Duration = Duration::from_millis(100);

    /// Counts them.
    pub fn now() -> Self {
        Self { count: out_of_memory_kills(), counted: Instant::now() }
    }

    /// The number, at most a tenth of a second old.
    pub fn count(&mut self) -> u64 {
        if self.counted.elapsed() > Self::STALE {
            *self = Self::now();
        }
        self.count
    }
}

/// How many processes the kernel has killed since boot because memory ran out, on the whole machine.
pub fn out_of_memory_kills() -> u64 {
    // Read at once: the kernel writes the whole text anew for each read.
    let mut text = [0; 16 * 1024];
    let Ok(length) = std::fs::File::open("/proc/vmstat").and_then(|mut file| file.read(&mut text)) else { return 0 };
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// How long ago the process of `stat` started, at least, by a clock that also counts while the machine sleeps.
/// Starts are known to a clock tick, which is 10 ms.
pub fn age(stat: Stat) -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = text.split_ascii_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    let started = (stat.started_ticks + 1) as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Duration::from_secs_f64((uptime - started).max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "12 (a) b) c) S 7 12 9 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 4242 1 1";
        let stat = parse(12, line).expect("parses");
        assert_eq!((stat.parent, stat.session, stat.started_ticks, stat.zombie), (7, 9, 4242, false));
    }

    #[test]
    fn a_child_is_a_descendant_and_a_killed_one_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let me = std::process::id() as i32;
        let found = descendants(me).into_iter().find(|stat| stat.pid == child.id() as i32).expect("found");
        assert!(age(found).expect("uptime") < Duration::from_secs(60));
        kill(Stat { started_ticks: found.started_ticks + 1, ..found }, Signal::KILL);
        assert!(child.try_wait().expect("waits").is_none(), "another process with the same id is spared");
        kill(found, Signal::KILL);
        child.wait().expect("waits");
        assert!(!descendants(me).iter().any(|stat| stat.pid == child.id() as i32));
    }
}
