//! Which attempts this agent has started and not seen taken over by a coordinator: one append-only file.
//!
//! A start is on disk before the command runs, so that after a power cut the agent knows what it held, even
//! where the attempt's own folder did not survive. Starts that wait at the same moment share one sync. That
//! an attempt is over is appended too, but nobody waits for it: at worst an end is told twice. After an error, of a
//! full disk for example, nothing is appended any more: the next entry writes the file anew.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::key::Key;

/// After this many lines the file is written anew with what is open.
const LINES_MAX: usize = 20_000;

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the journal `{path}` failed: {source}; free space or mend the file system, then start the agent again")]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

enum Entry {
    Started(Key, oneshot::Sender<Result<(), JournalError>>),
    Over(Key),
}

/// The writer's handle. The file is written by one thread, which ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Journal {
    entries: mpsc::Sender<Entry>,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal at `path`; with it come the attempts that were open when it was last written.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn open(path: &Path) -> Result<(Self, BTreeSet<Key>), JournalError> {
        let fail = |source| JournalError { path: path.to_owned(), source };
        let open = match std::fs::read(path) {
            Ok(bytes) => replay(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(fail(error)),
        };
        let file = rewrite(path, &open).map_err(fail)?;
        let (entries, queue) = mpsc::channel();
        let mut writer = Writer { path: path.to_owned(), file, open: open.clone(), lines: open.len(), is_sound: true };
        std::thread::Builder::new().name("heats-journal".into()).spawn(move || writer.run(&queue)).map_err(fail)?;
        Ok((Self { entries, path: path.to_owned() }, open))
    }

    /// Notes that the attempt is about to start; returns once that is on disk.
    ///
    /// # Errors
    /// Where it could not be written: the attempt must not be started then.
    pub async fn started(&self, key: Key) -> Result<(), JournalError> {
        let gone = || JournalError { path: self.path.clone(), source: std::io::ErrorKind::BrokenPipe.into() };
        let (done, written) = oneshot::channel();
        self.entries.send(Entry::Started(key, done)).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }

    /// Notes that a coordinator has taken over the attempt's end.
    pub fn over(&self, key: Key) {
        // The writer is there for as long as its handles are.
        let _writer_gone = self.entries.send(Entry::Over(key));
    }
}

/// A torn last line is no entry: nobody was told that it is on disk.
fn replay(bytes: &[u8]) -> BTreeSet<Key> {
    let mut open = BTreeSet::new();
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    for line in bytes[..whole].split(|&b| b == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some(Ok(key)) = line.strip_prefix("started ").map(str::parse) {
            open.insert(key);
        } else if let Some(Ok(key)) = line.strip_prefix("over ").map(str::parse) {
            open.remove(&key);
        }
    }
    open
}

fn rewrite(path: &Path, open: &BTreeSet<Key>) -> std::io::Result<File> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&aside)?;
    let text: String = open.iter().map(|key| format!("started {key}\n")).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

struct Writer {
    path: PathBuf,
    file: File,
    open: BTreeSet<Key>,
    lines: usize,
    /// Whether the file on the disk is what it should be.
    is_sound: bool,
}

impl Writer {
    fn run(&mut self, queue: &mpsc::Receiver<Entry>) {
        while let Ok(first) = queue.recv() {
            let mut text = String::new();
            let mut waiting = Vec::new();
            for entry in std::iter::once(first).chain(queue.try_iter()) {
                self.lines += 1;
                match entry {
                    Entry::Started(key, done) => {
                        self.open.insert(key);
                        text.push_str(&format!("started {key}\n"));
                        waiting.push((key, done));
                    }
                    Entry::Over(key) => {
                        self.open.remove(&key);
                        text.push_str(&format!("over {key}\n"));
                    }
                }
            }
            let written = self.write(&text, !waiting.is_empty());
            // After a failed write a line may be half there, and after a failed sync the kernel forgets what it could
            // not write: nothing may follow in that file.
            self.is_sound = written.is_ok();
            for (key, done) in waiting {
                let told = match &written {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.open.remove(&key);
                        Err(JournalError { path: self.path.clone(), source: error.kind().into() })
                    }
                };
                // Whoever waited may have been told to stop meanwhile.
                let _caller_gone = done.send(told);
            }
        }
    }

    fn write(&mut self, text: &str, sync: bool) -> std::io::Result<()> {
        if !self.is_sound || self.lines > LINES_MAX + 2 * self.open.len() {
            self.file = rewrite(&self.path, &self.open)?;
            self.lines = self.open.len();
            return Ok(());
        }
        self.file.write_all(text.as_bytes())?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{SweepId, TrialId};

    fn key(number: u32) -> Key {
        Key { trial: TrialId { sweep: SweepId::mint(5, 1), number }, attempt: 1 }
    }

    #[tokio::test]
    async fn what_was_started_and_is_not_over_is_open_after_a_restart() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("journal");
        {
            let (journal, open) = Journal::open(&path).expect("opens");
            assert!(open.is_empty());
            for number in 0..5 {
                journal.started(key(number)).await.expect("writes");
            }
            journal.over(key(1));
            journal.over(key(3));
            journal.started(key(9)).await.expect("writes, and what came before it");
        }
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"started swp_torn"))
            .expect("appends");
        let (_, open) = Journal::open(&path).expect("opens");
        assert_eq!(open, [key(0), key(2), key(4), key(9)].into());
    }

    #[test]
    fn a_journal_that_could_not_be_written_is_written_anew_once_it_can() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("journal");
        std::fs::write(&path, "started swp_half").expect("writes");
        let full = OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let open = [key(0)].into();
        let mut writer = Writer { path: path.clone(), file: full, open, lines: 1, is_sound: true };
        let (entries, queue) = mpsc::channel();
        std::thread::spawn(move || writer.run(&queue));
        let start = |number| {
            let (done, written) = oneshot::channel();
            entries.send(Entry::Started(key(number), done)).expect("is there");
            written.blocking_recv().expect("is told")
        };
        let error = start(1).expect_err("the disk is full").to_string();
        assert!(error.contains("free space"), "{error}");
        start(2).expect("the file is another one");
        assert_eq!(replay(&std::fs::read(&path).expect("reads")), [key(0), key(2)].into());
        start(3).expect("and goes on");
        assert_eq!(replay(&std::fs::read(&path).expect("reads")), [key(0), key(2), key(3)].into());
    }

    #[tokio::test]
    async fn the_file_is_written_anew_before_it_grows_for_ever() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("journal");
        let (journal, _) = Journal::open(&path).expect("opens");
        journal.started(key(0)).await.expect("writes");
        for number in 0..LINES_MAX as u32 + 10 {
            journal.over(key(number + 1));
        }
        journal.started(key(1)).await.expect("writes");
        journal.started(key(2)).await.expect("writes");
        let size = std::fs::metadata(&path).expect("is there").len();
        assert!(size < 1_000, "{size} bytes");
        drop(journal);
        let (_, open) = Journal::open(&path).expect("opens");
        assert_eq!(open, [key(0), key(1), key(2)].into());
    }
}
