//! A full disk, for real: `heats run` on a file system of a few megabytes that its trials fill, or somebody else. The user
//! is told and told what to do, nothing that was recorded is lost, and once there is room the same command goes on
//! and ends with exactly its trials.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use heats_testkit::apart::{self, Own};
use heats_testkit::{Cluster, Expected, Heats, SmallDisk, Workspace, eventually};
use heats_tests::WAITS_FOR_GO;

const MIB: u64 = 1 << 20;
/// What the agent says when it starts nothing any more.
const FULL: &str = "is full, no trial starts";

fn main() -> ExitCode {
    apart::main(
        Own::Mounts,
        &heats_testkit::tests![
            trials_wait_for_room_and_each_runs_once,
            what_an_agent_with_a_full_disk_cannot_start_is_started_by_another,
            a_trial_whose_files_fill_the_disk_fails_with_that_reason_and_the_others_wait,
            a_trial_whose_output_fills_the_disk_fails_with_that_reason_and_the_others_wait,
            a_coordinator_that_cannot_write_its_log_stops_and_goes_on_when_there_is_room,
            a_run_that_finds_no_room_at_its_start_says_what_to_do,
        ],
    )
}

/// A workspace whose data directory is a disk of so many bytes.
fn workspace(sweep: &str, script: &str, bytes: u64) -> (Workspace, SmallDisk) {
    let workspace = Workspace::with(sweep, script);
    let disk = SmallDisk::mount(&workspace.file(".heats"), bytes);
    (workspace, disk)
}

fn says_how_often(run: &Heats, text: &str) -> usize {
    run.lines().iter().filter(|line| line.text.contains(text)).count()
}

/// Every trial leaves 8 MiB: twelve fill the disk more than once.
const LARGE: &str = "
version: 1
name: large
command: [./trial.sh]
space: { x: { int: [1, 12] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 2 }
run: { retries: 0 }
";

const LEAVES_8_MIB: &str = r#"
loss=$HEATS_PARAM_X
echo "$HEATS_TRIAL $HEATS_ATTEMPT 1 $loss" >> "$MEASURED"
echo "::metric step=1 loss=$loss"
head -c 8388608 /dev/zero > "$HEATS_OUTPUT_DIR/model" || exit 1
"#;

/// The files of this name in the folders of `folder`, which not all have one.
fn files(workspace: &Workspace, folder: &str, name: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(workspace.file(folder)).expect("is there").flatten();
    folders.map(|folder| folder.path().join(name)).filter(|file| file.is_file()).collect()
}

/// What the trials left.
fn models(workspace: &Workspace) -> Vec<PathBuf> {
    files(workspace, ".heats/outputs", "model")
}

/// What the trials printed.
fn logs(workspace: &Workspace) -> Vec<PathBuf> {
    files(workspace, ".heats/agent/attempts", "stdout.log")
}

/// Takes so many bytes away from the end of a file.
fn shorten(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).expect("opens");
    let length = file.metadata().expect("is there").len();
    file.set_len(length.saturating_sub(bytes)).expect("shortens");
}

fn trials_wait_for_room_and_each_runs_once() {
    // The log takes 16, and what is left must be 32.
    let (workspace, _disk) = workspace(LARGE, LEAVES_8_MIB, 80 * MIB);
    let run = workspace.start(&["run", "sweep.yaml"]);
    let mut freed = 0;
    while run.is_running() {
        let full = eventually("the end of the run, or of the room", || {
            let full = says_how_often(&run, FULL);
            (full > freed || !run.is_running()).then_some(full)
        });
        if full > freed {
            freed = full;
            models(&workspace).iter().for_each(|model| shorten(model, u64::MAX));
        }
    }
    let run = run.finish().expect(0);
    assert!(freed >= 2 && run.stderr.contains("free some space"), "{run}");
    assert!(run.stderr.contains("there is room on the disk again"), "{run}");
    let audit = workspace.audit(&Expected::trials(12));
    // What was given back for want of room was not begun, and the audit knows that nothing was measured twice.
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
    let ended = audit.events.iter().filter(|event| event.kind == "attempt_ended");
    let failures: Vec<_> = ended.filter_map(|event| event.fact["failure"].as_str()).collect();
    assert!(failures.iter().all(|failure| *failure == "preempted"), "{failures:?}");
}

/// Two agents, and the disk of one is full: the other one gets its trials, and everybody is told.
fn what_an_agent_with_a_full_disk_cannot_start_is_started_by_another() {
    let sweep = LARGE.replace("parallel: 2", "parallel: 4");
    let workspace = Workspace::with(&sweep, WAITS_FOR_GO);
    let disk = SmallDisk::mount(&workspace.file("a1"), 48 * MIB);
    let cluster = Cluster::start(workspace, 1, 2);
    disk.fill(4 * MIB);
    cluster.agent_process(0).wait_line(FULL);
    let workspace = cluster.workspace();
    let show = || workspace.ok(&["agent", "show", "a1", "-o", "json"]).json()["agent"].clone();
    let unable = eventually("that the cluster knows", || Some(show()).filter(|agent| agent["state"] == "unable"));
    assert!(unable["unable"].as_str().is_some_and(|why| why.contains("MiB free")), "{unable}");
    workspace.ok(&["submit", "sweep.yaml"]);
    cluster.measure(2);
    let why = workspace.ok(&["explain", "last"]).stdout;
    assert!(why.contains("besides, a1 can start nothing: the disk of"), "{why}");
    assert_eq!(show()["leases"], 0);
    disk.relieve();
    // Two on each.
    cluster.measure(2);
    assert_eq!(show()["state"], "attached");
    workspace.write("go", "");
    let (_workspace, audit) = cluster.audit(&Expected::trials(12));
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
}

/// One trial takes all that there is; the other three need next to nothing.
const GREEDY: &str = "
version: 1
name: greedy
command: [./trial.sh]
space: { kind: { choice: [greedy, one, two, three] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
run: { retries: 0 }
";

/// Runs a sweep of which one trial does `fill`, on a disk that has `room` left; ends it while the disk is full, once in good
/// order and once not; empties the files that `filled` finds, and lets it end.
fn greedy(fill: &str, room: u64, filled: fn(&Workspace) -> Vec<PathBuf>) {
    let script = format!(
        "
note() {{ echo \"$HEATS_TRIAL $HEATS_ATTEMPT $1 $2\" >> \"$MEASURED\"; echo \"::metric step=$1 loss=$2\"; }}
note 1 0.5
[ \"$HEATS_PARAM_KIND\" = greedy ] || exit 0
# Once the first report is recorded, the disk may be full.
until [ -e go ]; do sleep 0.02; done
{fill}"
    );
    let (workspace, disk) = workspace(GREEDY, &script, 96 * MIB);
    let run = workspace.start(&["run", "sweep.yaml"]);
    run.wait_line("new best");
    disk.fill(room);
    workspace.write("go", "");
    let told = run.wait_line(FULL);
    assert!(told.contains("free some space"), "{told}");
    eventually("the end of the trial", || {
        let trials = workspace.ok(&["trials", "greedy", "-o", "json"]).json();
        (trials["trials"][0]["state"] == "failed").then_some(())
    });
    assert!(disk.free() < MIB, "the trial has left something");
    let over = workspace.measured().len();
    run.interrupt();
    run.finish().expect(130);
    workspace.expect_quiet();

    // Without any room it could not even start; with next to none it waits as well.
    let most = filled(&workspace).into_iter().max_by_key(|file| file.metadata().map_or(0, |file| file.len()));
    shorten(&most.expect("a large one"), 2 * MIB);
    let run = workspace.start(&["run", "sweep.yaml"]);
    run.wait_line(FULL);
    run.kill();
    assert_eq!(run.finish().signal, Some(9));

    filled(&workspace).iter().for_each(|file| shorten(file, u64::MAX));
    disk.relieve();
    let run = workspace.ok(&["run", "sweep.yaml"]);
    assert!(run.stderr.contains("going on with `greedy`"), "{run}");
    assert!(over < 4 && workspace.measured().len() == 4, "one waited at least: {:?}", workspace.measured());
    let audit = workspace.audit(&Expected::trials(4));
    for trial in &audit.trials {
        let is_greedy = trial.json["params"]["kind"] == "greedy";
        let expected = if is_greedy { ("failed", Some("exit")) } else { ("completed", None) };
        assert_eq!((trial.state.as_str(), trial.failure.as_deref()), expected, "{}", trial.json);
        // What was recorded before is there.
        assert_eq!(trial.json["last_step"], 1, "{}", trial.json);
        if is_greedy {
            let detail = &trial.detail;
            assert!(detail.starts_with("it exited with code 1\nthe disk was full when it ended"), "{detail}");
        }
    }
}

fn a_trial_whose_files_fill_the_disk_fails_with_that_reason_and_the_others_wait() {
    greedy("cat /dev/zero > \"$HEATS_OUTPUT_DIR/model\" || exit 1", 64 * MIB, models);
}

fn a_trial_whose_output_fills_the_disk_fails_with_that_reason_and_the_others_wait() {
    // Less than is kept of a log: of a longer one the middle is given back to the disk.
    greedy("tr '\\0' x < /dev/zero || exit 1", 8 * MIB, logs);
}

/// Two trials, one after the other. The first reports so much that the log needs a second file.
const TALKATIVE: &str = "
version: 1
name: talkative
command: [./trial.sh]
space: { x: { int: [1, 2] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
run: { stop_grace: 1s }
";

/// Nine kilobytes a report, until `calm` is there.
const REPORTS_MUCH: &str = r#"
note() { echo "$HEATS_TRIAL $HEATS_ATTEMPT $1 $2" >> "$MEASURED"; echo "::metric step=$1 loss=$2 $3"; }
note 1 "$HEATS_PARAM_X"
until [ -e go ]; do sleep 0.02; done
long=$(printf '%0120d' 0)
more=$(for i in $(seq 60); do printf 'm%d%s=0.5 ' "$i" "$long"; done)
step=1
while [ ! -e calm ] && [ "$step" -lt 4000 ]; do
  step=$((step + 1))
  note "$step" "$((HEATS_PARAM_X + 100))" "$more"
done
note 5000 "$((HEATS_PARAM_X + 1))"
"#;

fn a_coordinator_that_cannot_write_its_log_stops_and_goes_on_when_there_is_room() {
    let (workspace, disk) = workspace(TALKATIVE, REPORTS_MUCH, 256 * MIB);
    let run = workspace.start(&["run", "sweep.yaml"]);
    run.wait_line("new best");
    // Enough for what the trial prints until the log's first file is full, and not for a second file.
    disk.fill(30 * MIB);
    workspace.write("go", "");
    let stopped = run.finish().expect(1);
    for words in ["the coordinator has stopped", "the disk is full", "/log/", "free some space"] {
        assert!(stopped.stderr.contains(words), "`{words}`\n{stopped}");
    }
    workspace.power_cut();

    workspace.write("calm", "");
    disk.relieve();
    let run = workspace.ok(&["run", "sweep.yaml"]);
    assert!(run.stderr.contains("going on with `talkative`"), "{run}");
    let audit = workspace.audit(&Expected::trials(2).with_killed_trials());
    assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
    let recorded = audit.events.iter().filter(|event| event.kind == "trial_reported" && event.attempt == Some(1));
    assert!(recorded.count() > 500, "what was recorded before the disk was full is there");
    assert_eq!(audit.best().map(|(_, value)| value), Some(1.0));
}

fn a_run_that_finds_no_room_at_its_start_says_what_to_do() {
    let (workspace, disk) = workspace(LARGE, "echo '::metric step=1 loss=1'", 80 * MIB);
    // Not enough for the log.
    disk.fill(8 * MIB);
    let refused = workspace.run(&["run", "sweep.yaml"]).expect(1);
    assert!(refused.stderr.contains("the disk is full") && refused.stderr.contains("free some space"), "{refused}");
    disk.relieve();
    workspace.ok(&["run", "sweep.yaml"]);
    // Next to nothing, for one that is there: it stops or, where some last pages let it start, waits. Either way it says
    // what to do.
    disk.fill(0);
    let starved = workspace.start(&["run", "sweep.yaml", "--set", "name=other"]);
    let helped = eventually("a word about it", || {
        let helped = says_how_often(&starved, "free some space") > 0;
        (helped || !starved.is_running()).then_some(helped)
    });
    starved.kill();
    let starved = starved.finish();
    assert!(helped || starved.stderr.contains("free some space"), "{starved}");
    assert_ne!(starved.code, Some(0), "{starved}");
    disk.relieve();
    workspace.ok(&["run", "sweep.yaml", "--set", "name=other"]);
    let dev = workspace.dev(&[]);
    let names = workspace.ok(&["ls", "-o", "name"]).stdout;
    assert_eq!(names.lines().collect::<Vec<_>>(), ["other", "large"], "{names}");
    dev.interrupt();
    dev.finish().expect(130);
}
