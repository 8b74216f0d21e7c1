//! Where an agent keeps things below the data directory.
//!
//! `DATA/agent/` is the agent's own: `id`, `journal`, `attempts/`, `checkpoints/`, `s/` (sockets). Shared with other
//! agents of the data directory: `DATA/envs/`, `DATA/python/`, `DATA/outputs/`.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::key::Key;

/// A unix socket's address holds 108 bytes; what is left is for the attempt's name.
const SOCKET_FOLDER_MAX: usize = 60;

/// The agent's folders; all of them exist.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    own: PathBuf,
    sockets: PathBuf,
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
        let sockets = sockets(&own)?;
        Ok(Self { data, own, sockets })
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

    /// The checkpoints of a trial, shared by its attempts.
    pub fn checkpoints(&self, key: Key) -> PathBuf {
        self.own.join("checkpoints").join(key.trial_folder())
    }

    /// What an attempt leaves behind for its user; the agent never removes it.
    pub fn output(&self, key: Key) -> PathBuf {
        self.data.join("outputs").join(key.to_string())
    }

    /// The socket of an attempt; no other attempt ever has it.
    pub fn socket(&self, key: Key) -> PathBuf {
        self.sockets.join(format!("{key}.sock"))
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

/// A folder that only this user can enter, with a path that is short enough.
fn sockets(own: &Path) -> Result<PathBuf, PathsError> {
    let inside = own.join("s");
    let path = if inside.as_os_str().len() <= SOCKET_FOLDER_MAX {
        inside
    } else {
        // The same for the same data directory, so that trials that outlive the agent find their socket again.
        let name = blake3::hash(own.as_os_str().as_encoded_bytes()).to_hex();
        let user = rustix::process::getuid().as_raw();
        PathBuf::from(format!("/tmp/heats-{user}-{}", &name[..16]))
    };
    let error = |source| PathsError { path: path.clone(), source };
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(made) if made.kind() != std::io::ErrorKind::AlreadyExists => return Err(error(made)),
        Ok(()) | Err(_) => {}
    }
    let metadata = std::fs::symlink_metadata(&path).map_err(error)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(error(std::io::Error::other("it belongs to another user")));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).map_err(error)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_path_that_fits_however_long_the_data_directory_is() {
        let root = tempfile::tempdir().expect("a folder");
        let short = Paths::new(root.path(), "agent").expect("makes");
        let sweep = heats_domain::SweepId { bits: u64::MAX };
        let trial = heats_domain::TrialId { sweep, number: u32::MAX };
        let key = Key { trial, attempt: u32::MAX };
        assert!(short.socket(key).starts_with(root.path().canonicalize().expect("is there")));
        let long = root.path().join("x".repeat(200));
        let paths = Paths::new(&long, "agent").expect("makes");
        let socket = paths.socket(key);
        assert!(socket.as_os_str().len() < 108, "{}", socket.display());
        std::os::unix::net::UnixListener::bind(&socket).expect("binds");
        assert_eq!(Paths::new(&long, "agent").expect("again").socket(key).parent(), socket.parent());
        std::fs::remove_dir_all(socket.parent().expect("a folder")).expect("removes");
    }
}
