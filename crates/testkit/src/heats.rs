//! One process of the command, with everything that it says.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::marked;
use crate::patience::PATIENCE;

/// Where a line was written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output: data.
    Out,
    /// Standard error: progress and hints.
    Err,
}

/// A line that the process wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Where to.
    pub stream: Stream,
    /// What, without the line's end.
    pub text: String,
}

/// What is known of the process, shared with the threads that read from it.
#[derive(Debug, Default)]
struct Known {
    lines: Vec<Line>,
    open: usize,
    status: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running `heats`. Dropped, it is killed; what it started is left to the workspace.
#[derive(Debug)]
pub struct Heats {
    command: String,
    pid: i32,
    shared: Arc<Shared>,
}

/// A `heats` that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Heats {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        let shared = Arc::new(Shared::default());
        shared.lock().open = 2;
        read(Stream::Out, child.stdout.take().expect("is piped"), shared.clone());
        read(Stream::Err, child.stderr.take().expect("is piped"), shared.clone());
        let pid = child.id() as i32;
        let waits = shared.clone();
        std::thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            waits.lock().status = Some(status);
            waits.changed.notify_all();
        });
        Self { command: line, pid, shared }
    }

    /// The process's id.
    pub const fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.shared.lock().status.is_none()
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lock().lines.clone()
    }

    /// The first thing that `look` finds in what the process has said so far, as soon as it is there.
    ///
    /// # Panics
    /// After [`PATIENCE`], or where the process ended before, with all that it said.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&[Line]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut known = self.shared.lock();
        loop {
            if let Some(found) = look(&known.lines) {
                return found;
            }
            assert!(!(known.open == 0 && known.status.is_some()), "it ended before {what}\n{}", self.told(&known));
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain for {what}\n{}", self.told(&known));
            known = self.shared.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first line that holds `text`, as soon as it is there.
    pub fn wait_line(&self, text: &str) -> String {
        self.wait_for(&format!("a line with `{text}`"), |lines| {
            lines.iter().find(|line| line.text.contains(text)).map(|line| line.text.clone())
        })
    }

    /// The first JSON line of standard output for which `wanted` holds, as soon as it is there.
    pub fn wait_json(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = 0;
        self.wait_for(what, |lines| {
            let fresh = &lines[seen..];
            seen = lines.len();
            let values = fresh.iter().filter(|line| line.stream == Stream::Out);
            values.filter_map(|line| serde_json::from_str(&line.text).ok()).find(&wanted)
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After [`PATIENCE`], with all that it said.
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    /// The same, for what may take longer: a download.
    ///
    /// # Panics
    /// After `patience`, with all that it said.
    pub fn finish_within(self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let mut known = self.shared.lock();
        loop {
            match (known.open, known.status) {
                (0, Some(status)) => {
                    let text = |wanted: Stream| {
                        let lines = known.lines.iter().filter(|line| line.stream == wanted);
                        lines.map(|line| format!("{}\n", line.text)).collect::<String>()
                    };
                    return Finished {
                        command: self.command.clone(),
                        code: status.code(),
                        signal: status.signal(),
                        stdout: text(Stream::Out),
                        stderr: text(Stream::Err),
                    };
                }
                (_, _) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    assert!(!left.is_zero(), "waited {patience:?} in vain for its end\n{}", self.told(&known));
                    known = self.shared.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// SIGKILL to this process alone: what it started runs on.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.send(Signal::INT);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// SIGHUP: it reads its certificates again.
    pub fn hang_up(&self) {
        self.send(Signal::HUP);
    }

    /// SIGSTOP: it stands still until [`Self::thaw`].
    pub fn freeze(&self) {
        self.send(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        let known = self.shared.lock();
        // Once it has been reaped its number may be somebody else's.
        if known.status.is_none() {
            marked::send(self.pid, signal);
        }
    }

    fn told(&self, known: &Known) -> String {
        const SHOWN: usize = 200;
        let from = known.lines.len().saturating_sub(SHOWN);
        let lines = known.lines[from..].iter().map(|line| match line.stream {
            Stream::Out => format!("out: {}\n", line.text),
            Stream::Err => format!("err: {}\n", line.text),
        });
        let left_out = if from > 0 { format!("({from} earlier lines)\n") } else { String::new() };
        format!("`{}`, status {:?}\n{left_out}{}", self.command, known.status, lines.collect::<String>())
    }
}

impl Drop for Heats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(stream: Stream, pipe: impl Read + Send + 'static, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            line.clear();
            shared.lock().lines.push(Line { stream, text });
            shared.changed.notify_all();
        }
        shared.lock().open -= 1;
        shared.changed.notify_all();
    });
}

impl Finished {
    /// The same, once it has ended with `code`.
    ///
    /// # Panics
    /// Where it has not, with all that it said.
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}\n{self}");
        self
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// Where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("the output is no JSON: {error}\n{self}"))
    }

    /// Standard output as one JSON document a line.
    ///
    /// # Panics
    /// Where a line is none.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is no JSON: {error}\n{self}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, signal, stdout, stderr } = self;
        write!(f, "`{command}`: code {code:?}, signal {signal:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Heats {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Heats::spawn(command)
    }

    #[test]
    fn lines_are_seen_while_the_process_runs_and_its_end_is_kept() {
        let heats = shell("echo one; echo '{\"kind\": \"two\"}'; echo three >&2; exec sleep 600");
        assert_eq!(heats.wait_line("thr"), "three");
        assert_eq!(heats.wait_json("two", |value| value["kind"] == "two")["kind"], "two");
        heats.kill();
        let finished = heats.finish();
        assert_eq!((finished.code, finished.signal, finished.stderr.as_str()), (None, Some(9), "three\n"));
    }

    #[test]
    fn a_wait_for_what_never_comes_fails_with_what_was_said() {
        let failed = std::panic::catch_unwind(|| shell("echo this; exit 3").wait_line("that")).expect_err("fails");
        let message = failed.downcast_ref::<String>().expect("a message");
        assert!(message.contains("a line with `that`") && message.contains("out: this"), "{message}");
    }
}
