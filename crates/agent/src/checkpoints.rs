//! Which checkpoint a new attempt goes on from. Reads the trial's folder; writes only what `/v1/checkpoint` says.
//!
//! A checkpoint is a folder `step-N` (zeros before N, and a suffix `.2` for a second one of the same step, are
//! fine) that the trial moved into place when it was complete, or any folder that it announced.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const ANNOUNCED: &str = "announced.json";

/// A complete checkpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
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
    #[error("`{path}` is not a folder within `{folder}`")]
    Elsewhere {
        /// What was announced.
        path: PathBuf,
        /// Where it must be.
        folder: PathBuf,
    },
    /// It could not be noted.
    #[error("the checkpoint could not be noted: {source}")]
    Io {
        /// Why.
        #[from]
        source: std::io::Error,
    },
}

/// The checkpoint to go on from, in the trial's checkpoint `folder`: that of the last step that was reported,
/// so that no step's report is missing; without it the newest.
pub fn latest(folder: &Path, reported: Option<u64>) -> Option<Checkpoint> {
    let all = all(folder);
    let exact = all.iter().rev().find(|checkpoint| Some(checkpoint.step) == reported);
    exact.or(all.last()).cloned()
}

/// Notes a checkpoint that the trial announces. Without a `path` it has the usual name.
///
/// # Errors
/// Where there is none, or it is not within `folder`.
pub fn announce(folder: &Path, step: u64, path: Option<&Path>) -> Result<Checkpoint, CheckpointError> {
    let Some(path) = path else {
        let usual = all(folder).into_iter().rev().find(|checkpoint| checkpoint.step == step);
        return usual.ok_or_else(|| CheckpointError::Missing { step, folder: folder.to_owned() });
    };
    let elsewhere = || CheckpointError::Elsewhere { path: path.to_owned(), folder: folder.to_owned() };
    let whole = folder.join(path).canonicalize().map_err(|_| elsewhere())?;
    let within = folder.canonicalize().map_err(|_| elsewhere())?;
    if !whole.starts_with(&within) || whole == within {
        return Err(elsewhere());
    }
    let checkpoint = Checkpoint { step, path: whole };
    let aside = folder.join(format!("{ANNOUNCED}.new"));
    std::fs::write(&aside, serde_json::to_vec(&checkpoint).map_err(std::io::Error::from)?)?;
    std::fs::rename(aside, folder.join(ANNOUNCED))?;
    Ok(checkpoint)
}

fn all(folder: &Path) -> Vec<Checkpoint> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let (step, second) = usual_name(entry.file_name().to_str()?)?;
            Some((step, second, entry.path()))
        })
        .collect();
    let announced = std::fs::read(folder.join(ANNOUNCED)).ok();
    if let Some(Ok(Checkpoint { step, path })) = announced.map(|bytes| serde_json::from_slice(&bytes))
        && path.exists()
    {
        found.push((step, u64::MAX, path));
    }
    found.sort();
    found.into_iter().map(|(step, _, path)| Checkpoint { step, path }).collect()
}

fn usual_name(name: &str) -> Option<(u64, u64)> {
    let rest = name.strip_prefix("step-")?;
    let (step, second) = rest.split_once('.').unwrap_or((rest, "0"));
    Some((step.parse().ok()?, second.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(folder: &Path, reported: Option<u64>) -> Option<(u64, String)> {
        latest(folder, reported)
            .map(|found| (found.step, found.path.file_name().expect("has a name").to_string_lossy().into_owned()))
    }

    #[test]
    fn the_checkpoint_of_the_last_reported_step_comes_before_a_newer_one() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(step(root.path(), Some(3)), None);
        for name in ["step-00000002", "step-00000003", "step-00000003.1", "step-10", ".draft-1-2-11-0", "step-x"] {
            std::fs::create_dir(root.path().join(name)).expect("creates");
        }
        assert_eq!(step(root.path(), Some(3)), Some((3, "step-00000003.1".into())));
        assert_eq!(step(root.path(), Some(7)), Some((10, "step-10".into())));
        assert_eq!(step(root.path(), None), Some((10, "step-10".into())));
    }

    #[test]
    fn an_announced_checkpoint_must_be_there_and_within_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("c");
        std::fs::create_dir_all(folder.join("mine")).expect("creates");
        assert!(matches!(announce(&folder, 4, None), Err(CheckpointError::Missing { step: 4, .. })));
        for bad in ["..", ".", "none", "/etc"] {
            assert!(
                matches!(announce(&folder, 4, Some(Path::new(bad))), Err(CheckpointError::Elsewhere { .. })),
                "{bad}"
            );
        }
        announce(&folder, 4, Some(Path::new("mine"))).expect("is there");
        assert_eq!(step(&folder, None), Some((4, "mine".into())));
        std::fs::remove_dir(folder.join("mine")).expect("removes");
        assert_eq!(step(&folder, None), None);
    }
}
