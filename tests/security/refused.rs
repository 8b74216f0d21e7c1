//! Who is refused, each with exit code 6 and a sentence that says what to do.

use std::path::{Path, PathBuf};

use heats_testkit::{Cluster, Finished, Workspace, eventually};
use heats_tests::PARABOLA;

use crate::sweep;

fn cluster(agents: usize) -> Cluster {
    Cluster::start_secure(Workspace::with(&sweep(4), PARABOLA), 1, agents)
}

/// The command as somebody who has this token and the cluster's authority, and no certificate.
fn as_bearer(cluster: &Cluster, token: &str, command: &[&str]) -> Finished {
    let workspace = Workspace::new();
    workspace.write("token", token);
    let (address, ca) = (cluster.address(0), cluster.workspace().file("tls/ca.pem").display().to_string());
    std::fs::create_dir_all(workspace.file(".heats")).expect("a folder");
    let config = format!("address = '{address}'\nca = '{ca}'\ntoken_file = '../token'\n");
    workspace.write(".heats/config.toml", config);
    workspace.run(command)
}

/// The files below `folder` that hold `secret`.
fn holding(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("is there").flatten();
    let of = |path: PathBuf| match std::fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => holding(&path, secret),
        Ok(metadata) if metadata.is_file() => {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            found.then_some(path).into_iter().collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    };
    entries.flat_map(|entry| of(entry.path())).collect()
}

fn token(cluster: &Cluster, args: &[&str]) -> String {
    cluster.workspace().ok(&[&["token", "create"], args].concat()).stdout.trim().to_owned()
}

fn expect_refused(refused: Finished, told: &str) {
    let refused = refused.expect(6);
    assert!(refused.stderr.contains(told) && refused.stderr.contains("hint:"), "`{told}`\n{refused}");
}

#[test]
fn who_speaks_plain_text_or_trusts_another_authority_or_shows_nothing_is_refused() {
    let cluster = cluster(0);
    let address = cluster.address(0);
    let workspace = Workspace::new();
    expect_refused(workspace.run(&["ls", "--address", &address]), "it speaks TLS");
    workspace.ok(&["tls", "init", "--cluster", "lab", "--coordinator", "1=127.0.0.1"]);
    let other = ["ls", "--address", &address, "--ca", "tls/admin/ca.pem"];
    expect_refused(workspace.run(&other), "not signed by the certificate authority");
    let ca = cluster.workspace().file("tls/ca.pem").display().to_string();
    let nobody = ["ls", "--address", &address, "--ca", &ca];
    expect_refused(workspace.run(&nobody), "does not know who calls");
    let stranger = [&nobody[..], &["--cert", "tls/admin/cert.pem", "--key", "tls/admin/key.pem"]].concat();
    // Both clusters are called lab: only their keys differ.
    expect_refused(workspace.run(&stranger), "refuses the certificate");
}

#[test]
fn a_user_runs_sweeps_and_changes_neither_members_nor_tokens() {
    let cluster = cluster(1);
    let user = token(&cluster, &["--role", "user", "--name", "ann"]);
    let ask = |command: &[&str]| as_bearer(&cluster, &user, command);
    let file = cluster.workspace().file("sweep.yaml").display().to_string();
    ask(&["submit", &file, "-w", "--token", &user]).expect(0);
    assert_eq!(ask(&["ls", "--all", "-o", "value:name"]).expect(0).stdout, "parabola\n");
    for command in [
        &["cluster", "remove", "1"][..],
        &["cluster", "snapshot"],
        &["token", "ls"],
        &["token", "create", "--role", "admin"],
        &["token", "revoke", "ann"],
    ] {
        expect_refused(ask(command), "user `ann` may not call");
    }
    let shown = ask(&["config", "show", "--origin"]).expect(0);
    assert!(shown.stdout.contains("token_file") && !shown.stdout.contains(&user), "{shown}");
    // The secret is nowhere but with its bearer.
    let secret = user.split('.').nth(1).expect("two parts");
    assert_eq!(holding(cluster.workspace().path(), secret), Vec::<PathBuf>::new());
}

#[test]
fn a_token_that_is_revoked_is_refused_from_then_on() {
    let cluster = cluster(0);
    let user = token(&cluster, &["--role", "user", "--name", "ann"]);
    as_bearer(&cluster, &user, &["ls"]).expect(0);
    cluster.workspace().ok(&["token", "revoke", "ann"]);
    expect_refused(as_bearer(&cluster, &user, &["ls"]), "it was revoked");
    let listed = cluster.workspace().ok(&["token", "ls", "-o", "json"]).json();
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(0), "{listed}");
    expect_refused(as_bearer(&cluster, "tok_0000000000000.guess", &["ls"]), "not known here");
}

#[test]
fn a_join_token_is_good_for_one_machine_and_until_it_expires() {
    let cluster = cluster(0);
    let join = |token: &str, data: &str| cluster.workspace().run(&["agent", "start", "--join", token, "--data", data]);
    let short = token(&cluster, &["--role", "agent", "--ttl", "1ms"]);
    eventually("the token's end", || {
        let listed = cluster.workspace().ok(&["token", "ls", "-o", "json"]).json();
        (listed["tokens"][0]["state"] == "expired").then_some(())
    });
    expect_refused(join(&short, "late"), "has expired");
    let once = token(&cluster, &["--role", "agent"]);
    let first = cluster.workspace().start(&["agent", "start", "--join", &once, "--data", "first"]);
    first.wait_line("offering");
    expect_refused(join(&once, "second"), "was used as often as it may be");
    // It shows the fingerprint of the authority that it is for.
    let (bearer, _) = once.rsplit_once('.').expect("three parts");
    let misled = format!("{bearer}.{}", "00".repeat(32));
    expect_refused(join(&misled, "third"), "not signed by the certificate authority");
    expect_refused(cluster.workspace().run(&["agent", "start", "--data", "fourth"]), "no certificate");
    // A join token is for joining.
    expect_refused(as_bearer(&cluster, &token(&cluster, &["--role", "agent"]), &["ls"]), "may not call");
    first.terminate();
    first.finish().expect(0);
}

#[test]
fn what_an_agent_has_is_of_no_use_to_anybody_else() {
    let cluster = cluster(1);
    let own = ["--cert", "a1/agent/tls/cert.pem", "--key", "a1/agent/tls/key.pem"];
    expect_refused(cluster.workspace().run(&[&["ls"], &own[..]].concat()), "may not call");
    let coordinator = [
        &["coordinator", "start", "--id", "2", "--data", "c2", "--tls-ca", "tls/ca.pem"][..],
        &["--tls-cert", own[1], "--tls-key", own[3]],
    ];
    let refused = cluster.workspace().run(&coordinator.concat()).expect(2);
    assert!(refused.stderr.contains("its certificate says: agent"), "{refused}");
}

#[test]
fn no_trial_sees_the_token_that_its_agent_joined_by() {
    let script = "env > seen; echo \"::metric step=1 loss=$HEATS_PARAM_X\"";
    let workspace = Workspace::with(&sweep(1), script).with_variable("HEATS_JOIN", "tok_1.secret.pin");
    let cluster = Cluster::start_secure(workspace, 1, 1);
    cluster.workspace().ok(&["submit", "sweep.yaml", "-w"]);
    let seen = cluster.workspace().read("seen");
    assert!(seen.contains("HEATS_TRIAL=") && !seen.contains("HEATS_JOIN"), "{seen}");
}

#[test]
fn a_coordinator_listens_in_plain_text_where_others_reach_it_only_if_told_so_in_words() {
    let workspace = Workspace::new();
    let start = ["coordinator", "start", "--id", "1", "--listen", "0.0.0.0:0", "--data", "c1"];
    let refused = workspace.run(&start).expect(2);
    assert!(
        refused.stderr.contains("not a loopback address") && refused.stderr.contains("heats tls init"),
        "{refused}"
    );
    let told = workspace.start(&[&start[..], &["--insecure-plain-text"]].concat());
    told.wait_line("listening on 0.0.0.0");
    told.wait_line("plain text");
    told.terminate();
    told.finish().expect(0);
}

#[test]
fn a_coordinator_whose_certificate_is_for_another_place_or_number_says_so_at_its_start() {
    let workspace = Workspace::new();
    workspace.ok(&["tls", "init", "--coordinator", "1=127.0.0.2,node-1.example"]);
    let start = |more: &[&str]| {
        let own = ["coordinator", "start", "--data", "c1", "--tls", "tls/coordinator-1", "--listen"];
        workspace.run(&[&own[..], more].concat()).expect(2)
    };
    let elsewhere = start(&["127.0.0.1:0", "--id", "1"]);
    assert!(elsewhere.stderr.contains("at `127.0.0.1`") && elsewhere.stderr.contains("hint:"), "{elsewhere}");
    let other = start(&["127.0.0.2:0", "--id", "2"]);
    assert!(other.stderr.contains("this is coordinator 2"), "{other}");
    let advertised = ["--id", "1", "--advertise", "node-1.example:7177"];
    let own = ["coordinator", "start", "--data", "c1", "--tls", "tls/coordinator-1", "--listen", "127.0.0.1:0"];
    let started = workspace.start(&[&own[..], &advertised].concat());
    started.wait_line("listening on");
    started.terminate();
    started.finish().expect(0);
}

#[test]
fn what_runs_in_this_folder_is_reached_in_plain_text_whatever_the_settings_say_of_a_cluster() {
    let workspace = Workspace::with(&sweep(1), PARABOLA);
    workspace.ok(&["tls", "init", "--coordinator", "1=127.0.0.1"]);
    std::fs::create_dir_all(workspace.file(".heats")).expect("a folder");
    workspace.write(".heats/config.toml", "ca = \"../tls/ca.pem\"\ntoken = \"tok_1.secret\"\n");
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml", "-w"]);
    dev.interrupt();
    dev.finish();
    workspace.ok(&["run", "sweep.yaml", "--data", "other"]);
}

#[test]
fn certificates_are_never_overwritten_by_accident_and_keys_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::new();
    let init = ["tls", "init", "--coordinator", "1=127.0.0.1,localhost"];
    let made = workspace.ok(&init);
    assert!(made.stderr.contains("scp -r tls/coordinator-1") && made.stdout.is_empty(), "{made}");
    for key in ["ca.key", "agents-ca.key", "coordinator-1/node.key", "coordinator-1/agents-ca.key", "admin/key.pem"] {
        let mode = std::fs::metadata(workspace.file(&format!("tls/{key}"))).expect(key).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let before = workspace.read("tls/ca.pem");
    workspace.run(&init).expect(5);
    workspace.run(&["tls", "issue", "--coordinator", "1=127.0.0.1"]).expect(5);
    assert_eq!(workspace.read("tls/ca.pem"), before);
    let node = workspace.read("tls/coordinator-1/node.pem");
    workspace.ok(&["tls", "issue", "--coordinator", "1=127.0.0.1", "--renew"]);
    assert_ne!(workspace.read("tls/coordinator-1/node.pem"), node);
    workspace.run(&["tls", "init", "--out", "b", "--coordinator", "1=two words"]).expect(2);
    assert!(!workspace.file("b").exists(), "nothing is written where something is refused");
}
