//! Control groups of version 2, where this machine and this user have some: a trial's command lives in one, which ends with
//! it. What a group is held to depends on the controllers that the machine gives it, and is tested in the agent.

use std::path::{Path, PathBuf};

use heats_testkit::{Expected, Workspace};

const SWEEP: &str = "
version: 1
name: groups
command: [./trial.sh]
space: { x: { int: [1, 3] } }
objective: { minimize: loss }
search: { algorithm: grid }
run: { retries: 0 }
";

/// Leaves a process behind, in a session of its own, that would sleep for an hour.
const SCRIPT: &str = r#"
grep '^0::' /proc/self/cgroup >> groups.txt
setsid sleep 3600 &
echo "::metric step=1 loss=$HEATS_PARAM_X"
"#;

/// A group that was made for one test; removed with it.
struct Base(PathBuf);

impl Base {
    /// `None` where this user may make no group.
    fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let base = Path::new(mount).join(format!("heats-test-{}", std::process::id()));
        std::fs::create_dir(&base).ok()?;
        Some(Self(base))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // Left where a test failed and something is in it.
        let _in_use = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_trial_has_a_control_group_that_ends_with_it() {
    let Some(base) = Base::new() else {
        eprintln!("skipped: this user may make no control group of version 2 on this machine");
        return;
    };
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let mut command = workspace.command(&["run", "sweep.yaml"]);
    command.env("HEATS_CGROUPS", &base.0);
    workspace.start_command(command).finish().expect(0);
    let notes = workspace.read("groups.txt");
    let name = base.0.file_name().and_then(|name| name.to_str()).expect("is text");
    assert_eq!(notes.lines().count(), 3);
    for line in notes.lines() {
        assert!(line.contains(&format!("/{name}/agt_")) && line.contains("swp_"), "`{line}`");
    }
    let left: Vec<_> =
        std::fs::read_dir(&base.0).expect("reads").flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "{left:?}");
    workspace.audit(&Expected::trials(3).without_side_file());
}

#[test]
fn an_agent_says_how_it_keeps_trials_apart() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let off = workspace.ok(&["agent", "hwdetect", "--cgroups", "off"]);
    assert!(off.stdout.contains("isolation session only (switched off)"), "{off}");
    let nowhere = workspace.run(&["agent", "hwdetect", "--cgroups", "nowhere"]).expect(2);
    assert!(nowhere.stderr.contains("`nowhere`"), "{nowhere}");
}
