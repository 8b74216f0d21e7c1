//! Trials that start from a process which has their imports, seen from the outside.

use heats_testkit::{Expected, Workspace, eventually};
use serde_json::Value;

const SWEEP: &str = "
version: 1
name: warm
command: [python3, train.py, '${args}']
code: { path: code }
space: { x: { int: [1, 6] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 2 }
run: { warm: true, env: { PYTHONPATH: LIBRARY, IMPORTED: COUNT } }
";

/// The library is imported once for each process that does, which it notes.
const LIBRARY: &str = "
import os
with open(os.environ['IMPORTED'], 'a') as noted:
    print(os.getpid(), file=noted)
";

const SCRIPT: &str = "
import random, library, heats
with heats.trial() as trial:
    chance = random.Random(trial.seed)
    for step in range(1, 4):
        trial.report(step, loss=trial.params.x * chance.random())
";

/// A workspace whose script reports random numbers that follow from the trial's seed.
fn workspace(script: &str) -> Workspace {
    let workspace = Workspace::new();
    let path = |name: &str| workspace.file(name).display().to_string();
    workspace.write("sweep.yaml", SWEEP.replace("LIBRARY", &path("library")).replace("COUNT", &path("imported")));
    for folder in ["library", "code"] {
        std::fs::create_dir_all(workspace.file(folder)).expect("creates");
    }
    workspace.write("library/library.py", LIBRARY);
    workspace.write("code/train.py", script);
    workspace
}

#[test]
fn a_warm_sweep_pays_its_imports_once_says_so_and_comes_to_the_same_when_it_is_reproduced() {
    let workspace = workspace(SCRIPT);
    let run = workspace.ok(&["run", "sweep.yaml"]);
    assert!(!run.stderr.contains("cold"), "{run}");
    assert_eq!(workspace.read("imported").lines().count(), 1);
    let dev = workspace.dev(&[]);
    for number in 0..6 {
        let trial = workspace.ok(&["show", &format!("warm/{number}"), "-o", "json"]).json()["trial"].clone();
        let attempts = trial["attempt_list"].as_array().expect("a list");
        assert!(attempts.iter().all(|one| one["warm"] == true && one["cold"].is_null()), "{trial}");
    }
    assert!(workspace.ok(&["show", "warm/3"]).stdout.contains("warm: forked from a process that had its imports"));
    let again = workspace.ok(&["reproduce", "warm/3", "--run", "-o", "json"]).json()["reproduction"].clone();
    assert_eq!(again["again"]["identical"], true, "{again}");
    drop(dev);
}

#[test]
fn a_sweep_that_cannot_start_warm_says_why_once_and_runs_cold() {
    let workspace = workspace(SCRIPT);
    let threads = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n";
    workspace.write("library/library.py", format!("{LIBRARY}{threads}"));
    let run = workspace.ok(&["run", "sweep.yaml"]);
    let told: Vec<&str> = run.stderr.lines().filter(|line| line.contains("start cold")).collect();
    assert_eq!(told.len(), 1, "{run}");
    assert!(told[0].contains("its imports have started a thread"), "{}", told[0]);
    assert_eq!(workspace.read("imported").lines().count(), 7, "by the template and by each trial");
    let dev = workspace.dev(&[]);
    let shown = workspace.ok(&["show", "warm/3"]).stdout;
    assert!(
        shown.contains("cold, although its sweep asks for warm starts: its imports have started a thread"),
        "{shown}"
    );
    let events = workspace.ok(&["events", "warm", "-o", "jsonl"]).json_lines();
    let cold = |event: &&Value| event.to_string().contains("its imports have started a thread");
    assert_eq!(events.iter().filter(cold).count(), 6);
    drop(dev);
}

#[test]
fn killed_in_the_middle_a_warm_sweep_goes_on_and_no_step_is_measured_twice() {
    let script = "
import os, library, heats
with heats.trial() as trial:
    for step in range(1, 4):
        loss = trial.params.x * 10 + step
        with open(os.environ['MEASURED'], 'a') as measured:
            print(os.environ['HEATS_TRIAL'], os.environ['HEATS_ATTEMPT'], step, loss, file=measured)
        trial.report(step, loss=loss)
        if trial.params.x == 2 and step == 2:
            open(os.environ['GATE']).read()
";
    let workspace = workspace(script);
    let gate = workspace.file("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().expect("is there").success());
    let more = format!("run.env.GATE={}", gate.display());
    let heats = workspace.start(&["run", "sweep.yaml", "--set", &more]);
    let at_gate = || workspace.read("measured.txt").lines().filter(|line| line.starts_with("1 ")).count();
    eventually("the trial at the gate", || (workspace.count_measured() > 0 && at_gate() == 2).then_some(()));
    heats.kill();
    heats.finish();
    let again = workspace.start(&["run", "sweep.yaml", "--set", &more]);
    std::fs::write(&gate, "go").expect("somebody waits");
    again.finish().expect(0);
    workspace.audit(&Expected::trials(6));
    let text = workspace.read("measured.txt");
    let at_gate: Vec<&str> = text.lines().filter(|line| line.starts_with("1 ")).collect();
    assert_eq!(at_gate, ["1 1 1 21", "1 1 2 22", "1 1 3 23"], "it ran on, by its first attempt");
}
