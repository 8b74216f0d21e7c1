//! Certificates that are renewed while a sweep runs.

use std::time::Duration;

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::PARABOLA;

use crate::{expect_unnoticed, running, sweep};

/// How long the certificates of agents are good here.
const LIFE: Duration = Duration::from_secs(6);

#[test]
fn certificates_are_read_again_at_sighup_and_no_trial_notices() {
    let cluster = running(160);
    cluster.measure(20);
    let workspace = cluster.workspace();
    let issue = |number: usize, host: &str| {
        let coordinator = format!("{}={host}", number + 1);
        workspace.ok(&["tls", "issue", "--renew", "--coordinator", &coordinator]);
        let process = cluster.coordinator_process(number);
        let told = || process.lines().iter().filter(|line| line.text.contains("were read again")).count();
        let before = told();
        process.hang_up();
        eventually("the certificates to be read", || (told() > before).then_some(()));
    };
    // A certificate for somewhere else: what is connected stays, and who comes anew sees that it is the new one.
    let follower = (cluster.leader() + 1) % cluster.size();
    let address = cluster.address(follower);
    let host = address.rsplit_once(':').expect("a host and a port").0;
    issue(follower, "elsewhere.example");
    let refused = workspace.run(&["cluster", "members", "--address", &address]).expect(6);
    assert!(refused.stderr.contains("for another host"), "{refused}");
    cluster.measure(20);
    issue(follower, host);
    workspace.ok(&["cluster", "members", "--address", &address]);
    for number in 0..cluster.size() {
        let address = cluster.address(number);
        issue(number, address.rsplit_once(':').expect("a host and a port").0);
    }
    // One that cannot be read changes nothing.
    let process = cluster.coordinator_process(follower);
    workspace.write(&format!("tls/coordinator-{}/node.pem", follower + 1), "nothing");
    process.hang_up();
    process.wait_line("the certificates stay as they were");
    workspace.ok(&["cluster", "members", "--address", &address]);
    // An agent as well.
    cluster.agent_process(0).hang_up();
    cluster.agent_process(0).wait_line("were read again");
    cluster.measure(20);
    expect_unnoticed(cluster, 160);
}

#[test]
fn an_agent_renews_its_certificate_by_itself_and_is_refused_once_it_is_too_old() {
    let workspace = Workspace::with(&sweep(200), PARABOLA);
    let workspace = workspace.with_variable("HEATS_AGENT_CERTIFICATE_LIFE", &format!("{}s", LIFE.as_secs()));
    let mut cluster = Cluster::start_secure(workspace, 1, 1);
    let own = "a1/agent/tls/cert.pem";
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    let mut seen = cluster.workspace().read(own);
    for _ in 0..2 {
        seen = eventually("another certificate", || {
            let now = cluster.workspace().read(own);
            (now != seen && !now.is_empty()).then_some(now)
        });
    }
    // The connection that it made with the first one is still there, and one that it makes now is let in.
    cluster.kill_agent(0);
    cluster.start_agent(0);
    let (workspace, _) = cluster.audit(&Expected::trials(200));
    // Nobody renews it any more.
    eventually("the certificate's end", || {
        let written =
            std::fs::metadata(workspace.file(own)).and_then(|metadata| metadata.modified()).expect("is there");
        written.elapsed().is_ok_and(|age| age > 2 * LIFE).then_some(())
    });
    let refused = workspace.run(&["agent", "start", "--data", "a1"]).expect(6);
    assert!(refused.stderr.contains("has expired") && refused.stderr.contains("--join"), "{refused}");
}
