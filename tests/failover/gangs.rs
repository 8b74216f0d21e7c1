//! Three coordinators, and trials that span two of three machines: leaders and agents are killed, and each trial is still trained
//! by two processes that began together, or not at all.

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::{MEETS, gang_ports};
use serde_json::Value;

const TRIALS: u64 = 12;

const SWEEP: &str = r#"
version: 1
name: gang
command: [python3, train.py, "${lr}"]
space: { lr: { float: [0.01, 0.3] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 3 }
budget: { trials: 12 }
resources: { nodes: 2 }
run: { stop_grace: 1s }
"#;

/// The members of a trial's first attempt, once all of them have begun.
fn members(workspace: &Workspace, trial: u32) -> Option<Vec<Value>> {
    let shown = workspace.ok(&["show", &format!("gang/{trial}"), "-o", "json"]).json();
    let members = shown["trial"]["attempt_list"][0]["members"].as_array()?.clone();
    members.iter().all(|member| member["started_at"].is_string()).then_some(members)
}

#[test]
fn a_leader_and_an_agent_are_killed_and_no_attempt_is_left_half_running() {
    let workspace = Workspace::with(SWEEP, "").with_variable("HEATS_GANG_PORTS", &gang_ports());
    workspace.write("train.py", MEETS);
    // First attempts wait in their third step: who holds what when the agent is killed is no matter of time.
    workspace.write("hold", "");
    let mut cluster = Cluster::start(workspace, 3, 3);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    let begun = eventually("both members of a trial", || members(cluster.workspace(), 0));
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.leader();
    cluster.start_coordinator(leader);
    // Its processes run on, and are nobody's: those that they met are ended, and tried again on the other two machines.
    let name = begun[1]["agent_name"].as_str().expect("a name").trim_start_matches('a');
    let number = name.parse::<usize>().expect("a number") - 1;
    cluster.kill_agent(number);
    let ends = || cluster.workspace().ok(&["events", "gang", "-o", "jsonl"]).json_lines();
    let is_lost = |event: &Value| {
        let of_first = event["kind"] == "attempt_ended" && event["trial"] == 0 && event["attempt"] == 1;
        of_first.then(|| event["fact"]["failure"].clone())
    };
    let failure = eventually("the end of what the agent held", || ends().iter().find_map(is_lost));
    assert_eq!(failure, "node_lost");
    std::fs::remove_file(cluster.workspace().file("hold")).expect("is there");
    cluster.start_agent(number);
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS).with_killed_trials());
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
}
