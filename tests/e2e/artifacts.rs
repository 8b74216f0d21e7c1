//! Files that trials keep for people: kept by name, listed, fetched, and gone with their sweep.

use heats_testkit::{Cluster, Workspace, eventually};

const SWEEP: &str = "
version: 1
name: models
command: [./trial.sh]
space: { x: { int: [1, 2] } }
objective: { minimize: loss }
search: { algorithm: grid }
run: { stop_grace: 10s }
";

/// Keeps a model after each of two steps, under one name, and holds in between until the test says `go`.
const SCRIPT: &str = r#"
mkdir -p "out-$HEATS_TRIAL" && cd "out-$HEATS_TRIAL"
for step in 1 2; do
  printf 'model %s of step %s' "$HEATS_PARAM_X" "$step" > model.txt
  "$HEATS_BIN" trial artifact model.txt || exit 1
  "$HEATS_BIN" trial report "loss=$HEATS_PARAM_X" --step "$step" || exit 1
  until [ -e ../go ]; do sleep 0.02; done
done
: > empty
"$HEATS_BIN" trial artifact empty --name plot.svg
"#;

fn cluster() -> Cluster {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let kept = workspace.file("kept");
    std::fs::create_dir(&kept).expect("a folder");
    let workspace = workspace.with_variable("HEATS_CHECKPOINTS", &format!("shared:{}", kept.display()));
    Cluster::start(workspace, 1, 2)
}

/// How often each trial was said to keep something under a name.
fn kept(workspace: &Workspace, name: &str) -> Vec<u64> {
    let events = workspace.ok(&["events", "models", "-o", "jsonl"]).json_lines();
    let of = events.iter().filter(|event| event["kind"] == "artifact_kept" && event["fact"]["name"] == name);
    let mut trials: Vec<u64> = of.map(|event| event["trial"].as_u64().expect("a trial")).collect();
    trials.sort_unstable();
    trials
}

/// The objects in the shared folder.
fn objects(workspace: &Workspace) -> usize {
    let entries = std::fs::read_dir(workspace.file("kept")).expect("reads").flatten();
    entries.filter(|entry| entry.file_name() != "heats-storage").count()
}

#[test]
fn what_trials_keep_is_kept_once_whatever_happens_to_agents_and_fetched_by_name() {
    let mut cluster = cluster();
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    eventually("both keep their models", || (kept(cluster.workspace(), "model.txt") == [0, 1]).then_some(()));
    for agent in [0, 1] {
        cluster.kill_agent(agent);
        cluster.start_agent(agent);
    }
    std::fs::write(cluster.workspace().file("go"), "").expect("writes");
    let workspace = cluster.workspace();
    workspace.ok(&["watch", "models"]);
    assert_eq!(kept(workspace, "model.txt"), [0, 0, 1, 1], "once for each content");
    let listed = workspace.ok(&["artifacts", "models", "-o", "json"]).json();
    let names: Vec<&str> =
        listed["artifacts"].as_array().expect("a list").iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!((names, &listed["trial"]), (vec!["model.txt", "plot.svg"], &"models/0".into()), "of the best trial");
    let into = workspace.file("fetched");
    workspace.ok(&["artifacts", "models/1", "--into", &into.display().to_string()]);
    let read = |name: &str| std::fs::read_to_string(into.join(name)).expect("was fetched");
    assert_eq!((read("model.txt"), read("plot.svg")), ("model 2 of step 2".to_owned(), String::new()));
    let missing = workspace.run(&["artifacts", "models/1", "model.text"]).expect(3);
    assert!(missing.stderr.contains("did you mean `model.txt`?"), "{missing}");
    assert!(workspace.ok(&["show", "models/1"]).stdout.contains("  artifact  model.txt, 17 B, in shared:"));
    eventually("what was replaced is removed", || (objects(workspace) == 4).then_some(()));
    workspace.ok(&["rm", "models"]);
    eventually("all is removed with the sweep", || (objects(workspace) == 0).then_some(()));
}

#[test]
fn a_damaged_artifact_is_not_fetched() {
    let cluster = cluster();
    let workspace = cluster.workspace();
    std::fs::write(workspace.file("go"), "").expect("writes");
    workspace.ok(&["submit", "sweep.yaml", "--wait"]);
    for object in std::fs::read_dir(workspace.file("kept")).expect("reads").flatten() {
        let file = object.path().join("files/model.txt");
        if file.exists() {
            std::fs::write(file, "model 9 of step 9").expect("writes");
        }
    }
    let into = workspace.file("fetched");
    let damaged = workspace.run(&["artifacts", "models", "model.txt", "--into", &into.display().to_string()]).expect(1);
    assert!(damaged.stderr.contains("what was received of `model.txt` is not what was kept"), "{damaged}");
    assert_eq!(std::fs::read_dir(into).expect("reads").count(), 0, "nothing half");
}

/// Makes a file that is too large, without any content, and holds until the test says `go`.
const TOO_LARGE: &str = r#"
mkdir -p "$HEATS_ARTIFACT_DIR"
truncate -s 65G "$HEATS_ARTIFACT_DIR/.new" && mv "$HEATS_ARTIFACT_DIR/.new" "$HEATS_ARTIFACT_DIR/big.bin"
echo "::metric step=1 loss=$HEATS_PARAM_X"
until [ -e go ]; do sleep 0.02; done
"#;

#[test]
fn a_file_that_is_too_large_is_said_not_to_be_kept_wherever_a_user_looks() {
    let mut cluster = Cluster::start(Workspace::with(SWEEP, TOO_LARGE), 1, 2);
    let said = |workspace: &Workspace| {
        let events = workspace.ok(&["events", "models", "-o", "jsonl"]).json_lines();
        events.iter().filter(|event| event["kind"] == "artifact_not_kept").count()
    };
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    eventually("both are told of while they run", || (said(cluster.workspace()) == 2).then_some(()));
    for agent in [0, 1] {
        cluster.kill_agent(agent);
        cluster.start_agent(agent);
    }
    std::fs::write(cluster.workspace().file("go"), "").expect("writes");
    let workspace = cluster.workspace();
    workspace.ok(&["watch", "models"]);
    assert_eq!(said(workspace), 2, "a later agent has nothing new to say");
    let words = "is not kept: over the limit of 64.0 GiB for all files together";
    let shown = workspace.ok(&["show", "models/0"]).stdout;
    assert!(shown.contains(&format!("  artifact  big.bin (65.0 GiB, attempt 1) {words}\n")), "{shown}");
    let log = workspace.ok(&["logs", "models/0"]).stdout;
    assert_eq!(log.matches(&format!("heats: `big.bin` (65.0 GiB) {words}; ")).count(), 1, "{log}");
    let listed = workspace.ok(&["artifacts", "models/0"]);
    assert!(listed.stderr.contains(&format!("models/0: big.bin (65.0 GiB, attempt 1) {words}")), "{listed}");
    let listed = workspace.ok(&["artifacts", "models/0", "-o", "json"]).json();
    let file = &listed["not_kept"][0];
    let sizes = (file["name"].as_str(), file["bytes"].as_u64(), file["limit"].as_u64());
    assert_eq!(sizes, (Some("big.bin"), Some(65 << 30), Some(64 << 30)));
    let missing = workspace.run(&["artifacts", "models/0", "big.bin"]).expect(3);
    assert!(missing.stderr.contains(words), "{missing}");
}

#[test]
fn what_the_end_of_a_trial_waits_for_is_shown() {
    let cluster = cluster();
    let workspace = cluster.workspace();
    workspace.ok(&["submit", "sweep.yaml"]);
    eventually("both keep their models", || (kept(workspace, "model.txt") == [0, 1]).then_some(()));
    let (kept, away) = (workspace.file("kept"), workspace.file("away"));
    std::fs::rename(&kept, &away).expect("renames");
    std::fs::write(workspace.file("go"), "").expect("writes");
    let waits = |text: &str| text.contains("waits for `") && text.contains(" kept; not yet, because ");
    let shown = eventually("it is shown with the trial", || {
        Some(workspace.ok(&["show", "models/0"]).stdout).filter(|shown| waits(shown))
    });
    assert!(shown.contains(" by now, and for 10m 00s at most"), "{shown}");
    let attempt = workspace.ok(&["show", "models/0", "-o", "json"]).json()["trial"]["attempt_list"][0].clone();
    assert_eq!(attempt["waits_for"]["limit"].as_f64(), Some(600.0), "{attempt}");
    let agent = attempt["agent_name"].as_str().expect("a name").to_owned();
    eventually("and with its agent", || waits(&workspace.ok(&["agent", "show", &agent]).stdout).then_some(()));
    std::fs::rename(&away, &kept).expect("renames");
    workspace.ok(&["watch", "models"]);
    assert!(!workspace.ok(&["show", "models/0"]).stdout.contains("waits for"));
}
