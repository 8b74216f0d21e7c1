//! Whether the data directory's disk has room for one more attempt. Where it has none, attempts that have not begun wait:
//! a full disk says nothing about their configurations, and would use up a sweep's whole budget within seconds.
//!
//! Looks at what is free, and keeps nothing free itself: what trials that run already make of a full disk is
//! their own matter.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::{AgentEvent, OnEvent};

/// What must be free before an attempt begins: a coordinator that keeps its log on the same disk needs half of it
/// for the log's next file.
const ROOM: u64 = 32 << 20;
/// With less than this, whoever writes is likely to have been refused: a write takes what there is first.
const NOTHING: u64 = 1 << 20;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The disk of a data directory.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    room: u64,
    on_event: OnEvent,
    is_full: Mutex<bool>,
}

impl Disk {
    /// The disk that `folder` is on; that it is full, and that it no longer is, is told to `on_event`.
    pub const fn new(folder: PathBuf, on_event: OnEvent) -> Self {
        Self { folder, room: ROOM, on_event, is_full: Mutex::new(false) }
    }

    /// Returns once there is room.
    pub async fn has_room(&self) {
        while self.is_full() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether so little is free that what was written last may have been refused.
    pub fn has_nothing(&self) -> bool {
        self.free() < NOTHING
    }

    fn free(&self) -> u64 {
        // Where nothing is known, the attempt's own files tell.
        rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |disk| {
            let no_more_files = disk.f_files > 0 && disk.f_favail == 0;
            if no_more_files { 0 } else { disk.f_bavail.saturating_mul(disk.f_frsize) }
        })
    }

    /// Looks, and tells what has changed since the last look.
    fn is_full(&self) -> bool {
        let free = self.free();
        let is = free < self.room;
        let was = {
            let mut is_full = self.is_full.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *is_full, is)
        };
        if is && !was {
            tracing::warn!(folder = %self.folder.display(), free, "the disk is full, no attempt begins");
            self.on_event.tell(AgentEvent::DiskFull { folder: self.folder.clone(), free, room: self.room });
        }
        if was && !is {
            tracing::info!(folder = %self.folder.display(), free, "there is room on the disk again");
            self.on_event.tell(AgentEvent::DiskHasRoom);
        }
        is
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Arc;

    #[tokio::test]
    async fn whoever_waits_for_room_goes_on_when_there_is_some_and_is_told_of_it_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let on_event = OnEvent::new(move |event| into.lock().expect("not poisoned").push(event));
        let root = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::new(root.path().to_owned(), on_event);
        disk.room = u64::MAX;
        assert!(disk.has_room().now_or_never().is_none(), "no disk has so much");
        assert!(disk.has_room().now_or_never().is_none(), "and two wait");
        disk.room = 0;
        disk.has_room().await;
        let told = told.lock().expect("not poisoned");
        assert!(matches!(told.as_slice(), [AgentEvent::DiskFull { .. }, AgentEvent::DiskHasRoom]), "{told:?}");
    }

    #[tokio::test]
    async fn where_nothing_is_known_of_the_disk_nobody_waits() {
        Disk::new("/no/such/folder".into(), OnEvent::default()).has_room().await;
    }
}
