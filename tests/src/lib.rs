//! Scripts that trials run, shared by the tests of whole processes. Plain shell: a trial starts within a
//! millisecond, and nothing has to be installed.

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
