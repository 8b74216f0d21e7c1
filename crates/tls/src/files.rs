//! Certificates and keys as files: written aside and renamed, so that whoever reads sees the old or the new one; keys
//! readable by their owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes what only this user may read: mode 0600 from the first moment.
///
/// # Errors
/// The file system's.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o600)
}

/// Writes what everybody may read.
///
/// # Errors
/// The file system's.
pub fn write_public(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    // One that a crash left behind may have another mode.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_also_where_it_replaces_a_file_that_was_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.key");
        write_public(&path, "old").expect("writes");
        write_private(&path, "new").expect("writes");
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!((mode & 0o777, std::fs::read_to_string(&path).expect("reads").as_str()), (0o600, "new"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing is left beside it");
    }
}
