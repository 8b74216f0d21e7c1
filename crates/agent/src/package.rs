//! The Python package `heats`, carried in the binary and unpacked for trials to import: nobody has to install it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names below the package's folder, and contents.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/python_package.rs"));

/// Unpacks the package below `folder` where it is not there yet; the folder that belongs on `PYTHONPATH`.
/// Every version has a folder of its own, which is there as a whole or not at all.
///
/// # Errors
/// Where the file system refuses.
pub fn unpack(folder: &Path) -> std::io::Result<PathBuf> {
    let mut hash = blake3::Hasher::new();
    for (name, content) in FILES {
        hash.update(name.as_bytes()).update(&[0]).update(content).update(&[0]);
    }
    let version = folder.join(&hash.finalize().to_hex()[..16]);
    if version.is_dir() {
        return Ok(version);
    }
    let aside = folder.join(format!(".new-{}", std::process::id()));
    if aside.exists() {
        std::fs::remove_dir_all(&aside)?;
    }
    for (name, content) in FILES {
        let path = aside.join("heats").join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&path)?;
        file.write_all(content)?;
        file.sync_all()?;
    }
    std::fs::create_dir_all(&aside)?;
    match std::fs::rename(&aside, &version) {
        // Another agent of the same data directory was quicker.
        Err(_) if version.is_dir() => std::fs::remove_dir_all(&aside)?,
        renamed => renamed?,
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_unpacked_once_and_python_can_import_it() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = unpack(root.path()).expect("unpacks");
        assert_eq!(unpack(root.path()).expect("is there"), folder);
        assert!(FILES.iter().any(|(name, _)| *name == "__init__.py"));
        let status = std::process::Command::new("python3")
            .args(["-c", "import heats; assert heats.trial"])
            .env("PYTHONPATH", &folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .status();
        assert!(status.expect("python3 is there").success());
    }
}
