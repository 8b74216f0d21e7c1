//! Trials that hold at a rung: they give their place back, and only their rule lets them go on.

use heats_core::ops::attempts::{End, Key};
use heats_core::ops::control::Verb;
use heats_core::testing::{Cluster, SweepBuilder};
use heats_core::{Op, Trial};
use heats_domain::{AgentId, SweepId, TrialState};
use serde_json::json;

/// A sweep of so many trials under `asha_promotion` with rungs at steps 1 and 3 of 9, on an agent with `places`.
fn promoting(trials: u32, places: u32) -> (Cluster, SweepId) {
    let mut cluster = Cluster::default();
    let rule = json!({"algorithm": "asha_promotion", "min": 1, "max": 9, "eta": 3});
    let id = cluster.submit(SweepBuilder::minimize("loss").trials(trials).top("early_stop", rule));
    cluster.attach(1, places);
    (cluster, id)
}

/// Every trial comes to the first rung with its number as its loss, and holds there; its process ends.
fn all_hold(cluster: &mut Cluster, trials: u32) {
    for number in 0..trials {
        let [key] = cluster.dispatch()[..] else { panic!("one place") };
        assert_eq!(key.trial, number);
        cluster.report(key, 1, f64::from(number)).expect("is live");
        cluster.finish(key, End::Stopped);
    }
}

fn states(cluster: &Cluster, id: SweepId) -> Vec<TrialState> {
    cluster.sweep(id).trials.iter().map(|trial| trial.state).collect()
}

#[test]
fn a_trial_that_holds_gives_its_place_back_and_says_why() {
    let (mut cluster, id) = promoting(2, 1);
    let key = cluster.dispatch()[0];
    cluster.report(key, 1, 0.5).expect("is live");
    assert_eq!(states(&cluster, id), [TrialState::Paused]);
    assert!(cluster.trial(id, 0).live().is_some(), "its process runs still");
    assert_eq!(
        cluster.report(key, 2, 0.1).map(|_| cluster.trial(id, 0).reports()),
        Ok(1),
        "what comes late is nothing"
    );
    cluster.finish(key, End::Exited(1));
    let trial = cluster.trial(id, 0);
    assert_eq!((trial.state, trial.attempts[0].end.expect("ended").failure), (TrialState::Paused, None));
    let verdict = cluster.sweep(id).verdict(trial).expect("a verdict").to_string();
    assert_eq!(verdict, "asha_promotion at step 1: 0.5 ranks 1 of 1 at rung 1");
    assert_eq!(cluster.sweep(id).best().map(|best| best.number), Some(0));
    assert_eq!(cluster.dispatch(), [Key { sweep: id, trial: 1, attempt: 1 }]);
}

#[test]
fn the_best_that_holds_goes_on_before_a_new_trial_is_made() {
    let (mut cluster, id) = promoting(9, 1);
    all_hold(&mut cluster, 3);
    let key = cluster.dispatch()[0];
    assert_eq!(key, Key { sweep: id, trial: 0, attempt: 2 }, "the best of three");
    assert_eq!(cluster.sweep(id).verdict(cluster.trial(id, 0)), None, "no verdict holds it any more");
    cluster.report(key, 1, 9.0).expect("is live");
    assert_eq!(cluster.trial(id, 0).reports(), 1, "what it trains again was reported before");
    cluster.report(key, 3, 0.0).expect("is live");
    assert_eq!(cluster.state(id, 0), TrialState::Paused);
    cluster.finish(key, End::Stopped);
    assert_eq!(cluster.dispatch()[0].trial, 3, "nobody else may go on");
}

#[test]
fn who_is_promoted_while_its_process_still_ends_has_to_wait_for_that() {
    let (mut cluster, id) = promoting(9, 4);
    let keys = cluster.dispatch();
    (0..3).for_each(|n| cluster.report(keys[n], 1, n as f64).map(drop).expect("is live"));
    for key in &keys[1..3] {
        cluster.finish(*key, End::Stopped);
    }
    let trials = |keys: Vec<Key>| keys.into_iter().map(|key| key.trial).collect::<Vec<_>>();
    assert_eq!(trials(cluster.dispatch()), [4, 5], "new ones meanwhile");
    cluster.finish(keys[0], End::Stopped);
    assert_eq!(cluster.dispatch(), [Key { sweep: id, trial: 0, attempt: 2 }]);
}

#[test]
fn a_new_leader_promotes_as_the_old_one_would_and_ends_nothing_early() {
    let (mut cluster, id) = promoting(3, 1);
    all_hold(&mut cluster, 2);
    let key = cluster.dispatch()[0];
    cluster.report(key, 1, 5.0).expect("is live");
    cluster.fail_over();
    cluster.attach_holding(1, 1, &[key]);
    // The last that runs: if nobody were promoted, this would be the sweep's end.
    cluster.finish(key, End::Stopped);
    assert_eq!(cluster.ending(id), None);
    assert_eq!(cluster.dispatch(), [Key { sweep: id, trial: 0, attempt: 2 }]);
}

#[test]
fn when_nobody_is_promoted_any_more_those_that_hold_were_stopped_and_the_sweep_ends() {
    let (mut cluster, id) = promoting(3, 1);
    all_hold(&mut cluster, 3);
    let key = cluster.dispatch()[0];
    for step in [3, 9] {
        cluster.report(key, step, 0.0).expect("is live");
    }
    assert_eq!(cluster.state(id, 0), TrialState::Paused, "one at a rung is no third of anything");
    cluster.finish(key, End::Stopped);
    assert_eq!(states(&cluster, id), [TrialState::Stopped; 3]);
    assert_eq!(cluster.ending(id), Some(("finished", "all 3 trials of its budget ended")));
    let rungs: Vec<Option<u64>> = (0..3).map(|n| verdict(&cluster, id, n).and_then(|reason| reason.rung)).collect();
    assert_eq!(rungs, [Some(3), Some(1), Some(1)]);
    assert_eq!(cluster.sweep(id).best().map(|best| best.number), Some(0));
}

fn verdict(cluster: &Cluster, id: SweepId, number: u32) -> Option<heats_domain::StopReason> {
    let sweep = cluster.sweep(id);
    sweep.verdict(sweep.trial(number)?)
}

#[test]
fn a_sweep_that_is_ended_keeps_what_those_that_hold_have_reported() {
    for verb in [Verb::Stop, Verb::Cancel] {
        let (mut cluster, id) = promoting(9, 1);
        all_hold(&mut cluster, 2);
        let key = cluster.dispatch()[0];
        cluster.control(id, verb).expect("lives");
        assert_eq!(states(&cluster, id)[..2], [TrialState::Stopped; 2]);
        // Where it may still run, it comes to a rung that nobody will let it go on from.
        cluster.report(key, 1, 7.0).expect("is acknowledged");
        assert!(cluster.state(id, 2).is_terminal());
        cluster.finish(key, End::Stopped);
        assert!(cluster.sweep(id).is_ended());
        assert_eq!(cluster.sweep(id).best().map(|best| best.number), Some(0));
    }
}

#[test]
fn a_trial_that_holds_and_loses_its_agent_or_is_cancelled_is_no_failure() {
    let (mut cluster, id) = promoting(9, 2);
    let keys = cluster.dispatch();
    keys.iter().for_each(|key| cluster.report(*key, 1, 0.5).map(drop).expect("is live"));
    cluster.op(Op::Expire(AgentId { bits: 1 }, 30_000)).expect("expires");
    assert_eq!(states(&cluster, id), [TrialState::Paused; 2]);
    let failure = |trial: &Trial| trial.attempts[0].end.expect("ended").failure;
    assert_eq!([0, 1].map(|n| failure(cluster.trial(id, n))), [None; 2]);
    cluster.op(Op::CancelTrial(id, 1)).expect("is there");
    assert_eq!(states(&cluster, id), [TrialState::Paused, TrialState::Cancelled]);
}

#[test]
fn an_agent_that_comes_back_is_told_to_end_what_holds() {
    let (mut cluster, id) = promoting(9, 1);
    let key = cluster.dispatch()[0];
    cluster.report(key, 1, 0.5).expect("is live");
    cluster.leading.detach(AgentId { bits: 1 });
    assert_eq!(cluster.attach_holding(1, 1, &[key]).stop, [key]);
    assert_eq!(cluster.attach(1, 1).stop, [], "and one that lost it has nothing to end");
    assert_eq!(states(&cluster, id), [TrialState::Paused]);
    assert_eq!(cluster.trial(id, 0).live(), None);
}

#[test]
fn a_budget_that_grows_makes_room_for_more_and_the_stopped_stay_stopped() {
    let (mut cluster, id) = promoting(2, 1);
    all_hold(&mut cluster, 2);
    assert_eq!(cluster.ending(id), Some(("finished", "all 2 trials of its budget ended")));
    cluster.edit_trials(id, 3).expect("grows");
    assert_eq!(cluster.dispatch(), [Key { sweep: id, trial: 2, attempt: 1 }]);
    assert_eq!(states(&cluster, id)[..2], [TrialState::Stopped; 2]);
}
