//! Which checkpoints are kept. Decides; an agent that reaches the storage carries it out.
//!
//! Of a trial that may go on: the latest so many, the one that it would go on from, and the one of the step with its best
//! value. Of one that has ended the same, where it is among the best so many or has failed (a user may ask for it again), and
//! else none. So a sweep keeps at most `latest` + 2 checkpoints of each trial that has not ended, or failed, or leads. One that
//! a fork goes on from is kept until the fork has its own.

use std::collections::BTreeSet;

use heats_domain::{Checkpoint, TrialState};

use crate::fact::{CheckpointDropped, Fact};
use crate::sweep::Sweep;
use crate::trial::Trial;

/// The drops that follow once something has happened to the `touched` trials of `sweep`.
pub fn excess(sweep: &Sweep, touched: &BTreeSet<u32>) -> Vec<Fact> {
    if sweep.stored.is_empty() {
        return Vec::new();
    }
    let best = best(sweep);
    // Of the others, only one that has ended and led until now can have any too many, or one that a fork has gone on from.
    // There are no more of them than may lead, or were forked.
    let had_led = sweep.finals.iter().filter(|number| !touched.contains(number));
    let parent = |number: &u32| sweep.trial(*number)?.forked.as_ref().map(|forked| forked.from.trial);
    let parents: BTreeSet<u32> = touched.iter().filter_map(parent).collect();
    let parents = parents.iter().filter(|&number| !touched.contains(number) && !sweep.finals.contains(number));
    let looked_at = touched.iter().chain(had_led).chain(parents).filter_map(|&number| sweep.trial(number));
    looked_at.flat_map(|trial| of_trial(sweep, trial, best.contains(&trial.number))).collect()
}

/// Every checkpoint of the sweep, before it is removed.
pub fn all(sweep: &Sweep) -> Vec<Fact> {
    let trials = sweep.stored.iter().filter_map(|&number| sweep.trial(number));
    trials.flat_map(|trial| &trial.checkpoints).map(|checkpoint| dropped(checkpoint, "the sweep was removed")).collect()
}

/// The trials that lead: the best so many, all of the front where there are several objectives, and with a confirmation all
/// that are confirmed, for any of them may win.
fn best(sweep: &Sweep) -> BTreeSet<u32> {
    let confirmed = sweep.confirm().map_or(0, |confirm| confirm.top);
    let count = sweep.spec.checkpoints.best.max(confirmed).max(1) as usize;
    let front = sweep.front().into_iter().map(|trial| trial.number);
    sweep.leaderboard().take(count).map(|trial| trial.number).chain(front).chain(sweep.fresh.keys().copied()).collect()
}

fn of_trial(sweep: &Sweep, trial: &Trial, leads: bool) -> Vec<Fact> {
    let is_kept = match trial.state {
        TrialState::Waiting | TrialState::Leased | TrialState::Running | TrialState::Paused | TrialState::Failed => {
            true
        }
        TrialState::Completed | TrialState::Stopped | TrialState::Infeasible | TrialState::Cancelled => leads,
    };
    let mut kept = if is_kept { kept(sweep, trial) } else { BTreeSet::new() };
    let heirs = sweep.heirs.get(&trial.number).into_iter().flatten();
    kept.extend(heirs.filter_map(|&heir| sweep.trial(heir)?.origin()));
    let why = if is_kept { "later ones are kept" } else { "its trial has ended, and others are better" };
    trial.checkpoints.iter().filter(|checkpoint| !kept.contains(checkpoint)).map(|c| dropped(c, why)).collect()
}

fn kept<'a>(sweep: &Sweep, trial: &'a Trial) -> BTreeSet<&'a Checkpoint> {
    let latest = trial.checkpoints.iter().rev().take(sweep.spec.checkpoints.latest.max(1) as usize);
    let best = |checkpoint: &&Checkpoint| trial.best.is_some_and(|best| best.step == checkpoint.step);
    let best = trial.checkpoints.iter().rev().find(best);
    latest.chain(trial.resumable(|_| true)).chain(best).collect()
}

fn dropped(checkpoint: &Checkpoint, why: &str) -> Fact {
    Fact::CheckpointDropped(CheckpointDropped { checkpoint: checkpoint.clone(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use heats_domain::SweepId;
    use serde_json::json;

    use crate::Op;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::Verb;
    use crate::testing::{Cluster, SweepBuilder, checkpoint};

    /// Reports `losses` at the steps from 1 on, with a checkpoint before each.
    fn train(cluster: &mut Cluster, key: Key, losses: &[f64]) {
        for (step, loss) in (1..).zip(losses) {
            cluster.op(Op::SaveCheckpoint(checkpoint(key, step, "local:1"))).expect("is live");
            cluster.report(key, step, *loss).expect("is live");
        }
    }

    fn kept(cluster: &Cluster, id: SweepId) -> Vec<(u32, Vec<u64>)> {
        let trials = cluster.sweep(id).trials.iter().filter(|trial| !trial.checkpoints.is_empty());
        trials
            .map(|trial| (trial.number, trial.checkpoints.iter().map(|checkpoint| checkpoint.step).collect()))
            .collect()
    }

    fn sweep(checkpoints: serde_json::Value) -> (Cluster, SweepId, Vec<Key>) {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(4).top("checkpoints", checkpoints));
        cluster.attach(1, 4);
        let keys = cluster.dispatch();
        (cluster, id, keys)
    }

    #[test]
    fn a_trial_that_runs_keeps_its_latest_and_its_best_and_never_loses_the_one_to_go_on_from() {
        let (mut cluster, id, keys) = sweep(json!({}));
        train(&mut cluster, keys[0], &[0.9, 0.2, 0.5, 0.6]);
        assert_eq!(kept(&cluster, id), [(0, vec![2, 4])]);
        cluster.op(Op::SaveCheckpoint(checkpoint(keys[0], 5, "local:1"))).expect("is live");
        assert_eq!(kept(&cluster, id), [(0, vec![2, 4, 5])], "step 5 is not reported yet");
        cluster.report(keys[0], 5, 0.7).expect("is live");
        assert_eq!(kept(&cluster, id), [(0, vec![2, 5])]);
    }

    #[test]
    fn of_trials_that_have_ended_the_best_keep_theirs_and_lose_them_to_better_ones() {
        for (best, expected) in [(1, vec![2]), (2, vec![1, 2]), (0, vec![2])] {
            let (mut cluster, id, keys) = sweep(json!({ "best": best }));
            for (key, loss) in keys.iter().zip([0.5, 0.3, 0.1]) {
                train(&mut cluster, *key, &[loss]);
                cluster.finish(*key, End::Exited(0));
            }
            let trials: Vec<u32> = kept(&cluster, id).into_iter().map(|(trial, _)| trial).collect();
            assert_eq!(trials, expected, "best: {best}; the winner's is always kept");
        }
    }

    #[test]
    fn a_trial_that_failed_keeps_its_latest_and_one_that_was_cancelled_keeps_none() {
        let (mut cluster, id, keys) = sweep(json!({}));
        for key in &keys[..2] {
            train(&mut cluster, *key, &[0.5, 0.6]);
        }
        for attempt in 1..=3 {
            cluster.finish(Key { attempt, ..keys[0] }, End::Exited(1));
            cluster.dispatch();
        }
        cluster.op(Op::CancelTrial(id, 1)).expect("is there");
        assert_eq!(kept(&cluster, id), [(0, vec![1, 2])]);
        cluster.op(Op::SaveCheckpoint(checkpoint(keys[1], 3, "local:1"))).expect("its process ends yet");
        assert_eq!(kept(&cluster, id), [(0, vec![1, 2])]);
    }

    #[test]
    fn the_checkpoints_that_a_sweep_keeps_are_bounded_and_the_winners_is_among_them_at_the_end() {
        let (mut cluster, id, keys) = sweep(json!({"latest": 2}));
        for (place, key) in keys.iter().enumerate() {
            let losses: Vec<f64> = (0..50).map(|step| f64::from((step * 7 + place as u32) % 10)).collect();
            train(&mut cluster, *key, &losses);
        }
        assert!(kept(&cluster, id).iter().all(|(_, steps)| steps.len() <= 4), "{:?}", kept(&cluster, id));
        for key in keys {
            cluster.finish(key, End::Exited(0));
        }
        let best = cluster.sweep(id).best().expect("has values");
        let step = best.best.expect("has a value").step;
        assert_eq!(kept(&cluster, id), [(best.number, vec![step, 49, 50])]);
        cluster.control(id, Verb::Stop).expect_err("it has ended");
    }
}
