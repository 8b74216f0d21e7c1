//! The data directory: made when it is first used, and kept out of version control.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// What to do about a full disk.
pub const FREE_SPACE: &str = "free some space and start again, nothing that was recorded is lost";

/// Makes the folder where it is not there; its absolute path.
///
/// # Errors
/// Where it cannot be made or used.
pub fn make(path: &Path) -> Result<PathBuf, Failure> {
    let fail = |error: io::Error| refused(format!("cannot use the data directory {}", path.display()), &error);
    std::fs::create_dir_all(path).map_err(fail)?;
    let path = path.canonicalize().map_err(fail)?;
    let ignore = path.join(".gitignore");
    if !ignore.exists() {
        // Settings may be shared; logs, environments and models are this machine's.
        std::fs::write(&ignore, "*\n!.gitignore\n!config.toml\n").map_err(fail)?;
    }
    Ok(path)
}

/// What the file system refused, and what to do where it is full.
pub fn refused(what: String, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("{what}: {error}"));
    if is_full(error) { failure.hint(FREE_SPACE) } else { failure }
}

/// Whether there is no room left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
