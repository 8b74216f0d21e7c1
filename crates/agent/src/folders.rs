//! Folders that every trial is promised and few use: for its checkpoints, and for what it leaves to its user.
//!
//! One that a trial left empty is given to the next by another name. A file system makes a new one at several times the
//! cost, the more so where many were removed lately; for a trial of milliseconds that is felt.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folders of an agent's attempts.
#[derive(Debug, Default)]
pub struct Folders {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many attempts use each: those of one trial share its checkpoints, and may overlap where one was lost.
    used: BTreeMap<PathBuf, usize>,
    /// Empty, and nobody's.
    spare: Vec<PathBuf>,
}

impl Folders {
    /// Makes the folders, or goes on with those that are there, for an attempt that says [`Folders::leave`] once it is
    /// over. Of one that never does, they are kept.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn enter<'a>(&self, paths: impl IntoIterator<Item = &'a PathBuf>) -> io::Result<()> {
        paths.into_iter().try_for_each(|path| self.enter_one(path))
    }

    fn enter_one(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.spare.retain(|spare| spare != path);
        if !path.exists() && !inner.take_spare(path) {
            std::fs::create_dir_all(path)?;
        }
        *inner.used.entry(path.to_owned()).or_default() += 1;
        Ok(())
    }

    /// An attempt uses the folders no longer, and none of its processes is left.
    pub fn leave<'a>(&self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        paths.into_iter().for_each(|path| self.leave_one(path));
    }

    fn leave_one(&self, path: &Path) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(users) = inner.used.get_mut(path) else { return };
        *users -= 1;
        if *users == 0 {
            inner.used.remove(path);
            if is_empty(path) {
                inner.spare.push(path.to_owned());
            }
        }
    }
}

impl Inner {
    /// Whether a spare folder is now at `path`.
    fn take_spare(&mut self, path: &Path) -> bool {
        while let Some(place) = self.spare.iter().rposition(|spare| spare.parent() == path.parent()) {
            let spare = self.spare.swap_remove(place);
            // It may have been removed.
            if std::fs::rename(&spare, path).is_err() {
                continue;
            }
            // Where somebody has put something there since, it goes back to where they look for it.
            if is_empty(path) || std::fs::rename(path, &spare).is_err() {
                return true;
            }
        }
        false
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lab {
        root: tempfile::TempDir,
        folders: Folders,
    }

    impl Lab {
        fn new() -> Self {
            Self { root: tempfile::tempdir().expect("a folder"), folders: Folders::default() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn enter(&self, name: &str) {
            self.folders.enter([&self.path(name)]).expect("makes");
            assert!(self.path(name).is_dir(), "{name}");
        }

        fn leave(&self, name: &str) {
            self.folders.leave([&self.path(name)]);
        }

        fn there(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.root.path()).expect("reads").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().display().to_string()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn an_empty_folder_is_the_next_ones_and_what_was_left_in_one_stays() {
        let lab = Lab::new();
        for name in ["a", "b"] {
            lab.enter(name);
        }
        std::fs::write(lab.path("a/model"), "weights").expect("writes");
        for name in ["a", "b"] {
            lab.leave(name);
        }
        lab.enter("c");
        assert_eq!(lab.there(), ["a", "c"]);
        lab.enter("d");
        assert_eq!(lab.there(), ["a", "c", "d"]);
        assert!(lab.path("a/model").exists());
    }

    #[test]
    fn what_was_put_into_a_folder_after_its_attempt_was_over_is_found_there() {
        let lab = Lab::new();
        lab.enter("a");
        lab.leave("a");
        std::fs::write(lab.path("a/late"), "notes").expect("writes");
        lab.enter("b");
        assert_eq!(lab.there(), ["a", "b"]);
        assert!(lab.path("a/late").exists() && is_empty(&lab.path("b")));
    }

    #[test]
    fn a_folder_that_another_attempt_uses_is_nobody_elses() {
        let lab = Lab::new();
        lab.enter("a");
        lab.leave("a");
        // Spare for a moment, and used again.
        lab.enter("a");
        lab.enter("b");
        // Lost, and run a second time, before the first was over.
        lab.enter("a");
        lab.leave("a");
        lab.enter("c");
        assert_eq!(lab.there(), ["a", "b", "c"]);
        lab.leave("a");
        lab.enter("d");
        assert_eq!(lab.there(), ["b", "c", "d"]);
    }

    #[test]
    fn a_spare_folder_that_somebody_removed_is_made_anew() {
        let lab = Lab::new();
        lab.enter("a");
        lab.leave("a");
        std::fs::remove_dir(lab.path("a")).expect("removes");
        lab.enter("b");
        assert_eq!(lab.there(), ["b"]);
    }
}
