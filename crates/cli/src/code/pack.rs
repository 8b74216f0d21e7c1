//! Packs files so that the same code is the same archive, byte for byte: in the order of their names, without times and
//! owners. Whether a file may be run stays.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use heats_domain::ArchiveName;
use heats_wire::Bytes;

use super::list::Kind;
use super::{CodeError, Entry, LARGEST};
use crate::words;

/// zstd's own default: as fast as a disk, and half the size.
const LEVEL: i32 = 3;

/// An archive, ready to be sent.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The hash of `data`.
    pub name: ArchiveName,
    /// The archive: a tar file, compressed by zstd.
    pub data: Bytes,
    /// What is in it, by name.
    pub entries: Vec<Entry>,
    /// What git says of it, where it is from a repository elsewhere, of which nothing is here.
    pub git: Option<serde_json::Value>,
}

impl Packed {
    /// Bytes of the files in it.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| bytes(&entry.kind)).sum()
    }

    /// `12 files, 34.5 KiB, 9.8 KiB packed, as 0123456789ab`
    pub fn sentence(&self) -> String {
        let (files, whole) = (words::count(self.entries.len() as u64, "file"), words::bytes(self.bytes()));
        format!("{files}, {whole}, {} packed, as {}", words::bytes(self.data.len() as u64), self.name.short())
    }
}

const fn bytes(kind: &Kind) -> u64 {
    match kind {
        Kind::File { bytes, .. } => *bytes,
        Kind::Link(_) => 0,
    }
}

/// Packs `entries` of `folder` into at most `limit` bytes.
///
/// # Errors
/// Where a file cannot be read, or there are more bytes.
pub fn pack(folder: &Path, entries: Vec<Entry>, limit: u64) -> Result<Packed, CodeError> {
    let io = |source| CodeError::Io { path: folder.to_owned(), source };
    let encoder = zstd::Encoder::new(Limited { data: Vec::new(), limit }, LEVEL).map_err(io)?;
    let mut tar = tar::Builder::new(encoder);
    for entry in &entries {
        append(&mut tar, folder, entry).map_err(|source| failed(&entries, &folder.join(&entry.path), limit, source))?;
    }
    let finished = tar.into_inner().and_then(zstd::Encoder::finish);
    let Limited { data, .. } = finished.map_err(|source| failed(&entries, folder, limit, source))?;
    let name = blake3::hash(&data).to_hex().parse().map_err(|_| io(io::Error::other("a hash is a name")))?;
    Ok(Packed { name, data: data.into(), entries, git: None })
}

fn append<W: Write>(tar: &mut tar::Builder<W>, folder: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    match &entry.kind {
        Kind::File { bytes, executable } => {
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(*bytes);
            let mut file = Exactly { file: File::open(folder.join(&entry.path))?, left: *bytes };
            tar.append_data(&mut header, &entry.path, &mut file)
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, &entry.path, target)
        }
    }
}

/// What went wrong at `path`: too much of it all, or something with the file.
fn failed(entries: &[Entry], path: &Path, limit: u64, source: io::Error) -> CodeError {
    if !source.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) {
        return CodeError::Io { path: path.to_owned(), source };
    }
    let mut largest: Vec<&Entry> = entries.iter().collect();
    largest.sort_by_key(|entry| std::cmp::Reverse(bytes(&entry.kind)));
    let named = |entry: &&Entry| format!("`{}` ({})", entry.path.display(), words::bytes(bytes(&entry.kind)));
    CodeError::TooLarge { limit, files: entries.len(), largest: largest.iter().take(LARGEST).map(named).collect() }
}

/// Takes no more than so many bytes.
struct Limited {
    data: Vec<u8>,
    limit: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the archive is too large")]
struct TooLarge;

impl Write for Limited {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if (self.data.len() + data.len()) as u64 > self.limit {
            return Err(io::Error::other(TooLarge));
        }
        self.data.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose length is known already: what is written to it meanwhile is not read, and one that became shorter is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most])? {
            0 => Err(io::Error::other("it became shorter while it was packed")),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    use super::super::list::list;
    use super::*;

    fn pack_all(folder: &Path, limit: u64) -> Result<Packed, CodeError> {
        pack(folder, list(folder, &[], true)?, limit)
    }

    #[test]
    fn the_same_code_is_the_same_archive_and_other_code_another() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for (folder, names) in [(one.path(), ["a", "b"]), (two.path(), ["b", "a"])] {
            names.iter().for_each(|name| std::fs::write(folder.join(name), name).expect("writes"));
        }
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options()
            .append(true)
            .open(two.path().join("a"))
            .and_then(|file| file.set_modified(long_ago))
            .expect("dates");
        let name = |folder: &Path| pack_all(folder, 1 << 20).expect("packs").name;
        let first = name(one.path());
        assert_eq!(first, name(two.path()));
        std::fs::set_permissions(two.path().join("a"), PermissionsExt::from_mode(0o755)).expect("may be run");
        let second = name(two.path());
        assert_ne!(first, second);
        std::fs::write(two.path().join("a"), "c").expect("writes");
        assert_ne!(second, name(two.path()));
    }

    #[test]
    fn an_archive_that_is_too_large_names_the_largest_files() {
        let root = tempfile::tempdir().expect("a folder");
        let mut noise = vec![0; 300_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        std::fs::write(root.path().join("weights"), &noise).expect("writes");
        std::fs::write(root.path().join("train.py"), "print()").expect("writes");
        let error = pack_all(root.path(), 100_000).expect_err("is too large").to_string();
        assert!(
            error.contains("97.7 KiB packed; the largest of 2 files are `weights` (293 KiB) and `train.py`"),
            "{error}"
        );
        assert!(pack_all(root.path(), 400_000).is_ok());
    }
}
