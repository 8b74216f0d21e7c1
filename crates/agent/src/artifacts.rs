//! The artifacts in an attempt's own folder, as its script keeps them: files for people, each by its name. And parts of those in
//! storages, for whoever asks for them.
//!
//! A file that is moved into the folder is complete. One that is written there in place may be kept before it is complete, and
//! is kept again once it is another one, at the latest when the attempt has ended.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use heats_domain::{ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX, is_artifact_name};
use heats_wire::v1;

use crate::storage::{StorageError, Stores};

/// The most that is read at once, in bytes.
const RANGE_MAX: u64 = 4 << 20;

/// Where a trial keeps its artifacts, in the folder for its checkpoints. The trial makes it: most need none.
pub fn folder(checkpoints: &Path) -> PathBuf {
    checkpoints.join("artifacts")
}

/// What tells a file from the one that was there before by the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    file: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// An artifact that is to be kept.
#[derive(Debug)]
pub struct Next {
    /// What it is called.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    stamp: Stamp,
}

/// The artifacts of one attempt.
#[derive(Debug)]
pub struct Artifacts {
    folder: PathBuf,
    /// Those that were dealt with.
    done: BTreeMap<String, Stamp>,
}

impl Artifacts {
    /// Those in `folder`.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder, done: BTreeMap::new() }
    }

    /// One that has not been dealt with as it is now.
    pub fn next(&self) -> Option<Next> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| is_artifact_name(name))?;
            // Not where a link leads to: that may be anywhere.
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let stamp = Stamp { file: meta.ino(), bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) };
            (self.done.get(&name) != Some(&stamp)).then(|| Next { name, path: entry.path(), stamp })
        });
        found.into_iter().find(|next| self.has_room(next))
    }

    /// Whether one more is not too many, or too much: coordinators would refuse it. Whoever asks for it is told.
    fn has_room(&self, next: &Next) -> bool {
        let others = || self.done.iter().filter(|(name, _)| **name != next.name);
        others().count() < ARTIFACTS_MAX
            && others().map(|(_, stamp)| stamp.bytes).fold(next.stamp.bytes, u64::saturating_add) <= ARTIFACTS_BYTES_MAX
    }

    /// It is kept, or cannot be.
    pub fn done(&mut self, Next { name, path: _, stamp }: Next) {
        self.done.insert(name, stamp);
    }
}

impl Next {
    /// A folder with a copy of it under its name, which nobody writes into; removed with what is returned.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn copy(&self) -> Result<tempfile::TempDir, StorageError> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let copying = tokio::task::spawn_blocking(move || {
            let beside = path.parent().unwrap_or(&path);
            let aside = tempfile::Builder::new().prefix(".keeping-").tempdir_in(beside);
            let aside = aside.map_err(StorageError::io(beside, "written"))?;
            std::fs::copy(&path, aside.path().join(name)).map_err(StorageError::io(&path, "read"))?;
            Ok(aside)
        });
        copying.await.unwrap_or_else(|error| Err(StorageError::io(&self.path, "read")(std::io::Error::other(error))))
    }
}

/// Reads a part of an artifact. The error is for whoever asked.
pub async fn read(stores: &Stores, range: v1::ArtifactRange) -> Result<Vec<u8>, String> {
    let v1::ArtifactRange { artifact, offset, length } = range;
    let artifact = artifact.filter(|artifact| is_artifact_name(&artifact.artifact));
    let artifact = artifact.ok_or("what is asked for is no artifact")?;
    let storage = stores.at(&artifact.place);
    let storage = storage.ok_or_else(|| format!("this agent does not reach the storage `{}`", artifact.place))?;
    let read =
        tokio::task::spawn_blocking(move || storage.read(&artifact, &artifact.artifact, offset, length.min(RANGE_MAX)));
    read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(artifacts: &mut Artifacts) -> Vec<String> {
        let mut names: Vec<String> = std::iter::from_fn(|| {
            let next = artifacts.next()?;
            let name = next.name.clone();
            artifacts.done(next);
            Some(name)
        })
        .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_kept_once_and_again_when_it_is_another_one() {
        let root = tempfile::tempdir().expect("a folder");
        let mut artifacts = Artifacts::new(folder(root.path()));
        assert_eq!(names(&mut artifacts), [""; 0], "the trial has not made it yet");
        let folder = folder(root.path());
        std::fs::create_dir(&folder).expect("creates");
        for name in ["model.pt", "plot.png", ".new"] {
            std::fs::write(folder.join(name), name).expect("writes");
        }
        std::fs::create_dir(folder.join("sub")).expect("creates");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).expect("links");
        assert_eq!(names(&mut artifacts), ["model.pt", "plot.png"]);
        assert_eq!(names(&mut artifacts), [""; 0]);
        std::fs::write(folder.join("model.pt"), "a better one").expect("writes");
        assert_eq!(names(&mut artifacts), ["model.pt"]);
    }

    #[tokio::test]
    async fn a_copy_is_aside_and_goes_with_whoever_has_it() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("model.pt"), "weights").expect("writes");
        let artifacts = Artifacts::new(root.path().to_owned());
        let copy = artifacts.next().expect("is there").copy().await.expect("copies");
        assert_eq!(std::fs::read_to_string(copy.path().join("model.pt")).expect("reads"), "weights");
        drop(copy);
        assert_eq!(std::fs::read_dir(root.path()).expect("reads").count(), 1);
    }

    #[test]
    fn a_trial_keeps_no_more_than_so_many() {
        let root = tempfile::tempdir().expect("a folder");
        for number in 0..ARTIFACTS_MAX + 3 {
            std::fs::write(root.path().join(format!("plot-{number}")), "").expect("writes");
        }
        let mut artifacts = Artifacts::new(root.path().to_owned());
        assert_eq!(names(&mut artifacts).len(), ARTIFACTS_MAX);
    }
}
