//! The data directory: made when it is first used, and kept out of version control.

use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Makes the folder where it is not there; its absolute path.
///
/// # Errors
/// Where it cannot be made or used.
pub fn make(path: &Path) -> Result<PathBuf, Failure> {
    let fail =
        |error: std::io::Error| Failure::failed(format!("cannot use the data directory {}: {error}", path.display()));
    std::fs::create_dir_all(path).map_err(fail)?;
    let path = path.canonicalize().map_err(fail)?;
    let ignore = path.join(".gitignore");
    if !ignore.exists() {
        // Settings may be shared; logs, environments and models are this machine's.
        std::fs::write(&ignore, "*\n!.gitignore\n!config.toml\n").map_err(fail)?;
    }
    Ok(path)
}
