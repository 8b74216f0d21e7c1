//! The command under test, the machine, and the commit: what a number means nothing without.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The release build of `heats` beside this program.
///
/// # Errors
/// Where it has not been built.
pub(crate) fn heats() -> Result<PathBuf> {
    let here = std::env::current_exe().context("this program's own file")?;
    let path = here.with_file_name("heats");
    ensure!(path.is_file(), "there is no {}: `cargo build --release -p heats` first", path.display());
    ensure!(!cfg!(debug_assertions), "a debug build says nothing about speed: add `--release`");
    Ok(path)
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// How many trials run at once: one for each processor.
///
/// # Errors
/// Where the system does not say.
pub(crate) fn slots() -> Result<usize> {
    Ok(std::thread::available_parallelism().context("the number of processors")?.get())
}

/// Where, and of what, numbers are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    /// The commit of the tree; with a `+` where it was changed.
    pub(crate) commit: String,
    pub(crate) processors: usize,
    /// The processors' model.
    pub(crate) model: String,
    pub(crate) kernel: String,
    /// How many processes wanted a processor in the last minute.
    pub(crate) load: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// Where the system does not say.
    pub(crate) fn here() -> Result<Self> {
        let git = |args: &[&str]| {
            let output = Command::new("git").args(args).current_dir(repository()).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { "+" };
        let processors = std::fs::read_to_string("/proc/cpuinfo").context("the processors")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").context("the load of the machine")?;
        Ok(Self {
            commit: format!("{}{changed}", git(&["rev-parse", "--short", "HEAD"])),
            processors: slots()?,
            model: model.map_or_else(String::new, |(_, model)| model.to_owned()),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, processors, model, kernel, load } = self;
        write!(f, "commit {commit}, {processors} processors ({model}), Linux {kernel}, load before {load}")
    }
}

/// Waits until the disk has everything that was written: later, the kernel writes it in the middle of a measurement.
///
/// # Errors
/// Where there is no `sync`.
pub(crate) fn flush() -> Result<()> {
    ensure!(Command::new("sync").status().context("cannot start sync")?.success(), "sync has failed");
    Ok(())
}

/// How many microseconds a new file takes in `folder`. Right after many files were removed, some file systems take several
/// times as long.
///
/// # Errors
/// Where there is no room.
pub(crate) fn new_file(folder: &Path) -> Result<f64> {
    const FILES: u32 = 1000;
    let folder = folder.join("files");
    std::fs::create_dir(&folder).context("cannot make a folder")?;
    let begun = Instant::now();
    for file in 0..FILES {
        std::fs::File::create(folder.join(file.to_string())).context("cannot make a file")?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(FILES))
}

/// A command of `heats` in `folder`, with none of the caller's settings.
///
/// # Errors
/// See [`heats`].
pub(crate) fn command(folder: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(heats()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEATS_")) {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder).env("NO_COLOR", "1").stdin(Stdio::null());
    Ok(command)
}

/// Runs a command of `heats` to its end; its output as JSON.
///
/// # Errors
/// Where it fails, with what it said.
pub(crate) fn json(folder: &Path, args: &[&str]) -> Result<Value> {
    let output = command(folder, args)?.output().context("cannot start heats")?;
    if !output.status.success() {
        bail!("heats {args:?} ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("the output is no JSON")
}
