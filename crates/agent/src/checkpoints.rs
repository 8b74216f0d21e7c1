//! The checkpoints in an attempt's own folder, as its script makes them. Knows of no storage.
//!
//! A checkpoint is a folder `step-N` (zeros before N, and a suffix `.2` for a second one of the same step, are
//! fine) that the trial moved into place when it was complete, and does not write into any more. Anything else that it
//! announces becomes one, as a copy, before the announcement is answered.

use std::io;
use std::path::{Path, PathBuf};

use crate::keeping::Progress;
use crate::storage::{How, StorageError, transfer};

/// A complete checkpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// The step that it was made for.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// What is wrong with an announced checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is nothing of that name.
    #[error("there is no checkpoint of step {step} in `{folder}`; move a folder `step-{step}` there, then announce it")]
    Missing {
        /// The step.
        step: u64,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The path leads out of the trial's folder.
    #[error("`{path}` is not a folder or file within `{folder}`")]
    Elsewhere {
        /// What was announced.
        path: PathBuf,
        /// Where it must be.
        folder: PathBuf,
    },
    /// It could not be copied.
    #[error("the checkpoint could not be copied: {source}")]
    Io {
        /// Why.
        #[from]
        source: io::Error,
    },
    /// As a storage would say it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The folder for the checkpoint of `step` that an attempt goes on from, as the Python package would call it.
pub fn usual(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}"))
}

/// The latest checkpoint in `folder` of a step after `above`; `except` is none, for the attempt began with it.
pub fn latest(folder: &Path, above: Option<u64>, except: Option<&Path>) -> Option<Found> {
    let mut found = all(folder);
    found.retain(|found| above.is_none_or(|above| found.step > above) && Some(found.path.as_path()) != except);
    found.pop()
}

/// Takes in a checkpoint that the trial announces. Without a `path` it has the usual name. A file becomes a folder with that
/// file.
///
/// # Errors
/// Where there is none, or it is not within `folder`, or it cannot be copied.
pub fn announce(folder: &Path, step: u64, path: Option<&Path>) -> Result<(), CheckpointError> {
    let is_there = |path: Option<&Path>| {
        all(folder).iter().any(|found| found.step == step && path.is_none_or(|path| path == found.path))
    };
    let Some(path) = path else {
        let missing = || CheckpointError::Missing { step, folder: folder.to_owned() };
        return is_there(None).then_some(()).ok_or_else(missing);
    };
    let elsewhere = || CheckpointError::Elsewhere { path: path.to_owned(), folder: folder.to_owned() };
    let whole = folder.join(path).canonicalize().map_err(|_| elsewhere())?;
    let within = folder.canonicalize().map_err(|_| elsewhere())?;
    let inner = whole.strip_prefix(&within).map_err(|_| elsewhere())?;
    if inner.as_os_str().is_empty() {
        return Err(elsewhere());
    }
    if is_there(Some(&folder.join(inner))) {
        return Ok(());
    }
    let aside = folder.join(format!(".announced-{:08x}", rand::random::<u32>()));
    copy(&whole, &aside).and_then(|()| Ok(publish(&aside, folder, step)?)).inspect_err(|_| {
        // What is left of it goes with the folder.
        let _left = std::fs::remove_dir_all(&aside);
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    if from.is_dir() {
        return Ok(transfer(from, to, How::Copy, &Progress::of(1))?);
    }
    std::fs::create_dir(to)?;
    std::fs::copy(from, to.join(from.file_name().unwrap_or_default()))?;
    Ok(())
}

/// Gives a complete folder the name of a checkpoint: the first that is free.
fn publish(aside: &Path, folder: &Path, step: u64) -> io::Result<()> {
    let mut name = usual(folder, step);
    let mut number = 0u64;
    while name.exists() {
        number += 1;
        name = folder.join(format!("step-{step:08}.{number}"));
    }
    std::fs::rename(aside, name)
}

fn all(folder: &Path) -> Vec<Found> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, u64, PathBuf)> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let (step, second) = usual_name(entry.file_name().to_str()?)?;
            Some((step, second, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(step, _, path)| Found { step, path }).collect()
}

fn usual_name(name: &str) -> Option<(u64, u64)> {
    let rest = name.strip_prefix("step-")?;
    let (step, second) = rest.split_once('.').unwrap_or((rest, "0"));
    Some((step.parse().ok()?, second.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(folder: &Path, above: Option<u64>) -> Option<(u64, String)> {
        latest(folder, above, None)
            .map(|found| (found.step, found.path.file_name().expect("has a name").to_string_lossy().into_owned()))
    }

    #[test]
    fn the_latest_checkpoint_is_that_of_the_highest_step_that_is_new() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(step(root.path(), None), None);
        for name in ["step-00000002", "step-00000003", "step-00000003.1", ".draft-1-2-11-0", "step-x"] {
            std::fs::create_dir(root.path().join(name)).expect("creates");
        }
        std::fs::write(root.path().join("step-9"), "is no folder").expect("writes");
        assert_eq!(step(root.path(), None), Some((3, "step-00000003.1".into())));
        assert_eq!(step(root.path(), Some(2)), Some((3, "step-00000003.1".into())));
        assert_eq!(step(root.path(), Some(3)), None);
        let first = root.path().join("step-00000003.1");
        assert_eq!(latest(root.path(), Some(2), Some(&first)).map(|found| found.path), Some(usual(root.path(), 3)));
    }

    #[test]
    fn an_announced_checkpoint_must_be_there_and_within_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("c");
        std::fs::create_dir_all(folder.join("mine")).expect("creates");
        assert!(matches!(announce(&folder, 4, None), Err(CheckpointError::Missing { step: 4, .. })));
        for bad in ["..", ".", "none", "/etc"] {
            let error = announce(&folder, 4, Some(Path::new(bad)));
            assert!(matches!(error, Err(CheckpointError::Elsewhere { .. })), "{bad}");
        }
        assert_eq!(step(&folder, None), None);
    }

    #[test]
    fn what_is_announced_under_another_name_is_copied_for_the_script_may_write_on() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path();
        std::fs::create_dir_all(folder.join("mine")).expect("creates");
        for (step, text) in [(4, "four"), (5, "five"), (5, "again")] {
            std::fs::write(folder.join("mine/w"), text).expect("writes");
            announce(folder, step, Some(Path::new("mine"))).expect("is there");
        }
        announce(folder, 5, Some(&usual(folder, 5))).expect("has its name already");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("reads");
        assert_eq!(read("step-00000004/w"), "four");
        assert_eq!((read("step-00000005/w"), read("step-00000005.1/w")), ("five".to_owned(), "again".to_owned()));
        std::fs::write(folder.join("model.bin"), "m").expect("writes");
        announce(folder, 6, Some(&folder.join("model.bin"))).expect("is there");
        assert_eq!(read("step-00000006/model.bin"), "m");
    }
}
