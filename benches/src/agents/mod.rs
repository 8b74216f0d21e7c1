//! What an agent adds between a trial and the leader, with three coordinators: the trials are this program again, so that they
//! can note times themselves.

pub(crate) mod busy;
pub(crate) mod slot;
pub(crate) mod verdict;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// The argument that makes this program a trial; which one follows.
pub(crate) const COMMAND: &str = "trial";

/// Is a trial.
///
/// # Errors
/// What goes wrong; the process ends with it.
pub(crate) fn serve(role: &str, args: &[String]) -> Result<()> {
    match (role, args) {
        (slot::ROLE, [notes]) => slot::trial(Path::new(notes)),
        (verdict::ROLE, [notes, door]) => verdict::trial(Path::new(notes), door),
        (busy::ROLE, []) => busy::trial(),
        _ => bail!("there is no trial `{role}` with {} arguments", args.len()),
    }
}

/// The command of a sweep whose trials are `role`.
fn command(role: &str, args: &[&str]) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("this program's own file")?;
    let program = program.into_os_string().into_string().ok().context("a path that is text")?;
    let args = args.iter().map(|arg| (*arg).to_owned());
    Ok([program, COMMAND.to_owned(), role.to_owned()].into_iter().chain(args).collect())
}

/// The same clock in every process of the machine, in milliseconds.
fn now_ms() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

/// Adds a line to a file that several processes note in.
fn note(notes: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(notes).context("the notes")?;
    Ok(file.write_all(format!("{line}\n").as_bytes())?)
}

/// The file that trials note in, below a bench's folder.
fn notes(folder: &Path) -> PathBuf {
    folder.join("notes")
}
