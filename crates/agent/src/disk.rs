//! Whether the data directory's disk has room for one more attempt. Where it has none, attempts that have not begun are
//! given back: a full disk says nothing about their configurations, and would use up a sweep's whole budget within seconds.
//!
//! Looks at what is free, and keeps nothing free itself: what trials that run already make of a full disk is
//! their own matter.

use std::path::{Path, PathBuf};

use heats_wire::v1;
use tokio::sync::watch;

use crate::event::{AgentEvent, OnEvent};

/// What must be free before an attempt begins: a coordinator that keeps its log on the same disk needs half of it
/// for the log's next file.
pub const ROOM: u64 = 32 << 20;
/// With less than this, whoever writes is likely to have been refused: a write takes what there is first.
const NOTHING: u64 = 1 << 20;

/// The disk of a data directory.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    room: u64,
    on_event: OnEvent,
    is_full: watch::Sender<bool>,
}

impl Disk {
    /// The disk that `folder` is on; that it is full, and that it no longer is, is told to `on_event`.
    pub fn new(folder: PathBuf, on_event: OnEvent) -> Self {
        Self { folder, room: ROOM, on_event, is_full: watch::Sender::new(false) }
    }

    /// Looks, and tells what has changed since the last look; whether it is full.
    pub fn look(&self) -> bool {
        let free = self.free();
        let is = free < self.room;
        let changed = self.is_full.send_if_modified(|was| std::mem::replace(was, is) != is);
        if changed && is {
            tracing::warn!(folder = %self.folder.display(), free, "the disk is full, no attempt begins");
            self.on_event.tell(AgentEvent::DiskFull { folder: self.folder.clone(), free, room: self.room });
        } else if changed {
            tracing::info!(folder = %self.folder.display(), free, "there is room on the disk again");
            self.on_event.tell(AgentEvent::DiskHasRoom);
        }
        is
    }

    /// Whether it was full at the last look.
    pub fn is_full(&self) -> bool {
        *self.is_full.borrow()
    }

    /// Returns once a look finds it full.
    pub async fn gets_full(&self) {
        let mut is_full = self.is_full.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _sender_lives = is_full.wait_for(|is_full| *is_full).await;
    }

    /// What a coordinator is told of it.
    pub fn condition(&self) -> v1::Condition {
        let (disk_free, disk_total) = self.space().unwrap_or_default();
        v1::Condition { unable: self.unable(), disk_free, disk_total, ..v1::Condition::default() }
    }

    /// Why nothing can begin, for people; empty where something can.
    pub fn unable(&self) -> String {
        if self.is_full() {
            let room = self.room >> 20;
            format!("the disk of its data directory {} has less than {room} MiB free", self.folder.display())
        } else {
            String::new()
        }
    }

    /// Whether so little is free that what was written last may have been refused.
    pub fn has_nothing(&self) -> bool {
        self.free() < NOTHING
    }

    fn free(&self) -> u64 {
        // Where nothing is known, the attempt's own files tell.
        self.space().map_or(u64::MAX, |(free, _)| free)
    }

    fn space(&self) -> Option<(u64, u64)> {
        space(&self.folder)
    }
}

/// Bytes that are free on the disk of `folder`, and bytes in all; `None` where nothing is known, as of a folder that is
/// not there.
pub fn space(folder: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let no_more_files = disk.f_files > 0 && disk.f_favail == 0;
    let free = if no_more_files { 0 } else { disk.f_bavail.saturating_mul(disk.f_frsize) };
    Some((free, disk.f_blocks.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn a_disk_that_gets_full_is_told_of_once_and_so_is_that_it_has_room_again() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let on_event = OnEvent::new(move |event| into.lock().expect("not poisoned").push(event));
        let root = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::new(root.path().to_owned(), on_event);
        assert!(!disk.look() && disk.gets_full().now_or_never().is_none());
        assert!(disk.condition().unable.is_empty() && disk.condition().disk_total > 0);
        disk.room = u64::MAX;
        assert!(disk.look() && disk.look(), "no disk has so much");
        disk.gets_full().await;
        assert!(disk.unable().contains("MiB free"), "{}", disk.unable());
        disk.room = 0;
        assert!(!disk.look());
        let told = told.lock().expect("not poisoned");
        assert!(matches!(told.as_slice(), [AgentEvent::DiskFull { .. }, AgentEvent::DiskHasRoom]), "{told:?}");
    }

    #[test]
    fn where_nothing_is_known_of_the_disk_attempts_begin() {
        assert!(!Disk::new("/no/such/folder".into(), OnEvent::default()).look());
    }
}
