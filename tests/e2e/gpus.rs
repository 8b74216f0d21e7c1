//! Pretended GPUs: which of them a trial sees, that no two trials see the same, and what happens where there are
//! too few.

use std::collections::BTreeSet;

use heats_testkit::{Expected, Workspace, eventually};

const SWEEP: &str = "
version: 1
name: gpus
command: [./trial.sh]
space: { x: { int: [1, 9] } }
objective: { minimize: loss }
search: { algorithm: grid }
resources: { gpus: 1 }
run: { retries: 0 }
";

/// Notes what it sees when it begins, and again when it ends. The first ones wait until `AT_ONCE` have begun: none of
/// them can end before all of them run. What both makers of GPUs are told must be the same.
const SCRIPT: &str = r#"
[ "$CUDA_VISIBLE_DEVICES" = "$ROCR_VISIBLE_DEVICES" ] || exit 1
echo "begin $HEATS_SWEEP/$HEATS_TRIAL ${CUDA_VISIBLE_DEVICES-unset}" >> devices.txt
until [ "$(grep -c begin devices.txt)" -ge "$AT_ONCE" ]; do sleep 0.02; done
sleep 0.05
echo "end $HEATS_SWEEP/$HEATS_TRIAL ${CUDA_VISIBLE_DEVICES-unset}" >> devices.txt
echo "::metric step=1 loss=$HEATS_PARAM_X"
"#;

/// A workspace whose first trials run at the same time, so many of them.
fn workspace(at_once: usize) -> Workspace {
    Workspace::with(SWEEP, &format!("AT_ONCE={at_once}\n{SCRIPT}"))
}

/// What the trials noted.
#[derive(Default, Debug, PartialEq, Eq)]
struct Seen {
    /// Every device that a trial saw.
    devices: BTreeSet<u32>,
    /// The most that were seen at once.
    at_once: usize,
    /// How many devices each trial saw.
    each: BTreeSet<usize>,
}

/// Reads the notes, in the order in which they were written, and holds that no device is seen by two at once.
fn seen(workspace: &Workspace) -> Seen {
    let notes = workspace.read("devices.txt");
    let mut seen = Seen::default();
    let mut held = BTreeSet::new();
    for line in notes.lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [what, _trial, list] = words[..] else { panic!("`{line}`") };
        let devices: Vec<u32> =
            list.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().expect("a device")).collect();
        for device in &devices {
            let alone = if what == "begin" { held.insert(*device) } else { held.remove(device) };
            assert!(alone, "two trials saw device {device} at once: `{line}` in\n{notes}");
        }
        seen.each.insert(devices.len());
        seen.devices.extend(devices);
        seen.at_once = seen.at_once.max(held.len());
    }
    assert!(held.is_empty(), "{notes}");
    seen
}

#[test]
fn trials_of_one_agent_see_one_gpu_each_and_never_the_same() {
    // One processor each: more GPUs than processors cannot be used at once.
    let at_once = std::thread::available_parallelism().map_or(1, |n| n.get().min(3));
    let workspace = workspace(at_once);
    let run = workspace.ok(&["run", "sweep.yaml", "--gpus", "fake:3"]);
    assert!(run.stdout.contains("of GPUs"), "their time is told\n{run}");
    let devices = (0..at_once as u32).collect();
    assert_eq!(seen(&workspace), Seen { devices, at_once, each: [1].into() });
    workspace.audit(&Expected::trials(9).without_side_file());
}

#[test]
fn agents_of_one_machine_share_its_gpus_and_use_all_of_them() {
    let workspace = workspace(3);
    workspace.ok(&["run", "sweep.yaml", "--gpus", "fake:3", "--agents", "3"]);
    assert_eq!(seen(&workspace), Seen { devices: [0, 1, 2].into(), at_once: 3, each: [1].into() });
    workspace.audit(&Expected::trials(9).without_side_file());
}

#[test]
fn sweeps_side_by_side_get_what_each_asks_for() {
    let workspace = workspace(1);
    let dev = workspace.dev(&["--gpus", "fake:3"]);
    let submit = |name: &str, gpus: &str| {
        workspace.ok(&["submit", "sweep.yaml", "--name", name, "--set", &format!("resources.gpus={gpus}")])
    };
    submit("pairs", "2");
    submit("singles", "1");
    submit("none", "0");
    for name in ["pairs", "singles", "none"] {
        workspace.ok(&["watch", name]);
    }
    assert_eq!(seen(&workspace).each, [0, 1, 2].into());
    let notes = workspace.read("devices.txt");
    for line in notes.lines() {
        let (_, rest) = line.split_once(' ').expect("a trial");
        let (trial, list) = rest.split_once(' ').expect("a list");
        let count = list.split(',').filter(|word| !word.is_empty()).count();
        let asked = if trial.starts_with("pairs/") { 2 } else { usize::from(trial.starts_with("singles/")) };
        // An empty list hides all of them; none at all would show all of them.
        assert!(count == asked && list != "unset", "`{line}`");
    }
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn a_trial_without_a_gpu_sees_none_whichever_agent_runs_it() {
    let workspace = workspace(3);
    // Two of the three agents have no GPU to offer.
    let none = ["run", "sweep.yaml", "--gpus", "fake:1", "--agents", "3", "--set", "resources.gpus=0"];
    workspace.ok(&none);
    let notes = workspace.read("devices.txt");
    assert!(notes.lines().count() == 18 && notes.lines().all(|line| line.ends_with(' ')), "{notes}");
}

#[test]
fn without_gpus_to_give_away_a_trial_sees_what_its_user_sees() {
    let workspace = workspace(1);
    let none = ["run", "sweep.yaml", "--set", "resources.gpus=0", "--set", "budget.trials=1"];
    let mut command = workspace.command(&none);
    command.env("CUDA_VISIBLE_DEVICES", "7").env("ROCR_VISIBLE_DEVICES", "7");
    workspace.start_command(command).finish().expect(0);
    assert_eq!(seen(&workspace).devices, [7].into());
}

#[test]
fn what_an_agent_offers_is_shown_with_its_labels_and_what_it_found_out() {
    let workspace = workspace(1);
    let dev = workspace.dev(&[]);
    let settings = workspace.ok(&["config", "show", "-o", "csv"]).stdout;
    let address = settings.lines().find_map(|line| line.strip_prefix("address,")).expect("dev's");
    let offer = ["--gpus", "fake:2,H100,80GiB", "--label", "rack=b3"];
    let start = ["agent", "start", "--name", "big", "--data", "big", "--address", address];
    let agent = workspace.start(&[&start[..], &offer].concat());
    agent.wait_line("2 GPUs");
    let shown = eventually("the agent", || {
        let shown = workspace.run(&["agent", "show", "big"]);
        shown.stdout.contains("gpus      0 of 2 held").then_some(shown)
    });
    for line in
        ["    1 H100, 80.0 GiB\n", "  labels    rack=b3\n", "  arch      ", "  kernel    ", "  os        linux\n"]
    {
        assert!(shown.stdout.contains(line), "`{line}` in {shown}");
    }
    agent.interrupt();
    agent.finish().expect(0);
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn a_run_that_asks_for_more_gpus_than_there_are_is_refused_with_what_there_is() {
    let workspace = workspace(1);
    let before = workspace.listing();
    let more = ["run", "sweep.yaml", "--gpus", "fake:3", "--set", "resources.gpus=4"];
    let refused = workspace.run(&more).expect(5);
    assert!(refused.stderr.contains("4 GPUs") && refused.stderr.contains("3 GPUs"), "{refused}");
    assert!(refused.stderr.contains("--gpus fake:4"), "{refused}");
    let refused = workspace.run(&["run", "sweep.yaml"]).expect(5);
    assert!(refused.stderr.contains("1 GPU") && refused.stderr.contains("--gpus fake:1"), "{refused}");
    let shared = ["run", "sweep.yaml", "--gpus", "fake:3", "--agents", "2", "--set", "resources.gpus=3"];
    let refused = workspace.run(&shared).expect(5);
    assert!(refused.stderr.contains("2 GPUs") && refused.stderr.contains("--agents"), "{refused}");
    workspace.run(&["run", "sweep.yaml", "--gpus", "three"]).expect(2);
    assert_eq!(workspace.listing(), before, "nothing was written");
}

#[test]
fn a_submitted_sweep_that_fits_nowhere_says_why_it_waits() {
    let workspace = workspace(1);
    let dev = workspace.dev(&["--gpus", "fake:3"]);
    workspace.ok(&["submit", "sweep.yaml", "--set", "resources.gpus=4"]);
    let why = "no agent is large enough: a trial needs 1 processor, 4 GPUs";
    // Once its agent is there.
    let explained = eventually("the reason", || {
        let explained = workspace.ok(&["explain", "gpus"]);
        explained.stdout.contains(why).then_some(explained)
    });
    assert!(explained.stdout.contains("3 GPUs"), "{explained}");
    // Whoever watches need not ask.
    let watch = workspace.start(&["watch", "gpus"]);
    watch.wait_line(why);
    workspace.ok(&["cancel", "gpus"]);
    watch.finish().expect(1);
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn shares_of_a_gpu_run_on_it_at_once_and_no_more_than_the_whole_of_it() {
    // The script waits until two have begun, and each sees the one device.
    let script = r#"
echo "begin $HEATS_TRIAL $CUDA_VISIBLE_DEVICES" >> shares.txt
until [ "$(grep -c begin shares.txt)" -ge 2 ]; do sleep 0.02; done
echo "end $HEATS_TRIAL $CUDA_VISIBLE_DEVICES" >> shares.txt
echo "::metric step=1 loss=$HEATS_PARAM_X"
"#;
    let workspace = Workspace::with(SWEEP, script);
    let set = ["resources.gpus=0.4", "resources.gpu_memory=6GiB", "budget.trials=4"].map(|set| ["--set", set]).concat();
    let run = [&["run", "sweep.yaml", "--gpus", "fake:1"][..], set.as_slice()].concat();
    workspace.ok(&run);
    let notes = workspace.read("shares.txt");
    let mut at_once = 0_i32;
    let mut most = 0;
    for line in notes.lines() {
        assert!(line.ends_with(" 0"), "each sees the device: {notes}");
        at_once += if line.starts_with("begin") { 1 } else { -1 };
        most = most.max(at_once);
    }
    assert_eq!(most, 2, "0.4 and 0.4, and no third: {notes}");
    let refused =
        ["run", "sweep.yaml", "--gpus", "fake:1", "--set", "resources.gpus=0.5", "--set", "resources.gpu_memory=9GiB"];
    assert!(workspace.run(&refused).expect(5).stderr.contains("do not have the `gpu_memory`"));
}

#[test]
fn a_quota_keeps_a_sweep_waiting_until_it_is_taken_back() {
    let workspace = workspace(1);
    let dev = workspace.dev(&["--gpus", "fake:1"]);
    workspace.ok(&["quota", "set", "project", "default", "--gpus", "0", "--weight", "2"]);
    assert!(workspace.ok(&["quota", "ls"]).stdout.contains("default"));
    workspace.ok(&["submit", "sweep.yaml", "--set", "priority=70"]);
    let why = "leave no GPU";
    assert!(workspace.ok(&["explain", "gpus"]).stdout.contains(why));
    assert!(workspace.ok(&["show", "gpus"]).stdout.contains(why));
    workspace.ok(&["edit", "gpus", "--priority", "20"]);
    workspace.ok(&["quota", "rm", "project", "default"]);
    workspace.ok(&["watch", "gpus"]);
    dev.interrupt();
    dev.finish().expect(130);
}
