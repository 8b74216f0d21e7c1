//! Trials that hold at a rung, seen from the outside: their processes end, and those that are promoted run again.

use heats_testkit::Workspace;

/// One trial at a time, each worse than the one before.
const SWEEP: &str = "
version: 1
name: ladder
command: [./trial.sh]
space: { x: { int: [1, 9] } }
objective: { minimize: loss }
search: { algorithm: grid }
early_stop: { algorithm: asha_promotion, resource: epoch, min: 1, max: 9, eta: 3 }
budget: { parallel: 1 }
run: { stop_grace: 5s }
";

const SCRIPT: &str = r#"
trap : TERM
for epoch in 1 2 3 4 5 6 7 8 9; do
  loss=$((HEATS_PARAM_X * 100 - epoch))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $epoch $loss" >> "$MEASURED"
  "$HEATS_BIN" trial report "loss=$loss" --step "$epoch" --wait || exit 0
done
"#;

#[test]
fn the_best_third_at_each_rung_goes_on_and_what_it_measures_again_counts_once() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    workspace.ok(&["run", "sweep.yaml"]);
    let dev = workspace.dev(&[]);
    let trials = workspace.ok(&["trials", "ladder", "-o", "json"]).json();
    let shown = |number: usize| {
        let trial = &trials["trials"][number];
        let field = |name: &str| trial[name].as_u64();
        (trial["state"].as_str().expect("a state").to_owned(), field("last_step"), field("reports"), field("attempts"))
    };
    let of = |state: &str, step, attempts| (state.to_owned(), Some(step), Some(step), Some(attempts));
    // Three of nine came to the second rung, and one of these to the end.
    assert_eq!(shown(0), of("completed", 9, 3));
    assert_eq!([1, 2].map(shown), [of("stopped", 3, 2), of("stopped", 3, 2)]);
    (3..9).for_each(|number| assert_eq!(shown(number), of("stopped", 1, 1), "trial {number}"));
    let explained = workspace.ok(&["explain", "ladder/8"]).stdout;
    assert!(explained.contains("`asha_promotion` stopped it at step 1: 899 ranks 9 of 9 at rung 1"), "{explained}");
    let events = workspace.ok(&["events", "ladder"]).stdout;
    assert!(events.contains("trial 0 goes on by asha_promotion at step 3"), "{events}");
    dev.interrupt();
    dev.finish().expect(130);
}
