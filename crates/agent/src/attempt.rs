//! One attempt's folder, file by file. Everything that must outlive the agent is here; nothing here decides.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `attempt.json` | agent, before the start | [`Record`]: what runs and within which limits |
//! | `params.json` | agent, before the start | the configuration, as the trial reads it |
//! | `live.json` | agent, then the shim | locked as long as the shim lives; after the start [`Live`]: which processes |
//! | `stdout.log`, `stderr.log` | the trial | its output |
//! | `metrics.jsonl` | the trial | reports, by door 0 |
//! | `reports.jsonl` | agent | reports, by doors 1 to 3 |
//! | `ending.json` | agent | [`Ending`]: that and why the agent ends the trial |
//! | `infeasible.txt` | agent | that the trial declared itself infeasible, and why |
//! | `end.json` | shim, at the end | [`End`]: how it ended |

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The end's note is this long at least, reserved at the start, so that a full disk cannot keep it from being written.
const END_RESERVED: usize = 1024;

/// A file of an attempt's folder could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The file system refused.
    #[error("`{path}` could not be {verb}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `written`, `read`.
        verb: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The file's content is not what is expected there.
    #[error("`{path}` is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the content fails.
        source: serde_json::Error,
    },
}

/// What the shim starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The folder that it runs in.
    pub cwd: PathBuf,
    /// Variables on top of the agent's own environment.
    pub env: BTreeMap<String, String>,
}

/// What an agent must know to supervise an attempt that it did not start itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The sweep's name, for people.
    pub sweep_name: String,
    /// The metric that the sweep ranks by, where it has one.
    pub objective: Option<String>,
    /// How long the attempt may run, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The time between SIGTERM and SIGKILL, in milliseconds.
    pub stop_grace_ms: u64,
    /// How many processors it may use; 0 where an agent that did not count them wrote this.
    #[serde(default)]
    pub cpus: u32,
    /// The unix socket that the trial talks to.
    pub socket: PathBuf,
    /// Where the trial keeps its checkpoints.
    pub checkpoints: PathBuf,
    /// What the environment was found to be.
    pub environment: String,
    /// What the shim starts.
    pub launch: Launch,
}

/// The processes of a live attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Live {
    /// The shim, which leads the attempt's session.
    pub shim: i32,
    /// When the shim started, in clock ticks since boot.
    pub started_ticks: u64,
    /// The command, which leads its process group.
    pub child: i32,
}

/// How the command ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// Why it never ran, where it did not.
    pub not_started: Option<String>,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Processor time of the command and its reaped children, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of any one process, in bytes.
    pub max_rss: u64,
    /// SIGKILL ended it while the kernel counted a kill for lack of memory.
    pub out_of_memory: bool,
    /// How many of its processes could not be killed.
    pub left: u32,
}

impl End {
    /// The end of a command that never ran.
    pub fn not_started(why: String) -> Self {
        Self { not_started: Some(why), ..Self::default() }
    }
}

/// Why the agent ends an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The coordinator said so.
    Stopped,
    /// It ran longer than `run.timeout`.
    TimedOut,
    /// The agent shuts down and was told to take its trials along.
    Shutdown,
    /// No coordinator was heard of for too long.
    Orphaned,
    /// The trial is to go on elsewhere: its place was asked for, or it could not begin here.
    Preempted,
    /// The coordinator gave the trial to somebody else: nothing about it may be reported.
    Fenced,
}

/// That the agent ends an attempt: noted before the first signal, so that its successor reports the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// Why, for people.
    pub why: String,
}

/// The folder of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptDir {
    path: PathBuf,
}

impl AttemptDir {
    /// The folder at `path`, whether or not it is there.
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file `name` in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The trial's standard output.
    pub fn stdout(&self) -> PathBuf {
        self.file("stdout.log")
    }

    /// The trial's standard error.
    pub fn stderr(&self) -> PathBuf {
        self.file("stderr.log")
    }

    /// Where the trial itself writes reports as JSON lines.
    pub fn metrics(&self) -> PathBuf {
        self.file("metrics.jsonl")
    }

    /// Where the agent keeps the reports that came by its socket.
    pub fn reports(&self) -> PathBuf {
        self.file("reports.jsonl")
    }

    /// The configuration as the trial reads it.
    pub fn params(&self) -> PathBuf {
        self.file("params.json")
    }

    /// Makes the folder anew with everything that the shim needs, and nothing of an earlier life.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn create(&self, record: &Record, params: &[u8]) -> Result<(), DirError> {
        let io = |source| DirError::Io { path: self.path.clone(), verb: "written", source };
        match std::fs::create_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                std::fs::remove_dir_all(&self.path).map_err(io)?;
                std::fs::create_dir(&self.path).map_err(io)?;
            }
            made => made.map_err(io)?,
        }
        self.write("params.json", params)?;
        self.write("end.tmp", &[b' '; END_RESERVED])?;
        self.write("attempt.json", &to_json(record))
    }

    /// Opens the file whose lock says that the shim lives; the caller locks it and hands it on.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn live_file(&self) -> Result<File, DirError> {
        let path = self.live_path();
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|source| DirError::Io {
            path,
            verb: "written",
            source,
        })
    }

    /// The file that [`AttemptDir::live_file`] opens.
    pub fn live_path(&self) -> PathBuf {
        self.file("live.json")
    }

    /// Opens a log for appending.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn log_file(&self, path: PathBuf) -> Result<File, DirError> {
        OpenOptions::new().create(true).append(true).open(&path).map_err(|source| DirError::Io {
            path,
            verb: "written",
            source,
        })
    }

    /// What runs here.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn record(&self) -> Result<Record, DirError> {
        self.read("attempt.json")
    }

    /// Whether a process may have been started here: the log that it inherits is made just before it.
    pub fn was_started(&self) -> bool {
        self.stdout().exists()
    }

    /// Which processes run here.
    ///
    /// # Errors
    /// Where the file is missing or empty, as it is before the start, or damaged.
    pub fn live(&self) -> Result<Live, DirError> {
        self.read("live.json")
    }

    /// Notes which processes run here, in the file that the caller was handed, by one write that nobody sees half.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_live(&self, file: impl AsFd, live: &Live) -> Result<(), DirError> {
        let bytes = to_json(live);
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, &bytes, 0)).map_err(std::io::Error::from);
        let whole = written.and_then(|n| if n == bytes.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) });
        whole.map_err(|source| DirError::Io { path: self.live_path(), verb: "written", source })
    }

    /// How it ended, or `None` where no end was noted.
    pub fn end(&self) -> Option<End> {
        self.read("end.json").ok()
    }

    /// Notes how it ended, whole or not at all, in the space that [`AttemptDir::create`] reserved. Not synced:
    /// a power cut loses at most an end that nobody was told of, and [`AttemptDir::sync_end`] bounds even that.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_end(&self, end: &End) -> Result<(), DirError> {
        let path = self.file("end.tmp");
        let io = |source| DirError::Io { path: path.clone(), verb: "written", source };
        let mut bytes = to_json(end);
        bytes.resize(bytes.len().max(END_RESERVED), b' ');
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        std::fs::rename(&path, self.file("end.json")).map_err(io)
    }

    /// Makes the end's note survive a power cut.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn sync_end(&self) -> Result<(), DirError> {
        let path = self.file("end.json");
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&path).and_then(|()| sync(&self.path)).map_err(|source| DirError::Io { path, verb: "synced", source })
    }

    /// Why the agent ends it, or `None` where it does not.
    pub fn ending(&self) -> Option<Ending> {
        self.read("ending.json").ok()
    }

    /// Notes why the agent ends it.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_ending(&self, ending: &Ending) -> Result<(), DirError> {
        self.write_whole("ending.json", &to_json(ending))
    }

    /// Why the trial calls itself infeasible, or `None` where it does not.
    pub fn infeasible(&self) -> Option<String> {
        std::fs::read_to_string(self.file("infeasible.txt")).ok()
    }

    /// Notes that the trial calls itself infeasible.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_infeasible(&self, why: &str) -> Result<(), DirError> {
        self.write_whole("infeasible.txt", why.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirError> {
        let path = self.file(name);
        std::fs::write(&path, bytes).map_err(|source| DirError::Io { path, verb: "written", source })
    }

    /// Whole or not at all, for readers of this boot.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), DirError> {
        let aside = format!("{name}.new");
        self.write(&aside, bytes)?;
        let path = self.file(name);
        std::fs::rename(self.file(&aside), &path).map_err(|source| DirError::Io { path, verb: "written", source })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, DirError> {
        let path = self.file(name);
        let mut bytes = Vec::new();
        File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|source| DirError::Io {
            path: path.clone(),
            verb: "read",
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| DirError::Damaged { path, source })
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // These types are plain structs with text keys: serde_json has no way to fail on them.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            sweep_name: "s".into(),
            objective: None,
            timeout_ms: Some(5),
            stop_grace_ms: 1,
            cpus: 1,
            socket: "/tmp/s".into(),
            checkpoints: "/tmp/c".into(),
            environment: "cpython".into(),
            launch: Launch { argv: vec!["true".into()], cwd: "/".into(), env: BTreeMap::new() },
        }
    }

    #[test]
    fn a_folder_keeps_the_record_and_a_second_life_forgets_the_first_end() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = AttemptDir::at(root.path().join("a"));
        dir.create(&record(), b"{}").expect("creates");
        assert_eq!(dir.record().expect("reads"), record());
        assert_eq!(dir.end(), None, "the reserved space is no end");
        let end = End { code: Some(3), ..End::default() };
        dir.write_end(&end).expect("writes");
        dir.sync_end().expect("syncs");
        assert_eq!(dir.end(), Some(end));
        dir.create(&record(), b"{}").expect("creates again");
        assert_eq!(dir.end(), None);
    }
}
