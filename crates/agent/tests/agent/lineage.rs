//! An agent that finds a cluster which was made from a backup of the one that it comes from.

use heats_wire::v1::end::Kind;

use crate::fake::shell;
use crate::house::House;
use crate::restarts::Doomed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_for_another_cluster_is_ended_without_a_word_and_its_names_are_free_again() {
    let mut house = House::with_cpus(1).await;
    let agent = Doomed::start(&house).await;
    house.fake.run(0, shell("echo ::metric loss=1")).await;
    house.fake.finished(0).await;
    // What is not acknowledged is told again to the next leader, and must not be to another cluster's.
    house.fake.acknowledge(false);
    let gate = house.gate("gate");
    house.fake.run(1, shell(&format!("echo ::metric loss=2; read x < {gate}; echo ::metric loss=3"))).await;
    house.fake.reports(1, 1).await;
    // This one waits for its processor.
    house.fake.run(2, shell("echo ::metric loss=4")).await;
    house.fake.go_away().await;
    house.fake.restored(77);
    house.fake.acknowledge(true);
    house.fake.come_back().await;
    let hello = house.fake.wait("the agent", |seen| seen.hellos.first().cloned()).await;
    assert_eq!((hello.lineage, hello.holding.len()), (77, 0));
    assert!(!house.attempt(0).exists() && !house.attempt(1).exists(), "nothing of them is kept");
    assert!(house.fake.seen(|seen| seen.messages.is_empty() && seen.reports.is_empty() && seen.finished.is_empty()));
    // Other trials by the same names.
    for trial in [0, 1] {
        house.fake.run(trial, shell("echo ::metric loss=5")).await;
        assert_eq!(house.fake.finished(trial).await.end.expect("an end").kind(), Kind::Exited);
        assert_eq!(house.fake.reports(trial, 1).await, [(1, 5.0)]);
    }
    // Its successor knows.
    agent.kill().await;
    house.fake.restored(77);
    let _agent = house.agent().await;
    house.fake.attached().await;
}
