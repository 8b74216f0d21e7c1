//! One attempt's folder, file by file. Everything that must outlive the agent is here; nothing here decides.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `attempt.json` | agent, then the shim | what runs, in which processes, how it ended: see [`sheet`] |
//! | `params.json` | agent, before the start | the configuration, as the trial reads it |
//! | `stdout.log`, `stderr.log` | the trial | its output |
//! | `metrics.jsonl` | the trial | reports, by door 0 |
//! | `reports.jsonl` | agent | reports, by doors 1 to 3 |
//! | `cuts.json` | agent | [`Cuts`]: what of the logs is not kept, where they grew too long |
//! | `left-out.json` | agent | [`LeftOut`]: which artifacts were said not to be kept |
//! | `ending.json` | agent | [`Ending`]: that and why the agent ends the trial |
//! | `work/` | agent, then the trial | its working copy of the code, where the sweep brings its code along |
//! | `infeasible.txt` | agent | that the trial declared itself infeasible, and why |
//!
//! Few files, because a short trial's time goes into making them.

mod known;
mod sheet;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use known::{Cause, End, Ending, Launch, Live, Record};

use crate::artifacts::LeftOut;
use crate::rotation::Cuts;
use sheet::{Line, Sheet};

/// A file of an attempt's folder could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The file system refused.
    #[error("`{path}` could not be {verb}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `written`, `read`, `opened`, `synced`.
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

/// The name of the file that tells of the attempt.
const SHEET: &str = "attempt.json";
/// What the agent's own lines in a trial's standard error begin with.
pub const NOTE: &str = "heats: ";

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

    /// The trial's working copy of its code.
    pub fn work(&self) -> PathBuf {
        self.file("work")
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
        self.write(SHEET, Sheet::new(&to_json(record)).bytes())
    }

    /// Opens the file whose lock says that the shim lives; the caller locks it and hands it on.
    ///
    /// # Errors
    /// Where the attempt was never made, or the file system refuses.
    pub fn sheet_file(&self) -> Result<File, DirError> {
        let path = self.sheet_path();
        OpenOptions::new().read(true).write(true).open(&path).map_err(|source| DirError::Io {
            path,
            verb: "opened",
            source,
        })
    }

    /// The file that [`AttemptDir::sheet_file`] opens.
    pub fn sheet_path(&self) -> PathBuf {
        self.file(SHEET)
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

    /// Adds a line of the agent's own to the trial's standard error.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn note(&self, line: &str) -> Result<(), DirError> {
        let path = self.stderr();
        let mut file = self.log_file(path.clone())?;
        writeln!(file, "{NOTE}{line}").map_err(|source| DirError::Io { path, verb: "written", source })
    }

    /// What runs here.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn record(&self) -> Result<Record, DirError> {
        self.line(Line::Record)
    }

    /// Whether a process may have been started here: the log that it inherits is made just before it.
    pub fn was_started(&self) -> bool {
        self.stdout().exists()
    }

    /// Which processes run here.
    ///
    /// # Errors
    /// Where the file is missing or damaged, or does not say it, as before the start.
    pub fn live(&self) -> Result<Live, DirError> {
        self.line(Line::Live)
    }

    /// Notes which processes run here, in the file that the caller was handed.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_live(&self, file: impl AsFd, live: &Live) -> Result<(), DirError> {
        self.fill(file, Line::Live, &to_json(live))
    }

    /// How it ended, or `None` where no end was noted.
    pub fn end(&self) -> Option<End> {
        self.line(Line::End).ok()
    }

    /// Notes how it ended, in the file that the caller was handed. Not synced: a power cut loses at most an end that
    /// nobody was told of, and [`AttemptDir::sync_end`] bounds even that.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_end(&self, file: impl AsFd, end: &End) -> Result<(), DirError> {
        self.fill(file, Line::End, &to_json(end))
    }

    /// Makes the end's note survive a power cut.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn sync_end(&self) -> Result<(), DirError> {
        let path = self.sheet_path();
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

    /// What of its logs is not kept.
    pub fn cuts(&self) -> Cuts {
        self.read("cuts.json").unwrap_or_default()
    }

    /// Notes what of its logs is not kept.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_cuts(&self, cuts: &Cuts) -> Result<(), DirError> {
        self.write_whole("cuts.json", &to_json(cuts))
    }

    /// Which artifacts were said not to be kept.
    pub fn left_out(&self) -> LeftOut {
        self.read("left-out.json").unwrap_or_default()
    }

    /// Notes which artifacts were said not to be kept.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_left_out(&self, left_out: &LeftOut) -> Result<(), DirError> {
        self.write_whole("left-out.json", &to_json(left_out))
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

    fn fill(&self, file: impl AsFd, line: Line, bytes: &[u8]) -> Result<(), DirError> {
        let filled = Sheet::read(&file).and_then(|sheet| sheet.fill(&file, line, bytes));
        filled.map_err(|source| DirError::Io { path: self.sheet_path(), verb: "written", source })
    }

    fn line<T: DeserializeOwned>(&self, line: Line) -> Result<T, DirError> {
        let path = self.sheet_path();
        let read = File::open(&path).and_then(Sheet::read);
        let sheet = read.map_err(|source| DirError::Io { path: path.clone(), verb: "read", source })?;
        serde_json::from_slice(sheet.line(line)).map_err(|source| DirError::Damaged { path, source })
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
    use std::collections::BTreeMap;

    use super::*;

    fn record() -> Record {
        Record {
            sweep_name: "s".into(),
            objective: None,
            others: Vec::new(),
            timeout_ms: Some(5),
            stop_grace_ms: 1,
            cpus: 1,
            gpus: Vec::new(),
            group: None,
            socket: "/tmp/s".into(),
            checkpoints: "/tmp/c".into(),
            began_with: None,
            environment: "cpython".into(),
            environment_name: None,
            found: None,
            launch: Launch { argv: vec!["true".into()], cwd: "/".into(), env: BTreeMap::new(), cleanup: Vec::new() },
            rank: 0,
            keeps: BTreeMap::new(),
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
        dir.write_end(dir.sheet_file().expect("opens"), &end).expect("writes");
        assert_eq!(dir.record().expect("still reads"), record());
        dir.sync_end().expect("syncs");
        assert_eq!(dir.end(), Some(end));
        dir.create(&record(), b"{}").expect("creates again");
        assert_eq!(dir.end(), None);
    }
}
