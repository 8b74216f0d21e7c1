//! Attempts that are asked for again, for another agent: those that have not begun, or all of them.

use heats_wire::v1::end::Kind;
use heats_wire::v1::stop::Purpose;
use heats_wire::v1::{self, to_agent};

use crate::fake::{key, shell};
use crate::house::House;

async fn ask_for(house: &House, trial: u32, purpose: Purpose) {
    let why = "its agent is drained".into();
    let stop = v1::Stop { key: Some(key(trial)), grace_ms: 3_600_000, why, purpose: purpose.into() };
    house.fake.tell(to_agent::Message::Stop(stop)).await;
}

/// Runs trial 0, which needs the processor until it is told to end or the gate is opened, and has trial 1 wait for it.
async fn one_runs_and_one_waits(house: &House) {
    let gate = house.gate("gate");
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {gate}"))).await;
    house.fake.reports(0, 1).await;
    house.fake.run(1, shell("echo ::metric loss=2")).await;
    house.is_there(1, "attempt.json").await;
}

fn end(finished: &v1::Finished) -> (Kind, &str) {
    (finished.end.expect("an end").kind(), &finished.detail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_begun_is_given_back_and_what_runs_goes_on_to_its_end() {
    let house = House::with_cpus(1).await;
    let _agent = house.agent().await;
    one_runs_and_one_waits(&house).await;
    ask_for(&house, 0, Purpose::GiveBack).await;
    ask_for(&house, 1, Purpose::GiveBack).await;
    let given_back = house.fake.finished(1).await;
    assert_eq!(end(&given_back), (Kind::Preempted, "its agent is drained"));
    house.open_gate("gate").await;
    assert_eq!(end(&house.fake.finished(0).await).0, Kind::Exited);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_ended_and_given_back_where_that_is_asked_for() {
    let house = House::with_cpus(1).await;
    let _agent = house.agent().await;
    one_runs_and_one_waits(&house).await;
    ask_for(&house, 1, Purpose::Preempt).await;
    ask_for(&house, 0, Purpose::Preempt).await;
    for trial in [0, 1] {
        assert_eq!(end(&house.fake.finished(trial).await), (Kind::Preempted, "its agent is drained"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_says_with_every_sign_of_life_how_it_is_and_which_process_it_is() {
    let mut house = House::with_cpus(1).await;
    let _agent = house.agent().await;
    // Heard of on its stream, so that there is one to be cut.
    house.fake.run(0, shell("echo ::metric loss=1")).await;
    house.fake.finished(0).await;
    house.fake.go_away().await;
    house.fake.come_back().await;
    let hellos = house.fake.wait("the agent again", |seen| (seen.hellos.len() > 1).then(|| seen.hellos.clone())).await;
    assert!(hellos[0].session != 0 && hellos[0].session == hellos[1].session);
    let condition = hellos[1].condition.clone().expect("is said");
    assert!(condition.unable.is_empty() && condition.disk_total >= condition.disk_free && condition.disk_free > 0);
}
