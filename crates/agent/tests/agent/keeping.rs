//! Checkpoints that outlive their attempt, and are gone when a coordinator says so.

use std::path::Path;

use heats_agent::{Agent, AgentConfig, CheckpointStorage};
use heats_domain::{Checkpoint, Object};
use heats_wire::v1::end::Kind;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};

use crate::fake::{Seen, run, shell};
use crate::house::House;

/// Makes a checkpoint of step 3, and says so in the way of a shell script that writes on in the same file.
const MAKES_ONE: &str = r#"
cd "$HEATS_CHECKPOINT_DIR"
say() { python3 - "$1" <<'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["HEATS_API_SOCK"])
body = '{"step": %s, "path": "state"}' % sys.argv[1]
s.sendall(("POST /v1/checkpoint HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)).encode())
assert b" 200 " in s.recv(4096)
END
}
for step in 1 2 3; do echo "$step" > state; say "$step"; done
echo "half of step 4" > state
echo "::metric step=3 loss=1"
"#;

/// Says what it went on from.
const GOES_ON: &str = r#"
echo "::metric step=4 loss=$(cat "$HEATS_RESUME_FROM/state" || echo 0)"
"#;

async fn made(house: &House) -> Checkpoint {
    house.fake.run(0, shell(MAKES_ONE)).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 0)), "{}", finished.detail);
    // It was told before the end.
    house.fake.seen(|seen| seen.checkpoints.last().cloned()).expect("one was kept")
}

/// What the trial's second attempt measures when it is to go on from `from`.
async fn second(house: &House, from: Checkpoint) -> f64 {
    let again = v1::Run { from: Some(from), ..run(0, 2, shell(GOES_ON)) };
    house.fake.tell(to_agent::Message::Run(again)).await;
    house.fake.wait("the second end", |seen: &Seen| seen.finished[&0].get(1).cloned()).await;
    house.fake.seen(|seen| seen.reports[&0].last().map(|(_, value)| *value)).expect("it reported")
}

fn shared(house: &House, data: &Path, folder: &Path) -> AgentConfig {
    AgentConfig {
        data_dir: data.to_owned(),
        checkpoints: CheckpointStorage::Shared(folder.to_owned()),
        ..house.config()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_checkpoint_is_kept_before_the_end_is_told_as_it_was_announced() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let kept = made(&house).await;
    assert_eq!((kept.step, kept.bytes), (3, 2));
    assert!(kept.place.starts_with("local:agt_"), "{}", kept.place);
    let checkpoints = house.data.path().join("agent/checkpoints");
    let left = || {
        std::fs::read_dir(&checkpoints)
            .expect("reads")
            .flatten()
            .filter(|entry| entry.path().read_dir().is_ok_and(|mut entries| entries.next().is_some()))
            .count()
    };
    assert_eq!(left(), 0, "what is kept is in the storage, and nowhere twice");
    assert_eq!(second(&house, kept).await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_goes_on_from_what_is_in_a_shared_storage() {
    let house = House::new().await;
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let agent = Agent::start(shared(&house, house.data.path(), folder.path())).await.expect("starts");
    let kept = made(&house).await;
    drop(agent);
    let _other = Agent::start(shared(&house, other.path(), folder.path())).await.expect("starts");
    house.fake.wait("the other agent", |seen| (seen.hellos.len() == 2).then_some(())).await;
    assert!(house.fake.seen(|seen| seen.hellos.iter().all(|hello| hello.places.contains(&kept.place))));
    assert_eq!(second(&house, kept).await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_checkpoint_cannot_be_had_says_so_and_starts_from_the_beginning() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let kept = made(&house).await;
    let object = house.data.path().join("agent/storage").join(Object::from(kept.clone()).name());
    std::fs::write(object.join("files/state"), "9\n").expect("writes");
    assert_eq!(second(&house, kept).await, 0.0);
    let errors = house.data.path().join(format!("agent/attempts/{}-0@2/stderr.log", crate::fake::sweep()));
    let errors = std::fs::read_to_string(errors).expect("reads");
    assert!(errors.contains("heats: the checkpoint of step 3 cannot be had") && errors.contains("damaged"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_erased_on_demand_and_what_is_gone_is_erased_too() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let kept = made(&house).await;
    let object = house.data.path().join("agent/storage").join(Object::from(kept.clone()).name());
    assert!(object.is_dir());
    for times in 1..=2 {
        house.fake.tell(to_agent::Message::Erase(v1::Erase { object: Some(kept.clone().into()) })).await;
        house.fake.wait("the erasure", |seen| (seen.erased.len() == times).then_some(())).await;
        assert!(!object.exists());
    }
    assert!(house.fake.seen(|seen| seen.erased.iter().all(|erased| *erased == Object::from(kept.clone()))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_over_the_limit_is_said_not_to_be_kept_and_the_end_is_as_without_it() {
    const MAKES_TWO: &str = r#"
mkdir "$HEATS_ARTIFACT_DIR"
truncate -s 65G "$HEATS_ARTIFACT_DIR/.new" && mv "$HEATS_ARTIFACT_DIR/.new" "$HEATS_ARTIFACT_DIR/big.bin"
echo plot > "$HEATS_ARTIFACT_DIR/.new" && mv "$HEATS_ARTIFACT_DIR/.new" "$HEATS_ARTIFACT_DIR/plot.svg"
echo "the last word"
exit 3
"#;
    let house = House::new().await;
    let _agent = house.agent().await;
    house.fake.run(0, shell(MAKES_TWO)).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 3)));
    assert!(finished.detail.ends_with("its last lines:\nthe last word"), "{}", finished.detail);
    let said: Vec<Message> = house.fake.seen(|seen| seen.messages.clone());
    let kept = said.iter().filter_map(|message| match message {
        Message::Artifact(kept) => Some(kept.name.clone()),
        _ => None,
    });
    assert_eq!(kept.collect::<Vec<_>>(), ["plot.svg"]);
    let not_kept = said.iter().filter_map(|message| match message {
        Message::NotKept(file) => Some((file.name.clone(), file.bytes, file.limit)),
        _ => None,
    });
    assert_eq!(not_kept.collect::<Vec<_>>(), [("big.bin".to_owned(), 65 << 30, 64 << 30)], "before the end");
    let errors = std::fs::read_to_string(house.attempt(0).join("stderr.log")).expect("reads");
    let line = "heats: `big.bin` (65.0 GiB) is not kept: over the limit of 64.0 GiB for all files together; ";
    assert!(errors.starts_with(line) && errors.lines().count() == 1, "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_end_waits_for_is_told_until_it_is_kept() {
    let house = House::new().await;
    let root = tempfile::tempdir().expect("a folder");
    let (folder, away) = (root.path().join("mounted"), root.path().join("away"));
    std::fs::create_dir(&folder).expect("creates");
    let _agent = Agent::start(shared(&house, house.data.path(), &folder)).await.expect("starts");
    house.fake.attached().await;
    std::fs::rename(&folder, &away).expect("renames");
    house.fake.run(0, shell(MAKES_ONE)).await;
    let waits = house.fake.wait("what it waits for", |seen| {
        let keeping = &seen.condition.as_ref()?.keeping;
        keeping.first().filter(|keeping| !keeping.why.is_empty()).cloned()
    });
    let waits = waits.await;
    assert_eq!((waits.key, waits.step, waits.bytes, waits.total), (Some(crate::fake::key(0)), Some(3), 0, Some(2)));
    assert!(waits.why.contains("cannot be written") && waits.waited_ms < waits.limit_ms, "{waits:?}");
    assert!(house.fake.seen(|seen| seen.finished.is_empty()));
    std::fs::rename(&away, &folder).expect("renames");
    house.fake.finished(0).await;
    assert_eq!(house.fake.seen(|seen| seen.checkpoints.last().map(|kept| kept.step)), Some(3));
    let nothing = |seen: &Seen| seen.condition.as_ref()?.keeping.is_empty().then_some(());
    house.fake.wait("that it waits no longer", nothing).await;
}
