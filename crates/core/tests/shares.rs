//! Who goes first: priorities, fair shares, quotas, and places that are taken from lower priorities.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::fact::{QuotaScope, QuotaSet};
use heats_core::ops::agent_drain::{Leaving, leaving};
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Key};
use heats_core::ops::control::Edit;
use heats_core::ops::submit::Submit;
use heats_core::placement::preempt::GRACE_MS;
use heats_core::testing::{Cluster, SweepBuilder, attach, submit};
use heats_core::{Fact, Op};
use heats_domain::{AgentId, Inventory, SweepId, TrialState};
use proptest::prelude::*;
use serde_json::json;

fn sweep(trials: u32) -> SweepBuilder {
    SweepBuilder::minimize("loss").trials(trials)
}

/// A sweep of a user; ids count up.
fn of_user(cluster: &mut Cluster, id: u64, user: &str, builder: SweepBuilder) -> SweepId {
    let sweep = SweepId { bits: id };
    let submit = Submit { user: user.into(), ..submit(sweep, id, builder) };
    cluster.op(Op::Submit(Box::new(submit))).expect("is submitted");
    sweep
}

fn quota(scope: QuotaScope, name: &str) -> QuotaSet {
    let (parallel, gpus, gpu_hours) = (None, None, None);
    QuotaSet { scope: scope.into(), name: name.into(), weight: 1, parallel, gpus, gpu_hours }
}

fn live(cluster: &Cluster, sweep: SweepId) -> usize {
    cluster.sweep(sweep).live.len()
}

/// The time passes that a sweep waits before others lose their place; what is asked of agents then.
fn wait(cluster: &mut Cluster) -> Vec<Leaving> {
    cluster.dispatch();
    cluster.now_ms += GRACE_MS;
    cluster.dispatch();
    let agents: Vec<AgentId> = cluster.applied.agents.keys().copied().collect();
    agents.into_iter().flat_map(|agent| leaving(&cluster.applied, agent)).collect()
}

#[test]
fn a_higher_priority_goes_first_and_can_be_given_later() {
    let mut cluster = Cluster::default();
    let usual = cluster.submit(sweep(9));
    let urgent = cluster.submit(sweep(2).top("priority", 80));
    cluster.attach(1, 3);
    cluster.dispatch();
    assert_eq!((live(&cluster, urgent), live(&cluster, usual)), (2, 1));
    let late = cluster.submit(sweep(9));
    cluster.op(Op::Edit(late, Edit { priority: Some(60), ..Edit::default() })).expect("is allowed");
    cluster.attach(2, 2);
    cluster.dispatch();
    assert_eq!((live(&cluster, late), live(&cluster, usual)), (2, 1));
    let refused = cluster.op(Op::Edit(late, Edit { priority: Some(101), ..Edit::default() }));
    assert!(refused.is_err_and(|refusal| refusal.to_string().contains("from 0 to 100")));
}

#[test]
fn projects_share_evenly_however_many_sweeps_each_has_and_users_within_them() {
    let mut cluster = Cluster::default();
    let vision = |builder: SweepBuilder| builder.top("project", "vision");
    let of_ann: Vec<SweepId> = (1..=3).map(|id| of_user(&mut cluster, id, "ann", vision(sweep(99)))).collect();
    let of_bob = of_user(&mut cluster, 4, "bob", vision(sweep(99)));
    let speech = of_user(&mut cluster, 5, "ann", sweep(99).top("project", "speech"));
    cluster.attach(1, 12);
    cluster.dispatch();
    assert_eq!(of_ann.iter().map(|id| live(&cluster, *id)).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!((live(&cluster, of_bob), live(&cluster, speech)), (3, 6));
}

#[test]
fn a_weight_is_so_many_shares_and_memory_counts_where_it_is_the_larger_share() {
    let mut cluster = Cluster::default();
    cluster.op(Op::SetQuota(QuotaSet { weight: 3, ..quota(QuotaScope::Project, "vision") })).expect("is set");
    let vision = cluster.submit(sweep(99).top("project", "vision"));
    let speech = cluster.submit(sweep(99).top("project", "speech"));
    cluster.attach(1, 8);
    cluster.dispatch();
    assert_eq!((live(&cluster, vision), live(&cluster, speech)), (6, 2));
    // A trial of `large` takes a quarter of the memory and a 16th of the processors.
    let mut cluster = Cluster::default();
    let large = cluster.submit(sweep(99).top("project", "a").set("resources", "memory", "256MiB"));
    let small = cluster.submit(sweep(99).top("project", "b"));
    cluster.attach(1, 16);
    cluster.dispatch();
    assert_eq!((live(&cluster, large), live(&cluster, small)), (4, 12));
    assert!(cluster.trial(small, 3).attempts[0].grant.memory == 0, "four shares of a 16th are one of a quarter");
}

#[test]
fn nobody_runs_more_than_a_quota_says_and_the_rest_goes_to_the_others() {
    let mut cluster = Cluster::default();
    let limited = QuotaSet { parallel: Some(2), ..quota(QuotaScope::User, "ann") };
    cluster.op(Op::SetQuota(limited.clone())).expect("is set");
    let ann: Vec<SweepId> = (1..=2).map(|id| of_user(&mut cluster, id, "ann", sweep(99))).collect();
    let bob = of_user(&mut cluster, 3, "bob", sweep(4));
    cluster.attach(1, 8);
    cluster.dispatch();
    assert_eq!((live(&cluster, ann[0]), live(&cluster, ann[1]), live(&cluster, bob)), (1, 1, 4));
    // The quota is another leader's as well, and ends where it is taken back.
    cluster.fail_over();
    let holding: Vec<Key> = [(ann[0], 0), (ann[1], 0), (bob, 0), (bob, 1), (bob, 2), (bob, 3)]
        .map(|(sweep, trial)| Key { sweep, trial, attempt: 1 })
        .into();
    cluster.attach_holding(1, 8, &holding);
    assert_eq!(cluster.dispatch(), []);
    cluster.op(Op::RemoveQuota(QuotaScope::User, "ann".into())).expect("is removed");
    assert_eq!(cluster.dispatch().len(), 2);
    assert_eq!(cluster.applied.all_quotas().count(), 0);
}

#[test]
fn gpus_and_their_hours_are_counted_to_the_hundredth() {
    let mut cluster = Cluster::default();
    let limits = QuotaSet { gpus: Some(1), gpu_hours: Some(0.001), ..quota(QuotaScope::Project, "default") };
    cluster.op(Op::SetQuota(limits)).expect("is set");
    cluster.op(Op::Attach(attach(1, 16, 4))).expect("attaches");
    let id = cluster.submit(sweep(99).set("resources", "gpus", 0.4));
    let keys = cluster.dispatch();
    assert_eq!(keys.len(), 2, "a third would be 1.2 GPUs");
    // 0.8 GPUs for 4.5 seconds are the 3.6 seconds of a thousandth of an hour.
    cluster.now_ms += 4_500;
    for key in &keys {
        cluster.start(*key);
        cluster.op(Op::Finish(heats_core::testing::finish(*key, End::Lost, 4_500))).expect("ends");
    }
    assert_eq!((cluster.dispatch(), cluster.sweep(id).waiting.len()), (vec![], 2));
    cluster.fail_over();
    cluster.op(Op::Attach(attach(1, 16, 4))).expect("attaches");
    assert_eq!(cluster.dispatch(), []);
    cluster.op(Op::SetQuota(quota(QuotaScope::Project, "default"))).expect("is set");
    assert_eq!(cluster.dispatch().len(), 8, "two on each GPU");
}

#[test]
fn whoever_waits_long_takes_the_latest_place_of_the_lowest_priority() {
    let mut cluster = Cluster::default();
    let low = cluster.submit(sweep(1).top("priority", 10));
    cluster.attach(1, 1);
    let old = cluster.dispatch()[0];
    cluster.now_ms += 1;
    let lower = cluster.submit(sweep(2).top("priority", 9));
    cluster.attach(2, 1);
    cluster.dispatch();
    cluster.now_ms += 1;
    cluster.attach(3, 1);
    let latest = cluster.dispatch()[0];
    cluster.start(latest);
    cluster.report(latest, 1, 0.5).expect("is live");
    let urgent = cluster.submit(sweep(1).top("priority", 80));
    cluster.dispatch();
    cluster.now_ms += GRACE_MS - 1;
    cluster.dispatch();
    assert_eq!(leaving(&cluster.applied, AgentId { bits: 3 }), [], "not before its time");
    assert_eq!(wait(&mut cluster), [Leaving::Recalled(latest, urgent)]);
    assert_eq!(wait(&mut cluster).len(), 1, "one place is all that it can use");
    // Neither another leader nor the agent forgets it.
    cluster.fail_over();
    for (agent, key) in [(1, old), (2, Key { sweep: lower, trial: 0, attempt: 1 }), (3, latest)] {
        cluster.attach_holding(agent, 1, &[key]);
    }
    assert_eq!(leaving(&cluster.applied, AgentId { bits: 3 }), [Leaving::Recalled(latest, urgent)]);
    cluster.finish(latest, End::Preempted);
    let keys = cluster.dispatch();
    assert_eq!(keys.iter().map(|key| key.sweep).collect::<Vec<_>>(), [urgent]);
    // What lost its place waits, has used up no retry, and goes on where there is a place again.
    assert_eq!((cluster.state(lower, 1), cluster.trial(lower, 1).retries_used), (TrialState::Waiting, 0));
    cluster.complete(keys[0], 0.5);
    assert_eq!(cluster.dispatch(), [Key { attempt: 2, ..latest }]);
    assert_eq!((live(&cluster, low), cluster.trial(lower, 1).last_step), (1, Some(1)));
}

#[test]
fn nobody_takes_a_place_of_the_same_priority() {
    let mut cluster = Cluster::default();
    cluster.submit(sweep(9));
    cluster.attach(1, 2);
    cluster.dispatch();
    cluster.submit(sweep(9));
    assert_eq!(wait(&mut cluster), []);
}

#[test]
fn a_place_that_needs_several_ends_is_kept_until_all_have_come() {
    let mut cluster = Cluster::default();
    let low = cluster.submit(sweep(99).top("priority", 1));
    cluster.attach(1, 2);
    cluster.attach(2, 3);
    let keys = cluster.dispatch();
    assert_eq!(keys.len(), 5);
    let large = cluster.submit(sweep(1).top("priority", 80).set("resources", "cpus", 2));
    let asked = wait(&mut cluster);
    let asked: Vec<Key> = asked.into_iter().map(Leaving::key).collect();
    assert_eq!(asked.len(), 2);
    cluster.finish(asked[0], End::Preempted);
    assert_eq!(cluster.dispatch(), [], "the half of it is not given to those of a lower priority");
    cluster.finish(asked[1], End::Preempted);
    assert_eq!(cluster.dispatch().iter().map(|key| key.sweep).collect::<Vec<_>>(), [large]);
    assert_eq!(live(&cluster, low), 3);
}

#[test]
fn a_trial_that_was_leased_ahead_does_not_get_the_place_that_is_made() {
    let mut cluster = Cluster::default();
    cluster.submit(sweep(99).top("priority", 1));
    cluster.attach(1, 1);
    for _ in 0..2 {
        let key = cluster.dispatch_ahead()[0];
        cluster.report(key, 1, 0.5).expect("is live");
        cluster.op(Op::Finish(heats_core::testing::finish(key, End::Exited(0), 5))).expect("ends");
    }
    let keys = cluster.dispatch_ahead();
    assert_eq!(keys.len(), 2, "one runs, and one waits for its place");
    let urgent = cluster.submit(sweep(1).top("priority", 80));
    assert_eq!(wait(&mut cluster).len(), 2);
    cluster.finish(keys[0], End::Preempted);
    assert_eq!(cluster.dispatch_ahead().iter().map(|key| key.sweep).collect::<Vec<_>>(), [urgent]);
    cluster.finish(keys[1], End::Preempted);
}

/// What a sweep of the property test is like: trials, priority, project, user, processors, hundredths of GPUs.
type Kind = (u32, u32, usize, usize, u32, u32);

const PROJECTS: [&str; 3] = ["a", "b", "c"];
const USERS: [&str; 2] = ["ann", "bob"];

fn kind() -> impl Strategy<Value = Kind> {
    (1..12_u32, 0..3_u32, 0..3_usize, 0..2_usize, 1..4_u32, prop_oneof![Just(0_u32), 1..100_u32, Just(100), Just(200)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever ends in whatever order: every sweep that fits comes to its end, no quota is exceeded, and no device is given
    /// twice (which the cluster's own invariants say after every turn).
    #[test]
    fn every_sweep_that_fits_comes_to_its_end_and_no_quota_is_exceeded(
        kinds in proptest::collection::vec(kind(), 1..8),
        agents in proptest::collection::vec((1..6_u32, 0..3_u32), 1..5),
        limits in proptest::collection::vec((1..4_u32, 1..6_u32, proptest::option::of(2..4_u32)), 3),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 256),
    ) {
        let mut cluster = Cluster::default();
        for (project, (weight, parallel, gpus)) in PROJECTS.into_iter().zip(&limits) {
            let quota = QuotaSet {
                weight: *weight,
                parallel: Some(*parallel),
                gpus: *gpus,
                ..quota(QuotaScope::Project, project)
            };
            cluster.op(Op::SetQuota(quota)).expect("is set");
        }
        // One that holds every trial.
        cluster.op(Op::Attach(attach(99, 4, 2))).expect("attaches");
        for (number, (cpus, gpus)) in agents.iter().enumerate() {
            cluster.op(Op::Attach(attach(number as u64 + 1, *cpus, *gpus))).expect("attaches");
        }
        for (number, (trials, priority, project, user, cpus, gpus)) in kinds.iter().enumerate() {
            let resources = json!({ "cpus": cpus, "gpus": f64::from(*gpus) / 100.0 });
            let builder = sweep(*trials).top("priority", *priority).top("project", PROJECTS[*project]);
            of_user(&mut cluster, number as u64 + 1, USERS[*user], builder.top("resources", resources));
        }
        let mut running: BTreeSet<Key> = BTreeSet::new();
        let mut picks = picks.iter().cycle();
        // Every end completes a trial, unless its place was asked for: then it is tried again, which a higher priority
        // that runs pays for.
        let trials: u32 = kinds.iter().map(|kind| kind.0).sum();
        for _ in 0..20 * trials {
            running.extend(cluster.dispatch());
            for (project, (_, parallel, gpus)) in PROJECTS.into_iter().zip(&limits) {
                let held: Vec<u64> = cluster.applied.leases.values().flatten()
                    .filter(|((sweep, _), _)| cluster.sweep(*sweep).project() == project)
                    .map(|(_, lease)| lease.grant.gpu_hundredths())
                    .collect();
                prop_assert!(held.len() <= *parallel as usize, "{project} runs {}", held.len());
                prop_assert!(gpus.is_none_or(|most| held.iter().sum::<u64>() <= u64::from(most) * 100));
            }
            let Some(pick) = picks.next().filter(|_| !running.is_empty()) else { break };
            let keys: Vec<Key> = running.iter().copied().collect();
            let key = keys[pick.index(keys.len())];
            running.remove(&key);
            let agent = cluster.trial(key.sweep, key.trial).attempts.last().expect("was leased").agent;
            if leaving(&cluster.applied, agent).iter().any(|leaving| leaving.key() == key) {
                cluster.finish(key, End::Preempted);
            } else {
                cluster.complete(key, 0.5);
            }
            cluster.now_ms += GRACE_MS / 4;
        }
        for sweep in cluster.applied.sweeps.values() {
            prop_assert!(sweep.is_ended(), "{} waits for ever: {:?} {:?}", sweep.id, sweep.counts, sweep.spec.variants());
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// With more to do than places, each project has its share of them, to a trial.
    #[test]
    fn in_the_long_run_each_project_holds_its_share_to_a_trial(
        weights in proptest::collection::vec(1..5_u32, 3),
        sweeps in proptest::collection::vec(1..4_u64, 3),
        places in 6..40_u32,
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        let mut cluster = Cluster::default();
        let mut id = 0;
        for ((project, weight), sweeps) in PROJECTS.into_iter().zip(&weights).zip(&sweeps) {
            let quota = QuotaSet { weight: *weight, ..quota(QuotaScope::Project, project) };
            cluster.op(Op::SetQuota(quota)).expect("is set");
            for _ in 0..*sweeps {
                id += 1;
                of_user(&mut cluster, id, "ann", sweep(1_000).top("project", project));
            }
        }
        cluster.attach(1, places);
        let mut running: BTreeSet<Key> = BTreeSet::new();
        for pick in picks {
            running.extend(cluster.dispatch());
            let mut held: BTreeMap<&str, u32> = BTreeMap::new();
            for key in &running {
                *held.entry(cluster.sweep(key.sweep).project()).or_default() += 1;
            }
            let all: u32 = weights.iter().sum();
            for (project, weight) in PROJECTS.into_iter().zip(&weights) {
                let ideal = f64::from(places) * f64::from(*weight) / f64::from(all);
                let held = f64::from(held.get(project).copied().unwrap_or(0));
                prop_assert!((held - ideal).abs() <= 1.5, "{project} holds {held}, and its share is {ideal}");
            }
            let keys: Vec<Key> = running.iter().copied().collect();
            let key = keys[pick.index(keys.len())];
            running.remove(&key);
            cluster.complete(key, 0.5);
        }
    }
}

/// A thousand agents and a hundred sweeps of ten projects, in virtual time: an end after the other, until all is done.
#[test]
fn a_thousand_agents_run_a_hundred_sweeps_to_their_end() {
    use heats_core::dispatch::Suggestions;
    use heats_core::testing::{Scripted, leased};
    use heats_core::{Leading, State};

    let mut leading = Leading::new(1, 0, State::default());
    let mut suggestions = Scripted::default();
    let decide = |leading: &mut Leading, op| leading.decide(op).expect("no contradiction").expect("is not refused");
    for agent in 1..=1_000 {
        let attach = attach(agent, 4, 2);
        let inventory = Inventory { memory: 1 << 36, ..attach.inventory.clone() };
        decide(&mut leading, Op::Attach(Attach { inventory, ..attach }));
    }
    let sweeps: Vec<SweepId> = (1..=100).map(|bits| SweepId { bits }).collect();
    for sweep in &sweeps {
        let number = sweep.bits;
        let gpus = [0.0, 0.5, 1.0, 2.0][(number % 4) as usize];
        let builder = self::sweep(60).top("project", format!("p{}", number % 10)).top("priority", number % 3).set(
            "resources",
            "gpus",
            gpus,
        );
        decide(&mut leading, Op::Submit(Box::new(submit(*sweep, number, builder))));
    }
    leading.finish();
    let mut running: BTreeMap<u64, Vec<Key>> = BTreeMap::new();
    let (mut now_ms, mut starts, mut longest) = (1_000_u64, 0, BTreeMap::<SweepId, u64>::new());
    loop {
        leading.begin(now_ms);
        leading.dispatch(&mut suggestions as &mut dyn Suggestions).expect("no contradiction");
        let facts = leading.finish().map(|entry| entry.facts).unwrap_or_default();
        for key in facts.iter().filter_map(|cell| cell.fact.as_ref()).filter_map(leased) {
            longest.entry(key.sweep).or_insert(now_ms);
            starts += 1;
            let takes = 60_000 + (key.sweep.bits * 31 + u64::from(key.trial) * 17) % 60_000;
            running.entry(now_ms + takes).or_default().push(key);
        }
        let Some((at_ms, keys)) = running.pop_first() else { break };
        now_ms = at_ms;
        leading.begin(now_ms);
        for key in keys {
            let Some((_, attempt)) = leading.draft().sweeps[&key.sweep].trial(key.trial).and_then(|trial| trial.live())
            else {
                continue;
            };
            let asked = leaving(leading.draft(), attempt.agent).iter().any(|leaving| leaving.key() == key);
            let end = if asked { End::Preempted } else { End::Exited(0) };
            if !asked {
                decide(&mut leading, Op::Report(key, 1, heats_core::testing::metrics(0.5)));
            }
            decide(&mut leading, Op::Finish(heats_core::testing::finish(key, end, 1_000)));
        }
    }
    let state = leading.draft();
    assert!(state.sweeps.values().all(|sweep| sweep.is_ended()), "none is left waiting");
    assert!(starts >= 6_000, "{starts}");
    assert_eq!(heats_core::invariants::violations(state), []);
    let records = state.sweeps.values().flat_map(|sweep| sweep.journal.iter());
    assert!(records.filter(|record| matches!(record.cell.fact, Some(Fact::AttemptEnded(_)))).count() >= 6_000);
    let last = longest.values().max().expect("all started");
    assert!(*last <= 600_000, "the last sweep started after {last} ms of virtual time");
}
