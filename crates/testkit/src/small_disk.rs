//! A disk of a few megabytes, to be filled. Needs the right to mount, which not everybody has: see [`crate::apart`].

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// See the module. Dropped, it is gone.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// A disk of so many bytes at `path`, which is made.
    ///
    /// # Panics
    /// Where it cannot be mounted.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("a folder");
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let mounted = mounted.expect("there is a command `mount`");
        assert!(mounted.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&mounted.stderr));
        Self { path: path.to_owned() }
    }

    /// How many bytes are free.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.path).expect("is mounted");
        disk.f_bavail * disk.f_frsize
    }

    /// Fills it until no more than `left` bytes are free.
    ///
    /// # Panics
    /// Where less is free already.
    pub fn fill(&self, left: u64) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).expect("opens");
        let piece = vec![1; 1 << 12];
        while self.free() > left {
            file.write_all(&piece).expect("there is room");
        }
    }

    /// Takes away what [`Self::fill`] wrote.
    pub fn relieve(&self) {
        // There may be none.
        let _none = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still runs on it keeps it until it ends.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.path.display());
        }
    }
}
