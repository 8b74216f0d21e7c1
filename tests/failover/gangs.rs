//! Three coordinators, and trials that span two of three machines: leaders and agents are killed, and each trial is still trained
//! by two processes that began together, or not at all.

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::MEETS;
use serde_json::Value;

const TRIALS: u64 = 24;

const SWEEP: &str = r#"
version: 1
name: gang
command: [python3, train.py, "${lr}"]
space: { lr: { float: [0.01, 0.3] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 3 }
budget: { trials: 24 }
resources: { nodes: 2 }
run: { stop_grace: 1s }
"#;

#[test]
fn a_leader_and_an_agent_are_killed_and_no_attempt_is_left_half_running() {
    let workspace = Workspace::with(SWEEP, "").with_variable("STEP_TIME", "0.2");
    workspace.write("train.py", MEETS);
    let mut cluster = Cluster::start(workspace, 3, 3);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster.measure(8);
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(8);
    cluster.start_coordinator(leader);
    // Its processes run on, and are nobody's: those that they met are ended, and tried again on the other two machines.
    cluster.kill_agent(1);
    let ends = || cluster.workspace().ok(&["events", "gang", "-o", "jsonl"]).json_lines();
    let is_lost = |event: &Value| event["kind"] == "attempt_ended" && event["fact"]["failure"] == "node_lost";
    eventually("the end of what the agent held", || ends().iter().any(is_lost).then_some(()));
    cluster.start_agent(1);
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS).with_killed_trials());
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
}
