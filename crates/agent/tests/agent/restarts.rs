//! Agents and coordinators that go and come back: nothing is lost, nothing runs twice.

use std::time::Duration;

use heats_agent::{Agent, Shutdown, StartError};
use heats_wire::v1::end::Kind;
use heats_wire::v1::from_agent::Message;

use crate::fake::{Fake, config, key, shell};
use crate::house::House;

/// An agent in a runtime of its own, so that the test can end it as a kill would: nothing of it runs on.
pub struct Doomed {
    runtime: tokio::runtime::Runtime,
    agent: Agent,
}

impl Doomed {
    pub async fn start(house: &House) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let agent = runtime.spawn(Agent::start(house.config())).await;
        Self { runtime, agent: agent.expect("no panic").expect("the agent starts") }
    }

    pub async fn kill(self) {
        let Self { runtime, agent } = self;
        let ended = tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(Duration::from_secs(10));
            // Only now, so that its own way out did nothing.
            drop(agent);
        });
        ended.await.expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_finds_its_trial_again_and_loses_no_report() {
    let house = House::new().await;
    let (first, second) = (house.gate("first"), house.gate("second"));
    let agent = Doomed::start(&house).await;
    let id = agent.agent.id();
    let script = format!(
        "echo ::metric step=1 loss=1; read x < {first}; echo ::metric step=2 loss=2; \
         curl -s --unix-socket $HEATS_API_SOCK -d '{{\"step\":3,\"loss\":3}}' http://t/v1/report || \
         python3 -c 'import heats; t = heats.trial(); t.report(3, loss=3); t.close()'; \
         read x < {second}; echo ::metric step=4 loss=4; exit 5"
    );
    house.fake.run(0, shell(&script)).await;
    house.fake.reports(0, 1).await;
    agent.kill().await;
    house.open_gate("first").await;

    let agent = house.agent().await;
    assert_eq!(agent.id(), id);
    assert_eq!(house.fake.reports(0, 3).await, [(1, 1.0), (2, 2.0), (3, 3.0)]);
    assert_eq!(house.fake.seen(|seen| seen.hellos[1].holding[0].key), Some(key(0)));
    house.open_gate("second").await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 5)));
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_the_agent_was_away_is_told_by_the_next_one() {
    let house = House::new().await;
    let gate = house.gate("gate");
    let agent = Doomed::start(&house).await;
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {gate}; echo ::metric loss=2; exit 5"))).await;
    house.fake.reports(0, 1).await;
    agent.kill().await;
    house.open_gate("gate").await;
    house.has_ended(0).await;
    let agent = house.agent().await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 5)));
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 1.0), (2, 2.0)]);
    agent.idle(Duration::ZERO).await;
    // The journal is written by a thread of its own, which may be behind.
    house.journal_says("over ").await;
    drop(agent);
    let _third = house.agent().await;
    let third = house.fake.wait("the third agent", |seen| seen.hellos.get(2).cloned()).await;
    assert!(third.holding.is_empty(), "an end that was acknowledged is told once: {third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_over_is_not_run_again_but_told_again() {
    let house = House::new().await;
    let agent = house.agent().await;
    let once = house.data.path().join("once");
    let script = format!("echo x >> {}; echo ::metric loss=1; exit 5", once.display());
    house.fake.run(0, shell(&script)).await;
    let first = house.fake.finished(0).await;
    agent.idle(Duration::ZERO).await;
    house.fake.run(0, shell(&script)).await;
    let second = house.fake.wait("the end again", |seen| seen.finished[&0].get(1).cloned()).await;
    assert_eq!((second.end, second.ran_ms), (first.end, first.ran_ms));
    assert_eq!(std::fs::read_to_string(once).expect("is there"), "x\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_whose_supervisor_was_killed_is_lost_and_none_of_it_runs_on() {
    let house = House::new().await;
    let agent = Doomed::start(&house).await;
    let script = format!(
        "cd {}; echo $$ > main; setsid sh -c 'echo $$ > far; exec sleep 1000' & \
         while ! [ -s far ]; do sleep 0.01; done; echo ::metric loss=1; sleep 1000",
        house.data.path().display()
    );
    house.fake.run(0, shell(&script)).await;
    house.fake.reports(0, 1).await;
    agent.kill().await;
    house.supervisor(0).await.kill();
    let _agent = house.agent().await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| end.kind()), Some(Kind::Lost));
    assert!(!house.process("main").runs() && !house.process("far").runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_is_killed_under_a_living_agent_is_a_loss_too() {
    let house = House::new().await;
    let _agent = house.agent().await;
    house
        .fake
        .run(0, shell(&format!("echo $$ > {}; echo ::metric loss=1; sleep 1000", house.file("main").display())))
        .await;
    house.fake.reports(0, 1).await;
    house.supervisor(0).await.kill();
    assert_eq!(house.fake.finished(0).await.end.map(|end| end.kind()), Some(Kind::Lost));
    assert!(!house.process("main").runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_did_not_survive_a_power_cut_is_told_as_lost() {
    let house = House::new().await;
    let gate = house.gate("gate");
    let agent = Doomed::start(&house).await;
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {gate}"))).await;
    house.fake.reports(0, 1).await;
    agent.kill().await;
    house.open_gate("gate").await;
    house.has_ended(0).await;
    std::fs::remove_dir_all(house.attempt(0)).expect("removes");
    let _agent = house.agent().await;
    assert_eq!(house.fake.finished(0).await.end.map(|end| end.kind()), Some(Kind::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reported_while_no_coordinator_was_there_arrives_when_one_is() {
    let mut house = House::new().await;
    let _agent = house.agent().await;
    let (first, second) = (house.gate("first"), house.gate("second"));
    let script = format!(
        "echo ::metric step=1 loss=1; read x < {first}; echo ::metric step=2 loss=2; \
         echo ::metric step=3 loss=3; read x < {second}; exit 0"
    );
    house.fake.run(0, shell(&script)).await;
    house.fake.reports(0, 1).await;
    house.fake.go_away().await;
    house.open_gate("first").await;
    house.open_gate("second").await;
    house.has_ended(0).await;
    house.fake.come_back().await;
    house.fake.finished(0).await;
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 1.0), (2, 2.0), (3, 3.0)]);
    assert_eq!(house.fake.seen(|seen| seen.hellos[1].holding.len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_acknowledged_is_sent_again() {
    let mut house = House::new().await;
    let agent = house.agent().await;
    house.fake.acknowledge(false);
    house.fake.run(0, shell("echo ::metric step=1 loss=1")).await;
    house.fake.finished(0).await;
    assert_eq!(agent.holding(), 1);
    house.fake.go_away().await;
    house.fake.acknowledge(true);
    house.fake.come_back().await;
    house.fake.wait("the end again", |seen| (seen.finished[&0].len() == 2).then_some(())).await;
    agent.idle(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_was_given_to_another_agent_is_killed_without_a_word() {
    let mut house = House::new().await;
    let agent = house.agent().await;
    let script = format!(
        "trap '' TERM; echo $$ > {}; echo ::metric loss=1; while :; do sleep 0.01; done",
        house.file("main").display()
    );
    house.fake.run(0, shell(&script)).await;
    house.fake.reports(0, 1).await;
    house.fake.go_away().await;
    house.fake.kill_on_hello(0);
    house.fake.come_back().await;
    agent.idle(Duration::ZERO).await;
    assert!(!house.process("main").runs());
    assert!(house.fake.seen(|seen| seen.finished.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_found_from_any_coordinator() {
    let house = House::new().await;
    let follower = Fake::start().await;
    follower.redirect_to(Some(house.fake.address));
    let agent = Agent::start(config(house.data.path(), &follower)).await.expect("the agent starts");
    house.fake.attached().await;
    assert_eq!(house.fake.seen(|seen| seen.hellos[0].agent), Some(agent.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_shuts_down_may_take_its_trials_along() {
    let house = House::new().await;
    let agent = house.agent().await;
    house.fake.run(0, shell("trap '' TERM; echo ::metric loss=1; while :; do sleep 0.01; done")).await;
    house.fake.reports(0, 1).await;
    let (grace, wait) = (Duration::from_millis(100), Duration::from_secs(60));
    agent.shutdown(Shutdown::StopTrials { grace, wait }).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| end.kind()), Some(Kind::Preempted));
    assert!(finished.detail.contains("shut down"), "{}", finished.detail);
    assert!(house.fake.seen(|seen| seen.messages.iter().any(|message| matches!(message, Message::Leaving(_)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_knows_when_it_has_nothing_to_do() {
    let house = House::new().await;
    let agent = house.agent().await;
    let gate = house.gate("gate");
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {gate}"))).await;
    house.fake.reports(0, 1).await;
    let idle = tokio::spawn(agent.idle(Duration::ZERO));
    house.fake.run(1, shell("true")).await;
    house.fake.finished(1).await;
    assert!(!idle.is_finished(), "trial 0 runs");
    house.open_gate("gate").await;
    idle.await.expect("no panic");
    assert_eq!(agent.holding(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_shuts_down_may_leave_its_trials_running() {
    let house = House::new().await;
    let agent = house.agent().await;
    let gate = house.gate("gate");
    let main = house.file("main");
    house.fake.run(0, shell(&format!("echo $$ > {}; echo ::metric loss=1; read x < {gate}", main.display()))).await;
    house.fake.reports(0, 1).await;
    agent.shutdown(Shutdown::KeepTrials).await;
    assert!(house.process("main").runs());
    let _agent = house.agent().await;
    house.open_gate("gate").await;
    assert_eq!(house.fake.finished(0).await.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trials_without_a_coordinator_are_ended_after_a_while() {
    let mut house = House::new().await;
    let orphan_ttl = Some(Duration::from_millis(300));
    let agent = heats_agent::AgentConfig { orphan_ttl, ..config(house.data.path(), &house.fake) };
    let _agent = Agent::start(agent).await.expect("the agent starts");
    house
        .fake
        .run(0, shell(&format!("echo $$ > {}; echo ::metric loss=1; sleep 1000", house.file("main").display())))
        .await;
    house.fake.reports(0, 1).await;
    house.fake.go_away().await;
    house.has_ended(0).await;
    house.fake.come_back().await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| end.kind()), Some(Kind::Lost));
    assert!(finished.detail.contains("no coordinator"), "{}", finished.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_in_one_folder_is_refused_and_told_who_holds_it() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let error = Agent::start(config(house.data.path(), &house.fake)).await.expect_err("refused");
    assert!(matches!(error, StartError::InUse { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let other = heats_agent::AgentConfig { folder: "agent-2".into(), ..config(house.data.path(), &house.fake) };
    Agent::start(other).await.expect("another folder is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trials_run_on_without_the_process_that_forked_them_and_others_are_started() {
    let house = House::new().await;
    let (first, second) = (house.gate("first"), house.gate("second"));
    let _agent = house.agent().await;
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {first}; exit 5"))).await;
    house.fake.reports(0, 1).await;
    let server = house.supervisor(0).await.parent();
    server.kill();
    server.is_gone().await;
    house.fake.run(1, shell(&format!("echo ::metric loss=2; read x < {second}; exit 6"))).await;
    house.fake.reports(1, 1).await;
    assert_ne!(house.supervisor(1).await.parent().id, server.id);
    house.open_gate("first").await;
    house.open_gate("second").await;
    for (trial, code) in [(0, 5), (1, 6)] {
        let end = house.fake.finished(trial).await.end;
        assert_eq!(end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, code)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_takes_the_process_that_forks_along_and_no_trial() {
    let house = House::new().await;
    let gate = house.gate("gate");
    let agent = Doomed::start(&house).await;
    house.fake.run(0, shell(&format!("echo ::metric loss=1; read x < {gate}; exit 5"))).await;
    house.fake.reports(0, 1).await;
    let supervisor = house.supervisor(0).await;
    let server = supervisor.parent();
    agent.kill().await;
    server.is_gone().await;
    assert!(supervisor.runs());
    house.open_gate("gate").await;
    supervisor.is_gone().await;
}
