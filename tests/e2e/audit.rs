//! A control group for early stopping, seen from the outside: doomed trials run on, and everybody is told what became of them.

use heats_testkit::{Expected, Workspace};

/// Of nine trials the first three are good from the beginning. The others begin badly, and come to be the best.
const SWEEP: &str = "
version: 1
name: control
command: [./trial.sh]
space: { x: { int: [1, 18] } }
objective: { minimize: loss }
search: { algorithm: grid, seed: 5 }
early_stop: { algorithm: threshold, upper: 500, audit: 0.5 }
run: { stop_grace: 5s }
";

const SCRIPT: &str = r#"
trap : TERM
step() {
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $1 $2" >> "$MEASURED"
  "$HEATS_BIN" trial report "loss=$2" --step "$1" --wait || exit 0
}
if [ "$HEATS_PARAM_X" -le 3 ]; then step 1 "$((HEATS_PARAM_X * 100))"; step 2 "$((HEATS_PARAM_X * 100))"; exit; fi
step 1 "$((HEATS_PARAM_X * 1000))"
step 2 "$HEATS_PARAM_X"
"#;

#[test]
fn a_control_group_runs_on_and_says_that_the_rule_ends_good_trials() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    workspace.ok(&["run", "sweep.yaml"]);
    let audit = workspace.audit(&Expected::trials(18));
    let spared: Vec<_> = audit.trials.iter().filter(|trial| trial.json["spared"]["rule"] == "threshold").collect();
    let stopped = audit.trials.iter().filter(|trial| trial.state == "stopped").count();
    assert!(spared.len() >= 2 && stopped >= 2 && spared.len() + stopped == 15, "{} and {stopped}", spared.len());
    assert!(spared.iter().all(|trial| trial.state == "completed" && trial.json["spared"]["step"] == 1));

    let dev = workspace.dev(&[]);
    let shown = workspace.ok(&["show", "control", "-o", "json"]).json();
    let control = &shown["sweep"]["early_stopping"]["control"];
    let told = |field: &str| control[field].as_u64().unwrap_or_else(|| panic!("`{field}` in {control}"));
    assert_eq!((told("spared"), told("ended"), told("peers")), (spared.len() as u64, spared.len() as u64, 3));
    for share in ["above_median", "best"] {
        assert_eq!(control[share]["count"], spared.len(), "{control}");
        assert_eq!(control[share]["high"], 1.0, "{control}");
    }
    let text = workspace.ok(&["show", "control"]).stdout;
    assert!(text.contains("better than the median of the 3 trials that it let run: "), "{text}");
    let explained = workspace.ok(&["explain", &format!("control/{}", spared[0].number)]).stdout;
    assert!(explained.contains("one of the control group"), "{explained}");
    let events = workspace.ok(&["events", "control"]).stdout;
    assert!(events.contains("was spared, as one of the control group"), "{events}");
    dev.interrupt();
    dev.finish().expect(130);
}
