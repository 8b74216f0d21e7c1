//! What is refused: a data directory in use, files that are no sweep files, a cluster that is not there.

use heats_testkit::{Expected, Workspace, eventually};
use heats_tests::WAITS_FOR_GO;

const SWEEP: &str = "
version: 1
name: gated
command: [./trial.sh]
space: { x: { int: [0, 1000] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 4 }
budget: { trials: 3 }
";

#[test]
fn a_second_run_on_one_data_directory_is_refused_with_who_holds_it() {
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    let first = workspace.start(&["run", "sweep.yaml"]);
    eventually("the first measurement", || (!workspace.measured().is_empty()).then_some(()));
    let second = workspace.run(&["run", "sweep.yaml"]).expect(5);
    assert_eq!(second.stdout, "");
    assert!(second.stderr.contains(&first.pid().to_string()), "names process {}\n{second}", first.pid());
    workspace.run(&["dev", "--listen", "127.0.0.1:0"]).expect(5);
    // Another data directory is another cluster.
    let beside = workspace.start(&["run", "sweep.yaml", "--data", "beside"]);
    eventually("a measurement of the other", || (workspace.measured().len() > 2).then_some(()));
    workspace.write("go", "");
    first.finish().expect(0);
    beside.finish().expect(0);
}

#[test]
fn malformed_files_are_refused_with_every_fault_and_nothing_is_written() {
    let cases: [(&str, &[u8], &[&str]); 6] = [
        ("unknown_key", b"version: 1\ncommand: [./trial.sh]\nspcae: {}\nbudget: { trails: 3 }\n", &["spcae", "space", "trails", "trials"]),
        ("not_a_step", b"version: 1\ncommand: [./trial.sh]\nspace: { x: { int: [0, 10], step: 3 } }\nbudget: { trials: 3 }\nobjective: { minimize: l }\n", &["step"]),
        ("no_such_script", b"version: 1\ncommand: [./missing.sh]\nspace: { x: { int: [0, 10] } }\nbudget: { trials: 3 }\nobjective: { minimize: l }\n", &["missing.sh"]),
        ("not_executable", b"version: 1\ncommand: [./plain.sh]\nspace: { x: { int: [0, 10] } }\nbudget: { trials: 3 }\nobjective: { minimize: l }\n", &["chmod +x"]),
        ("not_text", b"version: 1\ncommand: [\xff\xfe]\n", &["UTF-8"]),
        ("bomb", b"a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n", &["line"]),
    ];
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    workspace.write("plain.sh", "#!/bin/sh\n");
    for (name, content, told) in cases {
        let file = format!("{name}.yaml");
        workspace.write(&file, content);
        let before = workspace.listing();
        for command in [&["run", &file][..], &["check", &file], &["submit", &file, "--address", "127.0.0.1:1"]] {
            let refused = workspace.run(command).expect(4);
            assert_eq!(refused.stdout, "", "{refused}");
            for words in told {
                assert!(refused.stderr.contains(words) || *words == "line", "{name}: `{words}`\n{refused}");
            }
        }
        assert_eq!(workspace.listing(), before, "{name}: something was written");
    }
}

#[test]
fn without_a_coordinator_a_command_says_so_and_may_be_tried_again() {
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    let away = workspace.run(&["ls", "--address", "127.0.0.1:1", "--patience", "100ms"]).expect(7);
    assert!(away.stderr.contains("hint:"), "{away}");
    assert_eq!(away.stdout, "");
    workspace.run(&["lss"]).expect(2);
    workspace.run(&["submit"]).expect(2);
    workspace.run(&["run", "sweep.yaml", "--agents", "0"]).expect(2);
}

#[test]
fn a_file_that_changed_since_its_sweep_was_interrupted_is_refused_unless_it_begins_anew() {
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    let first = workspace.start(&["run", "sweep.yaml"]);
    eventually("the first measurement", || (!workspace.measured().is_empty()).then_some(()));
    first.interrupt();
    first.finish().expect(130);
    workspace.write("sweep.yaml", SWEEP.replace("trials: 3", "trials: 2"));
    workspace.write("go", "");
    let changed = workspace.run(&["run", "sweep.yaml"]).expect(5);
    assert!(changed.stderr.contains("`budget`") && changed.stderr.contains("--new"), "{changed}");
    workspace.ok(&["run", "sweep.yaml", "--new"]);
    // The side file is shared with the cancelled sweep.
    workspace.audit(&Expected::trials(2).with_killed_trials());
}
