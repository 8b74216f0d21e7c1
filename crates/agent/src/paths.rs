//! Where an agent keeps things below the data directory.
//!
//! `DATA/agent/` is the agent's own: `id`, `journal`, `attempts/`, `checkpoints/`, `storage/`. Shared with other agents of the data
//! directory: `DATA/envs/`, `DATA/python/`, `DATA/outputs/`. Sockets are elsewhere, see [`sockets`]: they live no
//! longer than the machine is up, and a disk that has to make and forget one for every trial is slower for all the rest.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::key::Key;

/// A unix socket's address holds 108 bytes; what is left is for the agent's mark and the attempt's name.
const SOCKET_FOLDER_MAX: usize = 40;

/// Characters of an agent's mark.
const MARK: usize = 12;

/// The agent's folders; all of them exist.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    own: PathBuf,
    sockets: PathBuf,
    /// Tells this agent's sockets from those of the user's other agents; the same after a restart.
    mark: String,
}

/// A folder could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the folder `{path}` cannot be used: {source}")]
pub struct PathsError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl Paths {
    /// Makes the folders of the agent `name` in the data directory `data`.
    ///
    /// # Errors
    /// Where one cannot be made.
    pub fn new(data: &Path, name: &str) -> Result<Self, PathsError> {
        let make = |path: PathBuf| {
            let made = std::fs::create_dir_all(&path).and_then(|()| path.canonicalize());
            made.map_err(|source| PathsError { path, source })
        };
        let data = make(data.to_owned())?;
        let own = make(data.join(name))?;
        for folder in ["attempts", "checkpoints"] {
            make(own.join(folder))?;
        }
        for folder in ["envs", "python", "outputs"] {
            make(data.join(folder))?;
        }
        let sockets = sockets()?;
        let hash = blake3::hash(own.as_os_str().as_encoded_bytes()).to_hex();
        let mark = hash.chars().take(MARK).collect();
        Ok(Self { data, own, sockets, mark })
    }

    /// The file `name` of the agent's own folder.
    pub fn own(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// Where the attempts' folders are.
    pub fn attempts(&self) -> PathBuf {
        self.own.join("attempts")
    }

    /// The folder of an attempt.
    pub fn attempt(&self, key: Key) -> PathBuf {
        self.attempts().join(key.to_string())
    }

    /// Where an attempt makes its checkpoints.
    pub fn checkpoints(&self, key: Key) -> PathBuf {
        self.own.join("checkpoints").join(key.to_string())
    }

    /// The agent's own storage of complete checkpoints.
    pub fn storage(&self) -> PathBuf {
        self.own.join("storage")
    }

    /// What an attempt's member of this rank, 0 where there is only one, leaves behind for its user; the agent never removes it.
    /// Members of one attempt may share the data directory.
    pub fn output(&self, key: Key, rank: u32) -> PathBuf {
        let name = if rank == 0 { key.to_string() } else { format!("{key}-rank-{rank}") };
        self.data.join("outputs").join(name)
    }

    /// The folders that an attempt finds made for it, beside its own.
    pub fn of_trial(&self, key: Key, rank: u32) -> [PathBuf; 2] {
        [self.checkpoints(key), self.output(key, rank)]
    }

    /// The socket of an attempt; no other attempt ever has it.
    pub fn socket(&self, key: Key) -> PathBuf {
        self.sockets.join(format!("{}-{key}", self.mark))
    }

    /// Where environments are built.
    pub fn envs(&self) -> PathBuf {
        self.data.join("envs")
    }

    /// Where the Python package is unpacked.
    pub fn python(&self) -> PathBuf {
        self.data.join("python")
    }
}

/// The user's folder for sockets: in memory where the machine offers that, with a path that is short enough.
fn sockets() -> Result<PathBuf, PathsError> {
    let user = rustix::process::getuid().as_raw();
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("heats"));
    let memory = PathBuf::from(format!("/dev/shm/heats-{user}"));
    let first = session.filter(|path| path.is_absolute() && path.as_os_str().len() <= SOCKET_FOLDER_MAX);
    let found = first.into_iter().chain([memory]).find_map(|path| private(path).ok());
    found.map_or_else(|| private(PathBuf::from(format!("/tmp/heats-{user}"))), Ok)
}

/// Makes `path` a folder that only this user can enter.
fn private(path: PathBuf) -> Result<PathBuf, PathsError> {
    let user = rustix::process::getuid().as_raw();
    let made = || {
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let metadata = std::fs::symlink_metadata(&path)?;
        if !metadata.is_dir() || metadata.uid() != user {
            return Err(std::io::Error::other("it belongs to another user"));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
    };
    match made() {
        Ok(()) => Ok(path),
        Err(source) => Err(PathsError { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_path_that_fits_and_is_its_agents_own_after_a_restart_too() {
        let root = tempfile::tempdir().expect("a folder");
        let sweep = heats_domain::SweepId { bits: u64::MAX };
        let trial = heats_domain::TrialId { sweep, number: u32::MAX };
        let key = Key { trial, attempt: u32::MAX };
        let socket = |data: &Path| Paths::new(data, "agent").expect("makes").socket(key);
        let long = root.path().join("x".repeat(200));
        for data in [root.path(), &long] {
            let socket = socket(data);
            assert!(socket.as_os_str().len() < 108, "{}", socket.display());
            std::os::unix::net::UnixListener::bind(&socket).expect("binds");
            std::fs::remove_file(&socket).expect("removes");
        }
        assert_eq!(socket(&long), socket(&long));
        assert_ne!(socket(&long), socket(root.path()));
    }

    #[test]
    fn nobody_else_can_enter_the_folder_of_the_sockets() {
        let root = tempfile::tempdir().expect("a folder");
        let open = root.path().join("open");
        std::fs::create_dir(&open).expect("makes");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("opens");
        private(open.clone()).expect("is the user's own");
        assert_eq!(std::fs::metadata(&open).expect("is there").permissions().mode() & 0o777, 0o700);
        std::fs::write(root.path().join("file"), "").expect("writes");
        assert!(private(root.path().join("file")).is_err());
        std::os::unix::fs::symlink(&open, root.path().join("link")).expect("links");
        assert!(private(root.path().join("link")).is_err(), "whoever made the link could move it");
    }
}
