//! Three coordinators and two agents, and whoever is killed, stopped or restarted among them: a sweep ends with exactly
//! its trials, every measurement is recorded once, and nothing is left running.

use heats_testkit::{Cluster, Expected, Workspace};
use heats_tests::{PARABOLA, expect_the_same, sweep, undisturbed};

use crate::setting;

/// Trials of a sweep for each disturbance: so many that the sweep cannot end before the last.
const EACH: u64 = 120;
/// The same for each kill of the long run: little runs between two of them.
const EACH_KILL: u64 = 60;

/// A cluster that runs a sweep of so many trials.
fn running(trials: u64) -> Cluster {
    let cluster = Cluster::start(Workspace::with(&sweep(trials), PARABOLA), 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster
}

/// Waits for the end: each measurement was made once and is recorded, as if nobody had disturbed.
fn expect_undisturbed(cluster: Cluster, trials: u64) {
    let (workspace, audit) = cluster.audit(&Expected::trials(trials));
    assert_eq!(workspace.measured().len() as u64, 3 * trials);
    expect_the_same(&audit, &undisturbed(trials));
}

#[test]
fn the_leader_is_killed_again_and_again_and_no_trial_notices() {
    let kills = setting("TESTKIT_KILLS", 3);
    let trials = kills * EACH_KILL;
    let mut cluster = running(trials);
    for _ in 0..kills {
        cluster.measure(20);
        let leader = cluster.leader();
        cluster.kill_coordinator(leader);
        // The others go on without it.
        cluster.measure(20);
        cluster.start_coordinator(leader);
    }
    expect_undisturbed(cluster, trials);
}

#[test]
fn all_coordinators_are_killed_at_once_and_come_back_with_everything() {
    let kills = setting("TESTKIT_KILLS", 2);
    let trials = kills * EACH_KILL;
    let mut cluster = running(trials);
    for _ in 0..kills {
        cluster.measure(20);
        for number in 0..cluster.size() {
            cluster.kill_coordinator(number);
        }
        for number in 0..cluster.size() {
            cluster.start_coordinator(number);
        }
    }
    expect_undisturbed(cluster, trials);
}

#[test]
fn a_leader_that_stands_still_is_replaced_and_does_no_harm_when_it_comes_back() {
    let cluster = running(4 * EACH);
    for _ in 0..2 {
        cluster.measure(20);
        let leader = cluster.leader();
        cluster.coordinator_process(leader).freeze();
        cluster.measure(30);
        assert_ne!(cluster.leader(), leader);
        cluster.coordinator_process(leader).thaw();
    }
    expect_undisturbed(cluster, 4 * EACH);
}

#[test]
fn an_agent_that_is_killed_takes_its_trials_over_when_it_comes_back() {
    let mut cluster = running(3 * EACH);
    for agent in [0, 1, 0] {
        cluster.measure(20);
        cluster.kill_agent(agent);
        cluster.start_agent(agent);
    }
    expect_undisturbed(cluster, 3 * EACH);
}

#[test]
fn without_a_majority_nothing_is_decided_and_what_is_known_can_still_be_read() {
    let mut cluster = running(EACH);
    cluster.measure(20);
    cluster.kill_coordinator(0);
    cluster.kill_coordinator(1);
    let patience = ["--patience", "3s"];
    let refused = cluster.workspace().run(&[&["ls"], &patience[..]].concat()).expect(7);
    assert!(refused.stderr.contains("none of the coordinators"), "{refused}");
    let stale = cluster.workspace().ok(&["ls", "--stale", "-o", "json"]).json();
    assert_eq!(stale["sweeps"][0]["name"], "killed");
    cluster.start_coordinator(0);
    cluster.start_coordinator(1);
    expect_undisturbed(cluster, EACH);
}

#[test]
fn coordinators_are_restarted_one_by_one_and_no_trial_notices() {
    let mut cluster = running(3 * EACH);
    for number in 0..cluster.size() {
        cluster.measure(20);
        cluster.stop_coordinator(number);
        cluster.measure(20);
        cluster.start_coordinator(number);
    }
    expect_undisturbed(cluster, 3 * EACH);
}

#[test]
fn a_coordinator_joins_and_a_dead_one_is_taken_out_while_a_sweep_runs() {
    let mut cluster = running(2 * EACH);
    cluster.measure(20);
    let joined = cluster.join();
    let dead = (cluster.leader() + 1) % 3;
    cluster.kill_coordinator(dead);
    cluster.remove(dead);
    let voters: Vec<u64> = cluster.status().iter().filter_map(|member| member["node"].as_u64()).collect();
    assert!(voters.len() == 3 && voters.contains(&(joined as u64 + 1)), "{voters:?}");
    cluster.measure(20);
    // Two of three are left, and the newcomer is one of them.
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(20);
    cluster.start_coordinator(leader);
    expect_undisturbed(cluster, 2 * EACH);
}
