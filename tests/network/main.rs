//! A cluster whose parts are on machines of their own, and the network between them is cut, one way or both, for longer
//! than elections and leases last: a sweep ends with exactly its trials. Where no network may be made, what can be done on
//! loopback is in `tests/failover`.

use std::process::ExitCode;

use heats_testkit::apart::{self, Own};
use heats_testkit::{Cluster, Expected, Lab, Workspace, eventually};
use heats_tests::{PARABOLA, expect_the_same, sweep, undisturbed};
use serde_json::Value;

const TRIALS: u64 = 360;

fn main() -> ExitCode {
    apart::main(
        Own::Network,
        &heats_testkit::tests![
            a_leader_that_is_unplugged_is_replaced_and_no_trial_notices,
            a_leader_that_nobody_hears_is_replaced_and_no_trial_notices,
            a_leader_that_hears_nobody_is_replaced_and_no_trial_notices,
            a_coordinator_that_hears_one_other_alone_stops_nobody,
            what_an_agent_held_that_is_cut_off_runs_elsewhere_and_counts_once,
            the_trials_of_a_machine_that_is_gone_run_elsewhere,
            a_leader_that_is_cut_off_with_an_agent_decides_nothing,
        ],
    )
}

/// Three coordinators and two agents, each on its machine, that run a sweep.
fn running() -> Cluster {
    let cluster = Cluster::start_apart(Workspace::with(&sweep(TRIALS), PARABOLA), 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster.measure(20);
    cluster
}

/// Nobody's trials were disturbed.
fn expect_unnoticed(cluster: Cluster) {
    let (workspace, audit) = cluster.audit(&Expected::trials(TRIALS));
    assert_eq!(workspace.measured().len() as u64, 3 * TRIALS);
    expect_the_same(&audit, &undisturbed(TRIALS));
}

/// Some trials had to begin anew, for no fault of theirs: as few as ran at once.
fn expect_retried(cluster: Cluster) {
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS).with_killed_trials());
    let again: Vec<_> = audit.trials.iter().filter(|trial| trial.attempts > 1).collect();
    assert!(!again.is_empty() && again.len() <= 4, "{again:?}");
    let ended = audit.events.iter().filter(|event| event.kind == "attempt_ended");
    let failures: Vec<&str> = ended.filter_map(|event| event.fact["failure"].as_str()).collect();
    assert!(failures.iter().all(|failure| *failure == "node_lost"), "{failures:?}");
    expect_the_same(&audit, &undisturbed(TRIALS));
}

/// Waits until another coordinator than `old` leads, as the others see it.
fn expect_another_leader(cluster: &Cluster, old: usize) {
    eventually("another leader", || {
        let leads = |member: &&Value| member["role"] == "leader" && member["node"] != old as u64 + 1;
        cluster.status().iter().find(leads).map(|_| ())
    });
}

/// Waits until the cluster has given up what this agent held.
fn expect_lost(cluster: &Cluster, name: &str) {
    eventually("the loss of the agent's leases", || {
        let agent = cluster.workspace().ok(&["agent", "show", name, "-o", "json"]).json()["agent"].clone();
        (agent["attached"] == false && agent["leases"] == 0).then_some(())
    });
}

fn a_leader_that_is_unplugged_is_replaced_and_no_trial_notices() {
    let cluster = running();
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.lab().unplug(leader);
        expect_another_leader(&cluster, leader);
        cluster.measure(30);
        cluster.lab().plug(leader);
        cluster.measure(30);
    }
    expect_unnoticed(cluster);
}

/// What is said one `way` between the leader and each of the others is lost, until another one leads.
fn expect_replaced(way: fn(usize, usize) -> (usize, usize)) {
    let cluster = running();
    let leader = cluster.leader();
    let ways: Vec<_> = (0..5).filter(|other| *other != leader).map(|other| way(leader, other)).collect();
    ways.iter().for_each(|(from, to)| cluster.lab().cut(*from, *to));
    expect_another_leader(&cluster, leader);
    cluster.measure(30);
    ways.iter().for_each(|(from, to)| cluster.lab().heal(*from, *to));
    expect_unnoticed(cluster);
}

fn a_leader_that_nobody_hears_is_replaced_and_no_trial_notices() {
    expect_replaced(|leader, other| (leader, other));
}

fn a_leader_that_hears_nobody_is_replaced_and_no_trial_notices() {
    expect_replaced(|leader, other| (other, leader));
}

/// One that does not hear the leader, and is heard by all, would become a candidate again and again.
fn a_coordinator_that_hears_one_other_alone_stops_nobody() {
    let cluster = running();
    let leader = cluster.leader();
    let deaf = (leader + 1) % 3;
    cluster.lab().cut(leader, deaf);
    for _ in 0..5 {
        cluster.measure(60);
    }
    cluster.lab().heal(leader, deaf);
    expect_unnoticed(cluster);
}

fn what_an_agent_held_that_is_cut_off_runs_elsewhere_and_counts_once() {
    let cluster = running();
    let machine = cluster.agent_machine(0);
    cluster.lab().unplug(machine);
    expect_lost(&cluster, "a1");
    cluster.lab().plug(machine);
    eventually("the agent's return", || {
        let agent = cluster.workspace().ok(&["agent", "show", "a1", "-o", "json"]).json()["agent"].clone();
        (agent["attached"] == true).then_some(())
    });
    expect_retried(cluster);
}

fn the_trials_of_a_machine_that_is_gone_run_elsewhere() {
    let mut cluster = running();
    cluster.destroy_agent(0);
    expect_lost(&cluster, "a1");
    expect_retried(cluster);
}

/// The agent is welcome to a leader that leads nobody any more for no longer than that one believes in itself.
fn a_leader_that_is_cut_off_with_an_agent_decides_nothing() {
    let cluster = running();
    let (leader, agent) = (cluster.leader(), cluster.agent_machine(0));
    let rest: Vec<usize> = (0..5).filter(|machine| ![leader, agent].contains(machine)).collect();
    let both_ways = |change: fn(&Lab, usize, usize)| {
        for (one, other) in [leader, agent].into_iter().flat_map(|one| rest.iter().map(move |other| (one, *other))) {
            change(cluster.lab(), one, other);
            change(cluster.lab(), other, one);
        }
    };
    both_ways(Lab::cut);
    expect_another_leader(&cluster, leader);
    expect_lost(&cluster, "a1");
    both_ways(Lab::heal);
    expect_retried(cluster);
}
