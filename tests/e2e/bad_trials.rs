//! Trials that misbehave: each gets an outcome with a name, leaves nothing behind, and the sweep goes on.

use heats_testkit::{Audit, Expected, Finished, Trial, Workspace};

/// A sweep of a bad trial and a good one; how `run` treats them.
fn sweep(run: &str) -> String {
    format!(
        "
version: 1
name: bad
command: [./trial.sh]
space: {{ kind: {{ choice: [bad, good] }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: grid }}
run: {{ retries: 0, {run} }}
"
    )
}

struct Ended {
    workspace: Workspace,
    run: Finished,
    audit: Audit,
}

impl Ended {
    /// The trial that misbehaved.
    fn bad(&self) -> &Trial {
        self.audit.trials.iter().find(|trial| trial.json["params"]["kind"] == "bad").expect("a bad trial")
    }

    /// State and kind of failure of the bad trial.
    fn outcome(&self) -> (&str, Option<&str>) {
        let bad = self.bad();
        (bad.state.as_str(), bad.failure.as_deref())
    }
}

/// Runs the sweep whose bad trial does `bad`, and holds that the good one is the best of it.
fn run_with(bad: &str, run: &str) -> Ended {
    let good = "if [ \"$HEATS_PARAM_KIND\" = good ]; then echo '::metric step=1 loss=0.5'; exit 0; fi";
    let workspace = Workspace::with(&sweep(run), &format!("{good}\n{bad}"));
    let run = workspace.start(&["run", "sweep.yaml", "-o", "json"]).finish().expect(0);
    workspace.expect_quiet();
    let audit = workspace.audit(&Expected::trials(2).without_side_file());
    let good = audit.trials.iter().find(|trial| trial.json["params"]["kind"] == "good").expect("a good trial");
    assert_eq!((good.state.as_str(), good.value), ("completed", Some(0.5)), "{}", good.json);
    Ended { workspace, run, audit }
}

fn run(bad: &str) -> Ended {
    run_with(bad, "stop_grace: 10s")
}

#[test]
fn garbage_is_no_metric_and_is_shown() {
    let ended = run(r"
head -c 200000 /dev/urandom
printf '\n::metric\n::metric loss\n::metric step=x loss=1\nloss: 0.25\n'
head -c 300000 /dev/zero | tr '\0' x
printf '\n\000\377\376\n'
");
    assert_eq!(ended.outcome(), ("failed", Some("no_metric")));
    let detail = &ended.bad().detail;
    assert!(detail.contains("`loss: 0.25`") && detail.contains("could not be read as reports"), "{detail}");
    assert!(!detail.contains('\0'), "{detail}");
}

#[test]
fn no_metric_at_all_is_a_failure_that_says_how_to_report() {
    let ended = run("echo training; echo done");
    assert_eq!(ended.outcome(), ("failed", Some("no_metric")));
    let detail = &ended.bad().detail;
    assert!(detail.contains("::metric step=1 loss=") && detail.contains("done"), "{detail}");
    assert_eq!(ended.bad().attempts, 1, "the same script would leave it out again");
}

#[test]
fn a_sweep_of_trials_without_a_metric_ends_without_a_best() {
    let workspace = Workspace::with(&sweep("stop_grace: 1s"), "echo nothing");
    let run = workspace.run(&["run", "sweep.yaml"]).expect(8);
    assert!(run.stdout.contains("no trial has reported `loss`"), "{run}");
}

#[test]
fn not_a_number_is_recorded_and_ranks_worst() {
    let ended = run("echo '::metric step=1 loss=nan'; echo '::metric step=2 loss=NaN'");
    assert_eq!(ended.outcome(), ("completed", None));
    assert_eq!(ended.bad().value, None, "{}", ended.bad().json);
    assert!(ended.bad().last_value.is_some_and(f64::is_nan), "{}", ended.bad().json);
    assert_eq!(ended.run.json()["sweep"]["best"]["value"], 0.5);
}

#[test]
fn infinity_is_recorded_and_ranks_worst_whichever_way_it_points() {
    let ended = run("echo '::metric step=1 loss=-inf'; echo '::metric step=2 loss=1e999'");
    assert_eq!(ended.outcome(), ("completed", None));
    assert_eq!(ended.run.json()["sweep"]["best"]["value"], 0.5);
    let steps = ended.audit.events.iter().filter(|event| event.kind == "trial_reported");
    let values: Vec<_> = steps.map(|event| event.fact["metrics"]["loss"].clone()).filter(|v| v.is_string()).collect();
    assert_eq!(values, ["-inf", "inf"]);
}

#[test]
fn a_step_that_goes_backwards_is_ignored_and_said_so() {
    let ended = run("for step in 3 1 3 2 5; do echo \"::metric step=$step loss=$step\"; done");
    assert_eq!(ended.outcome(), ("completed", None));
    let bad = ended.bad().number;
    let reports = ended.audit.events.iter().filter(|e| e.kind == "trial_reported" && e.trial == Some(bad));
    assert_eq!(reports.map(|event| event.fact["step"].as_u64()).collect::<Vec<_>>(), [Some(3), Some(5)]);
    assert_eq!(ended.bad().value, Some(3.0));
    assert!(ended.bad().detail.contains("ignored"), "{}", ended.bad().detail);
}

#[test]
fn a_flood_of_metric_lines_is_read_and_counted_once() {
    // A million of them take a debug build minutes: `TESTKIT_HEATS` names a release build, `TESTKIT_LINES` how many.
    let lines: u32 = std::env::var("TESTKIT_LINES").map_or(20_000, |text| text.parse().expect("a number"));
    let flood = format!("for (i = 1; i <= {lines}; i++) printf \"::metric step=%d loss=%d\\n\", i, 2 * {lines} - i");
    let ended = run(&format!("awk 'BEGIN {{ {flood} }}'"));
    assert_eq!(ended.outcome(), ("completed", None));
    let bad = ended.bad();
    assert_eq!(bad.json["last_step"], lines, "{}", bad.json);
    assert_eq!(bad.value, Some(f64::from(lines)));
    let reports = ended.audit.events.iter().filter(|event| event.kind == "trial_reported");
    assert_eq!(reports.count(), lines as usize + 1);
}

#[test]
fn a_trial_that_ignores_sigterm_is_killed_after_its_grace() {
    let ended = run_with(
        "trap '' TERM; echo '::metric step=1 loss=0.75'; while :; do sleep 0.05; done",
        "timeout: 500ms, stop_grace: 300ms",
    );
    assert_eq!(ended.outcome(), ("failed", Some("timeout")));
    assert!(ended.bad().detail.contains("500ms"), "{}", ended.bad().detail);
}

#[test]
fn what_a_trial_forked_away_ends_with_it() {
    let ended = run(r"
trap '' TERM HUP
(setsid sh -c 'trap : TERM; setsid sleep 600 & sleep 600; sleep 600' > /dev/null 2>&1 &)
nohup sleep 600 > /dev/null 2>&1 &
echo '::metric step=1 loss=0.75'
");
    assert_eq!(ended.outcome(), ("completed", None));
    assert_eq!(ended.workspace.processes(), Vec::<String>::new());
}

#[test]
fn a_trial_that_fills_its_quota_is_ended_by_the_kernel_and_named_so() {
    // What `RLIMIT_FSIZE` says of one file a quota says of all.
    let ended = run("ulimit -f 64; echo '::metric step=1 loss=0.75'; exec head -c 1000000 /dev/zero > big");
    assert_eq!(ended.outcome(), ("failed", Some("signal")));
    assert!(ended.bad().detail.contains("SIGXFSZ"), "{}", ended.bad().detail);
}

#[test]
fn a_trial_whose_own_log_hits_its_quota_keeps_what_it_reported() {
    let ended = run("ulimit -f 64; echo '::metric step=1 loss=0.75'; exec tr '\\0' x < /dev/zero");
    assert_eq!(ended.outcome(), ("failed", Some("signal")));
    let bad = ended.bad();
    assert_eq!(bad.json["last_step"], 1, "{}", bad.json);
}

#[test]
fn a_trial_that_closes_its_socket_in_the_middle_harms_nobody() {
    let ended = run(r#"
python3 - <<'END'
import os, socket
for part in (b"", b"POST /v1/rep", b"POST /v1/report HTTP/1.1\r\nHost: t\r\nContent-Length: 5000\r\n\r\n{\"step\": 1", b"\x00\xff" * 500):
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["HEATS_API_SOCK"])
    s.sendall(part)
    s.close()
END
"$HEATS_BIN" trial report loss=0.75 --step 1 || exit 1
"#);
    assert_eq!(ended.outcome(), ("completed", None));
    assert_eq!(ended.bad().value, Some(0.75));
}

#[test]
fn a_trial_that_removes_its_socket_can_still_print_its_metric() {
    let ended = run(
        "rm \"$HEATS_API_SOCK\"; timeout 1 \"$HEATS_BIN\" trial report loss=0.1 --step 1; echo '::metric step=2 loss=0.75'",
    );
    assert_eq!(ended.outcome(), ("completed", None));
    assert_eq!(ended.bad().value, Some(0.75));
}
