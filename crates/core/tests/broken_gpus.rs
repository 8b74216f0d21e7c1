//! One broken GPU of several: it is left alone by itself, and its machine goes on with the others.

use heats_core::health::Part;
use heats_core::ops::agent_drain::{Leaving, leaving};
use heats_core::ops::attempts::{End, Key};
use heats_core::ops::quarantine::{FAULTY_MS, SUSPECT_MS};
use heats_core::testing::{Cluster, SweepBuilder, attach};
use heats_core::{Fact, Op};
use heats_domain::{AgentId, SweepId, TrialState};

const A: AgentId = AgentId { bits: 1 };
const B: AgentId = AgentId { bits: 2 };
const BROKEN: u32 = 2;

/// A cluster of one machine with so many GPUs, and a sweep of trials that take one each, without retries.
fn cluster(gpus: u32) -> (Cluster, SweepId) {
    let mut cluster = Cluster::default();
    let builder = SweepBuilder::minimize("loss").trials(999).set("resources", "gpus", 1).set("run", "retries", 0);
    let id = cluster.submit(builder);
    cluster.op(Op::Attach(attach(1, 64, gpus))).expect("attaches");
    (cluster, id)
}

/// The GPU that an attempt holds.
fn gpu(cluster: &Cluster, key: Key) -> u32 {
    cluster.trial(key.sweep, key.trial).attempts[key.attempt as usize - 1].grant.gpus[0]
}

/// What is leased now begins, fails after a second on the broken GPU, and does well on the others.
fn round(cluster: &mut Cluster) -> Vec<u32> {
    let keys = cluster.dispatch();
    keys.iter().for_each(|key| cluster.start(*key));
    cluster.now_ms += 1_000;
    let gpus: Vec<u32> = keys.iter().map(|key| gpu(cluster, *key)).collect();
    for (key, gpu) in keys.into_iter().zip(&gpus) {
        if *gpu == BROKEN { cluster.finish(key, End::Signaled(11)) } else { cluster.complete(key, 0.5) }
    }
    gpus
}

fn quarantine(cluster: &Cluster, part: Part) -> Option<(bool, u64)> {
    cluster.applied.quarantine(part).map(|(fact, _)| (fact.proven, fact.delay_ms))
}

#[test]
fn a_gpu_that_fails_every_trial_is_left_alone_and_the_others_of_its_machine_are_given_on() {
    let (mut cluster, id) = cluster(8);
    let broken = Part::gpu(A, BROKEN);
    let mut rounds = 0;
    while quarantine(&cluster, broken).is_none() {
        assert_eq!(round(&mut cluster).len(), 8);
        rounds += 1;
        assert!(rounds < 10, "it is found soon");
    }
    assert_eq!((rounds, quarantine(&cluster, Part::machine(A))), (3, None));
    // Seven others did well all the time, so that it is as good as certain at once, and what failed counts for nothing.
    assert_eq!(quarantine(&cluster, broken), Some((true, FAULTY_MS)));
    assert_eq!((cluster.sweep(id).counts.of(TrialState::Failed), cluster.sweep(id).waiting.len()), (0, 3));
    let why = &cluster.applied.quarantine(broken).expect("is known").0.why;
    assert!(why.starts_with("3 different trials in a row failed there (signal); on other GPUs 0 of "), "{why}");
    for _ in 0..4 {
        let gpus = round(&mut cluster);
        assert!(gpus.len() == 7 && !gpus.contains(&BROKEN), "{gpus:?}");
    }
    // Every leader knows it.
    cluster.fail_over();
    cluster.op(Op::Attach(attach(1, 64, 8))).expect("attaches");
    assert!(!round(&mut cluster).contains(&BROKEN));
    let of_the_machine = |entry: &heats_core::Entry| {
        entry.facts.iter().any(|cell| matches!(cell.fact, Some(Fact::AgentQuarantined(_) | Fact::AgentReleased(_))))
    };
    assert!(!cluster.entries.iter().any(of_the_machine), "its machine was never in doubt");
}

#[test]
fn it_is_tried_with_one_trial_when_its_time_is_over_and_trusted_again_when_that_works() {
    let (mut cluster, _) = cluster(8);
    let broken = Part::gpu(A, BROKEN);
    (0..3).for_each(|_| drop(round(&mut cluster)));
    cluster.now_ms += FAULTY_MS;
    assert_eq!(round(&mut cluster).len(), 8, "its probe fails");
    assert_eq!(quarantine(&cluster, broken), Some((true, 2 * FAULTY_MS)));
    assert_eq!(round(&mut cluster).len(), 7);
    cluster.now_ms += 2 * FAULTY_MS;
    let keys = cluster.dispatch();
    let probe = keys.iter().find(|key| gpu(&cluster, **key) == BROKEN).expect("it is tried again");
    cluster.report(*probe, 1, 0.5).expect("is live");
    assert_eq!(quarantine(&cluster, broken), None);
}

#[test]
fn whoever_releases_the_agent_releases_its_gpus() {
    let (mut cluster, _) = cluster(8);
    (0..3).for_each(|_| drop(round(&mut cluster)));
    cluster.op(Op::Release { agent: A, by: "ann@desk".into() }).expect("is there");
    assert_eq!(quarantine(&cluster, Part::gpu(A, BROKEN)), None);
    assert_eq!(cluster.dispatch().len(), 8);
}

#[test]
fn what_was_leased_on_it_and_has_not_begun_is_asked_back() {
    let mut cluster = Cluster::default();
    let builder = SweepBuilder::minimize("loss").trials(999).set("resources", "gpus", 0.25);
    let id = cluster.submit(builder);
    cluster.op(Op::Attach(attach(1, 64, 2))).expect("attaches");
    let keys = cluster.dispatch();
    let (here, there): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| gpu(&cluster, *key) == 0);
    there.iter().for_each(|key| cluster.complete(*key, 0.5));
    here.iter().take(3).for_each(|key| cluster.finish(*key, End::StartFailed));
    assert!(quarantine(&cluster, Part::gpu(A, 0)).is_some(), "{:?}", cluster.sweep(id).tallies);
    assert_eq!(leaving(&cluster.applied, A), [Leaving::Unstarted(here[3])]);
}

#[test]
fn a_machine_on_which_every_gpu_fails_is_left_alone_as_a_whole() {
    let (mut cluster, _) = cluster(8);
    cluster.op(Op::Attach(attach(2, 64, 8))).expect("attaches");
    let keys = cluster.dispatch();
    keys.iter().for_each(|key| cluster.start(*key));
    cluster.now_ms += 1_000;
    let agent = |cluster: &Cluster, key: Key| cluster.trial(key.sweep, key.trial).attempts[0].agent;
    let (here, there): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| agent(&cluster, *key) == A);
    there.into_iter().for_each(|key| cluster.complete(key, 0.5));
    here.iter().take(3).for_each(|key| cluster.finish(*key, End::Exited(1)));
    assert_eq!(quarantine(&cluster, Part::machine(A)), Some((false, SUSPECT_MS)));
    assert_eq!(cluster.applied.quarantines.len(), 1, "and none of its GPUs");
    assert_eq!(quarantine(&cluster, Part::machine(B)), None);
}

#[test]
fn what_takes_all_of_a_machines_gpus_says_nothing_of_one_of_them() {
    for gpus in [1, 4] {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(99).set("resources", "gpus", gpus));
        cluster.op(Op::Attach(attach(1, 8, gpus))).expect("attaches");
        cluster.op(Op::Attach(attach(2, 8, gpus))).expect("attaches");
        for _ in 0..3 {
            for key in cluster.dispatch() {
                let here = cluster.trial(key.sweep, key.trial).attempts.last().map(|attempt| attempt.agent);
                if here == Some(A) { cluster.finish(key, End::Exited(1)) } else { cluster.complete(key, 0.5) }
            }
        }
        let parts: Vec<Part> = cluster.applied.quarantines.keys().copied().collect();
        assert_eq!(parts, [Part::machine(A)], "with {gpus} GPUs");
    }
}
