//! `--on-new-best`: a command of the user's, for each new best, again from where it was.

use heats_testkit::{Workspace, eventually};

const SWEEP: &str = "
version: 1
name: told
command: [./trial.sh]
space: { x: { int: [0, 9] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
";

/// Ever better, one after the other; the sixth and all after it wait for the test.
const TRIAL: &str = r#"
if [ "$HEATS_PARAM_X" -ge 5 ]; then until [ -e go ]; do sleep 0.02; done; fi
echo "::metric step=1 loss=$((100 - HEATS_PARAM_X))"
"#;

const COMMAND: &str = "cat >> notices.jsonl; echo $HEATS_TRIAL $HEATS_VALUE $HEATS_PARAM_X >> told.txt";

fn told(workspace: &Workspace) -> Vec<u64> {
    let lines = workspace.read("told.txt");
    let trials = lines.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [trial, value, x] = words.as_slice() else { panic!("not three words: {line}") };
        let x: u64 = x.parse().expect("a number");
        assert_eq!(value.parse::<f64>().expect("a number"), 100.0 - x as f64, "trial {trial}");
        trial.parse().expect("a number")
    });
    trials.collect()
}

#[test]
fn a_run_tells_a_command_of_each_new_best_and_of_the_last_one_before_it_ends() {
    let workspace = Workspace::with(SWEEP, TRIAL);
    workspace.write("go", "");
    workspace.ok(&["run", "sweep.yaml", "--on-new-best", COMMAND]);
    let told = told(&workspace);
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]) && told.last() == Some(&9), "{told:?}");
    let first: serde_json::Value =
        serde_json::from_str(workspace.read("notices.jsonl").lines().next().expect("a line")).expect("is JSON");
    assert_eq!((&first["schema"], &first["event"]), (&"heats.notice/v1".into(), &"new_best".into()));
}

#[test]
fn a_watch_that_was_killed_goes_on_with_what_it_had_not_told() {
    let workspace = Workspace::with(SWEEP, TRIAL);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml"]);
    let watch = workspace.start(&["watch", "told", "--on-new-best", COMMAND]);
    eventually("the best so far", || (told(&workspace).last() == Some(&4)).then_some(()));
    watch.kill();
    watch.finish();
    let before = told(&workspace);
    workspace.write("go", "");
    workspace.ok(&["watch", "told"]);
    workspace.ok(&["watch", "told", "--on-new-best", COMMAND]);
    let after = told(&workspace);
    assert!(after.starts_with(&before) && after.last() == Some(&9), "{after:?}");
    // What was told and not noted before the kill may come once more.
    assert!(after.windows(2).all(|pair| pair[0] <= pair[1]), "{after:?}");
    workspace.ok(&["watch", "told", "--on-new-best", COMMAND]);
    assert_eq!(told(&workspace), after, "nothing is new");
    dev.interrupt();
    dev.finish();
}
