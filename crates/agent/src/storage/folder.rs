//! A storage in a folder: the agent's own, or one that several mount.
//!
//! An object is a folder `NAME` with `manifest.json` and `files/`. It is made aside, as `.new-AGENT-…`, synced and renamed; it is
//! renamed to `.old-AGENT-…` before it is removed. What is found under such a name when the agent of that id starts was left half
//! done, and is removed.

use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use heats_domain::{AgentId, Object};

use super::manifest::{MANIFEST_MAX, Manifest, hash, sync};
use super::{How, Storage, StorageError, transfer};
use crate::keeping::Progress;

/// Says which storage a shared folder is, wherever it is mounted.
const IDENTITY: &str = "heats-storage";
const MANIFEST: &str = "manifest.json";
const FILES: &str = "files";

/// A storage in a folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    place: String,
    agent: AgentId,
    how: How,
    made: AtomicU64,
}

impl Folder {
    /// The agent's own storage. What is put there shares its blocks with what the trial wrote.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn own(root: &Path, agent: AgentId) -> Result<Self, StorageError> {
        Self::open(root, format!("local:{agent}"), agent, How::Link)
    }

    /// The storage in a folder that several agents mount: it says itself which it is.
    ///
    /// # Errors
    /// The folder is not there, or cannot be written.
    pub fn shared(root: &Path, agent: AgentId) -> Result<Self, StorageError> {
        let id = identity(root, agent).map_err(StorageError::io(&root.join(IDENTITY), "written"))?;
        Self::open(root, format!("shared:{id}"), agent, How::Copy)
    }

    fn open(root: &Path, place: String, agent: AgentId, how: How) -> Result<Self, StorageError> {
        fs::create_dir_all(root).map_err(StorageError::io(root, "written"))?;
        let storage = Self { root: root.to_owned(), place, agent, how, made: AtomicU64::new(0) };
        let half = [storage.aside_prefix("new"), storage.aside_prefix("old")];
        for entry in fs::read_dir(root).map_err(StorageError::io(root, "read"))?.flatten() {
            if entry.file_name().to_str().is_some_and(|name| half.iter().any(|prefix| name.starts_with(prefix))) {
                remove(&entry.path())?;
            }
        }
        Ok(storage)
    }

    fn aside_prefix(&self, what: &str) -> String {
        format!(".{what}-{}-", self.agent)
    }

    /// A name that nothing else has.
    fn aside(&self, what: &str) -> PathBuf {
        let (number, chance) = (self.made.fetch_add(1, Ordering::Relaxed), rand::random::<u32>());
        self.root.join(format!("{}{number}-{chance:08x}", self.aside_prefix(what)))
    }

    fn fill(
        &self,
        aside: &Path,
        folder: &Path,
        progress: &Progress,
        filled: impl FnOnce(&Manifest, Vec<u8>) -> Object,
    ) -> Result<Object, StorageError> {
        fs::create_dir(aside).map_err(StorageError::io(aside, "written"))?;
        let files = aside.join(FILES);
        transfer(folder, &files, self.how, progress)?;
        // Of what is there now, not of what was copied: a script may have written on.
        let manifest = Manifest::of(&files, progress)?;
        let (bytes, hash) = manifest.to_bytes();
        let path = aside.join(MANIFEST);
        fs::write(&path, bytes).map_err(StorageError::io(&path, "written"))?;
        super::manifest::hash(&path, &Progress::of(1))?;
        sync(aside)?;
        let checkpoint = filled(&manifest, hash.as_bytes().to_vec());
        let object = self.root.join(checkpoint.name());
        match fs::rename(aside, &object) {
            // It was put before, by an earlier agent that had no time to say so.
            Err(_) if object.is_dir() => remove(aside)?,
            renamed => renamed.map_err(StorageError::io(&object, "written"))?,
        }
        sync(&self.root)?;
        Ok(checkpoint)
    }
}

impl Storage for Folder {
    fn place(&self) -> &str {
        &self.place
    }

    fn passes(&self) -> u64 {
        match self.how {
            // They are hashed.
            How::Link => 1,
            // They are copied before.
            How::Copy => 2,
        }
    }

    fn put(&self, named: Object, folder: &Path, progress: &Progress) -> Result<Object, StorageError> {
        let aside = self.aside("new");
        let filled =
            |manifest: &Manifest, hash| Object { hash, bytes: manifest.bytes(), place: self.place.clone(), ..named };
        self.fill(&aside, folder, progress, filled).inspect_err(|_| {
            // What is left of it goes when the agent starts again.
            let _left = remove(&aside);
        })
    }

    fn read(&self, object: &Object, file: &str, offset: u64, length: u64) -> Result<Vec<u8>, StorageError> {
        let path = self.root.join(object.name()).join(FILES).join(file);
        let mut bytes = Vec::new();
        let mut read = || {
            let mut source = fs::File::open(&path)?;
            source.seek(SeekFrom::Start(offset))?;
            source.take(length).read_to_end(&mut bytes)
        };
        read().map_err(StorageError::io(&path, "read"))?;
        Ok(bytes)
    }

    fn get(&self, checkpoint: &Object, into: &Path) -> Result<(), StorageError> {
        let object = self.root.join(checkpoint.name());
        let damaged = |what: String| StorageError::Damaged { name: checkpoint.name(), what };
        let path = object.join(MANIFEST);
        let file = fs::File::open(&path).map_err(StorageError::io(&path, "read"))?;
        let mut bytes = Vec::new();
        file.take(MANIFEST_MAX + 1).read_to_end(&mut bytes).map_err(StorageError::io(&path, "read"))?;
        let manifest = Manifest::read(checkpoint, &bytes)?;
        let name = into.file_name().unwrap_or_default().display();
        let aside = into.with_file_name(format!(".got-{name}-{:08x}", rand::random::<u32>()));
        let got = fetch(&manifest, &object.join(FILES), &aside, &damaged);
        let got = got.and_then(|()| fs::rename(&aside, into).map_err(StorageError::io(into, "written")));
        got.inspect_err(|_| {
            // It goes with the attempt's folder.
            let _left = remove(&aside);
        })
    }

    fn delete(&self, checkpoint: &Object) -> Result<(), StorageError> {
        let object = self.root.join(checkpoint.name());
        let aside = self.aside("old");
        match fs::rename(&object, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(StorageError::io(&object, "removed"))?,
        }
        sync(&self.root)?;
        remove(&aside)
    }
}

/// Copies the files of a manifest, and looks at each copy.
fn fetch(
    manifest: &Manifest,
    from: &Path,
    to: &Path,
    damaged: &impl Fn(String) -> StorageError,
) -> Result<(), StorageError> {
    fs::create_dir(to).map_err(StorageError::io(to, "written"))?;
    for folder in &manifest.folders {
        let folder = to.join(folder);
        fs::create_dir_all(&folder).map_err(StorageError::io(&folder, "written"))?;
    }
    for entry in &manifest.files {
        let (old, new) = (from.join(&entry.path), to.join(&entry.path));
        // Not a link: the attempt may do with its files what it likes.
        fs::copy(&old, &new).map_err(StorageError::io(&old, "read"))?;
        let (hash, bytes) = hash(&new, &Progress::of(1))?;
        if (&hash, bytes) != (&entry.hash, entry.bytes) {
            return Err(damaged(format!("`{}` is not the file that was put", entry.path)));
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StorageError::io(path, "removed")),
    }
}

/// What a shared folder says that it is; the first who comes gives it a name.
fn identity(root: &Path, agent: AgentId) -> io::Result<String> {
    let path = root.join(IDENTITY);
    if !path.exists() {
        let aside = root.join(format!(".{IDENTITY}-{agent}"));
        fs::write(&aside, format!("{:032x}\n", rand::random::<u128>()))?;
        fs::File::open(&aside)?.sync_all()?;
        // Of several who come at once one wins. Where there are no links, the last.
        match fs::hard_link(&aside, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => fs::rename(&aside, &path)?,
            Ok(()) | Err(_) => fs::remove_file(&aside)?,
        }
        fs::File::open(root)?.sync_all()?;
    }
    let id = fs::read_to_string(&path)?;
    let id = id.trim();
    let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| id.to_owned()).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it does not name a storage"))
}

#[cfg(test)]
mod tests {
    use heats_domain::{SweepId, TrialId};

    use super::*;
    use crate::key::Key;
    use crate::storage::size;

    const KEY: Key = Key { trial: TrialId { sweep: SweepId { bits: 5 }, number: 3 }, attempt: 1 };
    const AGENT: AgentId = AgentId { bits: 6 };

    fn made_at(step: u64) -> Object {
        KEY.object(step, String::new())
    }

    /// A folder with a checkpoint, and room for a storage and for what is got from it.
    fn lab() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let step = root.path().join("step-1");
        fs::create_dir_all(step.join("a/empty")).expect("creates");
        fs::write(step.join("a/w"), "weights").expect("writes");
        fs::write(step.join("s"), "state").expect("writes");
        root
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("reads").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().display().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_put_is_got_whole_and_twice_is_as_good_as_once() {
        let lab = lab();
        let root = lab.path();
        let storages: [Folder; 2] = [
            Folder::own(&root.join("own"), AGENT).expect("opens"),
            Folder::shared(root, AGENT).and_then(|_| Folder::shared(root, AGENT)).expect("opens"),
        ];
        for storage in &storages {
            let progress = Progress::of(storage.passes());
            progress.size(size(&root.join("step-1")));
            let made = storage.put(made_at(1), &root.join("step-1"), &progress).expect("puts");
            assert_eq!(progress.kept(), (12, Some(12)));
            assert_eq!((made.bytes, made.step, made.place.as_str()), (12, 1, storage.place()));
            assert_eq!(storage.put(made_at(1), &root.join("step-1"), &Progress::of(1)).expect("puts"), made);
            let into = root.join(storage.place().replace(':', "-"));
            storage.get(&made, &into).expect("gets");
            assert_eq!(fs::read_to_string(into.join("a/w")).expect("reads"), "weights");
            assert!(into.join("a/empty").is_dir());
            for _ in 0..2 {
                storage.delete(&made).expect("deletes");
            }
            assert!(storage.get(&made, &root.join("none")).is_err_and(|error| error.is_missing()));
        }
        assert_eq!(names(&root.join("own")), Vec::<String>::new());
    }

    #[test]
    fn a_trial_that_changes_what_it_got_does_not_change_what_is_kept() {
        let lab = lab();
        let storage = Folder::own(&lab.path().join("own"), AGENT).expect("opens");
        let made = storage.put(made_at(1), &lab.path().join("step-1"), &Progress::of(1)).expect("puts");
        storage.get(&made, &lab.path().join("got")).expect("gets");
        fs::write(lab.path().join("got/s"), "other").expect("writes");
        storage.get(&made, &lab.path().join("again")).expect("is what was put");
    }

    #[test]
    fn a_damaged_object_is_not_got() {
        let lab = lab();
        let storage = Folder::shared(lab.path(), AGENT).expect("opens");
        let made = storage.put(made_at(1), &lab.path().join("step-1"), &Progress::of(1)).expect("puts");
        let object = lab.path().join(made.name());
        let into = lab.path().join("got");
        fs::write(object.join("files/s"), "stale").expect("writes");
        let error = storage.get(&made, &into).expect_err("has another content").to_string();
        assert!(error.contains("`s` is not the file that was put"), "{error}");
        let manifest = r#"{"folders":[],"files":[{"path":"../../x","bytes":0,"hash":""}]}"#;
        fs::write(object.join(MANIFEST), manifest).expect("writes");
        assert!(matches!(storage.get(&made, &into), Err(StorageError::Damaged { .. })));
        let hash = blake3::hash(manifest.as_bytes()).as_bytes().to_vec();
        let elsewhere = Object { hash, ..made.clone() };
        fs::rename(&object, lab.path().join(elsewhere.name())).expect("renames");
        let error = storage.get(&elsewhere, &into).expect_err("leads out").to_string();
        assert!(error.contains("elsewhere"), "{error}");
        assert!(!into.exists() && !names(lab.path()).iter().any(|name| name.starts_with(".got")));
    }

    #[test]
    fn what_an_agent_left_half_done_is_removed_when_it_starts_and_what_others_do_is_left_alone() {
        let lab = lab();
        let other = AgentId { bits: 7 };
        for name in [format!(".new-{AGENT}-0-1"), format!(".old-{AGENT}-0-1"), format!(".new-{other}-0-1")] {
            fs::create_dir_all(lab.path().join(name).join("files")).expect("creates");
        }
        let storage = Folder::shared(lab.path(), AGENT).expect("opens");
        fs::create_dir(lab.path().join("step-1/pipe")).expect("creates");
        std::os::unix::fs::symlink("..", lab.path().join("step-1/up")).expect("links");
        storage
            .put(made_at(1), &lab.path().join("step-1"), &Progress::of(1))
            .expect_err("a link to a folder may lead anywhere");
        assert_eq!(names(lab.path()), [format!(".new-{other}-0-1"), IDENTITY.to_owned(), "step-1".to_owned()]);
    }

    #[test]
    fn a_shared_folder_keeps_its_name_wherever_it_is_mounted() {
        let lab = lab();
        let place = |root: &Path, bits| Folder::shared(root, AgentId { bits }).expect("opens").place;
        let first = place(lab.path(), 1);
        std::os::unix::fs::symlink(lab.path(), lab.path().join("mount")).expect("links");
        assert_eq!(place(&lab.path().join("mount"), 2), first);
        assert_ne!(place(&lab.path().join("step-1"), 1), first, "another folder");
        fs::write(lab.path().join(IDENTITY), "").expect("writes");
        Folder::shared(lab.path(), AGENT).expect_err("nobody knows which it is");
    }
}
