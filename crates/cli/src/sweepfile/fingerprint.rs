//! What the sweep's data looked like when it was submitted: part of the provenance, so that a later look can tell
//! whether it has changed. Data is not copied anywhere.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use heats_domain::spec::Data;
use serde_json::Value;

use crate::output::Fields;

/// Reading more than this before a sweep starts would keep its user waiting: the rest counts by size and time.
const READ_MAX: u64 = 1 << 30;

/// The fingerprint of `data` below `base_dir`.
pub fn fingerprint(data: &Data, base_dir: &Path) -> Value {
    let path = base_dir.join(&data.path);
    let fields = Fields::new().with("name", data.name.as_str()).with("path", path.display().to_string());
    match look(&path) {
        Ok(Seen { hash, files, bytes, read_all }) => fields
            .with("blake3", hash)
            .with("of", if read_all { "content" } else { "content of the first GiB, then sizes and times" })
            .with("files", files)
            .with("bytes", bytes)
            .into(),
        Err(error) => fields.with("error", error.to_string()).into(),
    }
}

struct Seen {
    hash: String,
    files: u64,
    bytes: u64,
    read_all: bool,
}

fn look(path: &Path) -> io::Result<Seen> {
    let mut hasher = blake3::Hasher::new();
    let (mut files, mut bytes, mut read_all) = (0, 0, true);
    for file in files_of(path)? {
        let metadata = file.metadata()?;
        // Names and lengths go in too: two files are not one file with both contents.
        let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(&metadata.len().to_le_bytes());
        files += 1;
        bytes += metadata.len();
        if bytes <= READ_MAX {
            hasher.update_reader(File::open(&file)?)?;
        } else {
            read_all = false;
            let since = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            hasher.update(&since.as_nanos().to_le_bytes());
        }
    }
    Ok(Seen { hash: hasher.finalize().to_hex().to_string(), files, bytes, read_all })
}

/// Every file below `path`, or `path` itself, in the order of their names. Links are followed for `path` alone.
fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_changes_with_a_name_and_with_a_byte_and_with_nothing_else() {
        let root = tempfile::tempdir().expect("a folder");
        let data = Data { name: "d".into(), path: "data".into() };
        std::fs::create_dir_all(root.path().join("data/a")).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(root.path().join("data").join(name), text).expect("writes");
        let hash = || fingerprint(&data, root.path())["blake3"].clone();
        write("a/x", "one");
        write("y", "two");
        let first = hash();
        assert_eq!(first, hash());
        assert_eq!(fingerprint(&data, root.path())["files"], 2);
        write("y", "twO");
        let second = hash();
        assert_ne!(first, second);
        std::fs::rename(root.path().join("data/y"), root.path().join("data/z")).expect("renames");
        assert_ne!(second, hash());
    }
}
