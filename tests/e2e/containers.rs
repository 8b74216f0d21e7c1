//! Trials in containers, by a runtime that notes what it is told and runs the command with nothing but what it was given.

use heats_testkit::{Expected, Workspace, eventually};

/// A podman on paper: an image that has to be pulled, and containers that are processes with the variables they were given.
const PODMAN: &str = r#"#!/usr/bin/env python3
import os, pathlib, signal, sys
place = pathlib.Path(__file__).parent
words = sys.argv[1:]
with open(place / "log", "a") as log:
    print(*words, file=log)
if words[0] == "version":
    print("5.0.0")
elif words[0] == "image":
    if not (place / "pulled").exists():
        sys.exit("no such image")
    print("abcd localhost/trainer@sha256:ef")
elif words[0] == "pull":
    if "missing" in words[-1]:
        sys.exit("manifest unknown")
    (place / "pulled").touch()
elif words[0] == "run":
    given, cwd, program, name = {"PATH": os.environ["PATH"]}, None, None, None
    rest = words[1:]
    while rest[0].startswith("--"):
        option = rest.pop(0)
        value = None if option in ("--rm", "--init") else rest.pop(0)
        if option == "--env" and value in os.environ:
            # One that is not set is not given.
            given[value] = os.environ[value]
        elif option == "--workdir":
            cwd = value
        elif option == "--entrypoint":
            program = value
        elif option == "--name":
            name = value
    assert rest[0] == "sha256:abcd", rest
    if program == "no-such-program":
        print("Error: executable file not found", file=sys.stderr)
        sys.exit(125)
    (place / name).write_text(str(os.getpid()))
    os.chdir(cwd)
    os.execvpe(program, [program, *rest[1:]], given)
elif words[0] == "rm":
    pid = place / words[-1]
    try:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        sys.exit(1)
"#;

const SCRIPT: &str = r#"
import os, sys, time, heats
assert "AGENTS_OWN" not in os.environ and os.environ["PYTHONUNBUFFERED"] == "1"
with heats.trial() as trial:
    trial.report(1, loss=trial.params.x)
    if os.environ.get("FOR_EVER"):
        time.sleep(1000)
"#;

const SWEEP: &str = "
version: 1
name: contained
command: [python3, train.py]
code: { path: ., exclude: [bin/] }
env: { container: 'localhost/trainer:1' }
space: { x: { int: [1, 3] } }
objective: { minimize: loss }
search: { algorithm: grid }
run: { retries: 0 }
";

fn workspace() -> Workspace {
    let workspace = Workspace::with(SWEEP, "");
    workspace.write("train.py", SCRIPT);
    std::fs::create_dir(workspace.file("bin")).expect("a folder");
    let program = workspace.write("bin/podman", PODMAN);
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("is ours");
    let program = program.display().to_string();
    workspace.with_variable("HEATS_CONTAINER_RUNTIME", &program).with_variable("AGENTS_OWN", "1")
}

#[test]
fn trials_run_in_an_image_that_is_pulled_once_and_is_recorded_by_its_digest() {
    let workspace = workspace();
    workspace.ok(&["run", "sweep.yaml"]);
    workspace.audit(&Expected::trials(3).without_side_file());
    let log = workspace.read("bin/log");
    let count = |begin: &str| log.lines().filter(|line| line.starts_with(begin)).count();
    assert_eq!((count("pull --quiet localhost/trainer:1"), count("run --rm"), count("rm --force heats-")), (1, 3, 3));
    let dev = workspace.dev(&[]);
    let shown = workspace.ok(&["show", "contained/0@1", "-o", "json"]).json()["attempt"].clone();
    let environment = &shown["surroundings"]["environment"];
    assert_eq!(environment["image"], "localhost/trainer:1, localhost/trainer@sha256:ef", "{shown}");
    assert_eq!(environment["summary"], "podman 5.0.0");
    let again = workspace.ok(&["reproduce", "contained/0", "--run", "-o", "json"]).json();
    assert_eq!(again["reproduction"]["again"]["identical"], true, "{again}");
    drop(dev);
}

#[test]
fn a_trial_that_is_cancelled_leaves_no_container() {
    let workspace = workspace();
    let dev = workspace.dev(&[]);
    let endless = ["--set", "run.env.FOR_EVER='1'", "--set", "budget.trials=1"];
    workspace.ok(&[&["submit", "sweep.yaml"], &endless[..]].concat());
    let reported = || {
        let trials = workspace.ok(&["trials", "contained", "-o", "json"]).json();
        (trials["trials"][0]["last_step"] == 1).then_some(())
    };
    eventually("the trial to report", reported);
    let name = std::fs::read_dir(workspace.file("bin"))
        .expect("is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| name.starts_with("heats-"))
        .expect("one runs");
    let pid = workspace.read(&format!("bin/{name}"));
    workspace.ok(&["cancel", "contained"]);
    workspace.run(&["watch", "contained"]).expect(1);
    eventually("the container's process to be gone", || {
        std::fs::metadata(format!("/proc/{pid}")).is_err().then_some(())
    });
    let removal = format!("rm --force {name}");
    eventually("the container to be removed", || workspace.read("bin/log").contains(&removal).then_some(()));
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn what_a_container_needs_and_is_not_there_is_said_in_the_runtimes_words() {
    let workspace = workspace();
    let failed = |args: &[&str]| {
        workspace.run(&[&["run", "sweep.yaml", "--set", "budget.trials=1"], args].concat()).expect(8);
        let dev = workspace.dev(&[]);
        let trials = workspace.ok(&["trials", "last", "-o", "json"]).json()["trials"].clone();
        drop(dev);
        (trials[0]["failure"].as_str().unwrap_or_default().to_owned(), trials[0]["detail"].to_string())
    };
    let (failure, detail) = failed(&["--set", "env.container=localhost/missing:1", "--set", "name=one"]);
    assert!(failure == "start_failed" && detail.contains("with podman 5.0.0: manifest unknown"), "{failure} {detail}");
    let (failure, detail) = failed(&["--set", "command=[no-such-program]", "--set", "name=two"]);
    assert!(failure == "start_failed" && detail.contains("executable file not found"), "{failure} {detail}");
}

#[test]
fn a_machine_that_runs_no_containers_is_given_no_trial_in_one_and_says_why() {
    let workspace = workspace();
    let refused = workspace.with_variable("HEATS_CONTAINER_RUNTIME", "none").run(&["run", "sweep.yaml"]).expect(5);
    assert!(refused.stderr.contains("it runs no containers"), "{refused}");
}
