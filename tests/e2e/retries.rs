//! How a trial ends, and what follows: tried again, infeasible, failed; each with its name.

use heats_testkit::{Audit, Expected, Workspace};

fn sweep(run: &str) -> String {
    format!(
        "
version: 1
name: retried
command: [./trial.sh]
space: {{ x: {{ int: [1, 1] }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: grid }}
run: {{ {run} }}
"
    )
}

/// Runs one trial of `script` to the end of the sweep, which is to end with `code`.
fn run(script: &str, settings: &str, code: i32) -> Audit {
    let workspace = Workspace::with(&sweep(settings), script);
    workspace.run(&["run", "sweep.yaml"]).expect(code);
    workspace.audit(&Expected::trials(1).without_side_file())
}

/// State, kind of failure and attempts of the only trial.
fn outcome(audit: &Audit) -> (&str, Option<&str>, u64) {
    let trial = audit.trial(0);
    (trial.state.as_str(), trial.failure.as_deref(), trial.attempts)
}

/// Why each attempt failed.
fn failures(audit: &Audit) -> Vec<Option<&str>> {
    let ended = audit.events.iter().filter(|event| event.kind == "attempt_ended");
    ended.map(|event| event.fact["failure"].as_str()).collect()
}

#[test]
fn exit_code_75_is_tried_again_without_using_up_a_retry() {
    let audit = run("[ \"$HEATS_ATTEMPT\" -ge 4 ] || exit 75; echo '::metric step=1 loss=1'", "retries: 1", 0);
    assert_eq!((audit.trial(0).state.as_str(), audit.trial(0).attempts), ("completed", 4));
    assert_eq!(failures(&audit), [Some("exit"), Some("exit"), Some("exit"), None]);
}

#[test]
fn exit_code_65_is_infeasible_and_not_tried_again() {
    let audit = run("echo '::metric step=1 loss=1'; exit 65", "retries: 2", 8);
    assert_eq!((audit.trial(0).state.as_str(), audit.trial(0).attempts), ("infeasible", 1));
    assert_eq!(failures(&audit), [None]);
}

#[test]
fn a_crash_is_tried_again_as_often_as_the_sweep_allows() {
    let audit = run("kill -SEGV $$", "retries: 2", 8);
    assert_eq!(outcome(&audit), ("failed", Some("signal"), 3));
    assert!(audit.trial(0).detail.contains("SIGSEGV"), "{}", audit.trial(0).detail);
    let audit = run("echo oops >&2; exit 3", "retries: 1", 8);
    assert_eq!(outcome(&audit), ("failed", Some("exit"), 2));
    let detail = &audit.trial(0).detail;
    assert!(detail.contains("code 3") && detail.contains("oops"), "{detail}");
}

#[test]
fn a_trial_that_recovers_completes() {
    let audit = run("[ \"$HEATS_ATTEMPT\" = 2 ] || exit 1; echo '::metric step=1 loss=1'", "retries: 1", 0);
    assert_eq!((audit.trial(0).state.as_str(), audit.trial(0).attempts), ("completed", 2));
    assert_eq!(audit.trial(0).value, Some(1.0));
}

#[test]
fn a_trial_that_runs_too_long_fails_by_timeout() {
    let audit = run("sleep 600", "retries: 1, timeout: 200ms, stop_grace: 200ms", 8);
    assert_eq!(outcome(&audit), ("failed", Some("timeout"), 2));
}

#[test]
fn a_command_that_cannot_be_started_says_why() {
    let workspace = Workspace::with(&sweep("retries: 1"), "");
    workspace.script("trial.sh", "");
    let path = workspace.write("trial.sh", "#!/no/such/interpreter\n");
    assert!(path.exists());
    workspace.run(&["run", "sweep.yaml"]).expect(8);
    let audit = workspace.audit(&Expected::trials(1).without_side_file());
    assert_eq!((audit.trial(0).state.as_str(), audit.trial(0).failure.as_deref()), ("failed", Some("start_failed")));
    assert!(audit.trial(0).detail.contains("/no/such/interpreter"), "{}", audit.trial(0).detail);
}

#[test]
fn an_exit_code_means_what_the_sweep_file_says() {
    let codes = "retries: 2, exit_codes: { 3: infeasible, 4: fail }";
    assert_eq!(outcome(&run("exit 3", codes, 8)).0, "infeasible");
    assert_eq!(outcome(&run("exit 4", codes, 8)), ("failed", Some("exit"), 1));
}

#[test]
fn too_many_failures_fail_the_sweep() {
    let file =
        sweep("retries: 0").replace("int: [1, 1]", "int: [1, 50]") + "budget: { max_failures: 3, parallel: 1 }\n";
    let workspace = Workspace::with(&file, "exit 1");
    let run = workspace.run(&["run", "sweep.yaml"]).expect(1);
    assert!(run.stdout.contains("failed"), "{run}");
    workspace.audit(&Expected::trials(3).without_side_file());
}
