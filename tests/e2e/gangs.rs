//! Trials that span machines: two agents of one machine, whose processes meet as they would on two.

use heats_testkit::{Expected, Workspace, eventually, kill_process};
use heats_tests::{MEETS, gang_ports};
use serde_json::Value;

const SWEEP: &str = r#"
version: 1
name: gang
command: [python3, train.py, "${lr}"]
space: { lr: { choice: [0.25, 0.125] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
resources: { nodes: 2 }
run: { retries: 1, stop_grace: 5s }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new().with_variable("HEATS_GANG_PORTS", &gang_ports());
    workspace.write("sweep.yaml", SWEEP);
    workspace.write("train.py", MEETS);
    workspace
}

/// What the processes noted about an attempt: rank and words.
fn notes(workspace: &Workspace, attempt: &str) -> Vec<(u32, String)> {
    let notes = workspace.read("notes.txt");
    let of = notes.lines().filter_map(|line| line.strip_prefix(attempt)?.strip_prefix(' ')?.split_once(' '));
    of.map(|(rank, words)| (rank.parse().expect("a rank"), words.to_owned())).collect()
}

/// The process of one member, as soon as it has begun.
fn process(workspace: &Workspace, attempt: &str, rank: u32) -> i32 {
    eventually("a member's process", || {
        let notes = notes(workspace, attempt);
        let (_, words) = notes.into_iter().find(|(noted, _)| *noted == rank)?;
        words.strip_prefix("pid ")?.split(' ').next()?.parse().ok()
    })
}

fn is_gone(pid: i32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn show(workspace: &Workspace, trial: &str) -> Value {
    workspace.ok(&["show", trial, "-o", "json"]).json()["trial"].clone()
}

#[test]
fn two_processes_meet_train_one_model_and_only_rank_0_reports() {
    let workspace = workspace();
    let run = workspace.ok(&["run", "sweep.yaml", "--agents", "2"]);
    assert!(run.stdout.contains("lr = 0.25"), "{run}");
    for trial in ["0@1", "1@1"] {
        let notes = notes(&workspace, trial);
        let seed = |words: &str| words.split_once("seed ").map(|(_, seed)| seed.to_owned());
        let seeds: Vec<String> = notes.iter().filter_map(|(_, words)| seed(words)).collect();
        assert!(seeds.len() == 2 && seeds[0] == seeds[1], "one seed for both: {notes:?}");
        assert_eq!(notes.iter().filter(|(_, words)| words == "done").count(), 2, "{notes:?}");
    }
    let audit = workspace.audit(&Expected::trials(2));
    let reports = audit.events.iter().filter(|event| event.kind == "trial_reported" && event.trial == Some(0));
    let losses: Vec<f64> = reports.filter_map(|event| event.fact["metrics"]["loss"].as_f64()).collect();
    // The error halves with each step, for the step is half of what would be the best one.
    assert_eq!(losses, [1.0, 0.25, 0.0625, 0.015625]);
}

#[test]
fn a_member_that_is_killed_ends_the_attempt_once_and_both_begin_again() {
    let workspace = workspace();
    workspace.write("hold", "");
    let dev = workspace.dev(&["--agents", "2"]);
    workspace.ok(&["submit", "sweep.yaml", "--set", "space.lr=0.25"]);
    let (first, second) = (process(&workspace, "0@1", 0), process(&workspace, "0@1", 1));
    eventually("the second step", || (show(&workspace, "gang/0")["last_step"] == 2).then_some(()));
    let shown = workspace.ok(&["show", "gang/0"]).stdout;
    assert!(shown.contains("attempt 1 live on 2 machines, which meet at 127.0.0.1:"), "{shown}");
    assert!(shown.contains("rank 0 live on ") && shown.contains("rank 1 live on "), "{shown}");
    kill_process(second);
    eventually("the end of both", || (is_gone(first) && is_gone(second)).then_some(()));
    workspace.ok(&["watch", "gang"]);
    let trial = show(&workspace, "gang/0");
    assert_eq!((&trial["state"], &trial["attempts"], &trial["last_step"]), (&"completed".into(), &2.into(), &4.into()));
    let events = workspace.ok(&["events", "gang", "-o", "jsonl"]).json_lines();
    let ended: Vec<&Value> = events.iter().filter(|event| event["kind"] == "attempt_ended").collect();
    assert_eq!(ended.len(), 2, "each attempt ends once");
    assert_eq!(ended[0]["fact"]["failure"], "signal");
    assert!(
        ended[0]["fact"]["detail"].as_str().is_some_and(|detail| detail.starts_with("rank 1: SIGKILL")),
        "{}",
        ended[0]
    );
    let logs = workspace.ok(&["logs", "gang/0"]).stdout;
    assert!(logs.contains("1 | heats: reports count from rank 0 alone"), "{logs}");
    let of_rank_0 = workspace.ok(&["logs", "gang/0", "--rank", "0"]).stdout;
    assert!(!of_rank_0.contains("rank 0 alone") && !of_rank_0.contains(" | "), "{of_rank_0}");
    dev.interrupt();
    dev.finish().expect(130);
    workspace.audit(&Expected::trials(1).with_killed_trials());
}

#[test]
fn what_needs_more_machines_than_there_are_is_refused_or_waits_and_says_so() {
    let workspace = workspace();
    let refused = workspace.run(&["run", "sweep.yaml"]).expect(5);
    assert!(refused.stderr.contains("one spans 2 machines, and there is no more than 1"), "{refused}");
    assert!(refused.stderr.contains("`--agents 2`"), "{refused}");
    let dev = workspace.dev(&[]);
    let submitted = workspace.ok(&["submit", "sweep.yaml"]);
    assert!(submitted.stderr.contains("no agent that is known could ever run"), "{submitted}");
    let why = workspace.ok(&["explain", "gang"]).stdout;
    assert!(why.contains("there are too few agents: a trial needs 1 processor on each of 2 machines"), "{why}");
    dev.interrupt();
    dev.finish().expect(130);
}
