//! What an operator does to a cluster over TLS: drain a machine, take a backup, make a new cluster of it.

use heats_testkit::{Expected, eventually};

use crate::running;

#[test]
fn a_cluster_over_tls_is_drained_backed_up_and_made_anew_by_its_admin_alone() {
    let trials = 240;
    let mut cluster = running(trials);
    cluster.measure(20);
    let user = cluster.workspace().ok(&["token", "create", "--role", "user"]).stdout.trim().to_owned();
    let as_user = ["--token", &user];
    for refused in [&["agent", "drain", "a1"][..], &["cluster", "backup", "stolen"]] {
        cluster.workspace().run(&[refused, &as_user].concat()).expect(6);
    }
    assert!(!cluster.workspace().file("stolen").exists());
    cluster.workspace().ok(&["agent", "drain", "a1", "--reason", "fans", "--wait"]);
    cluster.workspace().ok(&["cluster", "backup", "backup"]);
    cluster.measure(20);
    for number in 0..cluster.size() {
        cluster.kill_coordinator(number);
    }
    // Its certificate is one more of the same authority, and the agents take it for one of theirs.
    cluster.restore("backup");
    let told = |cluster: &heats_testkit::Cluster| {
        cluster.workspace().ok(&["agent", "show", "a1", "-o", "json"]).json()["agent"].clone()
    };
    let back = eventually("the agent", || Some(told(&cluster)).filter(|agent| agent["attached"] == true));
    assert_eq!((&back["drained"]["reason"], &back["leases"]), (&"fans".into(), &0.into()), "{back}");
    cluster.workspace().ok(&["agent", "undrain", "a1"]);
    cluster.audit(&Expected::trials(trials).with_killed_trials());
}
