//! Finds processes by a variable in their environment: it is inherited by whatever they start, through forks,
//! sessions and supervisors, so that nothing escapes the count.

use rustix::process::{self, Pid, Signal};

use crate::patience::eventually;

/// A process that carries the mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marked {
    /// Its id.
    pub pid: i32,
    /// Its command line, for messages.
    pub command: String,
}

/// The living processes whose environment holds `mark` (`NAME=value`).
pub(crate) fn find(mark: &str) -> Vec<Marked> {
    find_where(&|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    })
}

/// The living processes for whose ids `wanted` holds.
fn find_where(wanted: &dyn Fn(i32) -> bool) -> Vec<Marked> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    let mut found: Vec<Marked> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| wanted(*pid) && !is_zombie(*pid))
        .map(|pid| Marked { pid, command: command(pid) })
        .collect();
    found.sort_by_key(|marked| marked.pid);
    found
}

/// SIGKILL to one process, and to nothing that it started.
pub fn kill_process(pid: i32) {
    send(pid, Signal::KILL);
}

/// Kills every process with the mark, at once and without a word, as a power cut does; returns when none is left.
pub(crate) fn kill_all(mark: &str) {
    kill(&|| find(mark));
}

/// The same for those for whose ids `wanted` holds.
pub(crate) fn kill_where(wanted: impl Fn(i32) -> bool) {
    kill(&|| find_where(&wanted));
}

fn kill(find: &dyn Fn() -> Vec<Marked>) {
    eventually("the end of every process that a power cut ends", || {
        let alive = find();
        // All are frozen first, so that none sees another one die and does something about it.
        for signal in [Signal::STOP, Signal::KILL] {
            for marked in &alive {
                send(marked.pid, signal);
            }
        }
        alive.is_empty().then_some(())
    });
}

/// Sends a signal to a process that may be gone.
pub(crate) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Gone is as good as told.
        let _gone = process::kill_process(pid, signal);
    }
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name stands in parentheses and may hold anything; the state is behind the last of them.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn command(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_mark_in_whatever_session_it_is_and_killed() {
        let mark = format!("TESTKIT_PROBE={}", std::process::id());
        let (name, value) = mark.split_once('=').expect("a pair");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "setsid sleep 600 & exec sleep 600"])
            .env(name, value)
            .spawn()
            .expect("starts");
        let found = eventually("both sleeps", || {
            let found = find(&mark);
            (found.iter().filter(|marked| marked.command == "sleep 600").count() == 2).then_some(found)
        });
        assert!(found.iter().any(|marked| marked.pid == child.id() as i32));
        // The child is ours to reap.
        let reaper = std::thread::spawn(move || child.wait().expect("ends"));
        kill_all(&mark);
        assert!(!reaper.join().expect("reaps").success());
    }
}
