//! The log's format: entries that an earlier version wrote are read as what they were.
//!
//! A file is never written again: a new version of the format gets a file of its own beside the old ones.

#[path = "golden/artifacts.rs"]
mod artifacts;

#[path = "golden/ganged.rs"]
mod ganged;

#[path = "golden/gpus.rs"]
mod gpus;

#[path = "golden/studies.rs"]
mod studies;

#[path = "golden/warm.rs"]
mod warm;

use heats_core::fact::{
    AgentAttached, AgentDrained, AgentJoined, AgentQuarantined, AgentReleased, AgentUndrained, AttemptEnded,
    AttemptExcused, CheckpointDropped, CheckpointErased, CheckpointSaved, ClusterRestored, Ending, Entry,
    EnvironmentRecorded, Fact, FactCell, FailedAttempt, Forked, HardwareRecorded, HookGivenUp, Logged, LogsDropped,
    LogsKept, NoticeDelivered, NoticeRead, PointEnqueued, QuotaRemoved, QuotaScope, QuotaSet, SweepDrained,
    SweepEdited, SweepEnded, SweepPaused, SweepRemoved, SweepReopened, SweepResumed, SweepSubmitted, TokenCreated,
    TokenRevoked, TokenRole, TokenUsed, TrialCreated, TrialLeased, TrialPlaced, TrialRecalled, TrialReported,
    TrialResumed, TrialSettled, TrialSpared, TrialStarted,
};
use heats_core::testing::{Cluster, SweepBuilder};
use heats_core::{ApplyError, Prior, PriorTrial, State};
use heats_domain::resources::Gpu;
use heats_domain::{
    AgentId, Checkpoint, Digest, Environment, FailureKind, Grant, Inventory, Metrics, Package, Params, StopReason,
    SweepId, TokenId, TrialState, Value,
};
use prost::Message;

const V1: &[u8] = include_bytes!("golden/entry-v1.bin");
/// What came after: trials that are leased ahead.
const V2: &[u8] = include_bytes!("golden/entry-v2.bin");
/// And tokens, and agents that join by them.
const V3: &[u8] = include_bytes!("golden/entry-v3.bin");

/// The kinds of facts that version 2 did not have.
fn token_facts() -> Vec<Fact> {
    let (token, agent) = (TokenId { bits: 7 }, AgentId { bits: 6 });
    vec![
        Fact::TokenCreated(TokenCreated {
            token,
            name: "ann".into(),
            role: TokenRole::Admin.into(),
            hash: vec![0xab; 32],
            expires_ms: Some(1_795_003_600_000),
            uses_max: 3,
        }),
        Fact::TokenCreated(TokenCreated {
            token,
            name: String::new(),
            role: TokenRole::Agent.into(),
            hash: Vec::new(),
            expires_ms: None,
            uses_max: 0,
        }),
        Fact::TokenUsed(TokenUsed { token, agent }),
        Fact::TokenRevoked(TokenRevoked { token, why: "an admin revoked it".into() }),
        Fact::AgentJoined(AgentJoined { agent, key: vec![0xcd; 32] }),
    ]
}

/// And agents that are drained.
const V4: &[u8] = include_bytes!("golden/entry-v4.bin");

/// The kinds of facts that version 3 did not have.
fn drain_facts() -> Vec<Fact> {
    let agent = AgentId { bits: 6 };
    vec![
        Fact::AgentDrained(AgentDrained { agent, reason: "new disk".into(), by: "ann@desk".into(), now: true }),
        Fact::AgentDrained(AgentDrained { agent, reason: String::new(), by: String::new(), now: false }),
        Fact::AgentUndrained(AgentUndrained { agent }),
    ]
}

/// And clusters that are made from a backup.
const V5: &[u8] = include_bytes!("golden/entry-v5.bin");

/// The kind of fact that version 4 did not have.
fn restored() -> Vec<Fact> {
    vec![Fact::ClusterRestored(ClusterRestored { lineage: 0x0123_4567_89ab_cdef, index: 300 })]
}

/// And trials that hold at a rung, and go on.
const V6: &[u8] = include_bytes!("golden/entry-v6.bin");

/// The kind of fact, and the state, that version 5 did not have.
fn held() -> Vec<Fact> {
    let sweep = SweepId { bits: 5 };
    let reason = |rank| StopReason {
        rule: "asha_promotion".into(),
        step: 3,
        value: 0.5,
        rung: Some(3),
        rank: Some(rank),
        peers: Some(9),
        cutoff: Some(0.25),
        winner: None,
    };
    let (state, why) = (TrialState::Paused.into(), String::new());
    vec![
        Fact::TrialSettled(TrialSettled { sweep, trial: 7, state, reason: Some(reason(4)), retry_used: false, why }),
        Fact::TrialResumed(TrialResumed { sweep, trial: 7, reason: reason(3) }),
    ]
}

/// And trials that confirm a leader.
const V7: &[u8] = include_bytes!("golden/entry-v7.bin");

/// The fields that version 6 did not have.
fn confirming() -> Vec<Fact> {
    let (sweep, confirms) = (SweepId { bits: 5 }, Some(0));
    let params = [("a", Value::Int(-3))].into_iter().collect();
    vec![Fact::TrialCreated(TrialCreated {
        sweep,
        trial: 8,
        params,
        saw_index: 0,
        enqueued: false,
        confirms,
        forked: None,
    })]
}

/// And trials that are spared.
const V8: &[u8] = include_bytes!("golden/entry-v8.bin");

/// The kind of fact that version 7 did not have.
fn spared() -> Vec<Fact> {
    let value = 0.5;
    let reason = StopReason {
        rule: "median".into(),
        step: 9,
        value,
        rung: None,
        rank: None,
        peers: None,
        cutoff: None,
        winner: None,
    };
    vec![Fact::TrialSpared(TrialSpared { sweep: SweepId { bits: 5 }, trial: 8, reason })]
}

/// And sweeps that learn from earlier ones.
const V9: &[u8] = include_bytes!("golden/entry-v9.bin");

/// The fields that version 8 did not have.
fn learned() -> Vec<Fact> {
    let trial = PriorTrial {
        trial: 3,
        params: [("a", Value::Float(0.5))].into_iter().collect(),
        steps: vec![1, 300],
        values: vec![0.25, f64::INFINITY],
        state: TrialState::Stopped.into(),
        value: Some(f64::INFINITY),
    };
    let without = PriorTrial {
        steps: vec![],
        values: vec![],
        state: TrialState::Infeasible.into(),
        value: None,
        ..trial.clone()
    };
    let prior =
        Prior { sweep: SweepId { bits: 5 }, name: "old".into(), trials: vec![trial, without], unfit: 2, left_out: 1 };
    let mut submitted = facts().remove(0);
    if let Fact::SweepSubmitted(fact) = &mut submitted {
        fact.priors = vec![prior];
    }
    vec![submitted]
}

/// And sweeps that bring their code along.
const V11: &[u8] = include_bytes!("golden/entry-v11.bin");

/// The field that version 10 did not have.
fn with_code() -> Vec<Fact> {
    let mut submitted = facts().remove(0);
    if let Fact::SweepSubmitted(fact) = &mut submitted {
        fact.code = "0123456789abcdef".repeat(4);
    }
    vec![submitted]
}

/// And a catalogue of checkpoints.
const V12: &[u8] = include_bytes!("golden/entry-v12.bin");

/// The kinds of facts and the fields that versions before it did not have.
fn catalogued() -> Vec<Fact> {
    let (sweep, agent) = (SweepId { bits: 5 }, AgentId { bits: 6 });
    let place = "shared:0123456789abcdef".to_owned();
    let checkpoint = Checkpoint { sweep, trial: 7, attempt: 1, step: 300, hash: vec![0xef; 32], bytes: 1 << 33, place };
    let grant = Grant { cpus: 1, ..Grant::default() };
    let from = Some(checkpoint.clone());
    let places = vec!["local:agt_0000000000006".to_owned(), checkpoint.place.clone()];
    vec![
        Fact::CheckpointSaved(CheckpointSaved { checkpoint: checkpoint.clone() }),
        Fact::CheckpointDropped(CheckpointDropped {
            checkpoint: checkpoint.clone(),
            why: "later ones are kept".into(),
        }),
        Fact::CheckpointErased(CheckpointErased { object: checkpoint.into() }),
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial: 7,
            attempt: 2,
            agent,
            grant,
            ahead: false,
            from,
            variant: 0,
            members: Vec::new(),
            port: 0,
        }),
        Fact::AgentAttached(AgentAttached {
            agent,
            name: "node-1".into(),
            inventory: Inventory::default(),
            version: "0.1.0".into(),
            places,
        }),
    ]
}

/// And members of a population that are replaced by forks.
const V16: &[u8] = include_bytes!("golden/entry-v16.bin");

/// The fields that versions before it did not have.
fn forked() -> Vec<Fact> {
    let (sweep, place) = (SweepId { bits: 5 }, "local:agt_0000000000006".to_owned());
    let from = Checkpoint { sweep, trial: 3, attempt: 1, step: 300, hash: vec![0xef; 32], bytes: 1 << 33, place };
    let reason = StopReason {
        rule: "pbt".into(),
        step: 300,
        value: 0.5,
        rung: None,
        rank: Some(8),
        peers: Some(8),
        cutoff: Some(0.25),
        winner: Some(3),
    };
    let (state, why) = (TrialState::Stopped.into(), String::new());
    let params = [("a", Value::Int(-3))].into_iter().collect();
    let forked = Some(Forked { from, replaces: 7 });
    vec![
        Fact::TrialSettled(TrialSettled { sweep, trial: 7, state, reason: Some(reason), retry_used: false, why }),
        Fact::TrialCreated(TrialCreated {
            sweep,
            trial: 8,
            params,
            saw_index: 300,
            enqueued: false,
            confirms: None,
            forked,
        }),
    ]
}

/// The kinds of facts and the fields that version 1 did not have.
fn later_facts() -> Vec<Fact> {
    let (sweep, agent) = (SweepId { bits: 5 }, AgentId { bits: 6 });
    let grant = Grant { cpus: 1, memory: 0, gpus: vec![], ..Grant::default() };
    vec![
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial: 7,
            attempt: 1,
            agent,
            grant,
            ahead: true,
            from: None,
            variant: 0,
            members: Vec::new(),
            port: 0,
        }),
        Fact::TrialPlaced(TrialPlaced { sweep, trial: 7, attempt: 1 }),
    ]
}

/// Every kind of fact of version 1 once, with every optional field set somewhere and left out somewhere.
fn facts() -> Vec<Fact> {
    let sweep = SweepId { bits: 0x0123_4567_89ab_cdef };
    let agent = AgentId { bits: 0xfedc_ba98_7654_3210 };
    let params: Params =
        [("a", Value::Int(-3)), ("b", Value::Float(1e-5)), ("c", Value::Str("x".into())), ("d", Value::Bool(false))]
            .into_iter()
            .collect();
    let metrics: Metrics = [("loss", 0.25), ("acc", f64::INFINITY)].into_iter().collect();
    let gpu = Gpu { index: 1, model: "NVIDIA H100".into(), memory: 80 << 30, ..Gpu::default() };
    let reason = StopReason {
        rule: "asha".into(),
        step: 9,
        value: 0.5,
        rung: Some(9),
        rank: Some(5),
        peers: Some(6),
        cutoff: Some(0.25),
        winner: None,
    };
    vec![
        Fact::SweepSubmitted(SweepSubmitted {
            sweep,
            name: "digits".into(),
            spec: "{}".into(),
            seed: 7,
            request: 8,
            base_dir: "/home/a".into(),
            provenance: "{\"user\":\"a\"}".into(),
            priors: Vec::new(),
            code: String::new(),
            user: String::new(),
        }),
        Fact::SweepPaused(SweepPaused { sweep }),
        Fact::SweepResumed(SweepResumed { sweep }),
        Fact::SweepDrained(SweepDrained { sweep, ending: Ending::Cancelled.into(), why: "a user".into() }),
        Fact::SweepEdited(SweepEdited {
            sweep,
            trials: Some(0),
            parallel: None,
            why: "exhausted".into(),
            priority: None,
        }),
        Fact::SweepEnded(SweepEnded { sweep, ending: Ending::Failed.into(), why: "failures".into() }),
        Fact::SweepReopened(SweepReopened { sweep }),
        Fact::SweepRemoved(SweepRemoved { sweep }),
        Fact::PointEnqueued(PointEnqueued { sweep, params: params.clone() }),
        Fact::TrialCreated(TrialCreated {
            sweep,
            trial: 4,
            params,
            saw_index: 300,
            enqueued: true,
            confirms: None,
            forked: None,
        }),
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial: 4,
            attempt: 2,
            agent,
            grant: Grant { cpus: 4, memory: 1 << 33, gpus: vec![0, 3], ..Grant::default() },
            ahead: false,
            from: None,
            variant: 0,
            members: Vec::new(),
            port: 0,
        }),
        Fact::TrialStarted(TrialStarted {
            sweep,
            trial: 4,
            attempt: 2,
            environment: "venv".into(),
            environment_name: None,
            hardware_name: None,
            rank: 0,
            warm: false,
            cold: String::new(),
        }),
        Fact::TrialReported(TrialReported { sweep, trial: 4, attempt: 2, step: 9, metrics }),
        Fact::TrialSettled(TrialSettled {
            sweep,
            trial: 4,
            state: TrialState::Stopped.into(),
            reason: Some(reason),
            retry_used: true,
            why: "for people".into(),
        }),
        Fact::TrialSettled(TrialSettled {
            sweep,
            trial: 5,
            state: TrialState::Waiting.into(),
            reason: None,
            retry_used: false,
            why: String::new(),
        }),
        Fact::AttemptEnded(AttemptEnded {
            sweep,
            trial: 4,
            attempt: 2,
            failure: Some(FailureKind::Exit.into()),
            ran_ms: 1_000,
            cpu_ms: 900,
            max_rss: 1 << 30,
            detail: "exit code 1".into(),
            excused: false,
        }),
        Fact::AttemptEnded(AttemptEnded {
            sweep,
            trial: 5,
            attempt: 1,
            failure: None,
            ran_ms: 0,
            cpu_ms: 0,
            max_rss: 0,
            detail: String::new(),
            excused: false,
        }),
        Fact::SweepEdited(SweepEdited { sweep, trials: None, parallel: Some(8), why: String::new(), priority: None }),
        Fact::AgentAttached(AgentAttached {
            agent,
            name: "node-1".into(),
            inventory: Inventory { cpus: 8, memory: 1 << 36, gpus: vec![gpu], ..Inventory::default() },
            version: "0.1.0".into(),
            places: Vec::new(),
        }),
    ]
}

/// And priorities, users, quotas, and places that are taken away.
const V10: &[u8] = include_bytes!("golden/entry-v10.bin");

/// The kinds of facts and the fields that version 9 did not have.
fn placed() -> Vec<Fact> {
    let (sweep, by) = (SweepId { bits: 5 }, SweepId { bits: 6 });
    let mut submitted = facts().remove(0);
    if let Fact::SweepSubmitted(fact) = &mut submitted {
        fact.user = "ann".into();
    }
    let edited = SweepEdited { sweep, trials: None, parallel: None, why: String::new(), priority: Some(80) };
    let quota = |scope: QuotaScope, parallel: Option<u32>, gpu_hours| {
        let (scope, name, gpus) = (scope.into(), "vision".into(), parallel.map(|n| n / 8));
        Fact::QuotaSet(QuotaSet { scope, name, weight: 2, parallel, gpus, gpu_hours })
    };
    vec![
        submitted,
        Fact::SweepEdited(edited),
        quota(QuotaScope::Project, Some(64), Some(400.5)),
        quota(QuotaScope::User, None, None),
        Fact::QuotaRemoved(QuotaRemoved { scope: QuotaScope::User.into(), name: "vision".into() }),
        Fact::TrialRecalled(TrialRecalled { sweep, trial: 7, attempt: 2, by }),
    ]
}

/// And machines that are left alone, failures that are put down to them, and the variant that a trial was granted.
const V13: &[u8] = include_bytes!("golden/entry-v13.bin");

/// What version 12 did not have.
fn quarantined() -> Vec<Fact> {
    let (sweep, agent) = (SweepId { bits: 5 }, AgentId { bits: 6 });
    let failure = FailureKind::StartFailed.into();
    let failed = FailedAttempt { sweep, trial: 7, attempt: 2, failure, ran_ms: 900 };
    let quarantine = |proven, failures| AgentQuarantined {
        agent,
        since_ms: 1_795_000_000_000,
        until_ms: 1_795_000_060_000,
        delay_ms: 60_000,
        proven,
        why: "3 different trials in a row failed there (start_failed)".into(),
        failures,
    };
    vec![
        Fact::TrialLeased(TrialLeased { sweep, trial: 7, attempt: 2, agent, variant: 3, ..TrialLeased::default() }),
        Fact::AttemptEnded(AttemptEnded {
            sweep,
            trial: 7,
            attempt: 2,
            failure: Some(failure),
            excused: true,
            ..AttemptEnded::default()
        }),
        Fact::AgentQuarantined(quarantine(false, vec![failed, FailedAttempt { trial: 8, ..failed }])),
        Fact::AgentQuarantined(quarantine(true, Vec::new())),
        Fact::AttemptExcused(AttemptExcused { sweep, trial: 7, attempt: 1 }),
        Fact::AgentReleased(AgentReleased {
            agent,
            why: "a trial that was tried there worked".into(),
            by: String::new(),
        }),
        Fact::AgentReleased(AgentReleased { agent, why: String::new(), by: "ann@desk".into() }),
    ]
}

/// And what trials ran in.
const V17: &[u8] = include_bytes!("golden/entry-v17.bin");

/// The kinds of facts and the fields that versions before it did not have.
fn ran_in() -> Vec<Fact> {
    let package = |name: &str, version: &str, origin: &str| Package {
        name: name.into(),
        version: version.into(),
        origin: origin.into(),
    };
    let environment = Environment {
        summary: "cpython 3.12.1, packages 0123456789abcdef".into(),
        packages: vec![package("numpy", "2.1.0", ""), package("own", "1", "git+https://host/own.git@abc")],
        left_out: 3,
        image: "docker.io/library/python@sha256:12".into(),
    };
    let facts = [("driver", "nvidia 570.1"), ("cuda", "12.8")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let hardware = Inventory { cpus: 8, memory: 1 << 36, facts, ..Inventory::default() };
    let name = |low| Digest { high: 0x0123_4567_89ab_cdef, low };
    vec![
        Fact::EnvironmentRecorded(EnvironmentRecorded { name: name(1), environment }),
        Fact::HardwareRecorded(HardwareRecorded { name: name(2), hardware }),
        Fact::TrialStarted(TrialStarted {
            sweep: SweepId { bits: 5 },
            trial: 7,
            attempt: 2,
            environment: "cpython 3.12.1".into(),
            environment_name: Some(name(1)),
            hardware_name: Some(name(2)),
            rank: 0,
            warm: false,
            cold: String::new(),
        }),
    ]
}

fn entry(facts: Vec<Fact>) -> Entry {
    let facts = facts.into_iter().map(FactCell::from).collect();
    Entry { term: 3, number: 0, after: 0, at_ms: 1_795_000_000_000, facts }
}

/// And notices to others.
const V18: &[u8] = include_bytes!("golden/entry-v18.bin");

/// The kinds of facts that tell who was told.
fn told() -> Vec<Fact> {
    let sweep = SweepId { bits: 5 };
    vec![
        Fact::NoticeDelivered(NoticeDelivered { sweep, hook: 1, place: 70_000 }),
        Fact::HookGivenUp(HookGivenUp { sweep, hook: 0, why: "it is gone".into() }),
        Fact::NoticeRead(NoticeRead { sweep, reader: "ann".into(), place: 3 }),
    ]
}

/// And logs that outlive their agent.
const V14: &[u8] = include_bytes!("golden/entry-v14.bin");

/// The kinds of facts that version 13 did not have.
fn logged() -> Vec<Fact> {
    let (sweep, agent, bundle) = (SweepId { bits: 5 }, AgentId { bits: 6 }, "ab".repeat(32));
    let attempts = vec![Logged { trial: 0, attempt: 1 }, Logged { trial: 700, attempt: 2 }];
    let why = "newer logs took its room".to_owned();
    vec![
        Fact::LogsKept(LogsKept { sweep, bundle: bundle.clone(), length: 5_000_000_000, agent, attempts }),
        Fact::LogsDropped(LogsDropped { sweep, bundle, why }),
    ]
}

#[test]
fn an_entry_of_an_earlier_version_reads_as_what_it_was() {
    let tokens = [(V1, facts()), (V2, later_facts()), (V3, token_facts())];
    let since = [
        (V4, drain_facts()),
        (V5, restored()),
        (V6, held()),
        (V7, confirming()),
        (V8, spared()),
        (V9, learned()),
        (V10, placed()),
    ];
    let and_since = [
        (V11, with_code()),
        (V12, catalogued()),
        (V13, quarantined()),
        (V14, logged()),
        (ganged::V15, ganged::facts()),
        (V16, forked()),
        (V17, ran_in()),
        (V18, told()),
        (artifacts::V19, artifacts::kept()),
        (warm::V22, warm::started()),
        (gpus::V23, gpus::left_alone()),
        (artifacts::V24, artifacts::not_kept()),
    ];
    for (bytes, facts) in tokens.into_iter().chain(since).chain(and_since) {
        assert_eq!(Entry::decode(bytes).expect("decodes"), entry(facts.clone()));
        assert_eq!(entry(facts).encode_to_vec(), bytes, "what is written now is what was written then");
    }
}

#[test]
fn the_golden_entries_have_every_kind_of_fact() {
    let later = [
        later_facts(),
        token_facts(),
        drain_facts(),
        restored(),
        held(),
        spared(),
        placed(),
        catalogued(),
        quarantined(),
        ran_in(),
        logged(),
        told(),
        studies::studied(),
        ganged::facts(),
        artifacts::kept(),
        artifacts::not_kept(),
        gpus::left_alone(),
    ]
    .concat();
    let mut names: Vec<&str> = facts().iter().chain(&later).map(Fact::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 56);
}

#[test]
fn a_fact_that_a_newer_version_wrote_stops_the_node() {
    // One fact: field 99, length-delimited, empty.
    let newer = [0x08, 1, 0x10, 5, 0x1a, 3, 0x9a, 0x06, 0];
    let entry = Entry::decode(newer.as_slice()).expect("decodes");
    assert_eq!(entry.facts, [FactCell { fact: None }]);
    assert_eq!(State::default().apply(12, 1, entry.clone()), Err(ApplyError::UnknownFact { index: 12 }));
    assert_eq!(State::default().apply(12, 2, entry), Ok(false), "an entry of another term is not looked at");
}

#[test]
fn an_entry_records_nothing_where_another_was_the_last_than_the_one_that_it_was_decided_upon() {
    let entry = |term, number, after| Entry { term, number, after, at_ms: 100 * term + number, facts: Vec::new() };
    let mut state = State::default();
    let mut apply = |index, log_term, entry: Entry| {
        let recorded = state.apply(index, log_term, entry).expect("applies");
        (recorded, state.at_ms)
    };
    assert_eq!(apply(1, 1, entry(1, 1, 0)), (true, 101));
    assert_eq!(apply(2, 1, entry(1, 3, 2)), (false, 101), "number 2 was lost");
    assert_eq!(apply(3, 1, entry(1, 4, 1)), (true, 104), "decided anew upon what was recorded");
    assert_eq!(apply(4, 1, entry(1, 5, 1)), (false, 104), "and once");
    assert_eq!(apply(5, 1, entry(1, 6, 5)), (false, 104), "what was decided upon that is not either");
    assert_eq!(apply(6, 2, entry(2, 8, 7)), (false, 104), "the first of a term counts too");
    assert_eq!(apply(7, 2, entry(2, 9, 0)), (true, 209));
    assert_eq!(apply(8, 2, entry(2, 0, 0)), (true, 209), "a version before this one did not count");
    assert_eq!(apply(9, 3, entry(2, 10, 9)), (false, 209), "decided in another term");
}

#[test]
fn a_value_that_a_newer_version_wrote_stops_the_node() {
    let mut cluster = Cluster::default();
    let sweep = cluster.submit(SweepBuilder::minimize("loss"));
    cluster.attach(1, 1);
    cluster.dispatch();
    let settled = TrialSettled { sweep, trial: 0, state: 99, reason: None, retry_used: false, why: String::new() };
    let ended = SweepEnded { sweep, ending: 99, why: String::new() };
    let drained = SweepDrained { sweep, ending: 99, why: String::new() };
    for fact in [Fact::TrialSettled(settled), Fact::SweepEnded(ended), Fact::SweepDrained(drained)] {
        let name = fact.name();
        let entry = Entry { term: 1, number: 0, after: 0, at_ms: 0, facts: vec![fact.into()] };
        let applied = cluster.applied.clone().apply(99, 1, entry);
        assert!(
            matches!(applied, Err(ApplyError::Contradiction { index: 99, fact, .. }) if fact == name),
            "{applied:?}"
        );
    }
}

#[test]
fn a_specification_that_a_newer_version_wrote_stops_the_node() {
    let Fact::SweepSubmitted(submitted) = facts().remove(0) else { panic!("the first is a submission") };
    let spec = r#"{"version": 2, "command": ["true"], "quantum": true}"#.to_owned();
    let fact = Fact::SweepSubmitted(SweepSubmitted { spec, ..submitted });
    let entry = Entry { term: 1, number: 0, after: 0, at_ms: 0, facts: vec![fact.into()] };
    assert!(matches!(State::default().apply(1, 1, entry), Err(ApplyError::Spec { index: 1, .. })));
}
