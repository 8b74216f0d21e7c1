//! Sweeps that end because another trial is not worth its cost, seen from the outside.

use heats_testkit::Workspace;

/// A staircase: all that is left of its last step has the same value.
const SWEEP: &str = "
version: 1
name: stairs
command: [./trial.sh]
space: { x: { int: [0, 999] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 3 }
budget: { trials: 500, parallel: 2, plateau: { top: 4, std: 0.5, patience: 1 } }
";

const SCRIPT: &str = r#"
loss=$(( HEATS_PARAM_X / 100 ))
echo "$HEATS_TRIAL $HEATS_ATTEMPT 1 $loss" >> "$MEASURED"
echo "::metric step=1 loss=$loss"
"#;

#[test]
fn a_sweep_ends_on_a_plateau_says_so_and_goes_on_where_its_user_wants_more() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let run = workspace.ok(&["run", "sweep.yaml"]).stdout;
    assert!(
        run.contains("its best 4 trials have a standard deviation of") && run.contains("its plateau is 0.5"),
        "{run}"
    );
    let created = |workspace: &Workspace| {
        let shown = workspace.ok(&["show", "stairs", "-o", "json"]).json();
        shown["sweep"]["counts"]["completed"].as_u64().expect("a count")
    };
    let dev = workspace.dev(&[]);
    let before = created(&workspace);
    assert!((5..500).contains(&before), "{before}");
    workspace.ok(&["edit", "stairs", "--trials", "+3"]);
    workspace.run(&["watch", "stairs"]).expect(0);
    assert_eq!(created(&workspace), before + 3, "the rule is silent from then on");
    dev.interrupt();
    dev.finish().expect(130);
}
