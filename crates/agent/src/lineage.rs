//! Which cluster an agent's attempts are of, among those that were made from each other's backups: kept in a file, so that
//! its successor knows. Names nothing else: see `State::lineage` of the crate `core`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// The lineage, and where it is kept.
#[derive(Clone, Debug)]
pub struct Lineage {
    path: PathBuf,
    number: u64,
}

impl Lineage {
    /// What the file says; 0, which is that of every cluster that was made from no backup, where there is none.
    ///
    /// # Errors
    /// The file does not read.
    pub fn read(path: PathBuf) -> io::Result<Self> {
        let number = match fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("{error}")))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path, number })
    }

    /// The number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// From now on it is this one; durable when this returns.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn set(&mut self, number: u64) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        fs::write(&aside, format!("{number}\n"))?;
        File::open(&aside)?.sync_all()?;
        fs::rename(&aside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.number = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_is_kept_and_one_that_does_not_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lineage");
        let read = || Lineage::read(path.clone());
        let mut lineage = read().expect("reads");
        assert_eq!(lineage.number(), 0);
        lineage.set(u64::MAX).expect("writes");
        assert_eq!(read().expect("reads").number(), u64::MAX);
        fs::write(&path, "").expect("writes");
        assert!(read().is_err());
    }
}
