//! `heats dev` and the commands of another shell: a sweep from its submission to its removal.

use heats_testkit::{Audit, Expected, Heats, Workspace, eventually};
use heats_tests::{PARABOLA, WAITS_FOR_GO};
use serde_json::Value;

const SWEEP: &str = "
version: 1
name: gated
command: [./trial.sh]
space: { x: { int: [0, 1000] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 4 }
budget: { trials: 4, parallel: 1 }
run: { retries: 0, stop_grace: 1s }
";

/// A coordinator with the sweep submitted; its trials wait for the file `go`.
fn gated() -> (Workspace, Heats) {
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml"]);
    (workspace, dev)
}

fn sweep(workspace: &Workspace) -> Value {
    workspace.ok(&["show", "gated", "-o", "json"]).json()["sweep"].clone()
}

/// Follows the events of the sweep as they happen.
fn follow(workspace: &Workspace) -> Heats {
    workspace.start(&["events", "gated", "-f", "-o", "jsonl"])
}

fn of_kind(kind: &str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == kind
}

fn end(dev: Heats) {
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn a_sweep_is_submitted_watched_and_listed() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    let listed = workspace.ok(&["ls", "-o", "json"]).json();
    assert_eq!(listed["sweeps"][0]["name"], "gated");
    assert_eq!(listed["sweeps"][0]["status"], "running");
    assert!(workspace.ok(&["show", "gated"]).stdout.starts_with("gated running: "));
    assert!(workspace.ok(&["explain", "gated"]).stdout.contains("gated"));

    let watch = workspace.start(&["watch", "gated", "-o", "json"]);
    workspace.write("go", "");
    let watched = watch.finish().expect(0);
    assert_eq!(watched.json()["sweep"]["status"], "finished", "{watched}");
    let followed = events.finish().expect(0);
    assert!(followed.stdout.lines().last().is_some_and(|line| line.contains("sweep_ended")), "{followed}");

    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(4));
    let best = workspace.ok(&["best", "gated", "-o", "value:value"]).stdout;
    assert_eq!(best.trim().parse().ok(), audit.best().map(|(_, value)| value));
    assert_eq!(workspace.ok(&["ls", "--live", "-o", "name"]).stdout, "");
    workspace.ok(&["rm", "gated"]);
    workspace.run(&["show", "gated"]).expect(3);
    end(dev);
}

#[test]
fn logs_are_followed_while_a_trial_runs() {
    let script = format!("echo begun; echo warned >&2\n{WAITS_FOR_GO}\nprintf 'the end'");
    let workspace = Workspace::with(SWEEP, &script);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml"]);
    eventually("the first trial", || (!workspace.measured().is_empty()).then_some(()));
    let logs = workspace.start(&["logs", "gated/0", "-f", "--stdout"]);
    logs.wait_line("begun");
    assert!(logs.is_running());
    workspace.write("go", "");
    let logs = logs.finish().expect(0);
    assert!(logs.stdout.starts_with("begun\n::metric step=1 ") && logs.stdout.ends_with("the end\n"), "{logs}");
    assert_eq!(workspace.ok(&["logs", "gated/0@1", "--stderr"]).stdout, "warned\n");
    workspace.ok(&["watch", "gated"]);
    let all = workspace.ok(&["logs", "gated", "--stderr"]).stdout;
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["   0 | warned", "   1 | warned", "   2 | warned", "   3 | warned"]);
    end(dev);
}

#[test]
fn a_paused_sweep_starts_nothing_until_it_is_resumed() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    workspace.ok(&["pause", "gated"]);
    workspace.write("go", "");
    events.wait_json("the end of the trial that ran", of_kind("trial_settled"));
    let paused = sweep(&workspace);
    assert_eq!((&paused["status"], &paused["counts"]["created"]), (&"paused".into(), &1.into()), "{paused}");
    assert!(workspace.ok(&["explain", "gated"]).stdout.contains("pause"));
    workspace.ok(&["resume", "gated"]);
    workspace.ok(&["watch", "gated"]);
    Audit::take(&workspace, "gated").expect(&Expected::trials(4));
    let kinds: Vec<Value> = events.finish().expect(0).json_lines().into_iter().map(|e| e["kind"].clone()).collect();
    let place = |kind: &str| kinds.iter().position(|k| k == kind).unwrap_or_else(|| panic!("no {kind}: {kinds:?}"));
    let second = kinds.iter().enumerate().filter(|(_, kind)| *kind == "trial_created").nth(1).expect("a second").0;
    assert!(place("sweep_paused") < place("sweep_resumed") && place("sweep_resumed") < second, "{kinds:?}");
    end(dev);
}

#[test]
fn a_stopped_sweep_lets_running_trials_finish() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    workspace.ok(&["stop", "gated"]);
    assert_eq!(sweep(&workspace)["status"], "draining");
    workspace.write("go", "");
    workspace.ok(&["watch", "gated"]);
    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(1));
    assert_eq!((audit.trial(0).state.as_str(), &audit.sweep["status"]), ("completed", &"stopped".into()));
    workspace.run(&["pause", "gated"]).expect(5);
    end(dev);
}

#[test]
fn a_cancelled_sweep_ends_its_trials_and_fails_whoever_waits() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    let watch = workspace.start(&["watch", "gated"]);
    workspace.run(&["rm", "gated"]).expect(5);
    workspace.ok(&["cancel", "gated"]);
    watch.finish().expect(1);
    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(1));
    assert_eq!(audit.trial(0).state, "cancelled");
    // Its best is none: what was cancelled has no place in the ranking.
    workspace.run(&["best", "gated"]).expect(8);
    end(dev);
    workspace.expect_quiet();
}

#[test]
fn one_trial_is_cancelled_and_the_others_go_on() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    workspace.ok(&["cancel", "gated/0"]);
    events.wait_json("a report of the next trial", |event| event["kind"] == "trial_reported" && event["trial"] == 1);
    workspace.write("go", "");
    workspace.ok(&["watch", "gated"]);
    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(4));
    assert_eq!(audit.trial(0).state, "cancelled");
    assert!(audit.trials[1..].iter().all(|trial| trial.state == "completed"));
    end(dev);
}

#[test]
fn an_enqueued_point_comes_next_and_the_budget_can_be_raised() {
    let (workspace, dev) = gated();
    let events = follow(&workspace);
    events.wait_json("the first report", of_kind("trial_reported"));
    workspace.ok(&["enqueue", "gated", "x=123"]);
    let refused = workspace.run(&["enqueue", "gated", "x=1001"]).expect(2);
    assert!(refused.stderr.contains("from 0 to 1000"), "{refused}");
    workspace.ok(&["edit", "gated", "--trials", "+2"]);
    workspace.write("go", "");
    workspace.ok(&["watch", "gated"]);
    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(6));
    assert_eq!(audit.trial(1).json["params"]["x"], 123);
    assert_eq!(workspace.ok(&["show", "gated/1", "-o", "value:enqueued"]).stdout, "true\n");

    // A finished sweep goes on when it gets more.
    workspace.ok(&["edit", "gated", "--trials", "8"]);
    workspace.ok(&["watch", "gated"]);
    Audit::take(&workspace, "gated").expect(&Expected::trials(8));
    workspace.run(&["edit", "gated"]).expect(2);
    end(dev);
}

#[test]
fn failed_trials_are_tried_again_when_a_user_asks() {
    let workspace = Workspace::with(SWEEP, &format!("[ -e mended ] || exit 1\n{PARABOLA}"));
    let dev = workspace.dev(&[]);
    workspace.run(&["submit", "sweep.yaml", "-w"]).expect(8);
    assert_eq!(sweep(&workspace)["counts"]["failed"], 4);
    assert!(workspace.ok(&["explain", "gated/2"]).stdout.contains("exit"));
    workspace.write("mended", "");
    let retried = workspace.ok(&["retry", "gated", "--failed"]);
    assert!(retried.stderr.contains("4 trials"), "{retried}");
    workspace.ok(&["watch", "gated"]);
    let audit = Audit::take(&workspace, "gated");
    audit.expect(&Expected::trials(4));
    assert!(audit.trials.iter().all(|trial| (trial.state.as_str(), trial.attempts) == ("completed", 2)));
    workspace.run(&["retry", "gated"]).expect(2);
    workspace.run(&["retry", "gated/9"]).expect(3);
    end(dev);
}

#[test]
fn ctrl_c_on_a_watch_leaves_the_sweep_running() {
    let (workspace, dev) = gated();
    let watch = workspace.start(&["watch", "gated"]);
    watch.wait_line("done, ");
    watch.interrupt();
    let left = watch.finish().expect(130);
    assert!(left.stderr.contains("heats watch gated"), "says how to come back\n{left}");
    assert_eq!(sweep(&workspace)["status"], "running");
    workspace.write("go", "");
    workspace.ok(&["watch", "gated"]);
    end(dev);
}

#[test]
fn two_sweeps_share_the_machine_and_each_keeps_its_promises() {
    let workspace = Workspace::with(SWEEP, PARABOLA);
    let dev = workspace.dev(&["--agents", "2"]);
    let submit = |name: &str| workspace.ok(&["submit", "sweep.yaml", "--name", name, "--set", "budget.parallel=2"]);
    submit("one");
    submit("two");
    // A name is unique among live sweeps: which of them is meant must be clear.
    for name in ["one", "two"] {
        workspace.ok(&["watch", name]);
        Audit::take(&workspace, name).expect(&Expected::trials(4).without_side_file());
    }
    let both = workspace.measured();
    assert_eq!(both.len(), 24, "two sweeps of four trials of three steps: {both:?}");
    end(dev);
}
