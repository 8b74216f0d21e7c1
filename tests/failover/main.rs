//! Kills in the middle: `heats run` alone, everything at once as a power cut does, and Ctrl-C; then the same
//! command again, until the sweep ends. What ends must be what an undisturbed run gives.
//!
//! `TESTKIT_KILLS=100` kills that often (for minutes instead of seconds); `TESTKIT_SEED` chooses when.

mod cluster;
mod gangs;
mod history;
mod logs;
mod notices;
mod operating;
mod quarantine;

use std::collections::BTreeSet;
use std::time::Duration;

use heats_testkit::{Expected, Heats, Workspace, eventually};
use heats_tests::{PARABOLA, expect_the_same, sweep, undisturbed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TRIALS: u64 = 40;
/// Measurements of a whole sweep: three for each trial.
const MEASUREMENTS: u64 = 3 * TRIALS;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A sweep that is long enough for so many kills.
fn trials_for(kills: u64) -> u64 {
    TRIALS.max(kills * 4)
}

/// Starts the sweep again and again; each time something is done to it at a random moment: after a random number
/// of further measurements and then at any point of what follows, or while it is still starting.
fn disturb(workspace: &Workspace, kills: u64, mut harm: impl FnMut(&Heats, u64)) {
    let seed = setting("TESTKIT_SEED", 7);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let total = 3 * trials_for(kills);
    for kill in 0..kills {
        let run = workspace.start(&["run", "sweep.yaml"]);
        // Never so many that the sweep could end before the last kill.
        let share = (total / (kills + 2)).max(2);
        // The first kill hits a sweep that has begun, so that there is something to go on with.
        if random.random_range(0..4) > 0 || kill == 0 {
            let more = random.random_range(1..share);
            let until = workspace.measured().len() as u64 + more;
            eventually("the next measurements", || {
                assert!(run.is_running(), "seed {seed}, kill {kill}: it ended early: {:?}", run.lines());
                (workspace.count_measured() as u64 >= until).then_some(())
            });
        }
        // The moment itself is the random choice: there is nothing to wait for.
        std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
        harm(&run, kill);
        let ended = run.finish();
        assert_ne!(ended.code, Some(0), "seed {seed}, kill {kill}: the sweep ended before the kill\n{ended}");
    }
}

/// The same command until it ends by itself.
fn complete(workspace: &Workspace) {
    let last = workspace.ok(&["run", "sweep.yaml"]);
    assert!(last.stderr.contains("going on with `killed`"), "{last}");
}

#[test]
fn a_killed_run_goes_on_with_its_trials_and_measures_nothing_twice() {
    let kills = setting("TESTKIT_KILLS", 5);
    let trials = trials_for(kills);
    let workspace = Workspace::with(&sweep(trials), PARABOLA);
    disturb(&workspace, kills, |run, _| run.kill());
    complete(&workspace);
    // The trials lived on: each measurement was made once, and none is lost.
    let audit = workspace.audit(&Expected::trials(trials));
    assert_eq!(workspace.measured().len() as u64, 3 * trials);
    // A second attempt is fine only where the first had been leased and not yet started.
    for trial in &audit.trials {
        let of_trial = audit.measured.iter().filter(|line| line.trial == trial.number);
        let attempts: BTreeSet<u64> = of_trial.map(|line| line.attempt).collect();
        assert_eq!(attempts.into_iter().collect::<Vec<_>>(), [trial.attempts], "trial {} was begun anew", trial.number);
    }
    expect_the_same(&audit, &undisturbed(trials));
}

#[test]
fn after_a_power_cut_every_trial_is_there_once() {
    let kills = setting("TESTKIT_KILLS", 4);
    let trials = trials_for(kills);
    let workspace = Workspace::with(&sweep(trials), PARABOLA);
    disturb(&workspace, kills, |_, _| workspace.power_cut());
    complete(&workspace);
    let audit = workspace.audit(&Expected::trials(trials).with_killed_trials());
    expect_the_same(&audit, &undisturbed(trials));
}

#[test]
fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let kills = setting("TESTKIT_KILLS", 3);
    let trials = trials_for(kills);
    let workspace = Workspace::with(&sweep(trials), PARABOLA);
    disturb(&workspace, kills, |run, _| {
        // Before it listens to signals, Ctrl-C ends it as it ends any program.
        run.interrupt();
        eventually("the end of the run", || (!run.is_running()).then_some(()));
        workspace.expect_quiet();
    });
    complete(&workspace);
    let audit = workspace.audit(&Expected::trials(trials).with_killed_trials());
    assert!(audit.trials.iter().all(|trial| trial.failure.is_none() || trial.state == "completed"));
    expect_the_same(&audit, &undisturbed(trials));
}

#[test]
fn a_run_that_stood_still_for_a_while_goes_on_as_if_nothing_was() {
    let workspace = Workspace::with(&sweep(TRIALS), PARABOLA);
    let run = workspace.start(&["run", "sweep.yaml"]);
    for round in 1..=3 {
        let until = round * MEASUREMENTS / 5;
        eventually("the next measurements", || (workspace.count_measured() as u64 >= until).then_some(()));
        run.freeze();
        // Its trials run on and end meanwhile: at most as many as there are slots. What stays is the run itself and the
        // process that trials are forked from.
        eventually("the end of the trials that nobody follows", || (workspace.processes().len() == 2).then_some(()));
        run.thaw();
    }
    run.finish().expect(0);
    let audit = workspace.audit(&Expected::trials(TRIALS));
    assert!(audit.trials.iter().all(|trial| trial.attempts == 1));
    expect_the_same(&audit, &undisturbed(TRIALS));
}
