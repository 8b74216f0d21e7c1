//! Who writes into an attempt's folder: one inotify instance for the whole agent, so that an idle agent
//! sleeps and a new line is seen at once. Says only that something changed, not what.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::readable;

/// How often a folder is looked at in any case: file systems of other machines announce nothing.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// The same where no watch could be had.
const LOOK_UNWATCHED: Duration = Duration::from_millis(200);

/// The least time between two looks at what the kernel has announced. The first line after a silence is seen at once; where
/// many trials report, their lines are taken together: a wake for each costs more than the reading.
const PACE: Duration = Duration::from_millis(10);

/// The kernel gives one number for one folder, however often it is watched: so many watches share the channel.
#[derive(Debug)]
struct Shared {
    source: watch::Sender<Seen>,
    watches: usize,
}

/// What was seen of a folder so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    changes: u64,
    /// Those of them that may have given it a file that it did not have.
    new_files: u64,
}

/// What may have happened to a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Something was written into its files.
    Written,
    /// It may have other files than before.
    NewFile,
}

type Changed = BTreeMap<i32, Shared>;

/// The agent's watches.
#[derive(Clone, Debug)]
pub struct Watcher {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    fd: Arc<AsyncFd<OwnedFd>>,
    changed: Arc<Mutex<Changed>>,
    reader: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// One folder that is watched for as long as this lives.
#[derive(Debug)]
pub struct Watch {
    number: i32,
    watcher: Watcher,
    changes: watch::Receiver<Seen>,
    // Keeps the channel open where there is no watch.
    _source: Option<watch::Sender<Seen>>,
}

/// Waits for changes of one folder; any number of them for each watch.
#[derive(Clone, Debug)]
pub struct Changes {
    changes: watch::Receiver<Seen>,
    new_files: u64,
    look_again: Duration,
}

impl Changes {
    /// Returns once the folder may have changed since the last call: new files may be there at the first.
    pub async fn wait(&mut self) -> Change {
        // The sender is gone once the attempt is over; then nothing changes, and the caller's own end wakes it.
        let changed = async {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let announced = tokio::time::timeout(self.look_again, changed).await.is_ok();
        let Seen { new_files, .. } = *self.changes.borrow();
        let none_is_new = std::mem::replace(&mut self.new_files, new_files) == new_files;
        if announced && none_is_new { Change::Written } else { Change::NewFile }
    }
}

#[cfg(test)]
impl Changes {
    /// The same, but that the folder is not looked at in any case.
    pub(crate) fn when_told(self) -> Self {
        Self { look_again: Duration::from_secs(3600), ..self }
    }
}

impl Watcher {
    /// Starts watching nothing. Where the machine has no inotify left, folders are looked at in turn.
    pub fn start() -> Self {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(std::io::Error::from)
            .and_then(readable::register);
        let fd = match fd {
            Ok(fd) => Arc::new(fd),
            Err(error) => {
                tracing::warn!(%error, "no inotify; raise fs.inotify.max_user_instances for quicker reports");
                return Self { inner: None };
            }
        };
        let changed = Arc::new(Mutex::new(Changed::new()));
        let reader = tokio::spawn(read(fd.clone(), changed.clone())).abort_handle();
        Self { inner: Some(Arc::new(Inner { fd, changed, reader })) }
    }

    /// Watches the folder at `path`.
    pub fn watch(&self, path: &Path) -> Watch {
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ONLYDIR;
        let added = self.inner.as_ref().map(|inner| {
            // Held across the call, so that the reader cannot see an event of a number that is not there yet.
            let mut changed = inner.changed.lock().unwrap_or_else(PoisonError::into_inner);
            inotify::add_watch(inner.fd.get_ref(), path, flags).map(|number| {
                let new = || Shared { source: watch::Sender::new(Seen::default()), watches: 0 };
                let shared = changed.entry(number).or_insert_with(new);
                shared.watches += 1;
                (number, shared.source.subscribe())
            })
        });
        match added {
            Some(Ok((number, changes))) => Watch { number, watcher: self.clone(), changes, _source: None },
            Some(Err(error)) => {
                tracing::warn!(%error, path = %path.display(), "no inotify watch; raise fs.inotify.max_user_watches");
                self.unwatched()
            }
            None => self.unwatched(),
        }
    }

    fn unwatched(&self) -> Watch {
        let (source, changes) = watch::channel(Seen::default());
        Watch { number: -1, watcher: self.clone(), changes, _source: Some(source) }
    }
}

impl Watch {
    /// Someone who waits for changes.
    pub fn changes(&self) -> Changes {
        let look_again = if self.number < 0 { LOOK_UNWATCHED } else { LOOK_ANYWAY };
        Changes { changes: self.changes.clone(), new_files: 0, look_again }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(inner), true) = (&self.watcher.inner, self.number >= 0) {
            let mut changed = inner.changed.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(shared) = changed.get_mut(&self.number) else { return };
            shared.watches -= 1;
            if shared.watches == 0 {
                changed.remove(&self.number);
                // Fails where the folder is gone: then the watch is too.
                let _gone = inotify::remove_watch(inner.fd.get_ref(), self.number);
            }
        }
    }
}

async fn read(fd: Arc<AsyncFd<OwnedFd>>, changed: Arc<Mutex<Changed>>) {
    loop {
        let Ok(mut ready) = fd.readable().await else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(fd.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
                    if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                        changed.values().for_each(|shared| bump(&shared.source, Change::NewFile));
                    } else if let Some(shared) = changed.get(&event.wd()) {
                        let written = event.events().contains(inotify::ReadFlags::MODIFY);
                        bump(&shared.source, if written { Change::Written } else { Change::NewFile });
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "inotify failed; new lines are seen late from now on");
                    return;
                }
            }
        }
        drop(ready);
        tokio::time::sleep(PACE).await;
    }
}

fn bump(sender: &watch::Sender<Seen>, change: Change) {
    sender.send_modify(|seen| {
        seen.changes = seen.changes.wrapping_add(1);
        seen.new_files = seen.new_files.wrapping_add(u64::from(change == Change::NewFile));
    });
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_line_that_is_written_wakes_whoever_waits() {
        let root = tempfile::tempdir().expect("a folder");
        let watcher = Watcher::start();
        let watch = watcher.watch(root.path());
        let mut changes = watch.changes().when_told();
        std::fs::write(root.path().join("a"), "1").expect("writes");
        changes.wait().await;
        // Whatever the first write still brings is taken; then only a new one wakes.
        let waits = tokio::spawn(async move { changes.wait().await });
        std::fs::write(root.path().join("a"), "2").expect("writes");
        waits.await.expect("woken");
    }

    #[tokio::test]
    async fn a_file_that_is_new_is_told_from_one_that_is_written_to() {
        let root = tempfile::tempdir().expect("a folder");
        let watcher = Watcher::start();
        let mut a = std::fs::File::create(root.path().join("a")).expect("a file");
        let watch = watcher.watch(root.path());
        let mut changes = watch.changes().when_told();
        a.write_all(b"1").expect("writes");
        assert_eq!(changes.wait().await, Change::Written);
        let _b = std::fs::File::create(root.path().join("b")).expect("a file");
        assert_eq!(changes.wait().await, Change::NewFile);
        a.write_all(b"2").expect("writes");
        assert_eq!(changes.wait().await, Change::Written);
        // A folder that nobody watches may have got anything.
        let mut changes = watcher.unwatched().changes();
        assert_eq!(changes.wait().await, Change::NewFile);
    }

    #[tokio::test]
    async fn two_watches_of_one_folder_do_not_get_in_each_others_way() {
        let root = tempfile::tempdir().expect("a folder");
        let watcher = Watcher::start();
        let (first, second) = (watcher.watch(root.path()), watcher.watch(root.path()));
        let (mut one, mut two) = (first.changes().when_told(), second.changes().when_told());
        std::fs::write(root.path().join("a"), "1").expect("writes");
        tokio::join!(one.wait(), two.wait());
        drop(second);
        let waits = tokio::spawn(async move { one.wait().await });
        std::fs::write(root.path().join("b"), "2").expect("writes");
        waits.await.expect("woken");
    }
}
