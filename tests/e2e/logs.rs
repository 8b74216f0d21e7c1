//! `heats logs` of a whole sweep: every trial's lines, whole and marked, also of those that start later.

use heats_testkit::{Workspace, eventually};

const SWEEP: &str = "
version: 1
name: talks
command: [./trial.sh]
space: { x: { int: [0, 11] } }
objective: { minimize: loss }
search: { algorithm: grid }
";

/// Writes lines in halves, so that those of two trials are written at once.
const TRIAL: &str = r#"
i=0
while [ $i -lt 20 ]; do
  i=$((i + 1))
  printf 'begin %s ' $i
  printf 'end %s\n' $i
done
echo "::metric loss=$HEATS_PARAM_X step=1"
printf last
"#;

fn expect_whole(text: &str) {
    for trial in 0..12 {
        let mark = format!("{trial:>4} | ");
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(mark.as_str())).collect();
        let mut expected: Vec<String> = (1..=20).map(|i| format!("begin {i} end {i}")).collect();
        expected.extend([format!("::metric loss={trial} step=1"), "last".to_owned()]);
        assert_eq!(lines, expected, "trial {trial}");
    }
}

#[test]
fn a_sweep_is_followed_to_its_end_with_every_trial_that_starts_later_and_no_line_in_another() {
    let workspace = Workspace::with(SWEEP, TRIAL);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml", "--set", "budget.parallel=2", "--name", "talks"]);
    workspace.ok(&["pause", "talks"]);
    let follow = workspace.start(&["logs", "-f", "talks"]);
    let again = workspace.start(&["logs", "-f", "talks", "--grep", "metric", "--stdout"]);
    eventually("somebody to follow", || (follow.is_running() && again.is_running()).then_some(()));
    workspace.ok(&["resume", "talks"]);
    let followed = follow.finish().expect(0);
    let all = workspace.ok(&["logs", "talks"]).stdout;
    expect_whole(&all);
    let begun: Vec<&str> = followed.stdout.lines().collect();
    assert!(!begun.is_empty() && begun.iter().all(|line| all.contains(line)), "{followed}");
    // The trials that ran before anybody followed are not among them.
    for trial in 4..12 {
        let mark = format!("{trial:>4} | last");
        assert!(begun.contains(&mark.as_str()), "trial {trial} is missing\n{followed}");
    }
    let metrics = again.finish().expect(0).stdout;
    assert!(metrics.lines().count() >= 8 && metrics.lines().all(|line| line.contains("::metric")), "{metrics}");
    let refused = workspace.run(&["logs", "talks", "--grep", "("]).expect(2);
    assert!(refused.stderr.contains("unclosed group"), "{refused}");
    dev.interrupt();
    dev.finish();
}
