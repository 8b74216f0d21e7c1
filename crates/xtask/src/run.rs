//! Running other programs: what they print is passed on line by line, and kept where somebody counts in it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program to run, without standard input.
pub struct Run {
    command: Command,
}

/// What became of it.
pub struct Done {
    /// Whether it exited with 0.
    pub succeeded: bool,
    /// Every line that it printed, standard output and standard error as they came.
    pub lines: Vec<String>,
}

/// The cargo that runs this program.
pub fn cargo() -> Run {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Any program.
pub fn program(name: impl AsRef<OsStr>) -> Run {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    // `cargo run` describes this package in the environment. Build scripts that watch those variables would run
    // again for every cargo that is started from here.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    Run { command }
}

impl Run {
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it, passes on what it prints, and says whether it exited with 0.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn succeeds(self) -> Result<bool> {
        self.watch().map(|done| done.succeeded)
    }

    /// Runs it, passes on what it prints, and keeps it as well.
    ///
    /// # Errors
    /// When it cannot be started or its output cannot be read.
    pub fn watch(mut self) -> Result<Done> {
        let shown = self.shown();
        println!("$ {shown}");
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (send, receive) = std::sync::mpsc::channel::<String>();
        let lines = std::thread::scope(|scope| {
            for pipe in [out.map(boxed), err.map(boxed)].into_iter().flatten() {
                let send = send.clone();
                scope.spawn(move || {
                    let mut reader = BufReader::new(pipe);
                    let mut line = Vec::new();
                    while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                        line.clear();
                        if send.send(text).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            let mut lines = Vec::new();
            let mut stdout = std::io::stdout().lock();
            for line in receive {
                // A reader that went away must not end the run: the exit code still counts.
                let _ = writeln!(stdout, "{line}");
                lines.push(line);
            }
            lines
        });
        let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
        Ok(Done { succeeded: status.success(), lines })
    }

    /// Runs it quietly and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it cannot be started or exits with anything but 0; what it wrote to standard error is in the error.
    pub fn text(mut self) -> Result<String> {
        let shown = self.shown();
        let output = self.command.output().with_context(|| format!("cannot start `{shown}`"))?;
        if !output.status.success() {
            bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print UTF-8"))
    }

    /// Whether it can be started and exits with 0; prints nothing.
    pub fn answers(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn shown(&self) -> String {
        let name = Path::new(self.command.get_program()).file_name().unwrap_or_else(|| self.command.get_program());
        let words = std::iter::once(name).chain(self.command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_kept_and_its_failure_told() {
        let done = program("sh").args(["-c", "echo out; echo err >&2; exit 3"]).watch().expect("starts");
        let mut lines = done.lines;
        lines.sort();
        assert_eq!((done.succeeded, lines), (false, vec!["err".to_owned(), "out".to_owned()]));
        let error = program("sh").args(["-c", "echo why >&2; exit 3"]).text().expect_err("fails");
        assert!(error.to_string().contains("why"), "{error}");
        assert!(!program("there-is-no-such-program").answers());
    }
}
