//! A machine on which every trial fails, beside one that is well: it gets a handful of them, no trial is lost, and it is trusted
//! again once somebody has mended it.

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::{PARABOLA, expect_the_same, sweep, undisturbed};
use serde_json::Value;

const TRIALS: u64 = 120;

/// What runs below the data of agent `a1` finds no device, until the file `mended` is there.
const NO_DEVICE: &str = r#"
case "$HEATS_PARAMS_FILE" in
  */a1/*) [ -e mended ] || { echo "no device" >&2; exit 1; } ;;
esac
"#;

fn agent(cluster: &Cluster) -> Value {
    cluster.workspace().ok(&["agent", "show", "a1", "-o", "json"]).json()["agent"].clone()
}

#[test]
fn a_machine_that_fails_every_trial_is_left_alone_whoever_leads_until_it_is_mended() {
    let script = format!("{NO_DEVICE}{PARABOLA}");
    let mut cluster = Cluster::start(Workspace::with(&sweep(TRIALS), &script), 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    let left_alone = |cluster: &Cluster| {
        let is_left_alone = |agent: &Value| agent["state"] == "suspect" || agent["state"] == "quarantined";
        eventually("the machine to be left alone", || Some(agent(cluster)).filter(is_left_alone))
    };
    let why = left_alone(&cluster)["quarantined"]["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("different trials in a row failed there (exit)")), "{why}");
    cluster.measure(20);
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(20);
    left_alone(&cluster);
    cluster.start_coordinator(leader);
    cluster.workspace().write("mended", "");
    cluster.workspace().ok(&["agent", "release", "a1"]);
    eventually("trials on it", || agent(&cluster)["leases"].as_u64().filter(|leases| *leases > 0));
    let (_workspace, audit) = cluster.audit(&Expected::trials(TRIALS));
    let failed = audit.events.iter().filter(|event| event.fact["failure"] == "exit").count();
    assert!((3..=8).contains(&failed), "{failed} attempts failed there");
    expect_the_same(&audit, &undisturbed(TRIALS));
}
