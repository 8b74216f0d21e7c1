//! The supervisor process of one attempt: starts the trial's command, waits for it, leaves a note of its end.
//!
//! It exists so that a trial outlives its agent and its end is never lost. It is a process of its own in a
//! session of its own, light (one thread, no runtime, a few files) and ignorant of everything but its
//! directory. It deliberately knows no coordinator, no sweep and no time limit: the agent that holds the
//! attempt, or the next one, does.
//!
//! It is forked by [`crate::forkserver`], or together with its trial by a template ([`crate::warm`]). It is handed: file
//! descriptor 0, the locked file `attempt.json` of the directory (the lock is held exactly as long as this process lives,
//! which is how an agent tells a live attempt from a dead one), and 1 and 2, the logs that the command inherits: files,
//! not pipes, so that output needs no agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::Serialize;

use crate::attempt::{AttemptDir, DirError, End, Launch, Live, Record};
use crate::cgroup::Group;
use crate::{containers, lines, proc};

/// How long the end waits for what the command left behind and was killed, before it is noted without.
const LEFT_BEHIND_WAIT: Duration = Duration::from_secs(5);
const LEFT_BEHIND_TICK: Duration = Duration::from_millis(2);
/// How docker and podman end where they have not started anything.
const NO_CONTAINER: i32 = 125;
/// So many lines of theirs say why.
const NO_CONTAINER_LINES: usize = 5;

/// Where the command's process comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// From the command's program, which is started now.
    Program {
        /// What [`proc::out_of_memory_kills`] was before.
        kills_before: u64,
    },
    /// It was forked from a template before this process became a supervisor, is its child, and waits to be told what to run.
    Forked {
        /// The process.
        trial: Pid,
        /// This end of the pipe that it waits at.
        pipe: u32,
    },
}

/// What a process that was forked from a template is told: one line.
#[derive(Serialize)]
struct Told<'a> {
    argv: &'a [String],
    cwd: &'a Path,
    env: &'a BTreeMap<String, String>,
}

/// Runs the attempt in `dir` to its end. To be called by a process that is there for nothing else.
///
/// # Errors
/// Where the attempt's end could not be noted, however the command ended.
pub fn supervise(dir: &AttemptDir, source: Source) -> Result<(), DirError> {
    let end = match dir.record() {
        Ok(Record { launch, group, .. }) => run(dir, &launch, group.as_ref(), source),
        Err(error) => End::not_started(error.to_string()),
    };
    dir.write_end(rustix::stdio::stdin(), &end)
}

fn run(dir: &AttemptDir, launch: &Launch, group: Option<&Group>, source: Source) -> End {
    // Fails only where this process leads a group already: one that was a template's copy before does.
    let _leads_already = rustix::process::setsid();
    // Orphans of the command become children of this process, so that none escapes by a double fork.
    let _unsupported = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let started = Instant::now();
    let child = match begin(launch, group, source) {
        Ok(child) => child,
        Err(why) => {
            if let Some(group) = group {
                group.end();
            }
            return End::not_started(why);
        }
    };
    let me = std::process::id() as i32;
    let live = Live { shim: me, child: child.as_raw_nonzero().get(), warm: matches!(source, Source::Forked { .. }) };
    if let Err(error) = dir.write_live(rustix::stdio::stdin(), &live) {
        // Without the note, no agent could stop the command: better it does not run.
        let _ended = rustix::process::kill_process_group(child, Signal::KILL);
        return End::not_started(error.to_string());
    }
    let kills_before = match source {
        Source::Program { kills_before } => kills_before,
        Source::Forked { pipe, .. } => {
            let kills_before = if group.is_some() { 0 } else { proc::out_of_memory_kills() };
            // Fails only where it is gone: how, it is asked next.
            let _gone = tell(pipe, launch);
            kills_before
        }
    };
    let status = wait_for(child);
    let wall_ms = started.elapsed().as_millis() as u64;
    // Before its processes are killed one by one, of which the runtime may have its own idea.
    containers::remove(&launch.cleanup);
    let left = end_the_rest(me, group);
    // Before it is removed, with what it knows.
    let kills = group.and_then(Group::out_of_memory_kills);
    if let Some(group) = group {
        group.end();
    }
    let (cpu_ms, max_rss) = usage();
    let code = status.and_then(WaitStatus::exit_status);
    let signal = status.and_then(WaitStatus::terminating_signal);
    let (code, signal) = match code {
        Some(NO_CONTAINER) if !launch.cleanup.is_empty() => {
            let why = lines::tail(&dir.stderr(), NO_CONTAINER_LINES);
            return End::not_started(format!("its container could not be started: {why}"));
        }
        // As a shell says it: by this signal.
        Some(code) if !launch.cleanup.is_empty() && (129..=192).contains(&code) => (None, Some(code - 128)),
        _ => (code, signal),
    };
    let out_of_memory = match kills {
        Some(kills) => kills > 0 && code != Some(0),
        None => signal == Some(Signal::KILL.as_raw()) && proc::out_of_memory_kills() > kills_before,
    };
    End { code, signal, not_started: None, wall_ms, cpu_ms, max_rss, out_of_memory, left }
}

/// The command's process, in its group. One that was forked does nothing before it is told to.
fn begin(launch: &Launch, group: Option<&Group>, source: Source) -> Result<Pid, String> {
    std::env::set_current_dir(&launch.cwd)
        .map_err(|error| format!("the working folder `{}` cannot be entered: {error}", launch.cwd.display()))?;
    let refused =
        |group: &Group, error| format!("its control group {} cannot be entered: {error}", group.path.display());
    match (source, group) {
        (Source::Program { .. }, Some(group)) => {
            group.within(|| start(launch)).map_err(|error| refused(group, error))?
        }
        (Source::Program { .. }, None) => start(launch),
        (Source::Forked { trial, .. }, group) => {
            group.map_or(Ok(()), |group| group.admit(trial).map_err(|error| refused(group, error)))?;
            Ok(trial)
        }
    }
}

/// Lets the trial at the other end of `pipe` begin.
fn tell(pipe: u32, Launch { argv, cwd, env, cleanup: _ }: &Launch) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&Told { argv, cwd, env })?;
    line.push(b'\n');
    // By its name, as it came with the process.
    File::options().write(true).open(format!("/proc/self/fd/{pipe}"))?.write_all(&line)
}

fn start(launch: &Launch) -> Result<Pid, String> {
    let Some((program, arguments)) = launch.argv.split_first() else { return Err("the command is empty".to_owned()) };
    let mut command = command(program, &launch.env);
    let spawned = command
        .args(arguments)
        .stdin(Stdio::null())
        // A group of its own: SIGTERM goes to the command and its children, not to this process.
        .process_group(0)
        .spawn();
    match spawned {
        Ok(child) => Pid::from_raw(child.id() as i32).ok_or_else(|| "the process has no id".to_owned()),
        Err(error) => Err(explain(program, launch, &error)),
    }
}

/// The command `program` with the variables `env`, and without those of a trial that the agent itself may run in: its
/// parameters are nobody else's.
pub fn command(program: &str, env: &BTreeMap<String, String>) -> Command {
    let mut command = match find(program, env) {
        Some(file) => Command::new(file),
        None => Command::new(program),
    };
    command.arg0(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("HEATS_PARAM_") || name.starts_with("HEATS_RESUME_")) {
            command.env_remove(name);
        }
    }
    command.envs(env);
    command
}

/// The file that the name `program` stands for. The system would find it too, by trying to run it in one folder of the
/// `PATH` after the other: looking is much quicker. `None` is for the system to explain.
fn find(program: &str, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    if program.contains('/') {
        return None;
    }
    let path = env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"))?;
    let is_program = |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(is_program)
}

/// What went wrong with starting `program`, and what to do about it.
fn explain(program: &str, launch: &Launch, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound if program.contains('/') => {
            let file = launch.cwd.join(program);
            if file.exists() {
                let first = first_line(&file);
                format!("the file is there, but the interpreter of its first line `{first}` is not")
            } else {
                format!("there is no file `{}`", file.display())
            }
        }
        std::io::ErrorKind::NotFound if program == "python" => {
            "no `python` on the PATH; write `python3` in `command`, or name an environment with `env`".to_owned()
        }
        std::io::ErrorKind::NotFound => {
            let path = launch.env.get("PATH").cloned().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
            format!("no `{program}` on the PATH, which is `{path}`")
        }
        std::io::ErrorKind::PermissionDenied => format!("make it executable: chmod +x {program}"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "it is no program: a script needs a first line such as `#!/bin/sh`".to_owned()
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::TOOBIG.raw_os_error()) => {
            "the arguments are too long; pass them by `${args_json_file}`".to_owned()
        }
        _ => return format!("`{program}` could not be started: {error}"),
    };
    format!("`{program}` could not be started: {error}: {hint}")
}

fn first_line(file: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(file) {
        // Only the first line is wanted, of a file that may be anything.
        let _unreadable = file.take(256).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(bytes.split(|&b| b == b'\n').next().unwrap_or_default()).into_owned()
}

/// Waits for `child`, and reaps whatever else ends meanwhile.
fn wait_for(child: Pid) -> Option<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child && (status.exited() || status.signaled()) => return Some(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Kills what the command left running; the number of processes that would not die.
fn end_the_rest(me: i32, group: Option<&Group>) -> u32 {
    let deadline = Instant::now() + LEFT_BEHIND_WAIT;
    if let Some(group) = group {
        group.kill();
    }
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => {
                let rest = proc::descendants(me);
                if Instant::now() >= deadline {
                    return rest.iter().filter(|stat| !stat.zombie).count() as u32;
                }
                for stat in rest {
                    proc::kill(stat, Signal::KILL);
                }
                std::thread::sleep(LEFT_BEHIND_TICK);
            }
            // No child is left: a subreaper's tree is empty then.
            Err(_) => return 0,
        }
    }
}

/// Processor time in milliseconds and peak memory in bytes of every process that was waited for.
fn usage() -> (u64, u64) {
    let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN) else {
        return (0, 0);
    };
    let ms = |t: nix::sys::time::TimeVal| (t.tv_sec() as u64) * 1000 + (t.tv_usec() as u64) / 1000;
    // The kernel counts peak memory in KiB.
    (ms(usage.user_time()) + ms(usage.system_time()), usage.max_rss() as u64 * 1024)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_the_first_of_its_name_on_the_path_that_may_be_run() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |name: &str, mode| {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().expect("has one")).expect("creates");
            std::fs::write(&file, "#!/bin/sh\n").expect("writes");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("changes");
            file
        };
        // A folder of that name, and a file that is no program, come before it.
        std::fs::create_dir_all(root.path().join("1/train")).expect("creates");
        put("2/train", 0o644);
        let right = put("3/train", 0o755);
        put("4/train", 0o755);
        let folders = ["1", "2", "3", "4"].map(|folder| root.path().join(folder));
        let path = std::env::join_paths(folders).expect("joins").into_string().expect("is text");
        let env = BTreeMap::from([("PATH".to_owned(), path)]);
        assert_eq!(find("train", &env), Some(right));
        assert_eq!(find("no-such-program", &env), None);
        assert_eq!(find("./train", &env), None, "it says itself where it is");
    }
}
