//! The examples that need nothing but a shell and Python itself, run as their READMEs say.

use heats_testkit::{Audit, Expected, Workspace};

/// The losses in what the trials printed, each up to the last step that counts: a fast trial runs on for a moment
/// after it was told to stop.
fn losses(logs: &str, audit: &Audit) -> Vec<f64> {
    let mut losses = Vec::new();
    for (trial, line) in logs.lines().filter_map(|line| line.split_once(" | ")) {
        let Some((step, loss)) = line.strip_prefix("::metric step=").and_then(|rest| rest.split_once(" loss=")) else {
            continue;
        };
        let trial = audit.trial(trial.trim().parse().expect("a trial"));
        if step.parse::<u64>().expect("a step") <= trial.json["last_step"].as_u64().expect("it reported") {
            losses.push(loss.parse().expect("a loss"));
        }
    }
    losses
}

#[test]
fn the_quadratic_example_ends_with_the_best_that_its_script_measured() {
    let workspace = Workspace::of_example("quadratic");
    let run = workspace.ok(&["run", "sweep.yaml"]);
    let printed = run
        .stdout
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("best      loss "))
        .unwrap_or_else(|| panic!("the best is printed\n{run}"));
    let value: f64 = printed.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    assert!(run.stdout.starts_with("quadratic finished: 30 trials in "), "{run}");
    assert!(!run.stdout.contains("next:") && run.stderr.contains("next:"), "hints go to standard error\n{run}");

    let audit = workspace.audit(&Expected::trials(30).without_side_file());
    assert_eq!(audit.best().map(|(_, value)| value), Some(value));
    let dev = workspace.dev(&[]);
    let logs = workspace.ok(&["logs", "quadratic", "--stdout"]);
    let least = losses(&logs.stdout, &audit).into_iter().reduce(f64::min);
    assert_eq!(least, Some(value), "the script measured nothing better");
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn the_shell_example_stops_on_sigterm_and_takes_its_work_files_along() {
    let workspace = Workspace::of_example("shell");
    let scratch = workspace.file("scratch");
    std::fs::create_dir(&scratch).expect("a folder");
    // The trial's environment is the agent's: `mktemp` makes its folder there.
    let mut command = workspace.command(&["run", "sweep.yaml", "-o", "json"]);
    command.env("TMPDIR", &scratch);
    let sweep = workspace.start_command(command).finish().expect(0).json()["sweep"].clone();
    let stopped = sweep["counts"]["stopped"].as_u64().expect("a count");
    assert!(stopped > 0, "the median rule stops some of twenty: {sweep}");
    assert_eq!(sweep["counts"]["failed"], 0, "{sweep}");
    assert_eq!(std::fs::read_dir(&scratch).expect("is there").count(), 0, "no work file is left");

    let audit = workspace.audit(&Expected::trials(20).without_side_file());
    let dev = workspace.dev(&[]);
    let mut asked = 0;
    for trial in audit.trials.iter().filter(|trial| trial.state == "stopped") {
        assert_eq!(trial.json["stopped"]["rule"], "median", "{}", trial.json);
        let logs = workspace.ok(&["logs", &format!("shell/{}", trial.number), "--stderr"]);
        asked += u64::from(logs.stdout.contains("asked to stop in slice"));
    }
    // One that had finished its last slice before the verdict reached it was not asked.
    assert!(asked > 0, "of {stopped} stopped trials none had the time to clean up");
    dev.interrupt();
    dev.finish().expect(130);
}
