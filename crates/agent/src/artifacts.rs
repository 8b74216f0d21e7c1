//! The artifacts in an attempt's own folder, as its script keeps them: files for people, each by its name. And parts of those in
//! storages, for whoever asks for them.
//!
//! A file that is moved into the folder is complete. One that is written there in place may be kept before it is complete, and
//! is kept again once it is another one, at the latest when the attempt has ended.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heats_domain::{ARTIFACTS_MAX, ArtifactLimit, is_artifact_name};
use heats_wire::v1;
use serde::{Deserialize, Serialize};

use crate::keeping::Progress;
use crate::storage::{StorageError, Stores, copy};

/// The most that is read at once, in bytes.
const RANGE_MAX: u64 = 4 << 20;

/// Where a trial keeps its artifacts, in the folder for its checkpoints. The trial makes it: most need none.
pub fn folder(checkpoints: &Path) -> PathBuf {
    checkpoints.join("artifacts")
}

/// What tells a file from the one that was there before by the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    file: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// The files of an attempt that were said not to be kept, as they were then, by their names.
pub type LeftOut = BTreeMap<String, Stamp>;

/// A file among the artifacts that has not been dealt with as it is now.
#[derive(Debug)]
pub struct ArtifactFile {
    /// What it is called.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    stamp: Stamp,
}

/// What is to be done about a file.
#[derive(Debug)]
pub enum Next {
    /// It is to be kept.
    Keep(ArtifactFile),
    /// It is over a limit, and nobody was told.
    LeaveOut(ArtifactFile, ArtifactLimit),
}

/// The artifacts of one attempt.
#[derive(Debug)]
pub struct Artifacts {
    folder: PathBuf,
    /// The sizes of what the trial keeps, by name: what other attempts kept as well.
    kept: BTreeMap<String, u64>,
    /// Those that were dealt with.
    done: BTreeMap<String, Stamp>,
    left_out: LeftOut,
}

impl Artifacts {
    /// Those in `folder`, of a trial that keeps `kept` already, and of which `left_out` were said not to be kept.
    pub const fn new(folder: PathBuf, kept: BTreeMap<String, u64>, left_out: LeftOut) -> Self {
        Self { folder, kept, done: BTreeMap::new(), left_out }
    }

    /// What has not been dealt with: first what is to be kept. Of one that is over a limit people are told when it is seen, and
    /// once more, where it is another one by then, when it is the `last` time.
    pub fn next(&self, last: bool) -> Option<Next> {
        let mut over = None;
        for found in self.pending() {
            match self.limit(&found) {
                None => return Some(Next::Keep(found)),
                Some(limit) if over.is_none() && self.is_news(&found, last) => {
                    over = Some(Next::LeaveOut(found, limit))
                }
                Some(_) => {}
            }
        }
        over
    }

    /// Those that have not been dealt with as they are now.
    pub fn pending(&self) -> impl Iterator<Item = ArtifactFile> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| is_artifact_name(name))?;
            // Not where a link leads to: that may be anywhere.
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let stamp = Stamp { file: meta.ino(), bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) };
            (self.done.get(&name) != Some(&stamp)).then(|| ArtifactFile { name, path: entry.path(), stamp })
        })
    }

    /// The limit that one more would be over: coordinators would refuse it.
    fn limit(&self, found: &ArtifactFile) -> Option<ArtifactLimit> {
        let others = self.kept.iter().filter(|(name, _)| **name != found.name);
        ArtifactLimit::hit(found.bytes(), others.map(|(_, bytes)| *bytes))
    }

    fn is_news(&self, found: &ArtifactFile, last: bool) -> bool {
        match self.left_out.get(&found.name) {
            Some(stamp) => last && *stamp != found.stamp,
            None => self.left_out.len() < ARTIFACTS_MAX,
        }
    }

    /// It is kept.
    pub fn keep(&mut self, ArtifactFile { name, path: _, stamp }: ArtifactFile) {
        self.left_out.remove(&name);
        self.kept.insert(name.clone(), stamp.bytes);
        self.done.insert(name, stamp);
    }

    /// It cannot be kept: it is not tried again.
    pub fn give_up(&mut self, ArtifactFile { name, path: _, stamp }: &ArtifactFile) {
        self.done.insert(name.clone(), *stamp);
    }

    /// It is not kept. Those that people were told of by now, unless they were told of this one as it is, or of many others.
    pub fn leave_out(&mut self, ArtifactFile { name, path: _, stamp }: &ArtifactFile) -> Option<&LeftOut> {
        let is_known = self.left_out.get(name).is_some_and(|known| known == stamp);
        let is_one_more = !self.left_out.contains_key(name) && self.left_out.len() >= ARTIFACTS_MAX;
        if is_known || is_one_more {
            return None;
        }
        self.left_out.insert(name.clone(), *stamp);
        Some(&self.left_out)
    }
}

impl ArtifactFile {
    /// Its size.
    pub const fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// A folder with a copy of it under its name, which nobody writes into; removed with what is returned. What is copied is
    /// added to `progress`.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn copy(&self, progress: Arc<Progress>) -> Result<tempfile::TempDir, StorageError> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let copying = tokio::task::spawn_blocking(move || {
            let beside = path.parent().unwrap_or(&path);
            let aside = tempfile::Builder::new().prefix(".keeping-").tempdir_in(beside);
            let aside = aside.map_err(StorageError::io(beside, "written"))?;
            copy(&path, &aside.path().join(name), &progress).map_err(StorageError::io(&path, "read"))?;
            Ok(aside)
        });
        copying.await.unwrap_or_else(|error| Err(StorageError::io(&self.path, "read")(std::io::Error::other(error))))
    }
}

/// Reads a part of an artifact. The error is for whoever asked.
pub async fn read(stores: &Stores, range: v1::ArtifactRange) -> Result<Vec<u8>, String> {
    let v1::ArtifactRange { artifact, offset, length } = range;
    let artifact = artifact.filter(|artifact| is_artifact_name(&artifact.name));
    let artifact = artifact.ok_or("what is asked for is no artifact")?;
    let storage = stores.at(&artifact.place);
    let storage = storage.ok_or_else(|| format!("this agent does not reach the storage `{}`", artifact.place))?;
    let read = tokio::task::spawn_blocking(move || {
        let name = artifact.name.clone();
        storage.read(&artifact.into(), &name, offset, length.min(RANGE_MAX))
    });
    read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use heats_domain::ARTIFACTS_BYTES_MAX;

    use super::*;

    fn new(folder: &Path) -> Artifacts {
        Artifacts::new(folder.to_owned(), BTreeMap::new(), LeftOut::new())
    }

    /// Keeps what can be kept; the names of what was kept, and of what was not.
    fn go_on(artifacts: &mut Artifacts, last: bool) -> (Vec<String>, Vec<String>) {
        let (mut kept, mut not_kept) = (Vec::new(), Vec::new());
        while let Some(next) = artifacts.next(last) {
            match next {
                Next::Keep(found) => {
                    kept.push(found.name.clone());
                    artifacts.keep(found);
                }
                Next::LeaveOut(found, _) => {
                    artifacts.leave_out(&found).expect("is news");
                    not_kept.push(found.name);
                }
            }
        }
        kept.sort();
        not_kept.sort();
        (kept, not_kept)
    }

    fn names(artifacts: &mut Artifacts) -> Vec<String> {
        go_on(artifacts, false).0
    }

    /// A file of this size, without content.
    fn make(path: &Path, bytes: u64) {
        let file = std::fs::File::create(path).expect("creates");
        file.set_len(bytes).expect("has room for a hole");
    }

    #[test]
    fn a_file_is_kept_once_and_again_when_it_is_another_one() {
        let root = tempfile::tempdir().expect("a folder");
        let mut artifacts = new(&folder(root.path()));
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
        let artifacts = new(root.path());
        let copy = artifacts.pending().next().expect("is there").copy(Arc::new(Progress::of(1))).await;
        let copy = copy.expect("copies");
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
        let (kept, not_kept) = go_on(&mut new(root.path()), false);
        assert_eq!((kept.len(), not_kept.len()), (ARTIFACTS_MAX, 3));
    }

    #[test]
    fn what_is_over_a_limit_is_told_once_and_at_the_end_as_it_is_then() {
        let root = tempfile::tempdir().expect("a folder");
        let (big, plot) = (root.path().join("big"), root.path().join("plot"));
        make(&big, ARTIFACTS_BYTES_MAX);
        make(&plot, 1);
        // Another attempt has kept a plot, and something else.
        let before: BTreeMap<String, u64> = [("plot".to_owned(), 5), ("other".to_owned(), 1)].into();
        let mut artifacts = Artifacts::new(root.path().to_owned(), before.clone(), LeftOut::new());
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(go_on(&mut artifacts, false), (list(&["plot"]), list(&["big"])));
        make(&big, ARTIFACTS_BYTES_MAX + 1);
        assert_eq!(go_on(&mut artifacts, false), (list(&[]), list(&[])), "it may be written yet");
        assert_eq!(go_on(&mut artifacts, true), (list(&[]), list(&["big"])));
        let mut again = Artifacts::new(root.path().to_owned(), before, artifacts.left_out.clone());
        assert_eq!(go_on(&mut again, true), (list(&["plot"]), list(&[])), "a later agent does not say it again");
        make(&big, 7);
        assert_eq!(go_on(&mut artifacts, true), (list(&["big"]), list(&[])), "and it has room after all");
    }
}
