//! Attempts that were leased ahead: prepared at once, started when processors are free, and not before.

use std::time::Duration;

use heats_agent::Shutdown;
use heats_wire::v1::end::Kind;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};

use crate::fake::{key, shell};
use crate::house::House;
use crate::restarts::Doomed;

/// Runs trial 0, which holds its processor until the gate `gate` is opened.
async fn occupy(house: &House) {
    let gate = house.gate("gate");
    let done = house.file("done");
    let mut spec = shell(&format!("trap '' TERM; echo ::metric loss=1; read x < {gate}; touch {}", done.display()));
    spec["run"] = serde_json::json!({ "stop_grace": "1h" });
    house.fake.run(0, spec).await;
    house.fake.reports(0, 1).await;
}

/// Leases `trial` ahead; returns once it is prepared. It ends well if trial 0 has ended by then.
async fn lease_ahead(house: &House, trial: u32) {
    let (ran, done) = (house.file(&format!("ran-{trial}")), house.file("done"));
    house.fake.run(trial, shell(&format!("touch {}; [ -e {} ]", ran.display(), done.display()))).await;
    house.is_there(trial, "attempt.json").await;
    while !started_in_journal(house, trial) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn started_in_journal(house: &House, trial: u32) -> bool {
    let journal = std::fs::read_to_string(house.file("agent/journal")).expect("reads");
    journal.contains(&format!("started {}-{trial}@1\n", crate::fake::sweep()))
}

async fn stop(house: &House, trial: u32) -> v1::Finished {
    let stop = v1::Stop { key: Some(key(trial)), grace_ms: 3_600_000, why: "enough".into(), ..Default::default() };
    house.fake.tell(to_agent::Message::Stop(stop)).await;
    house.fake.finished(trial).await
}

fn has_run(house: &House, trial: u32) -> bool {
    let told = |message: &Message| matches!(message, Message::Started(started) if started.key == Some(key(trial)));
    house.file(&format!("ran-{trial}")).exists()
        || house.attempt(trial).join("stdout.log").exists()
        || house.fake.seen(|seen| seen.messages.iter().any(told))
}

fn kind(finished: &v1::Finished) -> (Kind, i32) {
    let end = finished.end.expect("an end");
    (end.kind(), end.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_leased_ahead_starts_when_the_one_before_it_ends_and_nobody_says_so() {
    let house = House::with_cpus(1).await;
    let agent = house.agent().await;
    occupy(&house).await;
    lease_ahead(&house, 1).await;
    lease_ahead(&house, 2).await;
    // A third one comes and goes: time enough for those before it to start, if they could.
    lease_ahead(&house, 3).await;
    stop(&house, 3).await;
    assert!(!has_run(&house, 1) && !has_run(&house, 2));
    // From now on the agent hears nothing, not even an acknowledgement.
    house.fake.acknowledge(false);
    house.open_gate("gate").await;
    for trial in [1, 2] {
        assert_eq!(kind(&house.fake.finished(trial).await), (Kind::Exited, 0), "it ran before trial 0 had ended");
        house.fake.started(trial).await;
    }
    assert!(agent.holding() >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_stopped_while_it_waits_ends_at_once_and_never_runs() {
    let mut house = House::with_cpus(1).await;
    let _agent = house.agent().await;
    occupy(&house).await;
    lease_ahead(&house, 1).await;
    house.fake.go_away().await;
    house.fake.come_back().await;
    let hello = house.fake.wait("the agent again", |seen| seen.hellos.get(1).cloned()).await;
    assert_eq!(hello.holding.iter().map(|held| held.key).collect::<Vec<_>>(), [Some(key(0)), Some(key(1))]);
    let finished = stop(&house, 1).await;
    assert_eq!((kind(&finished), finished.detail.as_str(), finished.ran_ms), ((Kind::Stopped, 0), "enough", 0));
    assert!(house.fake.seen(|seen| !seen.finished.contains_key(&0)), "trial 0 runs on");
    lease_ahead(&house, 2).await;
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(2).await), (Kind::Exited, 0), "what was stopped is not in the way");
    assert!(!has_run(&house, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_waits_when_the_agent_shuts_down_is_given_back_and_never_runs() {
    let house = House::with_cpus(1).await;
    let agent = house.agent().await;
    occupy(&house).await;
    lease_ahead(&house, 1).await;
    let (grace, wait) = (Duration::from_secs(3_600), Duration::from_secs(60));
    let shutdown = tokio::spawn(agent.shutdown(Shutdown::StopTrials { grace, wait }));
    assert_eq!(kind(&house.fake.finished(1).await).0, Kind::Preempted);
    assert!(house.fake.seen(|seen| !seen.finished.contains_key(&0)), "trial 0 has its grace period");
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(0).await).0, Kind::Preempted);
    shutdown.await.expect("ends");
    assert!(!has_run(&house, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_an_earlier_agent_left_keeps_its_processors() {
    let house = House::with_cpus(1).await;
    let agent = Doomed::start(&house).await;
    occupy(&house).await;
    lease_ahead(&house, 1).await;
    agent.kill().await;
    let _agent = house.agent().await;
    // The second agent knows of no order to run it: what never ran is the coordinator's to lease again.
    assert_eq!(kind(&house.fake.finished(1).await).0, Kind::Lost);
    lease_ahead(&house, 2).await;
    lease_ahead(&house, 3).await;
    stop(&house, 3).await;
    assert!(!has_run(&house, 1) && !has_run(&house, 2));
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Exited, 0));
    assert_eq!(kind(&house.fake.finished(2).await), (Kind::Exited, 0));
}
