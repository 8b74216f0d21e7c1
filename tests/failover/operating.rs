//! What an operator does while a sweep runs: drain a machine, take a backup, make a new cluster of it. The sweep ends with
//! exactly its trials all the same.

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::{PARABOLA, expect_the_same, sweep, undisturbed};
use serde_json::Value;

const TRIALS: u64 = 240;

/// A cluster that runs a sweep.
fn running() -> Cluster {
    let cluster = Cluster::start(Workspace::with(&sweep(TRIALS), PARABOLA), 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster
}

fn agent(cluster: &Cluster, name: &str) -> Value {
    cluster.workspace().ok(&["agent", "show", name, "-o", "json"]).json()["agent"].clone()
}

#[test]
fn a_drained_agent_ends_what_it_runs_and_stays_drained_whoever_is_restarted() {
    let mut cluster = running();
    cluster.measure(20);
    cluster.workspace().ok(&["agent", "drain", "a1", "--reason", "new disk", "--wait"]);
    let drained = agent(&cluster, "a1");
    assert_eq!((&drained["state"], &drained["leases"]), (&Value::from("drained"), &Value::from(0)), "{drained}");
    assert_eq!(drained["drained"]["reason"], "new disk");
    cluster.kill_agent(0);
    cluster.start_agent(0);
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(20);
    let back = eventually("the agent at the next leader", || {
        Some(agent(&cluster, "a1")).filter(|agent| agent["attached"] == true)
    });
    assert_eq!((&back["state"], &back["leases"]), (&Value::from("drained"), &Value::from(0)), "{back}");
    cluster.start_coordinator(leader);
    cluster.workspace().ok(&["agent", "undrain", "a1"]);
    eventually("trials on it", || agent(&cluster, "a1")["leases"].as_u64().filter(|leases| *leases > 0));
    let (workspace, audit) = cluster.audit(&Expected::trials(TRIALS));
    assert_eq!(workspace.measured().len() as u64, 3 * TRIALS, "no trial was killed for it");
    expect_the_same(&audit, &undisturbed(TRIALS));
}

#[test]
fn a_sweep_whose_agents_are_drained_at_once_waits_says_why_and_uses_no_retry_up() {
    let cluster = running();
    let workspace = cluster.workspace();
    cluster.measure(20);
    for name in ["a1", "a2"] {
        workspace.ok(&["agent", "drain", name, "--reason", "fans", "--now", "--wait"]);
    }
    let why = workspace.ok(&["explain", "last"]).stdout;
    assert!(why.contains("nothing starts on any agent") && why.contains("a1 is drained (fans)"), "{why}");
    assert_eq!(workspace.ok(&["show", "last", "-o", "json"]).json()["sweep"]["counts"]["running"], 0);
    for name in ["a1", "a2"] {
        workspace.ok(&["agent", "undrain", name]);
    }
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS).with_killed_trials());
    let ended = audit.events.iter().filter(|event| event.kind == "attempt_ended");
    let failures: Vec<&str> = ended.filter_map(|event| event.fact["failure"].as_str()).collect();
    assert!(!failures.is_empty() && failures.iter().all(|failure| *failure == "preempted"), "{failures:?}");
    expect_the_same(&audit, &undisturbed(TRIALS));
}

#[test]
fn backups_are_whole_though_the_leader_is_killed_while_they_are_taken() {
    let mut cluster = running();
    for number in 0..3 {
        cluster.measure(20);
        let leader = cluster.leader();
        let file = format!("backup-{number}");
        let backup = cluster.workspace().start(&["cluster", "backup", &file, "-o", "json"]);
        cluster.kill_coordinator(leader);
        let taken = backup.finish().expect(0).json()["backup"].clone();
        assert!(taken["sweeps"] == 1 && taken["trials"].as_u64() > Some(0), "{taken}");
        cluster.start_coordinator(leader);
    }
    let parts = cluster.workspace().listing().into_iter().filter(|name| name.contains(".part"));
    assert_eq!(parts.count(), 0);
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS));
    expect_the_same(&audit, &undisturbed(TRIALS));
}

#[test]
fn a_cluster_that_is_made_from_a_backup_knows_what_had_ended_and_ends_the_rest_with_exactly_its_trials() {
    let mut cluster = Cluster::start(Workspace::with(&sweep(TRIALS), PARABOLA), 3, 2);
    let first = ["submit", "sweep.yaml", "--set", "name=first", "--set", "budget.trials=12", "-w"];
    cluster.workspace().ok(&first);
    // The side file is the second sweep's, whose trials have the same numbers.
    cluster.workspace().write("measured.txt", "");
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster.measure(60);
    let told = |cluster: &Cluster| {
        let commands: [&[&str]; 4] = [
            &["export", "first", "-f", "csv"],
            &["export", "first", "-f", "jsonl", "--series"],
            &["trials", "first", "-o", "csv"],
            &["best", "first", "-n", "12"],
        ];
        commands.map(|command| cluster.workspace().ok(command).stdout)
    };
    let before = told(&cluster);
    cluster.workspace().ok(&["cluster", "backup", "backup"]);
    // All that is measured from here on is lost with the old cluster, and its trials run on at first.
    cluster.measure(60);
    for number in 0..3 {
        cluster.kill_coordinator(number);
    }
    cluster.restore("backup");
    assert_eq!(told(&cluster), before);
    cluster.measure(20);
    // It grows as any other, and survives its first coordinator: the next leader tells the agents of the others.
    let joined = [cluster.join(), cluster.join()];
    assert_eq!(joined, [4, 5]);
    cluster.workspace().ok(&["cluster", "transfer-leader", "5"]);
    cluster.measure(20);
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(20);
    cluster.start_coordinator(leader);
    assert_eq!(told(&cluster), before);
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS).with_killed_trials());
    let lost = audit.events.iter().filter(|event| event.fact["failure"] == "node_lost");
    assert!((1..=8).contains(&lost.count()), "what ran when the backup was taken, and nothing else");
    expect_the_same(&audit, &undisturbed(TRIALS));
}
