//! The note that a running `heats run` or `heats dev` leaves in its data directory, so that commands in the same
//! folder find it without being told.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::{FOLDER, World};

const FILE: &str = "address";

/// Where a coordinator listens, and which process it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Live {
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Whether it speaks TLS.
    #[serde(default)]
    pub tls: bool,
}

impl Live {
    /// Leaves the note in `data_dir`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(data_dir)?;
        // Written aside: a reader sees the old note or the new one.
        let aside = data_dir.join(format!("{FILE}.{}", std::process::id()));
        std::fs::write(&aside, serde_json::to_vec(self)?)?;
        std::fs::rename(aside, data_dir.join(FILE))
    }

    /// Takes the note away.
    pub fn remove(data_dir: &Path) {
        // Where it cannot be removed it names a process that is gone, and is not believed.
        let _ = std::fs::remove_file(data_dir.join(FILE));
    }

    /// The nearest note of a process that runs: in `data_dir`, or in a `.heats` of the working directory or above.
    pub(super) fn find(world: &World, data_dir: Option<&Path>) -> Option<(Self, PathBuf)> {
        let read = |folder: PathBuf| {
            let path = folder.join(FILE);
            let live: Self = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            live.runs().then_some((live, path))
        };
        match data_dir {
            Some(data_dir) => read(world.directory.join(data_dir)),
            None => world.directory.ancestors().find_map(|folder| read(folder.join(FOLDER))),
        }
    }

    fn runs(&self) -> bool {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw).is_some_and(|pid| {
            // A process of another user runs as well, though it may not be signalled.
            matches!(test_kill_process(pid), Ok(()) | Err(rustix::io::Errno::PERM))
        })
    }
}
