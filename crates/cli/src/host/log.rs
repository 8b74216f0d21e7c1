//! Where this process writes what happens to it: `heats.log` in the data directory, where the terminal is left to the live
//! view, or standard error, where nobody looks but the system's own log. `HEATS_LOG` says how much, as in
//! `HEATS_LOG=debug`.

use std::fs::{File, OpenOptions};
use std::path::Path;

use tracing_subscriber::EnvFilter;

use crate::hints;

const FILE: &str = "heats.log";
/// A log of this size is put aside at the next start, in place of the one before.
const SIZE_MAX: u64 = 32 << 20;

/// Begins to write to the file. Where that cannot be done, says so: a log that is missing stops nothing.
pub fn to_file(data_dir: &Path) {
    let path = data_dir.join(FILE);
    let file = match open(&path) {
        Ok(file) => file,
        Err(error) => return hints::warn(&format!("cannot write {}: {error}", path.display())),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(file);
    // Told on standard error, each line that a full disk does not take would spoil the view.
    begin(subscriber.log_internal_errors(false).finish());
}

/// Begins to write to standard error.
pub fn to_stderr() {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false);
    begin(subscriber.with_writer(std::io::stderr).finish());
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("HEATS_LOG").unwrap_or_else(|_| EnvFilter::new("info"))
}

fn begin(subscriber: impl tracing::Subscriber + Send + Sync) {
    // A second one in the same process would only mean that the first goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn open(path: &Path) -> std::io::Result<File> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > SIZE_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
