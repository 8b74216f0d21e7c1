//! Early stopping, seen from the outside: the trials are stopped, and everybody is told why.

use heats_testkit::{Expected, Workspace};

/// One trial at a time, each worse than the one before: all but the first few fall behind at the first rung.
const SWEEP: &str = "
version: 1
name: ladder
command: [./trial.sh]
space: { x: { int: [1, 9] } }
objective: { minimize: loss }
search: { algorithm: grid }
early_stop: { algorithm: asha, resource: epoch, min: 1, max: 9, eta: 3 }
budget: { parallel: 1 }
run: { stop_grace: 5s }
";

/// Reports nine epochs by the helper, which says when to stop; SIGTERM says it as well, and may be faster.
const SCRIPT: &str = r#"
trap : TERM
for epoch in 1 2 3 4 5 6 7 8 9; do
  loss=$((HEATS_PARAM_X * 100 - epoch))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $epoch $loss" >> "$MEASURED"
  "$HEATS_BIN" trial report "loss=$loss" --step "$epoch" --wait || { echo "told to stop" >&2; exit 0; }
done
"#;

#[test]
fn asha_stops_what_falls_behind_and_explains_itself() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let run = workspace.ok(&["run", "sweep.yaml"]);
    assert!(run.stdout.contains("stopped early") && run.stdout.contains("at rung 1"), "{run}");
    let audit = workspace.audit(&Expected::trials(9));
    let stopped: Vec<_> = audit.trials.iter().filter(|trial| trial.state == "stopped").collect();
    assert!(stopped.len() >= 6, "{:?}", audit.trials.iter().map(|trial| &trial.state).collect::<Vec<_>>());
    assert_eq!(audit.trial(0).state, "completed");

    let dev = workspace.dev(&[]);
    let trial = stopped.last().expect("one");
    let reason = &trial.json["stopped"];
    assert_eq!((&reason["rule"], &reason["rung"], &reason["step"]), (&"asha".into(), &1.into(), &1.into()), "{reason}");
    let (rank, cutoff) = (reason["rank"].as_u64().expect("a rank"), reason["cutoff"].as_f64().expect("a cutoff"));
    assert!(rank > 1 && cutoff < reason["value"].as_f64().expect("a value"), "{reason}");
    let explained = workspace.ok(&["explain", &format!("ladder/{}", trial.number)]).stdout;
    for words in ["asha", "rung 1", &rank.to_string(), &format!("{cutoff:.3}")] {
        assert!(explained.contains(words), "`{words}` in\n{explained}");
    }
    let logs = workspace.ok(&["logs", &format!("ladder/{}", trial.number), "--stderr"]);
    assert!(logs.stdout.ends_with("told to stop\n"), "{logs}");
    dev.interrupt();
    dev.finish().expect(130);
}
