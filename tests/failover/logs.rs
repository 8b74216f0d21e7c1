//! Logs outlive whoever has written them: the agent, its folder, and the coordinator that led.

use heats_testkit::{Cluster, Workspace, eventually};

/// Trials that print, report, and end; the last of them prints more than is kept of a log.
const SWEEP: &str = "
version: 1
name: talks
command: [./trial.sh]
space: { x: { int: [0, 5] } }
objective: { minimize: loss }
search: { algorithm: grid }
";

/// Each line of the long log is 16 bytes.
const TRIAL: &str = r#"
echo "hello from $HEATS_TRIAL"
echo "trouble with $HEATS_TRIAL" >&2
if [ "$HEATS_PARAM_X" = 5 ]; then
  i=0
  while [ $i -lt 60 ]; do
    i=$((i + 1))
    echo "::metric step=$i loss=$((100 - i))"
    seq -f 'line %010.0f' $((i * 1000)) $((i * 1000 + 999))
  done
fi
echo "::metric loss=$HEATS_PARAM_X step=99"
printf 'the end of %s' "$HEATS_TRIAL"
"#;

/// The same agent with less room for logs.
const LIMIT: &str = "256KiB";

/// Waits until the coordinators have the logs of every attempt.
fn expect_handed_over(cluster: &Cluster) {
    eventually("the hand-over", || {
        let events = cluster.workspace().ok(&["events", "talks", "-o", "json"]).json();
        let kept = events["events"].as_array()?.iter().filter(|event| event["kind"] == "logs_kept");
        let attempts: usize = kept.filter_map(|event| event["fact"]["attempts"].as_array()).map(Vec::len).sum();
        (attempts == 6).then_some(())
    });
}

#[test]
fn the_logs_of_an_agent_that_is_gone_for_good_are_read_from_the_coordinators_whoever_leads() {
    let workspace = Workspace::with(SWEEP, TRIAL).with_variable("HEATS_LOG_LIMIT", LIMIT);
    let mut cluster = Cluster::start(workspace, 3, 1);
    cluster.workspace().ok(&["submit", "sweep.yaml", "-w"]);
    let logs = |cluster: &Cluster, args: &[&str]| cluster.workspace().ok(&[&["logs"], args].concat()).stdout;
    let (all, one) = (logs(&cluster, &["talks"]), logs(&cluster, &["talks/2@1", "--stderr"]));
    assert_eq!(one, "trouble with 2\n");
    expect_handed_over(&cluster);
    cluster.kill_agent(0);
    std::fs::remove_dir_all(cluster.workspace().file("a1")).expect("its machine is gone");
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.leader();
    assert_eq!(logs(&cluster, &["talks"]), all, "not a byte is another");
    assert_eq!(logs(&cluster, &["talks/2@1"]), "hello from 2\n::metric loss=2 step=99\nthe end of 2trouble with 2\n");
    let chosen = logs(&cluster, &["talks", "--grep", "^hello", "--stdout"]);
    assert_eq!(chosen.lines().filter(|line| line.contains(" | hello from")).count(), 6, "{chosen}");
    assert_eq!(chosen.lines().count(), 7, "and that the middle of one is missing");
    assert_eq!(logs(&cluster, &["talks/5", "-n", "1", "--stdout"]), "the end of 5\n");
    // What did not fit is missing in the middle, and every report is there all the same.
    let long = logs(&cluster, &["talks/5", "--stdout"]);
    assert!(long.contains("line 0000001000") && long.contains("line 0000060999") && long.contains("are not kept here"));
    // Half of the limit at each end, to the pieces in which it is read.
    assert!(long.len() < 420 << 10, "{} bytes", long.len());
    let events = cluster.workspace().ok(&["events", "talks", "-o", "json"]).json();
    let is_report = |event: &&serde_json::Value| event["kind"] == "trial_reported" && event["trial"] == 5;
    assert_eq!(events["events"].as_array().map(|events| events.iter().filter(is_report).count()), Some(61));
    cluster.start_coordinator(leader);
    cluster.workspace().ok(&["rm", "talks"]);
    let refused = cluster.workspace().run(&["logs", "talks/2"]).expect(3);
    assert!(refused.stderr.contains("there is no sweep"), "{refused}");
}

#[test]
fn logs_that_only_a_dead_agent_has_are_named_and_come_when_it_is_back() {
    let mut cluster = Cluster::start(Workspace::with(SWEEP, TRIAL), 1, 1);
    cluster.workspace().ok(&["submit", "sweep.yaml", "-w"]);
    cluster.kill_agent(0);
    // Nothing was handed over where it was killed at once; where it was, there is nothing to wait for.
    let first = cluster.workspace().run(&["logs", "talks/0"]);
    assert!(first.code == Some(0) || first.stderr.contains("when it is back"), "{first}");
    cluster.start_agent(0);
    expect_handed_over(&cluster);
    assert!(cluster.workspace().ok(&["logs", "talks/0"]).stdout.contains("hello from 0"));
}

/// Each trial waits for its turn, and prints some 100 KiB that cannot be made smaller; the first fails, the second is the best.
const NOISY: &str = r#"
until [ -e "go-$HEATS_TRIAL" ]; do sleep 0.02; done
echo "hello from $HEATS_TRIAL"
head -c 100000 /dev/urandom | base64
[ "$HEATS_TRIAL" != 0 ] || exit 1
echo "::metric step=1 loss=$HEATS_TRIAL"
"#;

#[test]
fn a_sweep_keeps_so_much_of_its_logs_and_those_of_failures_and_of_its_best_longest() {
    let sweep = format!("{SWEEP}budget: {{ parallel: 1 }}\nrun: {{ retries: 0 }}\n");
    // Three of them have room.
    let workspace = Workspace::with(&sweep, NOISY).with_variable("HEATS_KEEP_SWEEP_LOGS", "350kB");
    let mut cluster = Cluster::start(workspace, 1, 1);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    for trial in 0..6 {
        std::fs::write(cluster.workspace().file(&format!("go-{trial}")), "").expect("writes");
        eventually("its logs are handed over before the next one ends", || {
            let events = cluster.workspace().ok(&["events", "talks", "-o", "jsonl"]).json_lines();
            (events.iter().filter(|event| event["kind"] == "logs_kept").count() > trial).then_some(())
        });
    }
    cluster.workspace().ok(&["watch", "talks"]);
    // For a while it has them yet.
    cluster.kill_agent(0);
    let hello = |trial: usize| {
        let shown = cluster.workspace().run(&["logs", &format!("talks/{trial}")]);
        (shown.stdout.contains(&format!("hello from {trial}")), shown.stderr)
    };
    let shown: Vec<(bool, String)> = (0..6).map(hello).collect();
    assert_eq!([0, 1, 2, 3, 4, 5].map(|trial| shown[trial].0), [true, true, false, false, false, true], "{shown:?}");
    let why = "they are no longer kept: newer logs of its sweep took its room; 342 KiB of each are kept";
    assert!(shown[2].1.contains(why), "{shown:?}");
}
