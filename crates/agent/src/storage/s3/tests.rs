//! Against the server that `HEATS_TEST_S3` names: `cargo xtask verify s3` starts one, SeaweedFS. Without it there is nothing to
//! test against.

use std::fs;
use std::path::Path;

use heats_domain::{AgentId, SweepId, TrialId};
use tokio::runtime::Runtime;

use super::*;
use crate::key::Key;

const KEY: Key = Key { trial: TrialId { sweep: SweepId { bits: 5 }, number: 3 }, attempt: 1 };
const AGENT: AgentId = AgentId { bits: 6 };

fn made_at(step: u64) -> Object {
    KEY.object(step, String::new())
}

/// A bucket of its own for each test; `None` without a server.
fn target(name: &str) -> Option<Target> {
    let Ok(endpoint) = std::env::var("HEATS_TEST_S3") else {
        eprintln!("skipped: HEATS_TEST_S3 names no server; `cargo xtask verify s3` starts one");
        return None;
    };
    let bucket = format!("{name}-{:08x}", rand::random::<u32>());
    let target = Target { bucket, prefix: "team/a".into(), endpoint: Some(endpoint), region: None };
    Client::new(&target).expect("is a server").put("", "").expect("makes the bucket");
    Some(target)
}

/// What storages run their requests on.
fn runtime() -> Runtime {
    Runtime::new().expect("starts")
}

/// A folder with a checkpoint: small files, an empty folder, and one that goes in parts.
fn lab() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let step = root.path().join("step-1");
    fs::create_dir_all(step.join("a/empty")).expect("creates");
    fs::write(step.join("a/w +%.bin"), "weights").expect("writes");
    fs::write(step.join("none"), "").expect("writes");
    fs::write(step.join("large"), vec![7; 2 * PART as usize + 5]).expect("writes");
    root
}

fn open(target: &Target) -> S3 {
    S3::open(target, AGENT).expect("opens")
}

fn all(storage: &S3) -> Vec<String> {
    storage.client.list("").expect("lists")
}

fn same(a: &Path, b: &Path) -> bool {
    ["a/w +%.bin", "none", "large"].iter().all(|name| fs::read(a.join(name)).ok() == fs::read(b.join(name)).ok())
        && b.join("a/empty").is_dir()
}

#[test]
fn what_is_put_is_got_whole_twice_is_as_good_as_once_and_nothing_is_left_of_what_is_deleted() {
    let runtime = runtime();
    let _within = runtime.enter();
    let Some(target) = target("whole") else { return };
    let (lab, storage) = (lab(), open(&target));
    let from = lab.path().join("step-1");
    let made = storage.put(made_at(1), &from, &Progress::of(1)).expect("puts");
    assert_eq!((made.bytes, made.place.as_str()), (2 * PART + 12, storage.place()));
    let objects = all(&storage);
    assert_eq!(objects.len(), 4, "three files and the manifest, and no mark: {objects:?}");
    assert_eq!(storage.put(made_at(1), &from, &Progress::of(1)).expect("puts"), made);
    // Whoever names the same bucket reaches the same storage.
    let other = S3::open(&target, AgentId { bits: 7 }).expect("opens");
    let into = lab.path().join("got");
    other.get(&made, &into).expect("gets");
    assert!(same(&from, &into));
    assert_eq!(other.read(&made, "a/w +%.bin", 2, 3).expect("reads"), b"igh");
    assert_eq!(other.read(&made, "large", 2 * PART, 100).expect("reads"), [7; 5], "to its end");
    assert_eq!(other.read(&made, "none", 0, 100).expect("reads"), b"");
    for _ in 0..2 {
        storage.delete(&made).expect("deletes");
    }
    assert_eq!(all(&storage), [""; 0]);
    assert!(storage.get(&made, &lab.path().join("none")).is_err_and(|error| error.is_missing()));
}

#[test]
fn what_is_damaged_is_not_got_and_nothing_half_stays_behind() {
    let runtime = runtime();
    let _within = runtime.enter();
    let Some(target) = target("damaged") else { return };
    let (lab, storage) = (lab(), open(&target));
    let made = storage.put(made_at(1), &lab.path().join("step-1"), &Progress::of(1)).expect("puts");
    storage.client.put(&storage.file(&made.name(), "none"), "something").expect("puts");
    let error = storage.get(&made, &lab.path().join("got")).expect_err("is damaged");
    assert!(error.to_string().contains("`none` is not the file that was put"), "{error}");
    let left: Vec<_> = fs::read_dir(lab.path()).expect("reads").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["step-1"]);
    storage.client.put(&storage.manifest(&made.name()), "{}").expect("puts");
    assert!(storage.get(&made, &lab.path().join("got")).is_err_and(|e| e.to_string().contains("manifest is another")));
}

#[test]
fn what_an_agent_left_half_done_is_removed_when_it_starts_again_and_nothing_else() {
    let runtime = runtime();
    let _within = runtime.enter();
    let Some(target) = target("half") else { return };
    let (lab, storage) = (lab(), open(&target));
    let made = storage.put(made_at(1), &lab.path().join("step-1"), &Progress::of(1)).expect("puts");
    let whole = all(&storage);
    // Killed in the middle of a file's parts, and after the manifest of another one.
    let upload = storage.client.begin("team/a/half/files/large").expect("begins");
    storage.client.part("team/a/half/files/large", &upload, 1, vec![7; 5 << 20]).expect("is put");
    let begun = Begun { file: "team/a/half/files/large".into(), upload: upload.clone() };
    storage.client.put("team/a/half/files/small", "x").expect("puts");
    storage.client.put(&storage.mark("half"), serde_json::to_vec(&begun).expect("is JSON")).expect("puts");
    storage.client.put(&storage.mark(&made.name()), "").expect("puts");
    S3::open(&target, AgentId { bits: 7 }).expect("opens");
    assert_eq!(all(&storage).len(), whole.len() + 3, "another agent's is not its business");
    open(&target);
    assert_eq!(all(&storage), whole);
    assert!(storage.client.part("team/a/half/files/large", &upload, 2, "x").is_err(), "its parts were given up");
}

#[test]
fn a_bucket_that_is_not_there_is_said_at_once_and_a_server_that_is_away_is_no_reason_not_to_start() {
    let runtime = runtime();
    let _within = runtime.enter();
    let Some(target) = target("none") else { return };
    let gone = Target { bucket: "no-such-bucket".into(), ..target.clone() };
    assert!(S3::open(&gone, AGENT).is_err_and(|error| error.to_string().contains("cannot be used")));
    let away = Target { endpoint: Some("http://127.0.0.1:9".into()), ..target };
    let storage = S3::open(&away, AGENT).expect("opens");
    assert!(
        storage
            .put(made_at(1), lab().path(), &Progress::of(1))
            .is_err_and(|error| error.to_string().contains("cannot be reached"))
    );
}
