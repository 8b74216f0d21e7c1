//! What failures lead to: retries by kind, the next variant after memory ran out, configurations that fail wherever they are
//! tried, and machines that are left alone because trials fail there and not elsewhere.

use std::collections::BTreeMap;

use heats_core::dispatch::PATIENCE_MS;
use heats_core::health::Part;
use heats_core::ops::agent_drain::{Leaving, leaving};
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Key};
use heats_core::ops::quarantine::{FAULTY_MS, SUSPECT_MS};
use heats_core::testing::{Cluster, SweepBuilder, attach};
use heats_core::{Op, Refusal, Reply, Status};
use heats_domain::{AgentId, FailureKind, Inventory, SweepId, TrialState};
use serde_json::json;

const A: AgentId = AgentId { bits: 1 };
const B: AgentId = AgentId { bits: 2 };

fn sweep(trials: u32) -> SweepBuilder {
    SweepBuilder::minimize("loss").trials(trials)
}

/// Where an attempt was made.
fn agent(cluster: &Cluster, key: Key) -> AgentId {
    cluster.trial(key.sweep, key.trial).attempts[key.attempt as usize - 1].agent
}

/// What is leased to an agent now; others may get something as well.
fn dispatch_on(cluster: &mut Cluster, agent: AgentId) -> Vec<Key> {
    let keys = cluster.dispatch();
    keys.into_iter().filter(|key| self::agent(cluster, *key) == agent).collect()
}

/// The attempt begins and ends so, a second later.
fn end(cluster: &mut Cluster, key: Key, end: End) {
    cluster.start(key);
    cluster.now_ms += 1_000;
    cluster.finish(key, end);
}

fn complete(cluster: &mut Cluster, key: Key) {
    cluster.start(key);
    cluster.complete(key, 0.5);
}

/// What became of a trial with one place to be tried on, whose attempts end so one after the other.
fn ends(builder: SweepBuilder, ends: &[End]) -> (TrialState, u32) {
    let mut cluster = Cluster::default();
    let id = cluster.submit(builder.trials(1));
    cluster.attach(1, 1);
    for end in ends {
        let Some(key) = cluster.dispatch().first().copied() else { break };
        cluster.finish(key, *end);
    }
    (cluster.state(id, 0), cluster.trial(id, 0).attempt())
}

/// Three trials fail on A, and B runs one that has not reported yet; what ran on B.
fn suspect(cluster: &mut Cluster, builder: SweepBuilder) -> Key {
    cluster.submit(builder);
    cluster.attach(2, 1);
    let other = cluster.dispatch()[0];
    cluster.start(other);
    cluster.attach(1, 3);
    for key in cluster.dispatch() {
        end(cluster, key, End::Exited(1));
    }
    other
}

fn quarantine(cluster: &Cluster, agent: AgentId) -> Option<(bool, u64)> {
    cluster.applied.quarantine(Part::machine(agent)).map(|(fact, _)| (fact.proven, fact.delay_ms))
}

#[test]
fn each_kind_of_failure_has_its_own_retries_and_the_others_share_theirs() {
    let by_kind = json!({"signal": 2, "timeout": 0, "out_of_memory": 1});
    let builder = || sweep(1).set("run", "retry", by_kind.clone()).set("run", "retries", 1);
    let (signal, exit) = (End::Signaled(11), End::Exited(1));
    assert_eq!(ends(builder(), &[End::TimedOut]), (TrialState::Failed, 1));
    assert_eq!(ends(builder(), &[signal, exit, signal, End::OutOfMemory, signal]), (TrialState::Failed, 5));
    assert_eq!(ends(builder(), &[exit, End::StartFailed]), (TrialState::Failed, 2), "these share `retries`");
    assert_eq!(ends(builder(), &[End::Lost, exit, End::Preempted, signal]), (TrialState::Waiting, 4));
}

#[test]
fn a_trial_that_runs_out_of_memory_is_tried_with_the_next_variant_that_has_no_less() {
    let variants = json!([
        {"memory": "100MiB"}, {"memory": "50MiB", "cpus": 2}, {"memory": "200MiB", "when": "x > 0.5"}, {"memory": "400MiB"},
    ]);
    for (retry, rest) in [(json!({}), 3), (json!({"out_of_memory": "next_variant"}), 0)] {
        let mut cluster = Cluster::default();
        let builder = sweep(1).top("resources", variants.clone()).set("run", "retry", retry).set("run", "retries", 3);
        let id = cluster.submit(builder);
        cluster.attach(1, 4);
        let mut variants = Vec::new();
        while let Some(key) = cluster.dispatch().first().copied() {
            variants.push(cluster.trial(id, 0).attempts.last().expect("is leased").variant);
            cluster.finish(key, End::OutOfMemory);
        }
        // Trial 0 has x = 0. What is left once there is no larger one are `retries`, unless the file asks for variants only.
        assert_eq!(variants, [vec![0, 3], vec![3; rest]].concat());
        assert_eq!((cluster.state(id, 0), cluster.trial(id, 0).retries_used), (TrialState::Failed, rest as u32));
        let kinds = cluster.trial(id, 0).attempts.iter().map(|attempt| attempt.end.and_then(|end| end.failure));
        assert!(kinds.into_iter().all(|kind| kind == Some(FailureKind::OutOfMemory)), "each attempt's is kept");
        // Neither another leader nor a user who asks for it again goes back to what is too small.
        cluster.fail_over();
        cluster.attach(1, 4);
        cluster.op(Op::Retry(id, vec![0])).expect("has failed");
        cluster.dispatch();
        assert_eq!(cluster.trial(id, 0).attempts.last().map(|attempt| attempt.variant), Some(3));
    }
}

#[test]
fn a_number_for_out_of_memory_tries_the_same_again() {
    let mut cluster = Cluster::default();
    let variants = json!([{"memory": "100MiB"}, {"memory": "200MiB"}]);
    let id = cluster.submit(sweep(1).top("resources", variants).set("run", "retry", json!({"out_of_memory": 1})));
    cluster.attach(1, 4);
    for _ in 0..2 {
        let key = cluster.dispatch()[0];
        cluster.finish(key, End::OutOfMemory);
    }
    let variants: Vec<u32> = cluster.trial(id, 0).attempts.iter().map(|attempt| attempt.variant).collect();
    assert_eq!((cluster.state(id, 0), variants), (TrialState::Failed, vec![0, 0]));
}

#[test]
fn a_retry_goes_to_another_agent_and_back_only_after_a_while() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(2).set("run", "retries", 9));
    cluster.attach(1, 1);
    cluster.attach(2, 1);
    let keys = cluster.dispatch();
    end(&mut cluster, keys[0], End::Exited(1));
    assert_eq!(cluster.dispatch(), [], "B is taken, and A is where it failed");
    cluster.now_ms += PATIENCE_MS - 1;
    assert_eq!(cluster.dispatch(), []);
    cluster.now_ms += 1;
    let again = cluster.dispatch();
    assert_eq!((again.len(), agent(&cluster, again[0])), (1, A), "it does not wait for ever");
    end(&mut cluster, again[0], End::Exited(1));
    complete(&mut cluster, keys[1]);
    let again = cluster.dispatch();
    assert_eq!((again.len(), agent(&cluster, again[0])), (1, B));
    complete(&mut cluster, again[0]);
    assert_eq!(cluster.sweep(id).counts.of(TrialState::Completed), 2);
}

#[test]
fn a_trial_that_failed_on_every_agent_goes_back_at_once() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(1).set("run", "retries", 9));
    for bits in 1..=3 {
        // The third has too little for it.
        let memory = if bits == 3 { 1 } else { 1 << 30 };
        let inventory = Inventory { memory, ..attach(bits, 1, 0).inventory };
        cluster.op(Op::Attach(Attach { inventory, ..attach(bits, 1, 0) })).expect("attaches");
    }
    let mut agents = Vec::new();
    for _ in 0..4 {
        let key = cluster.dispatch()[0];
        agents.push(agent(&cluster, key));
        end(&mut cluster, key, End::Exited(1));
    }
    assert_eq!(agents, [A, B, AgentId { bits: 3 }, A], "{id} asks for no memory");
}

#[test]
fn a_configuration_that_fails_on_several_good_machines_is_infeasible_and_may_be_asked_for_again() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(9).set("run", "retries", 1).set("budget", "max_failures", 1));
    cluster.attach(1, 1);
    cluster.attach(2, 1);
    let keys = cluster.dispatch();
    for key in keys {
        complete(&mut cluster, key);
    }
    let bad = cluster.dispatch();
    end(&mut cluster, bad[0], End::Exited(1));
    complete(&mut cluster, bad[1]);
    let again = cluster.dispatch();
    let again = again.iter().find(|key| key.trial == bad[0].trial).expect("is tried again");
    assert_eq!(agent(&cluster, *again), B);
    end(&mut cluster, *again, End::Signaled(11));
    assert_eq!(cluster.state(id, bad[0].trial), TrialState::Infeasible);
    assert_eq!(cluster.sweep(id).status, Status::Running, "it counts for no failure");
    let why = "its configuration failed on node-1 and node-2, where other trials of the sweep ended well";
    assert_eq!(cluster.sweep(id).detail(cluster.trial(id, bad[0].trial)), why);
    // All that failed are those that may work; this one has to be meant.
    assert!(matches!(cluster.op(Op::Retry(id, vec![])), Err(Refusal::NothingFailed(_))));
    assert_eq!(cluster.op(Op::Retry(id, vec![bad[0].trial])), Ok(Reply::Retried(vec![bad[0].trial])));
    assert_eq!(cluster.state(id, bad[0].trial), TrialState::Waiting);
}

#[test]
fn what_says_itself_that_it_cannot_be_run_is_not_asked_for_again() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(2));
    cluster.attach(1, 1);
    let key = cluster.dispatch()[0];
    cluster.finish(key, End::Exited(65));
    assert!(matches!(cluster.op(Op::Retry(id, vec![key.trial])), Err(Refusal::NothingFailed(_))));
}

#[test]
fn a_script_that_fails_everywhere_fails_its_sweep_and_quarantines_nobody() {
    for agents in [1, 4] {
        let mut cluster = Cluster::default();
        let id = cluster.submit(sweep(500).set("budget", "max_failures", 10));
        for agent in 1..=agents {
            cluster.attach(agent, 4);
        }
        let mut turns = 0;
        while !cluster.sweep(id).is_ended() {
            for key in cluster.dispatch() {
                cluster.start(key);
            }
            cluster.now_ms += 1_000;
            let live: Vec<Key> = cluster
                .sweep(id)
                .live
                .iter()
                .filter_map(|&trial| {
                    let (attempt, _) = cluster.sweep(id).trial(trial)?.live()?;
                    Some(Key { sweep: id, trial, attempt })
                })
                .collect();
            for key in live {
                cluster.finish(key, End::Exited(1));
            }
            turns += 1;
            assert!(turns < 100, "it ends soon: {:?}", cluster.sweep(id).counts);
        }
        let on = if agents > 1 { ", on 4 machines" } else { "" };
        assert_eq!(cluster.ending(id), Some(("failed", format!("10 trials failed{on}; max_failures is 10").as_str())));
        let left_alone =
            (1..=agents).filter(|bits| cluster.applied.quarantine(Part::machine(AgentId { bits: *bits })).is_some());
        assert_eq!(left_alone.count(), 0);
    }
}

#[test]
fn a_machine_that_fails_everything_is_left_alone_and_tried_again_one_trial_at_a_time() {
    let mut cluster = Cluster::default();
    suspect(&mut cluster, sweep(99));
    assert_eq!(quarantine(&cluster, A), Some((false, SUSPECT_MS)));
    let why = &cluster.applied.quarantine(Part::machine(A)).expect("is suspected").0.why;
    assert!(why.starts_with("3 different trials in a row failed there (exit); "), "{why}");
    assert_eq!(cluster.dispatch(), []);
    cluster.now_ms += SUSPECT_MS - 1;
    assert_eq!(cluster.dispatch(), []);
    // Every leader knows it.
    cluster.fail_over();
    cluster.attach(1, 3);
    assert_eq!(cluster.dispatch(), []);
    cluster.now_ms += 1;
    let probe = cluster.dispatch();
    assert_eq!((probe.len(), agent(&cluster, probe[0])), (1, A), "one, though there are three places");
    assert_eq!(cluster.dispatch(), []);
    // It works: the machine is trusted again.
    cluster.start(probe[0]);
    cluster.report(probe[0], 1, 0.5).expect("is live");
    assert_eq!((quarantine(&cluster, A), cluster.dispatch().len()), (None, 2));
}

#[test]
fn what_failed_on_a_machine_that_is_at_fault_counts_for_nothing() {
    let mut cluster = Cluster::default();
    // Without any retry, what fails on A has failed for good until A is known.
    let other = suspect(&mut cluster, sweep(99).set("run", "retries", 0));
    let id = other.sweep;
    assert_eq!(cluster.sweep(id).counts.of(TrialState::Failed), 3);
    cluster.now_ms += SUSPECT_MS;
    let probe = cluster.dispatch()[0];
    // B has run far longer than what fails on A takes, and others there do well.
    complete(&mut cluster, other);
    for _ in 0..17 {
        assert_eq!(quarantine(&cluster, A), Some((false, SUSPECT_MS)));
        let key = cluster.dispatch()[0];
        complete(&mut cluster, key);
    }
    assert_eq!(quarantine(&cluster, A), Some((true, FAULTY_MS)), "1 in 22 to the third is below 1 in 10,000");
    assert_eq!(cluster.sweep(id).counts.of(TrialState::Failed), 0);
    assert_eq!(cluster.sweep(id).waiting.len(), 3);
    let excused = |cluster: &Cluster, number: u32| {
        cluster.trial(id, number).attempts.iter().filter(|attempt| attempt.end.is_some_and(|end| end.excused)).count()
    };
    assert_eq!([1, 2, 3].map(|number| excused(&cluster, number)), [1, 1, 1]);
    // What still runs there fails for the same reason.
    end(&mut cluster, probe, End::Exited(1));
    assert_eq!((cluster.state(id, probe.trial), excused(&cluster, probe.trial)), (TrialState::Waiting, 1));
    assert_eq!(quarantine(&cluster, A), Some((true, 2 * FAULTY_MS)));
}

#[test]
fn a_trial_that_failed_for_good_gets_back_the_retry_that_it_lost_to_a_machine_at_fault() {
    let mut cluster = Cluster::default();
    let other = suspect(&mut cluster, sweep(99).set("run", "retries", 1));
    let id = other.sweep;
    complete(&mut cluster, other);
    // What failed on A is tried on B, where trial 1 fails again.
    while quarantine(&cluster, A) == Some((false, SUSPECT_MS)) {
        let key = dispatch_on(&mut cluster, B)[0];
        if key.trial == 1 {
            end(&mut cluster, key, End::Exited(1));
            assert_eq!(cluster.state(id, 1), TrialState::Failed);
        } else {
            complete(&mut cluster, key);
        }
    }
    assert_eq!(quarantine(&cluster, A), Some((true, FAULTY_MS)));
    let ends = |cluster: &Cluster| {
        let ends = cluster.trial(id, 1).attempts.iter().filter_map(|attempt| attempt.end);
        ends.map(|end| (end.excused, end.retried)).collect::<Vec<_>>()
    };
    assert_eq!((cluster.state(id, 1), ends(&cluster)), (TrialState::Waiting, vec![(true, false), (false, true)]));
    let again = dispatch_on(&mut cluster, B)[0];
    assert_eq!((again.trial, cluster.trial(id, 1).retries_used), (1, 1));
    end(&mut cluster, again, End::Exited(1));
    assert_eq!(cluster.state(id, 1), TrialState::Failed, "its own failures are one more than its retries");
}

#[test]
fn what_was_leased_to_a_quarantined_agent_and_has_not_begun_is_asked_back() {
    let mut cluster = Cluster::default();
    cluster.submit(sweep(99));
    cluster.attach(2, 1);
    cluster.dispatch();
    cluster.attach(1, 5);
    let keys = cluster.dispatch();
    cluster.start(keys[3]);
    for key in &keys[..3] {
        end(&mut cluster, *key, End::Exited(1));
    }
    assert_eq!(leaving(&cluster.applied, A), [Leaving::Unstarted(keys[4])]);
    cluster.finish(keys[4], End::Preempted);
    cluster.now_ms += SUSPECT_MS;
    let probe = dispatch_on(&mut cluster, A);
    assert_eq!((probe.len(), leaving(&cluster.applied, A)), (1, vec![]), "the probe stays");
}

#[test]
fn trials_that_cannot_be_started_are_put_down_to_the_machine_at_once() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(99).set("run", "retries", 0));
    cluster.attach(2, 8);
    for key in cluster.dispatch() {
        cluster.start(key);
    }
    cluster.attach(1, 2);
    for key in cluster.dispatch() {
        cluster.finish(key, End::StartFailed);
    }
    assert_eq!(quarantine(&cluster, A), Some((false, SUSPECT_MS)));
    assert_eq!((cluster.sweep(id).counts.of(TrialState::Failed), cluster.sweep(id).waiting.len()), (0, 2));
}

#[test]
fn with_nobody_to_compare_with_nobody_is_suspected() {
    let mut cluster = Cluster::default();
    // The other agent has no GPU, so that the sweep has one agent alone.
    cluster.op(Op::Attach(attach(1, 8, 8))).expect("attaches");
    cluster.attach(2, 8);
    let id = cluster.submit(sweep(99).set("resources", "gpus", 1));
    for key in cluster.dispatch() {
        end(&mut cluster, key, End::Exited(1));
    }
    assert_eq!((quarantine(&cluster, A), cluster.sweep(id).created()), (None, 8));
}

#[test]
fn where_half_of_the_configurations_crash_three_in_a_row_make_no_suspect() {
    let mut cluster = Cluster::default();
    cluster.submit(sweep(99));
    cluster.attach(2, 8);
    for (place, key) in cluster.dispatch().into_iter().enumerate() {
        if place % 2 == 0 { end(&mut cluster, key, End::Exited(1)) } else { complete(&mut cluster, key) }
    }
    cluster.attach(1, 8);
    let keys = dispatch_on(&mut cluster, A);
    for key in &keys[..4] {
        end(&mut cluster, *key, End::Exited(1));
    }
    assert_eq!(quarantine(&cluster, A), None);
    end(&mut cluster, keys[4], End::Exited(1));
    assert_eq!(quarantine(&cluster, A), Some((false, SUSPECT_MS)), "the fifth is too much, with 5 of 12 as the rate");
}

#[test]
fn a_suspect_is_pardoned_when_its_trials_fail_elsewhere_as_well() {
    let mut cluster = Cluster::default();
    let other = suspect(&mut cluster, sweep(99));
    assert_eq!(quarantine(&cluster, A), Some((false, SUSPECT_MS)));
    let mut key = other;
    for _ in 0..2 {
        end(&mut cluster, key, End::Exited(1));
        key = cluster.dispatch()[0];
    }
    assert_eq!(quarantine(&cluster, A), None);
    let record = cluster.applied.quarantines.get(&Part::machine(A)).expect("was quarantined");
    let why = "its trials fail elsewhere as well: 2 of 2 attempts";
    assert!(matches!(&record.cell.fact, Some(heats_core::Fact::AgentReleased(fact)) if fact.why == why), "{record:?}");
}

#[test]
fn an_operator_releases_an_agent_and_what_failed_before_is_forgotten() {
    let mut cluster = Cluster::default();
    assert!(matches!(cluster.op(release(A)), Err(Refusal::NoSuchAgent(_))));
    suspect(&mut cluster, sweep(99));
    cluster.now_ms += 1;
    cluster.op(release(A)).expect("is there");
    let entries = cluster.entries.len();
    cluster.op(release(A)).expect("is there");
    assert_eq!((quarantine(&cluster, A), cluster.entries.len()), (None, entries), "twice is as good as once");
    let keys = dispatch_on(&mut cluster, A);
    for key in &keys[..2] {
        end(&mut cluster, *key, End::Exited(1));
    }
    assert_eq!((keys.len(), quarantine(&cluster, A)), (3, None), "two failures are not enough");
    end(&mut cluster, keys[2], End::Exited(1));
    assert!(quarantine(&cluster, A).is_some());
}

fn release(agent: AgentId) -> Op {
    Op::Release { agent, by: "ann@desk".into() }
}

#[test]
fn two_failures_and_one_that_works_are_no_row() {
    let mut cluster = Cluster::default();
    cluster.submit(sweep(99));
    cluster.attach(2, 1);
    cluster.dispatch();
    cluster.attach(1, 1);
    for place in 0..9 {
        let keys = dispatch_on(&mut cluster, A);
        if place % 3 == 2 { complete(&mut cluster, keys[0]) } else { end(&mut cluster, keys[0], End::Exited(1)) }
    }
    assert_eq!(quarantine(&cluster, A), None);
}

/// One sweep of `trials` on four agents of four processors, of which the first fails everything within a second and the others
/// take three minutes, under ever new leaders; and the attempts on each agent.
fn one_bad_machine_of_four(builder: SweepBuilder) -> (Cluster, SweepId, BTreeMap<AgentId, u32>) {
    let mut cluster = Cluster::default();
    let id = cluster.submit(builder);
    for agent in 1..=4 {
        cluster.attach(agent, 4);
    }
    // What ends next, by when.
    let mut running: BTreeMap<(u64, Key), AgentId> = BTreeMap::new();
    let mut attempts: BTreeMap<AgentId, u32> = BTreeMap::new();
    let mut turns = 0;
    while !cluster.sweep(id).is_ended() {
        for key in cluster.dispatch() {
            let agent = agent(&cluster, key);
            cluster.start(key);
            running.insert((cluster.now_ms + if agent == A { 700 } else { 180_000 }, key), agent);
            *attempts.entry(agent).or_default() += 1;
        }
        // To what happens next, where the leader looks twice a second.
        let probed = cluster
            .applied
            .quarantine(Part::machine(A))
            .map(|(fact, _)| fact.until_ms)
            .filter(|until| *until > cluster.now_ms);
        let next = running.keys().next().map(|(due, _)| *due).into_iter().chain(probed).min();
        cluster.now_ms = next.map_or(cluster.now_ms + 500, |next| next.next_multiple_of(500));
        while let Some(((due, key), agent)) = running.first_key_value().map(|(due, agent)| (*due, *agent)) {
            if due > cluster.now_ms {
                break;
            }
            running.remove(&(due, key));
            match agent {
                A => cluster.finish(key, End::Exited(1)),
                _ => cluster.complete(key, 0.5),
            }
        }
        turns += 1;
        assert!(turns < 10_000, "it comes to its end");
        if turns % 20 == 0 {
            cluster.fail_over();
            for bits in 1..=4 {
                let held = running.iter().filter(|(_, agent)| agent.bits == bits).map(|((_, key), _)| *key);
                let held: Vec<Key> = held.collect();
                cluster.attach_holding(bits, 4, &held);
            }
        }
    }
    (cluster, id, attempts)
}

#[test]
fn a_bad_machine_gets_a_handful_of_500_trials_and_none_is_lost() {
    let builder = sweep(500).set("budget", "max_failures", 5).set("run", "retries", 0);
    let (cluster, id, attempts) = one_bad_machine_of_four(builder);
    assert_eq!(cluster.ending(id), Some(("finished", "all 500 trials of its budget ended")));
    assert_eq!(cluster.sweep(id).counts.of(TrialState::Completed), 500);
    // Four at once, and one for each time that it was tried again, which is ever more seldom.
    assert!((5..=12).contains(&attempts[&A]), "{attempts:?}");
    let ends =
        cluster.sweep(id).trials.iter().flat_map(|trial| trial.attempts.iter().filter_map(|attempt| attempt.end));
    assert_eq!(ends.filter(|end| end.excused).count() as u32, attempts[&A], "and all of these are put down to it");
}
