//! A population whose members are replaced, seen from the outside: forks go on where the winner's checkpoint was, on whatever
//! machine, each comes to be once, and none is lost.

use std::collections::{BTreeMap, BTreeSet};

use heats_testkit::{Cluster, Workspace};
use serde_json::Value;

/// Four members; the smaller `x`, the faster the loss falls.
const SWEEP: &str = "
version: 1
name: bred
command: [./trial.sh]
space: { x: { int: [1, 1000], log: true } }
objective: { minimize: loss }
search: { algorithm: pbt, seed: 5, population: 4, perturbation_interval: 2, max: 12 }
budget: { trials: 30 }
run: { stop_grace: 10s }
";

/// The state is the loss, of which a step takes off more or less. A checkpoint of each step is made before its report.
const SCRIPT: &str = r#"
trap : TERM
step=0 loss=100000
if [ -n "$HEATS_RESUME_FROM" ]; then
  step=$HEATS_RESUME_STEP loss=$(cat "$HEATS_RESUME_FROM/loss")
fi
while [ "$step" -lt 12 ]; do
  step=$((step + 1)) loss=$((loss - 1100 + HEATS_PARAM_X))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $step $loss" >> "$MEASURED"
  mkdir "$HEATS_CHECKPOINT_DIR/.new"
  echo "$loss" > "$HEATS_CHECKPOINT_DIR/.new/loss"
  mv "$HEATS_CHECKPOINT_DIR/.new" "$HEATS_CHECKPOINT_DIR/step-$step"
  # Until it is kept: so that who is compared has somebody to copy.
  sleep 0.2
  "$HEATS_BIN" trial report "loss=$loss" --step "$step" --wait || exit 0
done
"#;

/// A cluster of two agents with data directories of their own, which keep checkpoints in the folder `kept`.
fn cluster(coordinators: usize) -> Cluster {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let kept = workspace.file("kept");
    std::fs::create_dir(&kept).expect("a folder");
    let workspace = workspace.with_variable("HEATS_CHECKPOINTS", &format!("shared:{}", kept.display()));
    Cluster::start(workspace, coordinators, 2)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whoever was replaced was so once, by a trial that comes from the winner that its verdict names; and every fork began with
/// the winner's checkpoint, and trained the steps after it.
fn expect_each_fork_once(workspace: &Workspace) -> usize {
    let events = workspace.ok(&["events", "bred", "-o", "jsonl"]).json_lines();
    let of = |kind: &'static str| events.iter().filter(move |event| event["kind"] == kind);
    let mut replaced: BTreeMap<u64, u64> = BTreeMap::new();
    for event in of("trial_settled").filter(|event| event["fact"]["reason"]["winner"].is_u64()) {
        let winner = number(&event["fact"]["reason"]["winner"]);
        assert_eq!(replaced.insert(number(&event["trial"]), winner), None, "a member is replaced once");
    }
    let forks: Vec<(u64, &Value)> = of("trial_created")
        .filter(|event| event["fact"]["forked_from"].is_object())
        .map(|event| (number(&event["trial"]), &event["fact"]["forked_from"]))
        .collect();
    let made: BTreeMap<u64, u64> =
        forks.iter().map(|(_, from)| (number(&from["replaces"]), number(&from["trial"]))).collect();
    assert_eq!((made.len(), &made), (forks.len(), &replaced), "one fork for each that was replaced");
    let measured = workspace.measured();
    for (fork, from) in &forks {
        let lease = of("trial_leased").find(|event| event["trial"] == *fork).expect("a fork is run");
        assert_eq!(lease["fact"]["from"]["step"], from["step"], "trial {fork} begins with the winner's checkpoint");
        let steps: Vec<u64> = measured.iter().filter(|one| one.trial == *fork).map(|one| one.step).collect();
        assert!(steps.first() == Some(&(number(&from["step"]) + 1)), "trial {fork} goes on from there: {steps:?}");
    }
    forks.len()
}

fn ended(workspace: &Workspace) -> Value {
    workspace.ok(&["watch", "bred"]);
    let trials = workspace.ok(&["trials", "bred", "-o", "json"]).json();
    let states: BTreeSet<&str> =
        trials["trials"].as_array().expect("a list").iter().filter_map(|trial| trial["state"].as_str()).collect();
    assert!(states.is_subset(&BTreeSet::from(["completed", "stopped"])), "{trials}");
    let completed = |trial: &&Value| trial["state"] == "completed" && trial["last_step"] == 12;
    assert_eq!(trials["trials"].as_array().expect("a list").iter().filter(completed).count(), 4, "as many as members");
    trials
}

#[test]
fn members_are_replaced_by_forks_of_better_ones_which_show_their_whole_schedule() {
    let cluster = cluster(1);
    let workspace = cluster.workspace();
    workspace.ok(&["submit", "sweep.yaml"]);
    ended(workspace);
    assert!(expect_each_fork_once(workspace) > 0);
    let best = workspace.ok(&["best", "bred", "-n", "30", "-o", "json"]).json();
    let whole = |trial: &&Value| trial["state"] == "completed" && trial["lineage"].is_array();
    let fork = best["trials"].as_array().expect("a list").iter().find(whole);
    let fork = fork.expect("whoever was replaced last has a fork that came to its end");
    let lineage = fork["lineage"].as_array().expect("a list").clone();
    // What the schedule comes to is what was measured.
    let mut loss = 100_000;
    for stretch in &lineage {
        let to = stretch["to_step"].as_u64().unwrap_or(12);
        loss -= (to - number(&stretch["from_step"])) as i64 * (1_100 - number(&stretch["params"]["x"]) as i64);
    }
    assert_eq!(fork["value"].as_f64(), Some(loss as f64), "{fork}");
    let address = fork["address"].as_str().expect("an address");
    let shown = workspace.ok(&["show", address]).stdout;
    assert!(shown.contains("lineage   steps 0 to "), "{shown}");
    let refused = workspace.run(&["reproduce", address, "--run"]).expect(2);
    assert!(refused.stderr.contains("cannot be run again alone: it went on from the checkpoint of step"), "{refused}");
    let parent = format!("bred/{}", fork["forked_from"]["trial"]);
    assert!(workspace.ok(&["show", &parent]).stdout.contains("  forks     "), "{parent}");
}

#[test]
fn no_fork_is_lost_or_made_twice_while_agents_and_leaders_are_killed() {
    let mut cluster = cluster(3);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    for agent in [0, 1, 0] {
        // In the middle of it: a few steps on.
        cluster.measure(8);
        cluster.kill_with_leader(agent);
    }
    let workspace = cluster.workspace();
    ended(workspace);
    assert!(expect_each_fork_once(workspace) > 0);
}
