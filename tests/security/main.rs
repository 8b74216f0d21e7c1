//! A cluster over TLS with real processes: it runs sweeps as one in plain text does, and lets nobody in who does not
//! belong. That a certificate of one kind cannot be used as another is tested beside the services, in
//! `crates/coordinator/tests/security.rs`.

mod notices;
mod operated;
mod refused;
mod renewed;

use heats_testkit::{Cluster, Expected, Workspace};
use heats_tests::PARABOLA;

/// A sweep that is long enough for something to happen in its middle.
fn sweep(trials: u64) -> String {
    format!(
        "
version: 1
name: parabola
command: [./trial.sh]
space: {{ x: {{ int: [0, 1000] }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: random, seed: 4 }}
budget: {{ trials: {trials} }}
"
    )
}

/// A cluster of three coordinators and two agents that runs a sweep of so many trials.
fn running(trials: u64) -> Cluster {
    let cluster = Cluster::start_secure(Workspace::with(&sweep(trials), PARABOLA), 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster
}

/// Waits for the end: each measurement was made once, and no trial was begun anew.
fn expect_unnoticed(cluster: Cluster, trials: u64) {
    let (workspace, audit) = cluster.audit(&Expected::trials(trials));
    assert_eq!(workspace.measured().len() as u64, 3 * trials);
    let begun_anew: Vec<_> = audit.trials.iter().filter(|trial| trial.attempts != 1).collect();
    assert!(begun_anew.is_empty(), "{begun_anew:?}");
}

#[test]
fn a_sweep_runs_over_tls_while_leaders_are_killed_and_a_coordinator_joins() {
    let mut cluster = running(240);
    cluster.measure(20);
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    cluster.measure(20);
    cluster.start_coordinator(leader);
    cluster.join();
    cluster.measure(20);
    // It comes back by the certificate that it has: its token is used up.
    cluster.kill_agent(0);
    cluster.start_agent(0);
    let (workspace, audit) = cluster.audit(&Expected::trials(240));
    assert_eq!(workspace.measured().len(), 3 * 240);
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"));
}
