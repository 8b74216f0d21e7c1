//! A storage in a bucket of S3, or of a server that speaks the same protocol.
//!
//! A checkpoint `NAME` is the objects `NAME/files/…`, and `NAME/manifest.json`, which is written last and removed first: without it
//! there is no checkpoint. While an agent writes or removes one there is a mark, `.half-AGENT/NAME`. What is marked and has no
//! manifest when the agent of that id starts was left half done, and is removed, with the parts of a file that was not completed.
//! Large files go in parts.

mod client;
mod sign;
#[cfg(test)]
mod tests;
mod xml;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use heats_domain::{AgentId, Object};
use serde::{Deserialize, Serialize};

use super::manifest::{Entry, MANIFEST_MAX, Manifest};
use super::target::Target;
use super::{Storage, StorageError, tree};
use crate::keeping::Progress;
use client::{Client, Fault, RANGE};

/// What is larger goes in parts of this many bytes at least; a part is in memory while it is on its way.
const PART: u64 = RANGE;
/// The longest mark: it names a file and its upload.
const MARK_MAX: u64 = 64 << 10;
/// A file has no more parts than this; the protocol has 10,000.
const PARTS_MAX: u64 = 9_000;
/// How many lists of objects are gone through at once. More than a checkpoint may have files.
const PAGES_MAX: usize = 200;

/// A storage in a bucket.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    prefix: String,
    place: String,
    agent: AgentId,
}

/// What is on its way, where parts of a file are.
#[derive(Serialize, Deserialize)]
struct Begun {
    file: String,
    upload: String,
}

impl S3 {
    /// The storage in the bucket of `target`; removes what this agent left half done there. A server that cannot be reached now
    /// is no error: attempts that run go on without it.
    ///
    /// # Errors
    /// The server does not let this agent use the bucket, or there is none.
    pub fn open(target: &Target, agent: AgentId) -> Result<Self, StorageError> {
        let unusable = |why: String| StorageError::Unusable { place: target.place(), why };
        let client = Client::new(target).map_err(unusable)?;
        let prefix = if target.prefix.is_empty() { String::new() } else { format!("{}/", target.prefix) };
        let storage = Self { client, prefix, place: target.place(), agent };
        match storage.tidy() {
            Ok(()) => {}
            Err(fault @ Fault::Away(_)) => {
                tracing::warn!(place = storage.place, %fault, "checkpoints cannot be kept now")
            }
            Err(fault) => return Err(unusable(fault.to_string())),
        }
        Ok(storage)
    }

    fn root(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn manifest(&self, name: &str) -> String {
        format!("{}/manifest.json", self.root(name))
    }

    fn file(&self, name: &str, path: &str) -> String {
        format!("{}/files/{path}", self.root(name))
    }

    fn mark(&self, name: &str) -> String {
        format!("{}.half-{}/{name}", self.prefix, self.agent)
    }

    fn error<'a>(&'a self, name: &'a str, verb: &'static str) -> impl Fn(Fault) -> StorageError + 'a {
        move |fault| StorageError::Remote {
            name: name.to_owned(),
            verb,
            place: self.place.clone(),
            is_missing: matches!(fault, Fault::Missing),
            why: fault.to_string(),
        }
    }

    /// Removes what this agent left half done.
    fn tidy(&self) -> Result<(), Fault> {
        let marks = self.mark("");
        for _ in 0..PAGES_MAX {
            let names = self.client.list(&marks)?;
            if names.is_empty() {
                break;
            }
            for mark in names {
                let name = mark.strip_prefix(&marks).unwrap_or_default();
                if !self.client.has(&self.manifest(name))? {
                    self.abandon(name, &mark)?;
                }
                self.client.delete(&mark)?;
            }
        }
        Ok(())
    }

    /// What was marked is whole, or gone. A mark that stays says nothing more, and goes when the agent starts again.
    fn unmark(&self, mark: &str) {
        if let Err(fault) = self.client.delete(mark) {
            tracing::debug!(place = self.place, %fault, "a mark of a checkpoint stays");
        }
    }

    fn abandon(&self, name: &str, mark: &str) -> Result<(), Fault> {
        let begun = self.client.get(mark, MARK_MAX)?;
        // What makes no sense is no name of parts: they were not begun.
        if let Ok(Begun { file, upload }) = serde_json::from_slice(&begun) {
            self.client.abort(&file, &upload)?;
        }
        self.clear(name)
    }

    /// Removes all objects of a checkpoint, its manifest first.
    fn clear(&self, name: &str) -> Result<(), Fault> {
        self.client.delete(&self.manifest(name))?;
        let within = format!("{}/", self.root(name));
        for _ in 0..PAGES_MAX {
            let objects = self.client.list(&within)?;
            if objects.is_empty() {
                return Ok(());
            }
            objects.iter().try_for_each(|object| self.client.delete(object))?;
        }
        Err(Fault::Unreadable("objects that were removed are still listed".to_owned()))
    }

    fn upload(&self, name: &str, folder: &Path, entry: &Entry, progress: &Progress) -> Result<(), StorageError> {
        let path = folder.join(&entry.path);
        let to = self.file(name, &entry.path);
        let file = File::open(&path).map_err(StorageError::io(&path, "read"))?;
        let mut source = Source { file, hash: blake3::Hasher::new(), progress };
        if entry.bytes > PART {
            return self.upload_in_parts(name, &to, &path, entry, &mut source);
        }
        // One more, so that it is seen where the file has grown.
        let bytes = source.read(PART + 1).map_err(StorageError::io(&path, "read"))?;
        source.expect(entry, &path)?;
        let count = bytes.len() as u64;
        self.client.put(&to, bytes).map_err(self.error(&to, "written"))?;
        progress.add(count);
        Ok(())
    }

    fn upload_in_parts(
        &self,
        name: &str,
        to: &str,
        path: &Path,
        entry: &Entry,
        source: &mut Source<'_>,
    ) -> Result<(), StorageError> {
        let written = self.error(to, "written");
        let upload = self.client.begin(to).map_err(&written)?;
        let size = PART.max(entry.bytes.div_ceil(PARTS_MAX));
        let mut parts = || -> Result<(), StorageError> {
            let begun = Begun { file: to.to_owned(), upload: upload.clone() };
            // Texts: serde_json has no way to fail on them.
            let begun = serde_json::to_vec(&begun).unwrap_or_default();
            self.client.put(&self.mark(name), begun).map_err(&written)?;
            let mut tags = Vec::new();
            for number in (1..=PARTS_MAX as u16).take(entry.bytes.div_ceil(size) as usize) {
                let part = source.read(size).map_err(StorageError::io(path, "read"))?;
                let count = part.len() as u64;
                tags.push(self.client.part(to, &upload, number, part).map_err(&written)?);
                source.progress.add(count);
            }
            source.read(1).map_err(StorageError::io(path, "read"))?;
            source.expect(entry, path)?;
            self.client.complete(to, &upload, &tags).map_err(&written)
        };
        parts().inspect_err(|_| {
            // The mark names it: the agent gives it up when it starts again.
            let _left = self.client.abort(to, &upload);
        })
    }

    fn fetch(&self, name: &str, manifest: &Manifest, aside: &Path) -> Result<(), StorageError> {
        fs::create_dir(aside).map_err(StorageError::io(aside, "written"))?;
        for folder in &manifest.folders {
            let folder = aside.join(folder);
            fs::create_dir_all(&folder).map_err(StorageError::io(&folder, "written"))?;
        }
        for entry in &manifest.files {
            let (from, to) = (self.file(name, &entry.path), aside.join(&entry.path));
            let mut into = File::create(&to).map_err(StorageError::io(&to, "written"))?;
            let (mut got, mut hash) = (0, blake3::Hasher::new());
            // One more than there should be, so that it is seen where there is more.
            while let wanted @ 1.. = (entry.bytes + 1).saturating_sub(got).min(RANGE) {
                let piece = self.client.range(&from, got, wanted).map_err(self.error(&from, "read"))?;
                got += piece.len() as u64;
                hash.update(&piece);
                into.write_all(&piece).map_err(StorageError::io(&to, "written"))?;
                if (piece.len() as u64) < wanted {
                    break;
                }
            }
            into.sync_all().map_err(StorageError::io(&to, "written"))?;
            if hash.finalize().to_hex().as_str() != entry.hash {
                let what = format!("`{}` is not the file that was put", entry.path);
                return Err(StorageError::Damaged { name: name.to_owned(), what });
            }
        }
        Ok(())
    }
}

/// A file that is read, and hashed as it is.
struct Source<'a> {
    file: File,
    hash: blake3::Hasher,
    /// What counts the bytes that were sent.
    progress: &'a Progress,
}

impl Source<'_> {
    /// The next bytes, as many as `most` where there are so many.
    fn read(&mut self, most: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&self.file).take(most).read_to_end(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// Whether what was read so far is all of the file.
    fn expect(&self, entry: &Entry, path: &Path) -> Result<(), StorageError> {
        let unfit = || StorageError::Unfit { path: path.to_owned(), what: "was written while it was put" };
        (self.hash.finalize().to_hex().as_str() == entry.hash).then_some(()).ok_or_else(unfit)
    }
}

impl Storage for S3 {
    fn place(&self) -> &str {
        &self.place
    }

    fn passes(&self) -> u64 {
        // They are hashed, and sent.
        2
    }

    fn put(&self, named: Object, folder: &Path, progress: &Progress) -> Result<Object, StorageError> {
        tree::check(folder)?;
        let manifest = Manifest::of(folder, progress)?;
        if let Some(file) = manifest.files.iter().find(|file| file.path.chars().any(char::is_control)) {
            return Err(StorageError::Unfit { path: folder.join(&file.path), what: "has a name that no bucket takes" });
        }
        let (bytes, hash) = manifest.to_bytes();
        let (hash, place) = (hash.as_bytes().to_vec(), self.place.clone());
        let checkpoint = Object { hash, bytes: manifest.bytes(), place, ..named };
        let name = checkpoint.name();
        let (last, mark) = (self.manifest(&name), self.mark(&name));
        // It was put before, by an earlier agent that had no time to say so.
        if self.client.has(&last).map_err(self.error(&name, "written"))? {
            return Ok(checkpoint);
        }
        self.client.put(&mark, "").map_err(self.error(&name, "written"))?;
        let put = manifest.files.iter().try_for_each(|entry| self.upload(&name, folder, entry, progress));
        put.and_then(|()| self.client.put(&last, bytes).map_err(self.error(&name, "written"))).inspect_err(|_| {
            // What is left of it goes when the agent starts again.
            let _left = self.clear(&name);
        })?;
        self.unmark(&mark);
        Ok(checkpoint)
    }

    fn get(&self, checkpoint: &Object, into: &Path) -> Result<(), StorageError> {
        let name = checkpoint.name();
        let read = self.error(&name, "read");
        let bytes = self.client.get(&self.manifest(&name), MANIFEST_MAX + 1).map_err(read)?;
        let manifest = Manifest::read(checkpoint, &bytes)?;
        let aside = into.with_file_name(format!(
            ".got-{}-{:08x}",
            into.file_name().unwrap_or_default().display(),
            rand::random::<u32>()
        ));
        let got = self.fetch(&name, &manifest, &aside);
        got.and_then(|()| fs::rename(&aside, into).map_err(StorageError::io(into, "written"))).inspect_err(|_| {
            // It goes with the attempt's folder.
            let _left = fs::remove_dir_all(&aside);
        })
    }

    fn read(&self, object: &Object, file: &str, offset: u64, length: u64) -> Result<Vec<u8>, StorageError> {
        let from = self.file(&object.name(), file);
        Ok(self.client.range(&from, offset, length).map_err(self.error(&from, "read"))?.to_vec())
    }

    fn delete(&self, checkpoint: &Object) -> Result<(), StorageError> {
        let name = checkpoint.name();
        let mark = self.mark(&name);
        let removed = self.client.put(&mark, "").and_then(|()| self.clear(&name));
        removed.map_err(self.error(&name, "removed"))?;
        self.unmark(&mark);
        Ok(())
    }
}
