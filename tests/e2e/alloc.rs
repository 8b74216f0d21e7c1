//! Agents that a batch system starts: with stand-ins for `sbatch` and `squeue` that start the job at once and keep a file for
//! each, so that everything but the batch system is real.

use heats_testkit::{Cluster, Expected, Heats, Workspace, eventually};
use heats_tests::WAITS_FOR_GO;

const SWEEP: &str = "
version: 1
name: batch
command: [./trial.sh]
space: { x: { int: [0, 1000] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 4 }
budget: { trials: 6 }
run: { retries: 0, stop_grace: 1s }
";

/// Notes what it was given, starts its standard input as a job, and answers with the job's number.
const SBATCH: &str = r#"
cd "$JOBS" || exit 1
if [ -e refuse ]; then echo "sbatch: error: invalid partition" >&2; exit 1; fi
id=$(($(ls | grep -c script) + 1))
cat > "$id.script"
echo "$@" > "$id.arguments"
SLURM_JOB_ID=$id setsid sh "$id.script" > "$id.log" 2>&1 < /dev/null &
echo "$!" > "$id.process"
echo "$id;cluster"
"#;

/// Lists the jobs whose process runs, and one that is somebody else's.
const SQUEUE: &str = r#"
cd "$JOBS" || exit 1
for file in *.process; do
  [ -e "$file" ] && kill -0 "$(cat "$file")" 2> /dev/null && echo "${file%.process}|RUNNING|heats-nightly"
done
echo "99|RUNNING|train"
"#;

/// A coordinator without agents, with the sweep submitted, beside a batch system.
fn batch_system() -> Cluster {
    let workspace = Workspace::with(SWEEP, WAITS_FOR_GO);
    for folder in ["bin", "jobs"] {
        std::fs::create_dir(workspace.file(folder)).expect("a folder");
    }
    workspace.script("bin/sbatch", SBATCH);
    workspace.script("bin/squeue", SQUEUE);
    let path = format!("{}:{}", workspace.file("bin").display(), std::env::var("PATH").expect("is set"));
    let jobs = workspace.file("jobs").display().to_string();
    let cluster = Cluster::start(workspace.with_variable("PATH", &path).with_variable("JOBS", &jobs), 1, 0);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster
}

const QUEUE: [&str; 12] = [
    "slurm",
    "nightly",
    "--max-agents",
    "2",
    "--backlog",
    "1",
    "--poll",
    "50ms",
    "--idle",
    "300ms",
    "--",
    "--partition=gpu",
];

fn add(workspace: &Workspace) -> Heats {
    workspace.start(&[["alloc", "add"].as_slice(), &QUEUE].concat())
}

/// The process of a job.
fn process(workspace: &Workspace, job: u32) -> rustix::process::Pid {
    let text = eventually("the job's process", || {
        let text = workspace.read(&format!("jobs/{job}.process"));
        text.ends_with('\n').then_some(text)
    });
    text.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process")
}

fn attempts(workspace: &Workspace) -> Vec<u64> {
    let trials = workspace.ok(&["trials", "batch", "-o", "json"]).json();
    let of = |trial: &serde_json::Value| trial["attempts"].as_u64().unwrap_or(0);
    trials["trials"].as_array().expect("a list").iter().map(of).collect()
}

#[test]
fn agents_come_when_trials_wait_and_leave_before_their_time_is_up_or_when_idle() {
    let cluster = batch_system();
    let workspace = cluster.workspace();
    let dry = workspace.ok(&[["alloc", "dry-run"].as_slice(), &QUEUE].concat());
    assert!(dry.stdout.contains("--partition=gpu") && dry.stdout.contains("agent start"), "{dry}");
    assert!(dry.stderr.contains("waiting: 6 trials") && dry.stderr.contains("to be submitted now: 1 job"), "{dry}");
    assert_eq!(workspace.read("jobs/1.script"), "", "it submits nothing");

    let queue = add(workspace);
    eventually("the first measurements", || (!workspace.measured().is_empty()).then_some(()));
    let listed = eventually("both agents", || {
        let jobs = workspace.ok(&["alloc", "ls", "-o", "json"]).json()["jobs"].as_array().cloned()?;
        let attached = jobs.iter().filter(|job| job["agent"].is_string()).count();
        (attached == 2).then_some(jobs)
    });
    assert!(listed.iter().all(|job| job["queue"] == "nightly"), "{listed:?}");
    assert!(workspace.read("jobs/1.arguments").contains("--signal=B:TERM@120"));

    // Its time is nearly up.
    let first = process(workspace, 1);
    rustix::process::kill_process(first, rustix::process::Signal::TERM).expect("it runs");
    eventually("its end", || rustix::process::test_kill_process(first).is_err().then_some(()));
    eventually("a third agent", || (!workspace.read("jobs/3.script").is_empty()).then_some(()));
    workspace.write("go", "");
    workspace.ok(&["watch", "batch"]);
    assert!(attempts(workspace).iter().any(|attempts| *attempts > 1), "what ran there was given back");
    let failed = workspace.ok(&["events", "batch"]).stdout;
    assert!(failed.contains("preempted") && !failed.contains("node_lost"), "{failed}");
    eventually("nobody to stay for nothing", || {
        let jobs = workspace.ok(&["alloc", "ls", "-o", "name"]).stdout;
        jobs.is_empty().then_some(())
    });
    queue.interrupt();
    queue.finish().expect(0);
    cluster.audit(&Expected::trials(6).with_killed_trials());
}

#[test]
fn a_queue_says_what_is_wrong_with_its_jobs() {
    let cluster = batch_system();
    let workspace = cluster.workspace();
    workspace.write("jobs/refuse", "");
    let queue = add(workspace);
    queue.wait_line("`sbatch` failed: sbatch: error: invalid partition");
    std::fs::remove_file(workspace.file("jobs/refuse")).expect("is there");
    process(workspace, 1);
    queue.interrupt();
    queue.finish().expect(0);
}

#[test]
fn jobs_that_come_to_nothing_are_not_submitted_for_ever() {
    let cluster = batch_system();
    let workspace = cluster.workspace();
    // The agent of such a job cannot work in its folder.
    let broken = SBATCH.replace("setsid sh \"$id.script\"", "setsid false");
    workspace.script("bin/sbatch", &broken);
    let ended = add(workspace).finish().expect(1);
    assert!(ended.stderr.contains("3 jobs, one after the other, ended before their agent was heard of"), "{ended}");
    // One more was on its way at most: there may be two at once.
    assert!(workspace.read("jobs/5.script").is_empty(), "{ended}");
}
