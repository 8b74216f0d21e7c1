//! One template: a Python process that has imported, seen from its agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Recipe;
use crate::admission::without_secrets;
use crate::forkserver::{Files, ForkError, Forks, Line};
use crate::process::Process;
use crate::{lines, readable, shim};

/// How long imports may take.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// What a template says when it is.
const READY: &[u8] = b"ready";
/// The longest reason that it may give instead.
const WORD_MAX: usize = 4096;
/// What runs in it. The folder that it is started in, where Python looks first, holds modules that are not its own.
const PROGRAM: &str = "import sys; '' in sys.path and sys.path.remove(''); from heats._template import main; main()";
/// The variable by which a trial's processes are known, and the length of its longest value: a unix socket's path.
const MARK: (&str, usize) = ("HEATS_API_SOCK", 107);
const LAST_LINES: usize = 5;

/// What every template of an agent is given.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The program that supervises trials, and its first arguments.
    pub shim: Vec<OsString>,
    /// What every trial has in its environment.
    pub env: BTreeMap<&'static str, String>,
}

/// What the process is told; `_template.py` reads it.
#[derive(Serialize)]
struct Order<'a> {
    supervisor: Vec<&'a str>,
    script: &'a str,
    imports: &'a [String],
    limit_s: u64,
}

/// A process from which trials can be forked. Dropped, it is ended.
#[derive(Debug)]
pub struct Template {
    line: Mutex<Line>,
    _log: Log,
}

/// What it prints, removed with it.
#[derive(Debug)]
struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        // What is left is removed with the folder.
        let _left = std::fs::remove_file(&self.0);
    }
}

impl Template {
    /// Starts it, and waits until it has imported. What it prints goes to `log`.
    ///
    /// # Errors
    /// Why no trial can be forked from it, for people.
    pub async fn start(recipe: &Recipe, surroundings: &Surroundings, log: PathBuf) -> Result<Self, String> {
        let Recipe { program, script, folder, env, environment: _, imports } = recipe;
        let Surroundings { shim, env: common } = surroundings;
        let fail = |error: std::io::Error| format!("its template cannot be started: {error}");
        let supervisor: Option<Vec<&str>> = shim.iter().map(|word| word.to_str()).collect();
        let supervisor = supervisor.ok_or("the path of the program `heats` is not UTF-8")?;
        let order = Order { supervisor, script, imports, limit_s: READY_WITHIN.as_secs() };
        let order = serde_json::to_string(&order).map_err(|error| fail(error.into()))?;
        let mut env: BTreeMap<String, String> =
            common.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain(env.clone()).collect();
        // Room for that of each trial: see `_script.py`.
        env.insert(MARK.0.to_owned(), "-".repeat(MARK.1));
        let log = Log(log);
        let printed = File::create(&log.0).map_err(fail)?;
        let mut command = shim::command(program, &env);
        without_secrets(&mut command)
            .args(["-c", PROGRAM, &order])
            .current_dir(folder)
            .stdout(printed.try_clone().map_err(fail)?)
            .stderr(printed);
        let line = Line::open(command).map_err(fail)?;
        let socket = readable::register(line.socket().map_err(fail)?).map_err(fail)?;
        match tokio::time::timeout(READY_WITHIN, socket.readable()).await {
            Ok(Ok(_is_readable)) => {}
            Ok(Err(error)) => return Err(fail(error)),
            Err(_) => return Err(format!("its imports took longer than {} s", READY_WITHIN.as_secs())),
        }
        match line.hear(WORD_MAX).as_slice() {
            READY => Ok(Self { line: Mutex::new(line), _log: log }),
            [] => Err(format!("its template ended before it was ready: {}", lines::tail(&log.0, LAST_LINES).trim())),
            why => Err(String::from_utf8_lossy(why).into_owned()),
        }
    }

    /// Whether its process is there.
    pub fn is_up(&self) -> bool {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).is_up()
    }
}

impl Forks for Template {
    fn fork(&self, folder: &Path, files: Files) -> Result<Process, ForkError> {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.order(folder, &files).map_err(|_gone| ForkError::Lost)?;
        // From here on the lock is the new process's alone.
        drop(files);
        line.answered()
    }
}
