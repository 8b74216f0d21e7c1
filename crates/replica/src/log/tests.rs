//! What a log gives back after crashes, power cuts and damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::codec;
use crate::disk::{Disk, PowerDisk};
use crate::error::StorageError;
use crate::ground::{Ground, Work};
use crate::log::open::{self, LogSettings};
use crate::log::store::Log;
use crate::pb;
use crate::types::{LogEntry, LogId, Payload, Types, Vote};

fn id(term: u64, index: u64) -> LogId {
    codec::to_log_id(pb::LogId { term, index })
}

/// Entry `index`: a payload that is its own check, of a length that differs from its neighbours'.
fn entry(index: u64) -> LogEntry {
    let text = format!("{index}:").repeat(1 + (index % 40) as usize);
    LogEntry::new(id(1, index), EntryPayload::Normal(Payload(Bytes::from(text))))
}

fn settings(dir: &Path) -> LogSettings {
    LogSettings { dir: dir.to_owned(), node: 7, segment_bytes: 8 << 10 }
}

fn open_on(dir: &Path, ground: Ground) -> Result<Log, StorageError> {
    Log::open(settings(dir), ground, watch::channel(None).0)
}

fn open(dir: &Path) -> Result<Log, StorageError> {
    open_on(dir, Ground::real())
}

/// Appends and waits until it is durable.
async fn append(log: &mut Log, range: std::ops::Range<u64>) {
    let (done, durable) = Types::oneshot();
    log.append(range.map(entry), IOFlushed::signal(done)).await.unwrap();
    durable.await.unwrap().unwrap();
}

async fn check_holds(log: &mut Log, range: std::ops::Range<u64>) {
    let expected: Vec<_> = range.clone().map(entry).collect();
    assert!(log.try_get_log_entries(range).await.unwrap() == expected);
}

/// The newest file of the log, and where in it the last frame ends.
fn newest(dir: &Path) -> (PathBuf, usize) {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    let path = paths.pop().unwrap();
    let end = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, end)
}

/// A small generator, so that a failure names the round that repeats it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn filled() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    for batch in 0..100 {
        append(&mut log, batch * 5..batch * 5 + 5).await;
    }
    log.close().await;
    dir
}

#[tokio::test]
async fn votes_entries_and_the_committed_place_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.save_vote(&Vote::new_committed(3, 7)).await.unwrap();
    append(&mut log, 0..100).await;
    log.save_committed(Some(id(1, 60))).await.unwrap();
    log.truncate_after(Some(id(1, 79))).await.unwrap();
    append(&mut log, 80..90).await;
    log.purge(id(1, 9)).await.unwrap();
    log.close().await;

    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 7)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 60)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 9)), Some(id(1, 89))));
    check_holds(&mut log, 10..90).await;
}

#[tokio::test]
async fn files_whose_entries_are_purged_go_and_the_rest_still_opens() {
    let dir = filled().await;
    let files = || fs::read_dir(dir.path()).unwrap().count();
    let before = files();
    let mut log = open(dir.path()).unwrap();
    log.purge(id(1, 450)).await.unwrap();
    log.close().await;
    assert!(files() < before / 2, "{} of {before} files are left", files());
    check_holds(&mut open(dir.path()).unwrap(), 451..500).await;
}

#[tokio::test]
async fn the_tail_of_a_write_that_was_torn_is_cut_off_and_writing_goes_on() {
    let dir = filled().await;
    let (path, end) = newest(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[end - 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut log = open(dir.path()).unwrap();
    check_holds(&mut log, 0..495).await;
    assert_eq!(log.last(), Some(id(1, 494)));
    append(&mut log, 495..600).await;
    log.close().await;
    check_holds(&mut open(dir.path()).unwrap(), 0..600).await;
}

#[tokio::test]
async fn no_flipped_bit_in_a_durable_record_loses_one_silently() {
    let dir = filled().await;
    let mut paths: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    let last_frame = {
        // Of the newest file, the last frame may be torn as far as anybody can tell.
        let (path, _) = newest(dir.path());
        let whole = fs::read(path).unwrap();
        whole.windows(4).rposition(|four| four == b"HtFr").unwrap()
    };
    let mut dice = Dice(1);
    for _ in 0..300 {
        let path = &paths[dice.roll(paths.len() as u64) as usize];
        let whole = fs::read(path).unwrap();
        let end = if Some(path) == paths.last() { last_frame } else { whole.len() };
        let mut bytes = whole.clone();
        let at = dice.roll(end as u64) as usize;
        bytes[at] ^= 1 << dice.roll(8);
        fs::write(path, &bytes).unwrap();
        match open(dir.path()) {
            Err(StorageError::Damaged { .. } | StorageError::Format { .. }) => {}
            Err(other) => panic!("byte {at} of {}: {other}", path.display()),
            // Padding and room that was never written say nothing.
            Ok(mut log) => {
                check_holds(&mut log, 0..500).await;
                log.close().await;
            }
        }
        fs::write(path, whole).unwrap();
    }
}

#[tokio::test]
async fn a_missing_file_is_noticed() {
    let dir = filled().await;
    let mut paths: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    for path in [&paths[0], &paths[paths.len() / 2]] {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let refused = open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("do not delete it"), "{refused}");
        fs::write(path, kept).unwrap();
    }
}

#[tokio::test]
async fn a_log_of_a_newer_format_is_refused_with_what_to_do() {
    let dir = filled().await;
    let (path, _) = newest(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&(open::FORMAT + 1).to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("upgrade this node"), "{refused}");
}

/// A disk that, before every sync of a file or of names, keeps a picture of what a power cut would leave.
struct Camera {
    disk: PowerDisk,
    dice: Mutex<Dice>,
    pictures: Mutex<Vec<TempDir>>,
}

impl Camera {
    fn take(&self, folder: &Path) {
        let dir = tempfile::tempdir().unwrap();
        let mut dice = self.dice.lock().unwrap();
        let odds = 1 + dice.roll(4);
        self.disk.cut(folder, dir.path(), || dice.roll(4) < odds).unwrap();
        self.pictures.lock().unwrap().push(dir);
    }
}

impl Disk for Camera {
    fn create(&self, path: &Path) -> Result<fs::File, StorageError> {
        self.disk.create(path)
    }

    fn write(&self, file: &fs::File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.disk.write(file, path, offset, bytes)
    }

    fn sync(&self, file: &fs::File, path: &Path) -> Result<(), StorageError> {
        self.take(path.parent().unwrap());
        self.disk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.take(dir);
        self.disk.sync_dir(dir)
    }
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let rounds: u64 = std::env::var("HEATS_POWER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut pictures = 0;
    for round in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let camera =
            Arc::new(Camera { disk: PowerDisk::default(), dice: Mutex::new(Dice(round)), pictures: Mutex::default() });
        // Files are removed one by one; a picture that is taken meanwhile would show a mixture.
        let ground = Ground { disk: Arc::<Camera>::clone(&camera), work: Work::Inline };
        let mut log = open_on(dir.path(), ground).unwrap();
        let mut dice = Dice(round + 1_000_000);
        let (mut next, mut purged) = (0, 0);
        for _ in 0..12 {
            let batch = 1 + dice.roll(60);
            append(&mut log, next..next + batch).await;
            // Every picture of this write was taken when all before it had been acknowledged.
            let taken = std::mem::take(&mut *camera.pictures.lock().unwrap());
            for picture in taken {
                pictures += 1;
                if next == 0 && fs::read_dir(picture.path()).unwrap().next().is_none() {
                    continue;
                }
                let mut found = open(picture.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
                let last = found.last().map_or(0, |id| id.index + 1);
                assert!(last >= next && last <= next + batch, "round {round}: {last}, not {next}..");
                check_holds(&mut found, purged..last).await;
                // And it goes on from there.
                append(&mut found, last..last + 3).await;
                found.close().await;
                check_holds(&mut open(picture.path()).unwrap(), purged..last + 3).await;
            }
            next += batch;
            if dice.roll(3) == 0 {
                // Not waited for: pictures show it or not, so that only what is beyond it is checked.
                purged = next / 2;
                if purged > 0 {
                    log.purge(id(1, purged - 1)).await.unwrap();
                }
            }
        }
        log.close().await;
    }
    assert!(pictures >= rounds * 12, "{pictures}");
    println!("{pictures} power cuts in {rounds} rounds");
}
