//! A sweep that learns from an earlier one, seen from the outside.

use heats_testkit::{Expected, Workspace};

const SWEEP: &str = "
version: 1
name: first
command: [./trial.sh]
space: { x: { int: [0, 99] }, kind: { choice: [a, b] } }
objective: { minimize: loss }
search: { algorithm: tpe, seed: 3 }
budget: { trials: 12, parallel: 1 }
";

const SCRIPT: &str = r#"
loss=$(( (HEATS_PARAM_X - 40) * (HEATS_PARAM_X - 40) ))
echo "$HEATS_TRIAL $HEATS_ATTEMPT 1 $loss" >> "$MEASURED"
echo "::metric step=1 loss=$loss"
"#;

#[test]
fn a_sweep_tries_the_best_of_an_earlier_one_first_and_says_what_it_learned_from() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    workspace.ok(&["run", "sweep.yaml"]);
    let audit = workspace.audit(&Expected::trials(12));
    let values = audit.trials.iter().filter_map(|trial| trial.json["value"].as_f64());
    let best = values.fold(f64::INFINITY, f64::min);
    let again = ["run", "sweep.yaml", "--name", "second", "--set", "search.from=[first]", "--set", "budget.trials=3"];
    workspace.ok(&again);
    let dev = workspace.dev(&[]);
    let shown = workspace.ok(&["show", "second"]).stdout;
    assert!(shown.contains("learned   12 trials of `first`"), "{shown}");
    let first = workspace.ok(&["show", "second/0", "-o", "json"]).json();
    assert_eq!(first["trial"]["value"].as_f64(), Some(best), "{first}");
    workspace.run(&["submit", "sweep.yaml", "--set", "search.from=[none]", "--name", "third"]).expect(3);
    dev.interrupt();
    dev.finish().expect(130);
}
