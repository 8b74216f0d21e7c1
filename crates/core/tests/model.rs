//! Random operations on the leader, against a slower machine that was written from the rules.
//!
//! `PROPTEST_CASES=100000 cargo test -p heats-core --test model` looks longer.

#[path = "model/agents.rs"]
mod agents;
#[path = "model/attempts.rs"]
mod attempts;
#[path = "model/giving.rs"]
mod giving;
#[path = "model/kind.rs"]
mod kind;
#[path = "model/logs.rs"]
mod logs;
#[path = "model/machines.rs"]
mod machines;
#[path = "model/oracle.rs"]
mod oracle;
#[path = "model/run.rs"]
mod run;
#[path = "model/studies.rs"]
mod studies;
#[path = "model/surroundings.rs"]
mod surroundings;
#[path = "model/tokens.rs"]
mod tokens;

use heats_core::ops::control::Edit;
use kind::Kind;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use run::{Happening, Run};

fn kind() -> impl Strategy<Value = Kind> {
    let limits = (1..8u32, option::of(1..4u32), 0..3u32, option::weighted(0.3, 1..4u32));
    let rules = (option::weighted(0.9, any::<bool>()), any::<bool>(), proptest::bool::weighted(0.2));
    let nodes = prop_oneof![3 => Just(1u32), 1 => Just(2u32), 1 => Just(3u32)];
    let rest = (option::weighted(0.2, 1_000..20_000u64), (0..3u32, nodes), option::weighted(0.2, 1..6u32));
    let later = (option::weighted(0.4, (1..4u32, 1..3u32)), any::<bool>());
    (limits, rules, rest, later).prop_map(
        |(
            (trials, parallel, retries, max_failures),
            (maximize, upper, stop_at),
            (wall_ms, (gpus, nodes), space),
            (confirm, audit),
        )| {
            Kind {
                maximize,
                upper,
                stop_at: stop_at && maximize.is_some(),
                trials,
                parallel,
                retries,
                max_failures,
                wall_ms,
                gpus,
                nodes,
                space,
                audit,
                confirm: confirm.filter(|_| maximize.is_some()),
            }
        },
    )
}

fn happening() -> impl Strategy<Value = Happening> {
    let sweep = || 1..5u64;
    let agent = || 1..4u64;
    let edit = (option::of(0..12u32), option::of(-3..6i64), option::weighted(0.3, 0..5u32))
        .prop_map(|(trials, more_trials, parallel)| Edit { trials, more_trials, parallel, priority: None });
    prop_oneof![
        4 => (kind(), sweep(), 1..9u64, 0..3u8).prop_map(|(kind, id, request, name)| {
            Happening::Submit { kind, id, request, name }
        }),
        2 => (sweep(), any::<u8>()).prop_map(|(id, verb)| Happening::Control(id, verb)),
        1 => (sweep(), 0..8u32).prop_map(|(id, number)| Happening::CancelTrial(id, number)),
        2 => (sweep(), edit).prop_map(|(id, edit)| Happening::Edit(id, edit)),
        2 => (sweep(), proptest::bool::weighted(0.8)).prop_map(|(id, fits)| Happening::Enqueue(id, fits)),
        2 => (sweep(), vec(0..5u32, 0..3)).prop_map(|(id, numbers)| Happening::Retry(id, numbers)),
        1 => sweep().prop_map(Happening::Remove),
        5 => (agent(), 1..5u32, 0..4u32, any::<u8>(), any::<bool>(), proptest::bool::weighted(0.9)).prop_map(
            |(agent, cpus, gpus, forgets, bogus, able)| {
                Happening::Attach { agent, cpus, gpus, forgets: forgets & 5, bogus, able }
            }
        ),
        1 => (agent(), proptest::bool::weighted(0.7)).prop_map(|(agent, able)| Happening::Able(agent, able)),
        1 => (agent(), any::<u8>(), any::<bool>()).prop_map(|(agent, reason, now)| {
            Happening::Drain { agent, reason, now }
        }),
        2 => agent().prop_map(Happening::Undrain),
        1 => agent().prop_map(Happening::Release),
        1 => (1..9u64).prop_map(Happening::Restore),
        1 => agent().prop_map(Happening::Detach),
        1 => agent().prop_map(Happening::Expire),
        6 => (any::<u16>(), (0..3u8, any::<bool>())).prop_map(|(pick, told)| Happening::Start(pick, told)),
        20 => (any::<u16>(), -2..5i64, any::<u8>()).prop_map(|(pick, ahead, value)| {
            Happening::Report { pick, ahead, value }
        }),
        10 => (any::<u16>(), any::<u8>(), 0..9_000u64).prop_map(|(pick, end, ran_ms)| {
            Happening::Finish { pick, end, ran_ms }
        }),
        3 => (any::<u16>(), agent(), 0..6u8, 1..60u64).prop_map(|(pick, agent, bundle, length)| {
            Happening::KeepLogs { pick, agent, bundle, length }
        }),
        2 => (1..7u64, any::<u8>(), 0..40u32).prop_map(|(id, what, place)| Happening::Told { id, what, place }),
        3 => (1..4u64, 0..6u8, 0..3u8, option::of(0..4_000u64), 1..3u32).prop_map(|(id, secret, role, ttl, uses)| {
            Happening::CreateToken { id, secret, role, ttl, uses }
        }),
        1 => (1..6u64).prop_map(Happening::RevokeToken),
        4 => (1..6u64, agent(), 0..2u8).prop_map(|(token, agent, key)| Happening::Join { token, agent, key }),
        2 => Just(Happening::Limits),
        14 => (1..u64::MAX).prop_map(Happening::Dispatch),
        6 => (-500..3_000i64).prop_map(Happening::Clock),
        // Past what a suspect waits for, and what a trial that failed does.
        2 => (20_000..700_000i64).prop_map(Happening::Clock),
        1 => Just(Happening::FailOver),
        12 => Just(Happening::EndTurn),
    ]
}

/// What a few machines with a place or two see on which a sweep of many trials leaves no room for those that span several.
fn crowd() -> impl Strategy<Value = Happening> {
    let agent = || 1..4u64;
    prop_oneof![
        12 => (1..u64::MAX).prop_map(Happening::Dispatch),
        6 => (1_000..40_000i64).prop_map(Happening::Clock),
        12 => (any::<u16>(), any::<u8>(), 0..9_000u64).prop_map(|(pick, end, ran_ms)| {
            Happening::Finish { pick, end, ran_ms }
        }),
        6 => (any::<u16>(), (0..3u8, any::<bool>())).prop_map(|(pick, told)| Happening::Start(pick, told)),
        3 => (any::<u16>(), -2..5i64, any::<u8>()).prop_map(|(pick, ahead, value)| {
            Happening::Report { pick, ahead, value }
        }),
        3 => (agent(), 1..3u32, any::<u8>()).prop_map(|(agent, cpus, forgets)| {
            Happening::Attach { agent, cpus, gpus: 2, forgets: forgets & 5, bogus: false, able: true }
        }),
        1 => agent().prop_map(Happening::Expire),
        1 => agent().prop_map(|agent| Happening::Drain { agent, reason: 0, now: false }),
        1 => agent().prop_map(Happening::Undrain),
        1 => agent().prop_map(Happening::Release),
        1 => (2..4u64, any::<u8>()).prop_map(|(id, verb)| Happening::Control(id, verb)),
        1 => Just(Happening::FailOver),
        6 => Just(Happening::EndTurn),
    ]
}

/// That crowd: sweep 1 has the many trials, sweeps 2 and 3 those that span machines.
fn crowded() -> impl Strategy<Value = Vec<Happening>> {
    let attach = |agent| Happening::Attach { agent, cpus: 1, gpus: 2, forgets: 0, bogus: false, able: true };
    let submit = move |id, kind: Kind, trials, nodes| {
        let kind = Kind { trials, nodes, gpus: 0, wall_ms: None, space: None, confirm: None, ..kind };
        Happening::Submit { kind, id, request: id, name: id as u8 }
    };
    (kind(), kind(), 2..4u32, vec(crowd(), 20..120)).prop_map(move |(many, spans, nodes, rest)| {
        let sweeps = [
            submit(1, Kind { parallel: None, max_failures: None, ..many }, 60, 1),
            submit(2, spans.clone(), 4, nodes),
            submit(3, spans, 4, 2),
        ];
        [1, 2, 3].map(attach).into_iter().chain(sweeps).chain(rest).collect()
    })
}

fn whole(happenings: &[Happening]) -> Vec<u8> {
    let mut run = Run::new();
    run.play(happenings);
    run.settle();
    run.log
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_leader_does_what_the_rules_say_and_every_copy_agrees(happenings in vec(happening(), 1..160)) {
        prop_assert!(whole(&happenings) == whole(&happenings), "two runs write the same log");
    }

    #[test]
    fn places_are_kept_for_trials_that_span_machines_as_the_rules_say(happenings in crowded()) {
        whole(&happenings);
    }
}
