//! Trials that span machines, by the leader's own turns: they get their places together, and end once.

use std::sync::Arc;

use heats_core::dispatch::Offer;
use heats_core::fact::{Ending, QuotaScope, QuotaSet};
use heats_core::health::Part;
use heats_core::ops::agent_drain::{Drain, Leaving, leaving};
use heats_core::ops::agents::{Attach, Attached};
use heats_core::ops::attempts::{End, Key, owned};
use heats_core::ops::control::{Edit, Verb};
use heats_core::ops::restore::begin_anew;
use heats_core::ops::start::Start;
use heats_core::placement::explain::{explain, fits_nowhere};
use heats_core::testing::{Cluster, SweepBuilder, attach, start};
use heats_core::{Fact, Op, Record, Refusal};
use heats_domain::resources::Rendezvous;
use heats_domain::{AgentId, FailureKind, SweepId, TrialState};
use serde_json::json;

const GRACE_MS: u64 = heats_core::placement::preempt::GRACE_MS;

fn agent(number: u64) -> AgentId {
    AgentId { bits: number }
}

fn gang(nodes: u32) -> SweepBuilder {
    SweepBuilder::minimize("loss").trials(1).set("resources", "nodes", nodes)
}

/// A cluster of agents of so many processors, and a sweep.
fn cluster(cpus: &[u32], builder: SweepBuilder) -> (Cluster, SweepId) {
    let mut cluster = Cluster::default();
    for (number, cpus) in (1..).zip(cpus) {
        cluster.attach(number, *cpus);
    }
    let id = cluster.submit(builder);
    (cluster, id)
}

/// The agents of the trial's last attempt, by rank.
fn agents(cluster: &Cluster, key: Key) -> Vec<u64> {
    let attempt = cluster.trial(key.sweep, key.trial).attempts.last().expect("was leased");
    attempt.agents().map(|agent| agent.bits).collect()
}

/// How often something of this name was recorded about the trial.
fn recorded(cluster: &Cluster, key: Key, name: &str) -> usize {
    let sweep = cluster.sweep(key.sweep);
    let is_named = |record: &Arc<Record>| record.cell.fact.as_ref().is_some_and(|fact| fact.name() == name);
    sweep.records(cluster.trial(key.sweep, key.trial)).filter(is_named).count()
}

fn held(cluster: &Cluster) -> Vec<u64> {
    let held = cluster.applied.leases.iter().filter(|(_, held)| !held.is_empty());
    held.map(|(agent, _)| agent.bits).collect()
}

#[test]
fn all_members_get_their_places_in_one_fact_or_none_does() {
    let (mut cluster, _) = cluster(&[1], gang(2));
    assert_eq!((cluster.dispatch(), held(&cluster)), (vec![], vec![]), "one machine is not two");
    cluster.attach(2, 1);
    let key = cluster.dispatch()[0];
    assert_eq!((agents(&cluster, key), held(&cluster)), (vec![1, 2], vec![1, 2]));
    assert_eq!(cluster.dispatch(), []);
}

#[test]
fn a_machine_with_room_for_two_is_one_machine() {
    let (mut cluster, id) = cluster(&[8], gang(2));
    assert_eq!(cluster.dispatch(), []);
    assert!(fits_nowhere(&cluster.applied, cluster.sweep(id)));
    let standing = explain(&cluster.applied, cluster.sweep(id), None, &[agent(1)]).remove(0);
    assert_eq!((standing.nodes, standing.would, standing.do_now), (2, 1, 1));
}

#[test]
fn two_that_need_the_same_machines_do_not_wait_for_each_other() {
    let (mut cluster, first) = cluster(&[1, 1, 1], gang(2));
    let second = cluster.submit(gang(2));
    let key = cluster.dispatch()[0];
    assert_eq!((key.sweep, held(&cluster)), (first, vec![1, 2]), "the other holds nothing while it waits");
    cluster.start(key);
    cluster.report(key, 1, 0.5).expect("is live");
    for rank in [0, 1] {
        cluster.finish_member(key, rank, End::Exited(0));
    }
    assert_eq!(cluster.dispatch()[0].sweep, second);
}

#[test]
fn it_is_completed_when_the_last_member_has_ended_well_and_places_are_free_as_each_does() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.start_member(key, 1);
    assert_eq!(cluster.state(id, 0), TrialState::Leased, "it runs when rank 0 does");
    cluster.start(key);
    assert_eq!(cluster.state(id, 0), TrialState::Running);
    cluster.report(key, 1, 0.5).expect("is live");
    cluster.finish_member(key, 1, End::Exited(0));
    assert_eq!((cluster.state(id, 0), held(&cluster)), (TrialState::Running, vec![1]));
    assert_eq!(cluster.op(Op::Start(Start { rank: 1, ..start(key) })), Err(stale(key)), "it has ended");
    cluster.finish_member(key, 1, End::Exited(1));
    assert_eq!(recorded(&cluster, key, "member_ended"), 1, "an end that is told twice is one");
    cluster.finish_member(key, 0, End::Exited(0));
    assert_eq!((cluster.state(id, 0), held(&cluster)), (TrialState::Completed, vec![]));
    assert_eq!(cluster.ending(id).map(|(ending, _)| ending), Some(Ending::Finished.name()));
}

fn stale(key: Key) -> Refusal {
    Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt }
}

#[test]
fn the_first_member_that_fails_decides_and_the_attempt_ends_once() {
    let (mut cluster, id) = cluster(&[1, 1, 1], gang(3).set("run", "retries", 1));
    let key = cluster.dispatch()[0];
    (0..3).for_each(|rank| cluster.start_member(key, rank));
    cluster.finish_member(key, 2, End::Exited(3));
    assert_eq!((cluster.state(id, 0), cluster.dispatch()), (TrialState::Running, vec![]), "two still run");
    let holding = Attach { holding: [key].into(), ..attach(1, 1, 0) };
    let told = cluster.op(Op::Attach(holding)).expect("attaches");
    let expected = Attached { stop: vec![key], ..Attached::default() };
    assert_eq!(told, heats_core::Reply::Attached(expected), "the others are to end");
    cluster.finish_member(key, 0, End::Stopped);
    cluster.finish_member(key, 1, End::Signaled(9));
    let trial = cluster.trial(id, 0);
    let end = trial.attempts[0].end.expect("has ended");
    assert_eq!((trial.state, trial.retries_used, end.failure), (TrialState::Waiting, 1, Some(FailureKind::Exit)));
    assert_eq!((recorded(&cluster, key, "attempt_ended"), recorded(&cluster, key, "member_ended")), (1, 3));
    let again = cluster.dispatch();
    assert_eq!(again, [Key { attempt: 2, ..key }]);
    cluster.finish_member(again[0], 1, End::Exited(65));
    cluster.finish_member(again[0], 0, End::Exited(0));
    cluster.finish_member(again[0], 2, End::Exited(0));
    assert_eq!(cluster.state(id, 0), TrialState::Infeasible, "what the first one meant is what it is");
}

#[test]
fn a_trial_whose_rank_0_measured_nothing_failed_and_the_other_ranks_need_not_measure() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.finish_member(key, 1, End::Exited(0));
    assert_eq!(cluster.state(id, 0), TrialState::Leased);
    cluster.finish_member(key, 0, End::Exited(0));
    let end = cluster.trial(id, 0).attempts[0].end.expect("has ended");
    assert_eq!((cluster.state(id, 0), end.failure), (TrialState::Failed, Some(FailureKind::NoMetric)));
}

#[test]
fn a_lost_machine_ends_the_attempt_as_node_lost_and_uses_up_no_retry() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2).set("run", "retries", 0));
    let key = cluster.dispatch()[0];
    (0..2).for_each(|rank| cluster.start_member(key, rank));
    cluster.now_ms += 7_000;
    cluster.op(Op::Expire(agent(2), 7_000)).expect("expires");
    assert_eq!((cluster.state(id, 0), held(&cluster)), (TrialState::Running, vec![1]), "the other is being stopped");
    cluster.finish_member(key, 0, End::Stopped);
    let trial = cluster.trial(id, 0);
    let end = trial.attempts[0].end.expect("has ended");
    assert_eq!((trial.state, trial.retries_used), (TrialState::Waiting, 0));
    assert_eq!((end.failure, end.ran_ms), (Some(FailureKind::NodeLost), 7_000));
    assert!(cluster.sweep(id).detail(trial).starts_with("rank 1: agent `agt_"), "{}", cluster.sweep(id).detail(trial));
    // The machine comes back with its process: that is nobody's any more.
    assert_eq!(cluster.attach_holding(2, 1, &[key]).kill, [key]);
    assert_eq!(cluster.dispatch(), [Key { attempt: 2, ..key }]);
}

#[test]
fn an_agent_that_comes_back_without_its_member_has_lost_it_and_one_that_never_got_it_is_told_again() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.start(key);
    assert_eq!(cluster.attach(2, 1).run, [key], "rank 0 runs, but rank 1 was never started");
    cluster.start_member(key, 1);
    assert_eq!(cluster.attach(2, 1), Attached::default());
    assert_eq!(held(&cluster), [1]);
    // What is to end anyway is not started, either.
    cluster.fail_over();
    assert_eq!(cluster.attach(1, 1), Attached::default());
    assert_eq!((cluster.state(id, 0), recorded(&cluster, key, "attempt_ended")), (TrialState::Waiting, 1));
}

#[test]
fn what_users_and_rules_end_ends_on_all_machines() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.op(Op::CancelTrial(id, 0)).expect("is there");
    assert_eq!(cluster.attach_holding(2, 1, &[key]).stop, [key]);
    cluster.finish_member(key, 1, End::Stopped);
    assert_eq!(cluster.ending(id), None, "one process still runs");
    cluster.finish_member(key, 0, End::Signaled(9));
    assert_eq!(cluster.state(id, 0), TrialState::Cancelled);
    assert_eq!(cluster.trial(id, 0).attempts[0].end.and_then(|end| end.failure), None);
    assert!(cluster.ending(id).is_some());
}

#[test]
fn a_drained_machine_gives_its_member_back_and_the_trial_goes_elsewhere() {
    let (mut cluster, id) = cluster(&[1, 1, 1], gang(2));
    let key = cluster.dispatch()[0];
    (0..2).for_each(|rank| cluster.start_member(key, rank));
    let drain = |now| Op::Drain(Drain { agent: agent(2), reason: String::new(), by: String::new(), now });
    cluster.op(drain(false)).expect("is there");
    assert_eq!(leaving(&cluster.applied, agent(2)), [], "what runs goes on to its end");
    cluster.op(drain(true)).expect("is there");
    assert_eq!(leaving(&cluster.applied, agent(2)), [Leaving::Whole(key)]);
    cluster.finish_member(key, 1, End::Preempted);
    cluster.finish_member(key, 0, End::Stopped);
    assert_eq!((cluster.state(id, 0), cluster.trial(id, 0).retries_used), (TrialState::Waiting, 0));
    let again = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, again), [1, 3]);
}

#[test]
fn a_backup_that_is_restored_loses_all_members_at_once() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.start(key);
    let state = begin_anew(cluster.applied.clone(), 1 << 20, 77).expect("no contradiction");
    assert_eq!(heats_core::invariants::violations(&state), []);
    let trial = state.sweeps[&id].trial(0).expect("is there");
    assert_eq!((trial.state, trial.live()), (TrialState::Waiting, None));
}

#[test]
fn only_those_to_whom_it_was_leased_may_speak_of_it_and_each_for_its_rank() {
    let (mut cluster, _) = cluster(&[1, 1, 1], gang(2));
    let key = cluster.dispatch()[0];
    let rank = |number| owned(&cluster.applied, agent(number), key);
    assert_eq!((rank(1), rank(2), rank(3)), (Ok(0), Ok(1), Err(stale(key))));
}

#[test]
fn gpu_time_is_that_of_all_members() {
    let mut cluster = Cluster::default();
    for number in [1, 2] {
        cluster.op(Op::Attach(attach(number, 8, 4))).expect("attaches");
    }
    let id = cluster.submit(gang(2).set("resources", "gpus", 3));
    let key = cluster.dispatch()[0];
    cluster.start(key);
    cluster.report(key, 1, 0.5).expect("is live");
    cluster.finish_member(key, 1, End::Exited(0));
    cluster.finish_member(key, 0, End::Exited(0));
    let ledger = cluster.sweep(id).ledger;
    assert_eq!((ledger.attempt_ms, ledger.cpu_ms, ledger.gpu_ms), (1_000, 1_000, 6_000));
}

#[test]
fn a_quota_of_gpus_counts_those_of_all_members() {
    let mut cluster = Cluster::default();
    for number in [1, 2] {
        cluster.op(Op::Attach(attach(number, 8, 4))).expect("attaches");
    }
    let quota = |gpus| heats_core::fact::QuotaSet {
        scope: heats_core::fact::QuotaScope::Project.into(),
        name: heats_domain::spec::PROJECT.into(),
        weight: 1,
        parallel: Some(1),
        gpus: Some(gpus),
        gpu_hours: None,
    };
    cluster.submit(gang(2).set("resources", "gpus", 3));
    cluster.op(Op::SetQuota(quota(5))).expect("is set");
    assert_eq!(cluster.dispatch(), [], "two times three are more than five");
    cluster.op(Op::SetQuota(quota(6))).expect("is set");
    assert_eq!(cluster.dispatch().len(), 1, "and it is one trial");
}

#[test]
fn the_machine_that_others_reach_leads_at_a_port_of_its_own() {
    let mut cluster = Cluster::default();
    let at = |number, address: &str, first_port| {
        let mut attach = attach(number, 2, 0);
        attach.inventory.rendezvous = Some(Rendezvous { address: address.into(), first_port, ports: 2 });
        Op::Attach(attach)
    };
    cluster.op(at(1, "127.0.0.1", 100)).expect("attaches");
    // Two agents of one machine.
    cluster.op(at(2, "node", 200)).expect("attaches");
    cluster.op(at(3, "node", 200)).expect("attaches");
    let mut old = attach(4, 2, 0);
    old.inventory.rendezvous = None;
    cluster.op(Op::Attach(old)).expect("attaches");
    cluster.submit(gang(2).trials(9));
    let keys = cluster.dispatch();
    let port = |cluster: &Cluster, key: Key| {
        let attempt = cluster.trial(key.sweep, key.trial).attempts.last().expect("was leased");
        attempt.gang.as_ref().expect("is one").port
    };
    let met: Vec<_> = keys.iter().map(|key| (agents(&cluster, *key), port(&cluster, *key))).collect();
    assert_eq!(met.len(), 2, "that there are two ports holds it up: {met:?}");
    assert!(met.iter().all(|(agents, _)| *agents == [2, 1]), "{met:?}");
    assert_eq!(met.iter().map(|(_, port)| *port).collect::<std::collections::BTreeSet<_>>(), [200, 201].into());
    // The next one takes the port that became free.
    cluster.finish_member(keys[0], 1, End::Exited(1));
    cluster.finish_member(keys[0], 0, End::Stopped);
    let again = cluster.dispatch()[0];
    assert_eq!(port(&cluster, again), met[0].1);
}

/// Short trials that need one machine take each place as it becomes free, and 30 seconds pass while they do.
fn crowded(priority: u32) -> (Cluster, SweepId, Vec<Key>) {
    let singles = SweepBuilder::minimize("loss").trials(1_000);
    let (mut cluster, _) = cluster(&[1, 1], singles);
    let mut running = cluster.dispatch();
    let id = cluster.submit(gang(2).top("priority", priority));
    for _ in 0..40 {
        cluster.now_ms += 1_000;
        let key = running.remove(0);
        cluster.complete(key, 0.5);
        running.extend(cluster.dispatch());
        if running.len() < 2 {
            break;
        }
    }
    (cluster, id, running)
}

#[test]
fn trials_that_need_one_machine_do_not_starve_one_that_needs_two() {
    let (mut cluster, id, running) = crowded(50);
    assert!(cluster.now_ms >= 1_000 + GRACE_MS, "before that, places are anybody's");
    assert_eq!(running.len(), 1, "the place that became free is kept");
    cluster.complete(running[0], 0.5);
    let keys = cluster.dispatch();
    assert_eq!(keys.iter().map(|key| key.sweep).collect::<Vec<_>>(), [id]);
    // And then all goes on as before.
    cluster.start(keys[0]);
    cluster.report(keys[0], 1, 0.5).expect("is live");
    (0..2).for_each(|rank| cluster.finish_member(keys[0], rank, End::Exited(0)));
    assert_eq!(cluster.dispatch().len(), 2);
}

#[test]
fn what_was_kept_for_one_is_anybodys_once_it_has_its_places_although_another_waits() {
    let (mut cluster, id, running) = crowded(50);
    let edit = Edit { trials: Some(2), ..Edit::default() };
    cluster.op(Op::Edit(id, edit)).expect("lives");
    cluster.complete(running[0], 0.5);
    let keys = cluster.dispatch();
    assert_eq!(agents(&cluster, keys[0]), [1, 2]);
    cluster.attach_holding(1, 2, &keys);
    let next = cluster.dispatch();
    assert_eq!((next.len(), next[0].sweep == id), (1, false), "its second one waits anew");
}

#[test]
fn places_that_are_kept_are_anybodys_again_when_nobody_waits_for_them() {
    let (mut cluster, id, _) = crowded(50);
    cluster.control(id, Verb::Cancel).expect("lives");
    assert_eq!(cluster.dispatch().len(), 1);
}

#[test]
fn a_higher_priority_takes_the_places_of_lower_ones_on_as_many_machines_as_it_needs() {
    let (mut cluster, id) = cluster(&[1, 1, 1], SweepBuilder::minimize("loss").trials(9).top("priority", 10));
    let low = cluster.dispatch();
    assert_eq!(low.len(), 3);
    let high = cluster.submit(gang(2).top("priority", 90));
    assert_eq!(cluster.dispatch(), []);
    cluster.now_ms += GRACE_MS;
    cluster.dispatch();
    let asked: Vec<Key> =
        (1..=3).flat_map(|number| leaving(&cluster.applied, agent(number))).map(Leaving::key).collect();
    assert_eq!(asked.len(), 2, "not the third");
    cluster.finish(asked[0], End::Preempted);
    assert_eq!(cluster.dispatch(), [], "nobody takes one of them meanwhile");
    cluster.finish(asked[1], End::Preempted);
    let keys = cluster.dispatch();
    assert_eq!((keys.len(), keys[0].sweep), (1, high));
    assert_eq!(cluster.trial(id, asked[0].trial).retries_used, 0);
}

#[test]
fn a_trial_that_spans_machines_is_asked_for_all_its_places_at_once_and_is_preempted_once() {
    let (mut cluster, id) = cluster(&[1, 1], gang(2).top("priority", 10));
    let key = cluster.dispatch()[0];
    (0..2).for_each(|rank| cluster.start_member(key, rank));
    let high = cluster.submit(SweepBuilder::minimize("loss").trials(1).top("priority", 90));
    cluster.dispatch();
    cluster.now_ms += GRACE_MS;
    cluster.dispatch();
    let asked = |number| leaving(&cluster.applied, agent(number));
    assert_eq!((asked(1), asked(2)), (vec![Leaving::Recalled(key, high)], vec![Leaving::Recalled(key, high)]));
    cluster.finish_member(key, 1, End::Preempted);
    cluster.finish_member(key, 0, End::Preempted);
    let trial = cluster.trial(id, 0);
    let end = trial.attempts[0].end.expect("has ended");
    assert_eq!((trial.state, end.failure), (TrialState::Waiting, Some(FailureKind::Preempted)));
    assert_eq!((trial.retries_used, recorded(&cluster, key, "attempt_ended")), (0, 1));
    assert_eq!(cluster.dispatch()[0].sweep, high);
}

#[test]
fn a_variant_on_one_machine_is_taken_where_there_are_not_two() {
    let variants = json!([{ "nodes": 2 }, { "cpus": 1 }]);
    let (mut cluster, _) = cluster(&[1], SweepBuilder::minimize("loss").trials(2).top("resources", variants));
    let key = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, key), [1]);
    cluster.attach(2, 1);
    cluster.attach(3, 1);
    let key = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, key), [2, 3]);
}

#[test]
fn a_snapshot_makes_a_gang_again_in_the_middle_of_its_end() {
    let (mut cluster, _) = cluster(&[1, 1], gang(2));
    let key = cluster.dispatch()[0];
    cluster.start_member(key, 1);
    cluster.finish_member(key, 1, End::Exited(1));
    let records = cluster.applied.records().map(|record| record.as_ref().clone());
    let again = heats_core::State::from_records(cluster.applied.applied, cluster.applied.turn, records);
    let again = again.expect("restores");
    assert_eq!(again.hash(), cluster.applied.hash());
    assert_eq!(again.leases.get(&agent(1)), cluster.applied.leases.get(&agent(1)));
    assert_eq!(again.sweeps[&key.sweep].trials, cluster.sweep(key.sweep).trials);
    assert!(matches!(
        cluster.entries.last().and_then(|entry| entry.facts[0].fact.as_ref()),
        Some(Fact::MemberEnded(_))
    ));
}

/// The first attempt that is leased to several agents fails on the one of this rank, and the others are told to end.
fn fail(cluster: &mut Cluster, key: Key, rank: u32) {
    let nodes = agents(cluster, key).len() as u32;
    (0..nodes).for_each(|rank| cluster.start_member(key, rank));
    cluster.now_ms += 1_000;
    cluster.finish_member(key, rank, End::Exited(1));
    (0..nodes).filter(|other| *other != rank).for_each(|other| cluster.finish_member(key, other, End::Stopped));
}

#[test]
fn a_retry_avoids_the_machine_of_the_member_that_failed_and_waits_for_no_other() {
    let (mut cluster, id) = cluster(&[1, 1, 1], gang(2).set("run", "retries", 2));
    let key = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, key), [1, 2]);
    fail(&mut cluster, key, 1);
    let key = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, key), [1, 3], "not where its rank 1 was");
    fail(&mut cluster, key, 0);
    cluster.leading.detach(agent(3));
    let key = cluster.dispatch()[0];
    assert_eq!(agents(&cluster, key), [1, 2], "both are avoided, and nothing else is there");
    fail(&mut cluster, key, 0);
    assert_eq!(cluster.state(id, 0), TrialState::Failed);
}

#[test]
fn a_gang_that_fails_makes_no_machine_a_suspect_and_its_configuration_is_not_to_blame() {
    let builder = gang(2).trials(24).set("run", "retries", 0).set("budget", "max_failures", 24);
    let (mut cluster, id) = cluster(&[1, 1, 1, 1], builder);
    while let keys = cluster.dispatch()
        && !keys.is_empty()
    {
        for key in keys {
            match agents(&cluster, key).iter().position(|agent| *agent == 1) {
                Some(rank) => fail(&mut cluster, key, rank as u32),
                None => {
                    cluster.start(key);
                    cluster.report(key, 1, 0.5).expect("is live");
                    (0..2).for_each(|rank| cluster.finish_member(key, rank, End::Exited(0)));
                }
            }
        }
    }
    let counts = &cluster.sweep(id).counts;
    assert_eq!((counts.of(TrialState::Failed), counts.of(TrialState::Completed)), (12, 12));
    assert!(cluster.applied.quarantines.is_empty() && cluster.sweep(id).tallies.is_empty());
}

/// Trials of one machine fail on agent 1 and work on agent 2, until agent 1 is left alone and its time is over.
fn quarantined() -> Cluster {
    let (mut cluster, id) = cluster(&[], SweepBuilder::minimize("loss").trials(9).set("run", "retries", 0));
    cluster.attach(2, 1);
    let works = cluster.dispatch()[0];
    cluster.start(works);
    cluster.attach(1, 3);
    for key in cluster.dispatch() {
        cluster.start(key);
        cluster.now_ms += 1_000;
        cluster.finish(key, End::Exited(1));
    }
    let (quarantine, _) = cluster.applied.quarantine(Part::machine(agent(1))).expect("is suspected");
    cluster.now_ms = quarantine.until_ms;
    cluster.control(id, Verb::Cancel).expect("lives");
    cluster.finish(works, End::Stopped);
    cluster
}

#[test]
fn a_quarantined_machine_is_one_of_a_gangs_and_released_where_that_ends_well_on_all() {
    for (rank, end, is_released) in [(0, End::Exited(0), true), (1, End::Exited(1), false)] {
        let mut cluster = quarantined();
        let id = cluster.submit(gang(2).trials(2).set("run", "retries", 0));
        let keys = cluster.dispatch();
        assert_eq!(keys.len(), 1, "one at a time");
        assert_eq!(agents(&cluster, keys[0]), [1, 2]);
        (0..2).for_each(|rank| cluster.start_member(keys[0], rank));
        cluster.report(keys[0], 1, 0.5).expect("is live");
        assert!(
            cluster.applied.quarantine(Part::machine(agent(1))).is_some(),
            "rank 0's word says nothing of the others"
        );
        cluster.finish_member(keys[0], rank, end);
        cluster.finish_member(keys[0], 1 - rank, if is_released { End::Exited(0) } else { End::Stopped });
        assert_eq!(cluster.applied.quarantine(Part::machine(agent(1))).is_none(), is_released);
        assert_eq!(cluster.state(id, 0) == TrialState::Completed, is_released);
        assert_eq!(cluster.dispatch().len(), 1, "another one is tried");
    }
}

#[test]
fn places_are_kept_while_the_searcher_thinks_of_the_trial() {
    let (mut cluster, id, running) = crowded(50);
    cluster.complete(running[0], 0.5);
    cluster.suggestions.next.push_back(Offer::Later);
    assert_eq!(cluster.dispatch(), [], "it has its places, and nothing to run there");
    assert_eq!(cluster.dispatch().iter().map(|key| key.sweep).collect::<Vec<_>>(), [id]);
}

#[test]
fn places_are_kept_elsewhere_once_a_machine_that_was_kept_comes_back_too_small() {
    let (mut cluster, id) = cluster(&[2, 2, 2], SweepBuilder::minimize("loss").trials(1_000));
    cluster.dispatch();
    let waiting = cluster.submit(gang(2).set("resources", "cpus", 2));
    cluster.dispatch();
    cluster.now_ms += GRACE_MS;
    cluster.dispatch();
    let holding: Vec<Key> = cluster.applied.leases[&agent(1)]
        .iter()
        .map(|((sweep, trial), lease)| Key { sweep: *sweep, trial: *trial, attempt: lease.attempt })
        .collect();
    cluster.attach_holding(1, 1, &holding);
    cluster.dispatch();
    for key in live(&cluster, id) {
        cluster.complete(key, 0.5);
    }
    let keys = cluster.dispatch();
    let own = keys.iter().find(|key| key.sweep == waiting).expect("has its places");
    assert_eq!(agents(&cluster, *own), [2, 3]);
}

/// The attempts of a sweep that run.
fn live(cluster: &Cluster, id: SweepId) -> Vec<Key> {
    let sweep = cluster.sweep(id);
    let of = |number: &u32| {
        let (attempt, _) = sweep.trial(*number)?.live()?;
        Some(Key { sweep: id, trial: *number, attempt })
    };
    sweep.live.iter().filter_map(of).collect()
}

#[test]
fn nothing_is_kept_for_whom_a_quota_holds_back() {
    let singles = SweepBuilder::minimize("loss").trials(1_000).set("resources", "gpus", 1);
    let mut cluster = Cluster::default();
    (1..=2).for_each(|number| _ = cluster.op(Op::Attach(attach(number, 1, 1))).expect("attaches"));
    let others = cluster.submit(singles);
    let running = cluster.dispatch();
    cluster.submit(gang(2).set("resources", "gpus", 1).top("project", "held"));
    cluster.dispatch();
    cluster.now_ms += GRACE_MS;
    cluster.dispatch();
    cluster.complete(running[0], 0.5);
    assert_eq!(cluster.dispatch(), [], "the place is kept");
    let (scope, name) = (QuotaScope::Project.into(), "held".to_owned());
    cluster
        .op(Op::SetQuota(QuotaSet { scope, name, weight: 1, gpus: Some(1), ..QuotaSet::default() }))
        .expect("is set");
    assert_eq!(cluster.dispatch().iter().map(|key| key.sweep).collect::<Vec<_>>(), [others]);
}
