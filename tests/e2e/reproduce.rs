//! A trial is run again, long after its sweep and from nothing but what is recorded, and comes to the same.

use heats_testkit::{Heats, Workspace, eventually, heats_binary};
use serde_json::Value;

/// Random numbers that follow from the trial's seed, by way of the Python package.
const SEEDED: &str = r#"
import random, heats
with heats.trial() as trial:
    chance = random.Random(trial.seed)
    for step in range(1, 4):
        trial.report(step, loss=trial.params.x * chance.random())
"#;

/// Random numbers that follow from nothing.
const UNSEEDED: &str = "import random; print(f'::metric step=1 loss={random.random()}')";

const SWEEP: &str = "
version: 1
name: again
command: [python3, train.py]
code: { path: . }
space: { x: { int: [1, 2] } }
objective: { minimize: loss }
search: { algorithm: grid }
";

fn again(workspace: &Workspace, trial: &str, code: i32) -> Value {
    let finished = workspace.run(&["reproduce", trial, "--run", "-o", "json"]).expect(code);
    finished.json()["reproduction"].clone()
}

#[test]
fn an_example_comes_to_the_same_whether_its_trial_was_stopped_or_ran_to_its_end() {
    let workspace = Workspace::of_example("quadratic");
    workspace.ok(&["run", "sweep.yaml", "--set", "code.path=."]);
    let dev = workspace.dev(&[]);
    let trials = workspace.ok(&["trials", "quadratic", "-o", "json"]).json()["trials"].clone();
    for state in ["completed", "stopped"] {
        let of_state = |trial: &&Value| trial["state"] == state;
        let trial = trials.as_array().expect("a list").iter().find(of_state).unwrap_or_else(|| panic!("none {state}"));
        let address = trial["address"].as_str().expect("has one");
        let told = again(&workspace, address, 0);
        assert_eq!(
            (&told["again"]["identical"], &told["again"]["steps"]),
            (&true.into(), &trial["last_step"]),
            "{told}"
        );
    }
    drop(dev);
}

#[test]
fn a_seeded_script_comes_to_the_same_though_its_folder_has_changed_and_an_unseeded_one_is_found_out() {
    let workspace = Workspace::with(SWEEP, "");
    workspace.write("train.py", SEEDED);
    workspace.ok(&["run", "sweep.yaml"]);
    workspace.write("train.py", UNSEEDED);
    workspace.ok(&["run", "sweep.yaml", "--set", "name=chance"]);
    let dev = workspace.dev(&[]);
    let told = again(&workspace, "again/1", 0);
    assert_eq!((&told["again"]["identical"], &told["again"]["steps"]), (&true.into(), &3.into()), "{told}");
    assert_eq!(told["recorded"]["params"]["x"], 2);
    let told = again(&workspace, "chance/1", 1);
    assert_eq!(
        (&told["again"]["identical"], &told["again"]["changed"][0]["step"]),
        (&false.into(), &1.into()),
        "{told}"
    );
    assert!(workspace.ok(&["reproduce", "again/1"]).stdout.contains("code         archive "));

    // By hand: the same numbers, without an agent.
    workspace.write("again.sh", workspace.ok(&["reproduce", "again/1", "--script"]).stdout);
    let bin = heats_binary().parent().expect("is in a folder").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let mut script = workspace.program("sh", &["again.sh", "by-hand"]);
    script.env("PATH", path);
    let finished = script.output().expect("starts");
    assert_eq!(workspace.read("by-hand/metrics.jsonl").lines().count(), 3, "{finished:?}");
    drop(dev);
}

/// Quick in a sweep; once the file is there, a trial that says who it and its child are, and never ends.
const ENDLESS: &str = r#"
import os, pathlib, subprocess, sys, time
print("::metric step=1 loss=1", flush=True)
place = pathlib.Path(sys.argv[1])
if (place / "endless").exists():
    child = subprocess.Popen(["sleep", "1000"])
    (place / "pids.new").write_text(f"{os.getpid()} {child.pid}")
    (place / "pids.new").rename(place / "pids")
    time.sleep(1000)
"#;

#[test]
fn an_interrupt_ends_what_was_run_again_with_all_that_it_has_started() {
    let workspace = Workspace::with(SWEEP, "");
    workspace.write("train.py", ENDLESS);
    let place = workspace.path().display().to_string();
    workspace.ok(&["run", "sweep.yaml", "--set", &format!("command=[python3, train.py, {place}]")]);
    workspace.write("endless", "");
    let dev = workspace.dev(&[]);
    for interrupt in [Heats::interrupt as fn(&Heats), Heats::terminate] {
        let again = workspace.start(&["reproduce", "again/0", "--run"]);
        let pids = eventually("the trial to say who it is", || std::fs::read_to_string(workspace.file("pids")).ok());
        std::fs::remove_file(workspace.file("pids")).expect("is ours");
        interrupt(&again);
        again.finish().expect(130);
        for pid in pids.split(' ') {
            let lives =
                || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
            eventually("the trial and its child to be gone", || (!lives()).then_some(()));
        }
    }
    drop(dev);
}
