//! Trials that hold at rungs and go on from their checkpoints, on whatever machine is free.

use std::collections::{BTreeMap, BTreeSet};

use heats_testkit::{Cluster, Workspace, eventually};
use serde_json::Value;

/// Each trial is worse than the one before, so that trial 0 is promoted to the end.
const SWEEP: &str = "
version: 1
name: ladder
command: [./trial.sh]
space: { x: { int: [1, 9] } }
objective: { minimize: loss }
search: { algorithm: grid }
early_stop: { algorithm: RULE, resource: epoch, min: 1, max: 9, eta: 3 }
budget: { parallel: PARALLEL }
run: { stop_grace: 10s }
";

/// Makes a checkpoint of each epoch before it reports it. From trial 2 on it waits until the test says `go`.
const SCRIPT: &str = r#"
trap : TERM
[ "$HEATS_TRIAL" -lt 2 ] || until [ -e go ]; do sleep 0.02; done
epoch=0
[ -z "$HEATS_RESUME_FROM" ] || epoch=$(cat "$HEATS_RESUME_FROM/epoch")
while [ "$epoch" -lt 9 ]; do
  epoch=$((epoch + 1))
  loss=$((HEATS_PARAM_X * 100 - epoch))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $epoch $loss" >> "$MEASURED"
  mkdir "$HEATS_CHECKPOINT_DIR/.new"
  echo "$epoch" > "$HEATS_CHECKPOINT_DIR/.new/epoch"
  mv "$HEATS_CHECKPOINT_DIR/.new" "$HEATS_CHECKPOINT_DIR/step-$epoch"
  "$HEATS_BIN" trial report "loss=$loss" --step "$epoch" --wait || exit 0
done
"#;

/// A cluster of two agents with data directories of their own, which keep checkpoints in the folder `kept`.
fn cluster(rule: &str, parallel: u32, coordinators: usize) -> Cluster {
    let sweep = SWEEP.replace("RULE", rule).replace("PARALLEL", &parallel.to_string());
    let workspace = Workspace::with(&sweep, SCRIPT);
    let kept = workspace.file("kept");
    std::fs::create_dir(&kept).expect("a folder");
    let workspace = workspace.with_variable("HEATS_CHECKPOINTS", &format!("shared:{}", kept.display()));
    Cluster::start(workspace, coordinators, 2)
}

/// How often each step of each trial was measured, where that was more than once.
fn measured_again(workspace: &Workspace) -> BTreeMap<(u64, u64), u32> {
    let mut times = BTreeMap::new();
    for measured in workspace.measured() {
        *times.entry((measured.trial, measured.step)).or_insert(0) += 1;
    }
    times.retain(|_, times| *times > 1);
    times
}

/// The checkpoints in the shared folder.
fn objects(workspace: &Workspace) -> Vec<String> {
    let entries = std::fs::read_dir(workspace.file("kept")).expect("reads").flatten();
    entries.map(|entry| entry.file_name().display().to_string()).filter(|name| name != "heats-storage").collect()
}

/// The names of the agents that ran a trial, attempt by attempt.
fn agents(workspace: &Workspace, trial: u32) -> Vec<String> {
    let shown = workspace.ok(&["show", &format!("ladder/{trial}"), "-o", "json"]).json();
    let attempts = shown["trial"]["attempt_list"].as_array().expect("a list").iter();
    attempts.map(|attempt| attempt["agent_name"].as_str().expect("a name").to_owned()).collect()
}

/// No trial was let go on twice from one rung, and none that was let go on stayed where it was.
fn expect_each_promotion_once(workspace: &Workspace) -> usize {
    let events = workspace.ok(&["events", "ladder", "-o", "jsonl"]).json_lines();
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).cloned().collect::<Vec<Value>>();
    let mut promoted: Vec<(u64, u64)> = of("trial_resumed")
        .iter()
        .map(|event| {
            (event["trial"].as_u64().expect("a number"), event["fact"]["reason"]["rung"].as_u64().expect("a rung"))
        })
        .collect();
    let reached = |trial: u64, step: u64| {
        of("trial_reported").iter().any(|event| event["trial"] == trial && event["fact"]["step"].as_u64() > Some(step))
    };
    for (trial, rung) in &promoted {
        assert!(reached(*trial, *rung), "trial {trial} was promoted from rung {rung} and stayed there");
    }
    let count = promoted.len();
    promoted.sort_unstable();
    promoted.dedup();
    assert_eq!(promoted.len(), count, "a promotion was done twice: {promoted:?}");
    count
}

/// The trials of which an attempt was lost with its agent.
fn lost(workspace: &Workspace) -> BTreeSet<u64> {
    let events = workspace.ok(&["events", "ladder", "-o", "jsonl"]).json_lines();
    let is_lost = |event: &&Value| event["kind"] == "attempt_ended" && event["fact"]["failure"] == "node_lost";
    events.iter().filter(is_lost).map(|event| event["trial"].as_u64().expect("a number")).collect()
}

fn ended(workspace: &Workspace) {
    workspace.ok(&["watch", "ladder"]);
    let trials = workspace.ok(&["trials", "ladder", "-o", "json"]).json();
    let states = trials["trials"].as_array().expect("a list").iter().map(|trial| trial["state"].clone());
    assert!(states.into_iter().all(|state| state == "completed" || state == "stopped"), "{trials}");
}

/// The machine that ran trial 0 first gets no other; it is trial 0 that comes to the end.
fn goes_on_elsewhere(rule: &str) {
    let cluster = cluster(rule, 1, 1);
    let workspace = cluster.workspace();
    workspace.ok(&["submit", "sweep.yaml"]);
    cluster.measure(2);
    let first = agents(workspace, 0).remove(0);
    workspace.ok(&["agent", "drain", &first]);
    workspace.write("go", "");
    ended(workspace);
    assert_eq!(measured_again(workspace), BTreeMap::new(), "nothing is trained twice");
    let on = agents(workspace, 0);
    assert!(on.len() > 1 && on[1..].iter().all(|agent| *agent != first), "{on:?}");
    assert!(expect_each_promotion_once(workspace) > 0);
    // What is kept is the winner's, and goes with the sweep.
    eventually("the others to be removed", || (objects(workspace).len() == 1).then_some(()));
    assert!(objects(workspace)[0].contains("-0@"), "{:?}", objects(workspace));
    workspace.ok(&["rm", "ladder"]);
    eventually("all to be removed", || objects(workspace).is_empty().then_some(()));
}

#[test]
fn a_trial_that_asha_promotes_goes_on_from_its_checkpoint_on_another_machine() {
    goes_on_elsewhere("asha_promotion");
}

#[test]
fn a_trial_that_pasha_promotes_goes_on_from_its_checkpoint_on_another_machine() {
    goes_on_elsewhere("pasha");
}

#[test]
fn a_trial_that_hyperband_promotes_goes_on_from_its_checkpoint_on_another_machine() {
    goes_on_elsewhere("hyperband_sync");
}

#[test]
fn no_promotion_is_lost_or_done_twice_while_agents_and_leaders_are_killed() {
    let mut cluster = cluster("asha_promotion", 4, 3);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster.measure(2);
    cluster.workspace().write("go", "");
    for agent in [0, 1] {
        cluster.kill_with_leader(agent);
    }
    let workspace = cluster.workspace();
    ended(workspace);
    assert!(expect_each_promotion_once(workspace) > 0);
    // Trials outlive their agent, and leaders are nothing to them: only one whose agent did not come back in time begins again.
    let lost = lost(workspace);
    let again: Vec<u64> = measured_again(workspace).into_keys().map(|(trial, _)| trial).collect();
    assert!(again.iter().all(|trial| lost.contains(trial)), "{again:?} were measured again, and lost were {lost:?}");
}
