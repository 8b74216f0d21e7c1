//! The code of a sweep goes wherever its trials do: to coordinators before the sweep is acknowledged, and from there to agents
//! that never saw its folder.

use std::path::Path;
use std::process::Command;

use heats_testkit::{Cluster, Expected, Workspace, eventually};

/// A sweep whose folder is `project`, apart from everything else in the workspace.
const SWEEP: &str = "
version: 1
name: sent
command: [./trial.sh]
code: { path: . }
space: { x: { int: [1, 6] } }
objective: { minimize: loss }
search: { algorithm: grid }
";

/// Reads what came along, and fails where another trial's file is in its folder.
const TRIAL: &str = r#"#!/bin/sh
[ -e mark ] && exit 9
touch mark
echo "::metric loss=$((HEATS_PARAM_X * $(cat lib/factor))) step=1"
"#;

fn project(sweep: &str) -> Workspace {
    let workspace = Workspace::new();
    std::fs::create_dir_all(workspace.file("project/lib")).expect("makes");
    workspace.write("project/sweep.yaml", sweep);
    workspace.write("project/lib/factor", "10");
    workspace.write("project/notes.log", "not code");
    workspace.write("project/.gitignore", "*.log\n");
    let script = workspace.write("project/trial.sh", TRIAL);
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("may be run");
    workspace
}

fn archives(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Moves the project to where nobody looks for it.
fn hide(workspace: &Workspace) {
    std::fs::rename(workspace.file("project"), workspace.file("elsewhere")).expect("renames");
}

#[test]
fn code_arrives_at_an_agent_that_never_saw_its_folder_and_survives_the_loss_of_a_coordinator() {
    let mut cluster = Cluster::start_secure(project(SWEEP), 3, 1);
    cluster.kill_agent(0);
    let submitted = cluster.workspace().ok(&["submit", "project/sweep.yaml"]);
    assert!(submitted.stderr.contains("code: 4 files"), "{submitted}");
    let sweep = cluster.workspace().ok(&["show", "sent", "-o", "json"]).json()["sweep"].clone();
    let name = sweep["code"].as_str().expect("is named").to_owned();
    assert_eq!(sweep["provenance"]["code"]["archive"], name.as_str());
    // It was on a majority before the sweep was acknowledged, and the third has it by itself.
    let folders: Vec<_> = (0..3).map(|number| cluster.workspace().file(&format!("c{}/archives", number + 1))).collect();
    assert!(folders.iter().filter(|folder| archives(folder) == [name.clone()]).count() >= 2);
    hide(cluster.workspace());
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    std::fs::remove_dir_all(&folders[leader]).expect("is there");
    cluster.start_coordinator(leader);
    eventually("the archive on every coordinator", || {
        folders.iter().all(|folder| archives(folder) == [name.clone()]).then_some(())
    });
    cluster.start_agent(0);
    let (workspace, audit) = cluster.audit(&Expected::trials(6).without_side_file());
    assert_eq!(audit.best(), Some((0, 10.0)));
    assert!(audit.trials.iter().all(|trial| trial.attempts == 1), "{:?}", audit.trials);
    drop(workspace);
}

#[test]
fn one_machine_runs_a_copy_of_the_code_as_it_was_at_the_submit() {
    let workspace = project(SWEEP);
    let check = workspace.ok(&["check", "project/sweep.yaml", "-o", "json"]).json();
    let files = [".gitignore", "lib/factor", "sweep.yaml", "trial.sh"];
    assert_eq!(check["check"]["code"]["files"], serde_json::json!(files), "{check}");
    let run = workspace.ok(&["run", "project/sweep.yaml"]);
    assert!(run.stderr.contains("code: 4 files"), "{run}");
    assert!(!workspace.file("project/mark").exists(), "trials write into copies of their own");
    workspace.audit(&Expected::trials(6).without_side_file());
}

#[test]
fn a_revision_of_git_is_sent_as_it_was_committed() {
    let workspace = project(&SWEEP.replace("{ path: . }", "{ git: v1, exclude: [lib/unused] }"));
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").current_dir(workspace.file("project")).args(identity).args(args).output();
        assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{args:?}: {output:?}");
    };
    workspace.write("project/lib/unused", "x");
    for args in [&["init", "-q"][..], &["add", "."], &["commit", "-qm", "first"], &["tag", "v1"]] {
        git(args);
    }
    workspace.write("project/lib/factor", "1000");
    workspace.ok(&["run", "project/sweep.yaml"]);
    let audit = workspace.audit(&Expected::trials(6).without_side_file());
    assert_eq!(audit.best(), Some((0, 10.0)), "the factor of the tag, not the one in the folder");
}

#[test]
fn code_that_is_too_large_is_refused_with_the_largest_files() {
    let workspace = project(&SWEEP.replace("{ path: . }", "{ path: ., limit: 1 kB }"));
    let noise: Vec<u8> = (0..200_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    workspace.write("project/weights.bin", noise);
    let refused = workspace.run(&["run", "project/sweep.yaml"]).expect(4);
    assert!(refused.stderr.contains("`weights.bin` (781 KiB)") && refused.stderr.contains("exclude: ["), "{refused}");
}

#[test]
fn an_agent_without_the_folder_of_a_sweep_that_brings_no_code_says_what_to_write() {
    let sweep = format!("{}run: {{ retries: 0 }}\n", SWEEP.replace("code: { path: . }", ""));
    let workspace = project(&sweep);
    let dev = workspace.dev(&[]);
    let agent = eventually("the agent", || {
        Some(workspace.ok(&["agent", "ls", "-o", "name"]).stdout.trim().to_owned()).filter(|name| !name.is_empty())
    });
    workspace.ok(&["agent", "drain", &agent]);
    workspace.ok(&["submit", "project/sweep.yaml"]);
    hide(&workspace);
    workspace.ok(&["agent", "undrain", &agent]);
    let detail = eventually("the end of the first trial", || {
        let trials = workspace.ok(&["trials", "sent", "-o", "json"]).json()["trials"].clone();
        trials[0]["detail"].as_str().filter(|detail| !detail.is_empty()).map(str::to_owned)
    });
    assert!(detail.contains("is not on this machine: write `code: { path: . }`"), "{detail}");
    drop(dev);
}

#[test]
fn a_repository_elsewhere_is_sent_at_the_commit_that_its_revision_means() {
    let workspace = project(SWEEP);
    let git = |args: &[&str]| {
        let identity = ["-C", "project", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let output = workspace.program("git", &[&identity, args].concat()).output().expect("git runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]);
    workspace.write("project/lib/factor", "1000");
    git(&["commit", "-qam", "second"]);
    let address = format!("file://{}#v1", workspace.file("project").display());
    std::fs::create_dir(workspace.file("alone")).expect("makes");
    workspace.write("alone/sweep.yaml", SWEEP.replace("{ path: . }", &format!("{{ git: '{address}' }}")));
    workspace.ok(&["run", "alone/sweep.yaml"]);
    let audit = workspace.audit(&Expected::trials(6).without_side_file());
    assert_eq!(audit.best(), Some((0, 10.0)), "as it was tagged");
    let recorded = &audit.sweep["provenance"]["code"]["git"];
    assert_eq!((&recorded["commit"], &recorded["revision"]), (&commit.into(), &"v1".into()), "{recorded}");
    let gone = SWEEP.replace("{ path: . }", "{ git: './no/such/repository' }");
    workspace.write("alone/gone.yaml", gone);
    let refused = workspace.run(&["run", "alone/gone.yaml"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("`git clone ./no/such/repository` failed"), "{refused}");
}

#[test]
fn a_backup_with_code_makes_a_cluster_that_can_start_trials() {
    let workspace = project(SWEEP);
    workspace.ok(&["run", "project/sweep.yaml"]);
    let dev = workspace.dev(&[]);
    let without = workspace.ok(&["cluster", "backup", "without"]);
    assert!(without.stderr.contains("it holds no code: 1 archive of `sent`"), "{without}");
    let with = workspace.ok(&["cluster", "backup", "with", "--with-code", "-o", "json"]).json()["backup"].clone();
    let name = with["archives"][0].as_str().expect("is named").to_owned();
    assert_eq!(archives(&workspace.file("with.code")), std::slice::from_ref(&name));
    drop(dev);
    let restored = workspace.ok(&["cluster", "restore", "without", "--data", "a"]);
    assert!(restored.stderr.contains("the code of `sent` is not here"), "{restored}");
    let restored = workspace.ok(&["cluster", "restore", "with", "--data", "b"]);
    assert!(!restored.stderr.contains("is not here"), "{restored}");
    assert_eq!(
        (archives(&workspace.file("a/archives")).len(), archives(&workspace.file("b/archives"))),
        (0, vec![name])
    );
}
