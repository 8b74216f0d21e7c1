//! Members of a population are replaced by forks of others: in one entry, from a checkpoint that is kept, and where it is reached.

use std::collections::BTreeSet;

use heats_core::history::trial_seed;
use heats_core::ops::attempts::{End, Key};
use heats_core::ops::control::Verb;
use heats_core::ops::fork::STRANDED_MS;
use heats_core::testing::{Cluster, SweepBuilder, checkpoint};
use heats_core::{Fact, Op, Refusal};
use heats_domain::{AgentId, Checkpoint, SweepId, TrialState};
use serde_json::json;

/// Four members that are compared every five steps until step 20, on an agent with places for all of them.
fn population(trials: u32) -> (Cluster, SweepId, Vec<Key>) {
    let mut cluster = Cluster::default();
    let search = json!({"algorithm": "pbt", "population": 4, "perturbation_interval": 5, "max": 20, "seed": 7});
    let id = cluster.submit(SweepBuilder::minimize("loss").trials(trials).top("search", search));
    cluster.attach(1, 4);
    let keys = cluster.dispatch();
    assert_eq!(keys.len(), 4);
    (cluster, id, keys)
}

/// The member keeps a checkpoint at `step`, where `place` is given, and reports.
fn train(cluster: &mut Cluster, key: Key, step: u64, loss: f64, place: Option<&str>) {
    if let Some(place) = place {
        cluster.op(Op::SaveCheckpoint(checkpoint(key, step, place))).expect("is live");
    }
    cluster.report(key, step, loss).expect("is live");
}

/// Everybody comes to step 5, trial 2 as the best, trial 3 last and worst; what was recorded with that.
fn first_interval(cluster: &mut Cluster, keys: &[Key], place: Option<&str>) -> Vec<Fact> {
    for (key, loss) in keys.iter().zip([0.3, 0.2, 0.1, 0.4]) {
        train(cluster, *key, 5, loss, place);
    }
    let entry = cluster.entries.last().expect("there is one");
    entry.facts.iter().map(|cell| cell.fact.clone().expect("is known")).collect()
}

fn forks(cluster: &Cluster, id: SweepId) -> Vec<(u32, u32, u64)> {
    let forked = cluster.sweep(id).trials.iter().filter_map(|trial| Some((trial.number, trial.forked.as_ref()?)));
    forked.map(|(number, forked)| (number, forked.from.trial, forked.from.step)).collect()
}

fn from(cluster: &Cluster, id: SweepId, number: u32) -> Option<Checkpoint> {
    let (sweep, trial) = (cluster.sweep(id), cluster.trial(id, number));
    sweep.lease_of(trial, trial.attempt()).expect("is leased").from.clone()
}

#[test]
fn the_worst_ends_and_its_fork_comes_to_be_in_the_entry_of_the_report() {
    let (mut cluster, id, keys) = population(9);
    let facts = first_interval(&mut cluster, &keys, Some("local:1"));
    let names: Vec<&str> = facts.iter().map(Fact::name).collect();
    assert_eq!(names, ["trial_reported", "trial_settled", "trial_created", "checkpoint_dropped"]);
    assert_eq!(forks(&cluster, id), [(4, 2, 5)]);
    assert_eq!([3, 4].map(|n| cluster.state(id, n)), [TrialState::Stopped, TrialState::Waiting]);
    let verdict = cluster.sweep(id).verdict(cluster.trial(id, 3)).expect("a verdict");
    assert_eq!((verdict.rule.as_str(), verdict.winner), ("pbt", Some(2)));
    cluster.finish(keys[3], End::Stopped);
    let fork = cluster.dispatch()[0];
    assert_eq!((fork, from(&cluster, id, 4)), (Key { trial: 4, ..keys[0] }, Some(checkpoint(keys[2], 5, "local:1"))));
    cluster.report(fork, 5, 0.0).expect("is live");
    assert_eq!(cluster.trial(id, 4).reports(), 0, "its steps go on where the other's checkpoint was");
    cluster.report(fork, 6, 0.15).expect("is live");
    assert_eq!(cluster.trial(id, 4).last_step, Some(6));
}

#[test]
fn a_new_leader_replaces_the_same_member_in_the_same_way_and_none_twice() {
    let (mut one, id, keys) = population(9);
    let (mut other, _, _) = population(9);
    for (key, loss) in keys.iter().zip([0.3, 0.2, 0.1]) {
        for cluster in [&mut one, &mut other] {
            train(cluster, *key, 5, loss, Some("local:1"));
        }
    }
    other.fail_over();
    other.attach_holding(1, 4, &keys);
    for cluster in [&mut one, &mut other] {
        train(cluster, keys[3], 5, 0.4, Some("local:1"));
    }
    let params = |cluster: &Cluster| cluster.sweep(id).params(cluster.trial(id, 4));
    assert_eq!((forks(&other, id), params(&one)), (forks(&one, id), params(&other)));
    other.fail_over();
    other.attach_holding(1, 4, &keys);
    other.report(keys[3], 5, 0.4).expect("is acknowledged");
    assert_eq!(forks(&other, id).len(), 1, "a report that comes again decides nothing");
}

#[test]
fn without_a_checkpoint_or_a_budget_or_in_a_sweep_that_drains_a_member_goes_on() {
    let (mut cluster, id, keys) = population(9);
    first_interval(&mut cluster, &keys, None);
    assert_eq!((forks(&cluster, id).len(), cluster.state(id, 3)), (0, TrialState::Running));
    let (mut cluster, id, keys) = population(4);
    first_interval(&mut cluster, &keys, Some("local:1"));
    assert_eq!((forks(&cluster, id).len(), cluster.state(id, 3)), (0, TrialState::Running));
    let (mut cluster, id, keys) = population(9);
    cluster.control(id, Verb::Stop).expect("lives");
    first_interval(&mut cluster, &keys, Some("local:1"));
    assert_eq!((forks(&cluster, id).len(), cluster.state(id, 3)), (0, TrialState::Running));
}

#[test]
fn no_more_members_than_the_population_are_begun_and_the_sweep_ends_with_the_last() {
    let (mut cluster, id, keys) = population(9);
    first_interval(&mut cluster, &keys, Some("local:1"));
    cluster.finish(keys[3], End::Stopped);
    let fork = cluster.dispatch();
    assert_eq!(fork.len(), 1);
    for key in keys[..3].iter().chain(&fork) {
        cluster.report(*key, 20, 0.1).expect("is live");
        cluster.finish(*key, End::Exited(0));
        assert_eq!(cluster.dispatch(), []);
    }
    assert_eq!(cluster.ending(id), Some(("finished", "every member of its population ended, after 5 trials")));
}

#[test]
fn the_checkpoint_that_a_fork_begins_with_is_kept_until_it_has_its_own() {
    let (mut cluster, id, keys) = population(9);
    first_interval(&mut cluster, &keys, Some("local:1"));
    cluster.finish(keys[3], End::Stopped);
    let steps = |cluster: &Cluster| cluster.trial(id, 2).checkpoints.iter().map(|c| c.step).collect::<Vec<_>>();
    for step in [6, 7, 8] {
        train(&mut cluster, keys[2], step, 0.05 + step as f64 / 1e3, Some("local:1"));
    }
    assert_eq!(steps(&cluster), [5, 6, 8], "the fork's, the best and the latest");
    let fork = cluster.dispatch()[0];
    cluster.op(Op::SaveCheckpoint(checkpoint(fork, 6, "local:1"))).expect("is live");
    assert_eq!(steps(&cluster), [5, 6, 8], "step 6 of the fork is not reported yet");
    cluster.report(fork, 6, 0.15).expect("is live");
    assert_eq!(steps(&cluster), [6, 8]);
}

#[test]
fn a_fork_goes_on_at_an_agent_that_reaches_its_checkpoint_and_nowhere_else() {
    let (mut cluster, id, keys) = population(9);
    first_interval(&mut cluster, &keys, Some("local:1"));
    cluster.attach(2, 4);
    assert_eq!(cluster.dispatch(), [], "agent 1 is full, and agent 2 does not reach it");
    cluster.finish(keys[3], End::Stopped);
    let fork = cluster.dispatch();
    assert_eq!(fork, [Key { trial: 4, ..keys[0] }]);
    assert_eq!(cluster.trial(id, 4).attempts[0].agent, AgentId { bits: 1 });
}

#[test]
fn a_fork_whose_checkpoint_nobody_reaches_for_ten_minutes_fails_with_a_sentence() {
    let (mut cluster, id, keys) = population(9);
    first_interval(&mut cluster, &keys, Some("local:1"));
    cluster.op(Op::Expire(AgentId { bits: 1 }, 30_000)).expect("expires");
    cluster.attach(2, 9);
    let begun: BTreeSet<u32> = cluster.dispatch().iter().map(|key| key.trial).collect();
    assert_eq!(begun, BTreeSet::from([0, 1, 2]), "the others begin again where they can");
    cluster.pass(0);
    cluster.pass(STRANDED_MS - 1);
    assert_eq!(cluster.state(id, 4), TrialState::Waiting);
    cluster.pass(1);
    assert_eq!(cluster.state(id, 4), TrialState::Failed);
    let detail = cluster.sweep(id).detail(cluster.trial(id, 4));
    assert_eq!(detail, "no agent that reaches a checkpoint which it could go on from was attached for ten minutes");
    // A user may ask for it again once the machine is back.
    cluster.op(Op::Retry(id, vec![4])).expect("has failed");
    cluster.attach(1, 1);
    assert_eq!(cluster.dispatch(), [Key { trial: 4, ..keys[0] }]);
}

#[test]
fn with_fewer_places_than_members_all_of_them_train() {
    let mut cluster = Cluster::default();
    let search = json!({"algorithm": "pbt", "population": 3, "perturbation_interval": 1, "max": 9, "seed": 7});
    let id = cluster.submit(SweepBuilder::minimize("loss").trials(30).top("search", search));
    cluster.attach(1, 1);
    let mut steps = [0u64; 30];
    while !cluster.sweep(id).is_ended() {
        let [key] = cluster.dispatch()[..] else { panic!("one place, and nobody is lost") };
        let trial = key.trial as usize;
        steps[trial] = from(&cluster, id, key.trial).map_or(0, |from| from.step);
        while cluster.trial(id, key.trial).state.is_live() && steps[trial] < 9 {
            steps[trial] += 1;
            train(&mut cluster, key, steps[trial], f64::from(key.trial), Some("local:1"));
        }
        cluster.finish(key, End::Exited(0));
        let alive = cluster.sweep(id).trials.iter().filter(|trial| !trial.state.is_terminal());
        let reached: Vec<u64> = alive.map(|trial| trial.last_step.unwrap_or(0)).collect();
        let (least, most) = (reached.iter().min().unwrap_or(&0), reached.iter().max().unwrap_or(&0));
        assert!(most - least <= 2, "nobody runs away: {reached:?}");
    }
    assert!(!forks(&cluster, id).is_empty());
}

#[test]
fn a_point_that_is_enqueued_once_the_population_is_there_is_refused() {
    let (mut cluster, id, _) = population(9);
    let params = [("x", heats_domain::Value::Float(0.5))].into_iter().collect();
    assert!(matches!(cluster.op(Op::Enqueue(id, params)), Err(Refusal::PopulationFull { members: 4, .. })));
}

/// Whoever was replaced was so once, by one fork, and every fork replaces somebody. What each fork begins with is checked after
/// every turn: F1 and F2.
fn expect_each_fork_once(cluster: &Cluster, id: SweepId) -> usize {
    let sweep = cluster.sweep(id);
    let replaced = sweep.trials.iter().filter(|trial| sweep.verdict(trial).is_some_and(|v| v.winner.is_some()));
    let mut replaced: Vec<u32> = replaced.map(|trial| trial.number).collect();
    let mut by: Vec<u32> = sweep.trials.iter().filter_map(|trial| Some(trial.forked.as_ref()?.replaces)).collect();
    replaced.sort_unstable();
    by.sort_unstable();
    assert_eq!(replaced, by);
    by.len()
}

/// Agents that come and go, processes that fail, checkpoints that come late or not at all, leaders that change, users that cancel.
fn misfortunes(seed: u64) -> usize {
    let mut thrown = 0;
    // A number below `sides`.
    let mut dice = |sides: u64| {
        thrown += 1;
        trial_seed(seed, thrown) % sides
    };
    let mut cluster = Cluster::default();
    let search = json!({"algorithm": "pbt", "population": 5, "perturbation_interval": 2, "max": 10, "seed": seed});
    let sweep = SweepBuilder::minimize("loss").trials(40).top("search", search).set("run", "retries", 3);
    let id = cluster.submit(sweep);
    let place = |agent: u64| format!("local:{agent}");
    let mut live: BTreeSet<Key> = BTreeSet::new();
    let held = |live: &BTreeSet<Key>, cluster: &Cluster, agent: u64| -> Vec<Key> {
        let its = |key: &&Key| cluster.trial(id, key.trial).attempts[key.attempt as usize - 1].agent.bits == agent;
        live.iter().filter(its).copied().collect()
    };
    for agent in 1..=3 {
        cluster.attach(agent, 2);
    }
    for turn in 0.. {
        assert!(turn < 5_000, "seed {seed} comes to no end: {:?}", cluster.sweep(id).counts);
        live.extend(cluster.dispatch());
        live.retain(|key| cluster.trial(id, key.trial).live().is_some_and(|(attempt, _)| attempt == key.attempt));
        if cluster.sweep(id).is_ended() {
            return expect_each_fork_once(&cluster, id);
        }
        let agent = 1 + dice(3);
        match dice(100) {
            0..2 => {
                cluster.fail_over();
                for agent in 1..=3 {
                    let holding = held(&live, &cluster, agent);
                    cluster.attach_holding(agent, 2, &holding);
                }
            }
            2..4 => {
                cluster.op(Op::Expire(AgentId { bits: agent }, 30_000)).expect("expires");
                cluster.pass(dice(STRANDED_MS + 1));
                cluster.attach(agent, 2);
            }
            4 => {
                let trial = dice(u64::from(cluster.sweep(id).created())) as u32;
                cluster.op(Op::CancelTrial(id, trial)).map_or_else(drop, drop);
            }
            _ => {
                let Some(key) = live.iter().nth(dice(live.len().max(1) as u64) as usize).copied() else {
                    cluster.pass(STRANDED_MS);
                    continue;
                };
                let trial = cluster.trial(id, key.trial);
                if trial.state.is_at_rest() || dice(60) == 0 {
                    cluster.finish(key, End::Exited(1));
                    continue;
                }
                let (step, on) =
                    (trial.last_step.unwrap_or(0) + 1, trial.attempts[key.attempt as usize - 1].agent.bits);
                if dice(10) < 7 {
                    cluster.op(Op::SaveCheckpoint(checkpoint(key, step, &place(on)))).expect("is live");
                }
                cluster.report(key, step, dice(1_000_000) as f64).expect("is live");
                if step >= 10 {
                    cluster.finish(key, End::Exited(0));
                }
            }
        }
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn no_fork_is_lost_or_made_twice_whatever_happens() {
    let forks: usize = (0..20).map(misfortunes).sum();
    assert!(forks > 50, "{forks} forks");
}
