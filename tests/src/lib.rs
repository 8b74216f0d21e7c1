//! What the tests of whole processes share: scripts that trials run, and a sweep that can be disturbed. Plain shell: a trial
//! starts within a millisecond, and nothing has to be installed.

use heats_testkit::{Audit, Expected, Workspace};

/// Measures three steps of a parabola over the whole number `x`, notes each in the side file before it
/// reports it, and takes a moment for each.
pub const PARABOLA: &str = r#"
step=0
while [ "$step" -lt 3 ]; do
  step=$((step + 1))
  loss=$(((HEATS_PARAM_X - 500) * (HEATS_PARAM_X - 500) + 100 / step))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $step $loss" >> "$MEASURED"
  echo "::metric step=$step loss=$loss"
  sleep 0.04
done
"#;

/// The same measurement, done once the file `go` is there: the test decides when a trial goes on.
pub const WAITS_FOR_GO: &str = r#"
loss=$((HEATS_PARAM_X + 1))
echo "$HEATS_TRIAL $HEATS_ATTEMPT 1 $loss" >> "$MEASURED"
echo "::metric step=1 loss=$loss"
until [ -e go ]; do sleep 0.02; done
loss=$HEATS_PARAM_X
echo "$HEATS_TRIAL $HEATS_ATTEMPT 2 $loss" >> "$MEASURED"
echo "::metric step=2 loss=$loss"
"#;

/// A sweep of [`PARABOLA`], whose searcher proposes the same whatever happens.
pub fn sweep(trials: u64) -> String {
    format!(
        "
version: 1
name: killed
command: [./trial.sh]
space: {{ x: {{ int: [0, 1000] }}, y: {{ float: [0.001, 1.0], log: true }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: random, seed: 11 }}
budget: {{ trials: {trials} }}
run: {{ stop_grace: 2s }}
"
    )
}

/// What the sweep's searcher proposes and the scripts measure, when nobody disturbs.
pub fn undisturbed(trials: u64) -> Audit {
    let workspace = Workspace::with(&sweep(trials), &PARABOLA.replace("sleep 0.04", ""));
    workspace.ok(&["run", "sweep.yaml"]);
    workspace.audit(&Expected::trials(trials))
}

/// For a searcher without history, trial n is the same whatever happened.
pub fn expect_the_same(disturbed: &Audit, undisturbed: &Audit) {
    let params = |audit: &Audit| audit.trials.iter().map(|trial| trial.json["params"].clone()).collect::<Vec<_>>();
    assert_eq!(params(disturbed), params(undisturbed));
    assert_eq!(disturbed.best(), undisturbed.best());
    assert!(disturbed.trials.iter().all(|trial| trial.state == "completed"), "{:?}", disturbed.trials);
}
