//! Places that are taken away, seen from the outside: a trial of a low priority makes way, and goes on from its checkpoint.

use heats_testkit::{Cluster, Workspace, eventually};
use serde_json::Value;

/// All of the one agent, and of little weight.
const LOW: &str = "
version: 1
name: low
command: [./trial.sh]
space: { x: { choice: [1] } }
objective: { minimize: loss }
search: { algorithm: grid }
resources: { cpus: 2 }
priority: 10
run: { stop_grace: 10s, retries: 0 }
";

/// Makes a checkpoint of each step before it reports it. The low one holds after step 3 until the test says `go`.
const SCRIPT: &str = r#"
step=${HEATS_RESUME_STEP:-0}
while [ "$step" -lt 6 ]; do
  [ "$HEATS_SWEEP" = high ] || [ "$step" -lt 3 ] || until [ -e go ]; do sleep 0.02; done
  step=$((step + 1))
  [ "$HEATS_SWEEP" = high ] || echo "$HEATS_TRIAL $HEATS_ATTEMPT $step $step" >> "$MEASURED"
  mkdir "$HEATS_CHECKPOINT_DIR/.new"
  mv "$HEATS_CHECKPOINT_DIR/.new" "$HEATS_CHECKPOINT_DIR/step-$step"
  "$HEATS_BIN" trial report "loss=$step" --step "$step" --wait || exit 0
done
"#;

fn has_kept_step_3(workspace: &Workspace) -> bool {
    let events = workspace.ok(&["events", "low", "-o", "jsonl"]).json_lines();
    let is_there = |kind: &str| events.iter().any(|event| event["kind"] == kind && event["fact"]["step"] == 3);
    is_there("checkpoint_saved") && is_there("trial_reported")
}

#[test]
fn a_trial_makes_way_for_a_higher_priority_and_goes_on_from_its_step() {
    let workspace = Workspace::with(LOW, SCRIPT).with_variable("HEATS_PREEMPT_AFTER", "1s");
    let cluster = Cluster::start(workspace, 1, 1);
    let workspace = cluster.workspace();
    workspace.ok(&["submit", "sweep.yaml"]);
    eventually("the low one keeps step 3", || has_kept_step_3(workspace).then_some(()));
    // The agent is full, and stays so until somebody makes way.
    workspace.ok(&["submit", "sweep.yaml", "--name", "high", "--set", "priority=90", "--wait"]);
    let status = |sweep: &str| workspace.ok(&["show", sweep, "-o", "value:status"]).stdout.trim().to_owned();
    assert_eq!((status("high"), status("low")), ("finished".to_owned(), "running".to_owned()));
    std::fs::write(workspace.file("go"), "").expect("writes");
    workspace.ok(&["watch", "low"]);
    let shown: Value = workspace.ok(&["show", "low/0", "-o", "json"]).json();
    let attempts = shown["trial"]["attempt_list"].as_array().expect("a list").clone();
    assert_eq!((attempts.len(), &attempts[0]["failure"]), (2, &Value::from("preempted")), "{shown}");
    assert_eq!(shown["trial"]["state"], "completed", "without a retry, for it was no failure of its own");
    let steps: Vec<(u64, u64)> = workspace.measured().iter().map(|one| (one.attempt, one.step)).collect();
    assert_eq!(steps, [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]);
}
