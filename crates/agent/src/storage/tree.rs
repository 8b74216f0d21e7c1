//! A folder with all that is in it, at another place.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::StorageError;
use crate::keeping::Progress;

/// What is copied at once, in bytes: after so many it is seen how far a file has come.
const PIECE: u64 = 64 << 20;

/// How files come to the other place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By another name for the same file, where the file system can: for files that nobody writes into any more.
    Link,
    /// As a copy, which shares its blocks with the original where the file system can.
    Copy,
}

/// Whether all of what is in `folder` can be kept: files and folders, and links to files.
///
/// # Errors
/// The file system refuses, or there is something else.
#[cfg(feature = "s3")]
pub fn check(folder: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(folder).map_err(StorageError::io(folder, "read"))? {
        let entry = entry.map_err(StorageError::io(folder, "read"))?;
        let path = entry.path();
        if entry.file_type().map_err(StorageError::io(&path, "read"))?.is_dir() {
            check(&path)?;
        } else if !fs::metadata(&path).map_err(StorageError::io(&path, "read"))?.is_file() {
            return Err(StorageError::Unfit { path, what: "is neither a file nor a folder" });
        }
    }
    Ok(())
}

/// Makes the folder `to` with what is in `from`. A symbolic link to a file becomes that file; one to a folder is refused, for it
/// may lead anywhere.
///
/// # Errors
/// The file system refuses, or there is something else than files and folders; what was made stays.
pub fn transfer(from: &Path, to: &Path, how: How, progress: &Progress) -> Result<(), StorageError> {
    fs::create_dir(to).map_err(StorageError::io(to, "written"))?;
    for entry in fs::read_dir(from).map_err(StorageError::io(from, "read"))? {
        let entry = entry.map_err(StorageError::io(from, "read"))?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(StorageError::io(&old, "read"))?;
        if kind.is_dir() {
            transfer(&old, &new, how, progress)?;
            continue;
        }
        if !fs::metadata(&old).map_err(StorageError::io(&old, "read"))?.is_file() {
            return Err(StorageError::Unfit { path: old, what: "is neither a file nor a folder" });
        }
        if how == How::Copy || kind.is_symlink() || fs::hard_link(&old, &new).is_err() {
            copy(&old, &new, progress).map_err(StorageError::io(&old, "read"))?;
        }
    }
    Ok(())
}

/// Copies a file with its permissions, by the kernel where it can, and adds what is copied to `progress`.
///
/// # Errors
/// One of the files cannot be opened, read or written; what was made stays.
pub fn copy(from: &Path, to: &Path, progress: &Progress) -> io::Result<()> {
    let source = File::open(from)?;
    let mut into = File::create(to)?;
    into.set_permissions(source.metadata()?.permissions())?;
    loop {
        let copied = io::copy(&mut (&source).take(PIECE), &mut into)?;
        progress.add(copied);
        if copied < PIECE {
            return Ok(());
        }
    }
}

/// The size of all files in `folder`, in bytes, as far as it can be told: for people.
pub fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        // Of a link, that of the file which it leads to.
        Ok(_) => fs::metadata(entry.path()).map_or(0, |meta| meta.len()),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
