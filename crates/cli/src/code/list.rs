//! Which files of a folder are its code.

use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde_json::{Value, json};

use super::CodeError;

/// More files than this are not code.
const FILES_MAX: usize = 50_000;
/// Of a folder that is not packed, so many files are looked at.
const LOOKED_AT_MAX: usize = 5_000;
/// And so many bytes are read.
const READ_MAX: u64 = 64 << 20;
/// A file of the folder with more patterns to leave out.
const IGNORE_FILE: &str = ".heatsignore";
/// Folders that are never code: what tools keep for themselves, and Heats' own data.
const NEVER: [&str; 8] =
    [".git", ".hg", ".svn", ".heats", "__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache"];
/// What lies in every virtual environment, and in every conda prefix.
const ENVIRONMENT: [&str; 2] = ["pyvenv.cfg", "conda-meta"];

/// One file or link of the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it is in the folder.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A link; of code that is packed, to another place in the folder.
    Link(PathBuf),
}

/// The code in `folder`, by name: all but what `exclude` and, with `ignores`, the folder's own ignore files leave out.
/// Of a revision that git gave, the latter leave out nothing: what was committed is meant to be there.
///
/// # Errors
/// Where the folder cannot be read, has too many files, or a link that leads out of it.
pub fn list(folder: &Path, exclude: &[String], ignores: bool) -> Result<Vec<Entry>, CodeError> {
    let entries = walk(folder, exclude, ignores, FILES_MAX)?;
    for Entry { path, kind } in &entries {
        if let Kind::Link(target) = kind {
            inside(folder, path, target)?;
        }
    }
    if entries.len() > FILES_MAX { Err(CodeError::TooMany(FILES_MAX)) } else { Ok(entries) }
}

/// At most one entry more than `most`. Links may lead anywhere.
fn walk(folder: &Path, exclude: &[String], ignores: bool, most: usize) -> Result<Vec<Entry>, CodeError> {
    let excluded = patterns(folder, exclude)?;
    let root = folder.to_owned();
    let walk = WalkBuilder::new(folder)
        .standard_filters(false)
        .git_ignore(ignores)
        .git_exclude(ignores)
        .parents(ignores)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .filter_entry(move |entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0
                || !(excluded.matched(entry.path().strip_prefix(&root).unwrap_or(entry.path()), is_folder).is_ignore()
                    || is_folder && is_never_code(entry.path()))
        })
        .build();
    let mut entries = Vec::new();
    for found in walk {
        let found = found?;
        let Ok(path) = found.path().strip_prefix(folder) else { continue };
        let io = |source| CodeError::Io { path: found.path().to_owned(), source };
        let Some(kind) = found.file_type() else { continue };
        let kind = if kind.is_symlink() {
            Kind::Link(std::fs::read_link(found.path()).map_err(io)?)
        } else if kind.is_file() {
            use std::os::unix::fs::PermissionsExt;
            let metadata = found.metadata()?;
            Kind::File { bytes: metadata.len(), executable: metadata.permissions().mode() & 0o100 != 0 }
        } else {
            // Folders follow from their files. Sockets and pipes are somebody's who runs now.
            continue;
        };
        entries.push(Entry { path: path.to_owned(), kind });
        if entries.len() > most {
            break;
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(entries)
}

fn patterns(folder: &Path, exclude: &[String]) -> Result<Gitignore, ignore::Error> {
    let mut patterns = GitignoreBuilder::new(folder);
    for pattern in exclude {
        patterns.add_line(None, pattern)?;
    }
    patterns.build()
}

fn is_never_code(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| NEVER.iter().any(|never| name == *never))
        || ENVIRONMENT.iter().any(|mark| folder.join(mark).exists())
}

/// Whether the link at `path` in `folder` leads to another place there.
fn inside(folder: &Path, path: &Path, target: &Path) -> Result<(), CodeError> {
    let mut depth = path.components().count() - 1;
    let stays = target.components().all(|part| match part {
        Component::CurDir => true,
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::ParentDir => {
            depth = depth.wrapping_sub(1);
            depth != usize::MAX
        }
        Component::RootDir | Component::Prefix(_) => false,
    });
    // On the way there may be other links.
    let arrives = match (folder.canonicalize(), folder.join(path).canonicalize()) {
        (Ok(folder), Ok(end)) => end.starts_with(folder),
        (_, Err(_dangling)) => true,
        (Err(_), _) => false,
    };
    if stays && arrives { Ok(()) } else { Err(CodeError::Link { path: path.to_owned(), target: target.to_owned() }) }
}

/// What a folder that is not packed looked like: the hash of its files, as far as they are few and small enough to be read
/// before a sweep starts.
pub fn fingerprint(folder: &Path) -> Value {
    let Ok(entries) = walk(folder, &[], true, LOOKED_AT_MAX) else { return json!({ "error": "it cannot be read" }) };
    let mut hasher = blake3::Hasher::new();
    let mut read = 0;
    for Entry { path, kind } in entries.iter().take(LOOKED_AT_MAX) {
        hasher.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
        match kind {
            Kind::File { bytes, .. } => {
                hasher.update(&bytes.to_le_bytes());
                read += bytes;
                if read <= READ_MAX {
                    // One that is gone by now has its name and its length in the hash.
                    let _gone =
                        std::fs::File::open(folder.join(path)).and_then(|file| hasher.update_reader(file).map(drop));
                }
            }
            Kind::Link(target) => _ = hasher.update(target.as_os_str().as_encoded_bytes()),
        }
    }
    let whole = entries.len() <= LOOKED_AT_MAX && read <= READ_MAX;
    json!({ "blake3": hasher.finalize().to_hex().as_str(), "files": entries.len().min(LOOKED_AT_MAX), "whole": whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        std::fs::write(path, text).expect("writes");
    }

    fn names(folder: &Path, exclude: &[&str], ignores: bool) -> Vec<String> {
        let exclude: Vec<String> = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
        let entries = list(folder, &exclude, ignores).expect("lists");
        entries.iter().map(|entry| entry.path.display().to_string()).collect()
    }

    #[test]
    fn code_is_what_nothing_leaves_out() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("code");
        write(root.path(), ".gitignore", "*.log\n");
        write(&folder, ".gitignore", "/out/\n");
        write(&folder, ".heatsignore", "*.bin\n");
        for name in [
            "train.py",
            "a/b.py",
            ".hidden",
            "x.log",
            "out/model",
            "a/out/kept",
            "data/set",
            "weights.bin",
            ".git/HEAD",
            "a/__pycache__/b.pyc",
            "venv/pyvenv.cfg",
            "venv/bin/python",
            ".heats/lock",
        ] {
            write(&folder, name, name);
        }
        let always = [".gitignore", ".heatsignore", ".hidden", "a/b.py", "a/out/kept"];
        assert_eq!(names(&folder, &["data/"], true), [&always[..], &["train.py"]].concat());
        assert_eq!(names(&folder, &["/train.py"], true), [&always[..], &["data/set"]].concat());
        // What git gave was committed on purpose.
        let committed = names(&folder, &["data/"], false);
        assert!(
            committed.contains(&"x.log".to_owned()) && !committed.contains(&"weights.bin".to_owned()),
            "{committed:?}"
        );
    }

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_within_is_kept() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("code");
        write(root.path(), "secret", "x");
        write(&folder, "a/file", "x");
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.join(name)).expect("links");
        link("file", "a/beside");
        link("../a/file", "a/round");
        link("nowhere", "dangling");
        assert_eq!(names(&folder, &[], true), ["a/beside", "a/file", "a/round", "dangling"]);
        for target in ["../secret", "/etc/hostname", "a/../../secret", &folder.join("a/file").display().to_string()] {
            link(target, "out");
            assert!(matches!(list(&folder, &[], true), Err(CodeError::Link { .. })), "{target}");
            assert_eq!(names(&folder, &["out"], true).len(), 4, "left out, it is in nobody's way");
            std::fs::remove_file(folder.join("out")).expect("removes");
        }
    }

    #[test]
    fn the_fingerprint_of_a_folder_follows_its_files() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "a", "one");
        let first = fingerprint(root.path());
        assert_eq!((first.clone(), &first["whole"]), (fingerprint(root.path()), &json!(true)));
        write(root.path(), "a", "two");
        let second = fingerprint(root.path());
        assert_ne!(first, second);
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("b")).expect("links");
        assert!(fingerprint(root.path())["blake3"].is_string(), "nothing of it is sent: links may lead anywhere");
        assert_ne!(second, fingerprint(root.path()));
    }
}
