//! The entries that measurements of the log write: a sweep, its trials' whole lives, and the reports of one that runs on.

use heats_core::fact::{
    AgentAttached, AttemptEnded, SweepSubmitted, TrialCreated, TrialLeased, TrialReported, TrialSettled, TrialStarted,
};
use heats_core::{Entry, Fact};
use heats_domain::params::Value;
use heats_domain::{AgentId, Grant, Inventory, Metrics, SweepId, TrialState};

const SWEEP: SweepId = SweepId { bits: 1 };
const AGENT: AgentId = AgentId { bits: 1 };
const ATTEMPT: u32 = 1;
const SPEC: &str = r#"{"command": ["true"], "space": {"lr": {"float": [0.0, 1.0]}}, "objective": {"minimize": "loss"},
    "search": {"algorithm": "random", "seed": 1}, "early_stop": {"algorithm": "none"}}"#;

fn entry(term: u64, facts: Vec<Fact>) -> Entry {
    // Not counted: it follows on any other.
    Entry { term, number: 0, after: 0, at_ms: 1, facts: facts.into_iter().map(Into::into).collect() }
}

/// A sweep is submitted.
pub(crate) fn sweep(term: u64) -> Entry {
    let (name, base_dir, provenance, code) = ("bench".to_owned(), "/".to_owned(), "{}".to_owned(), String::new());
    let spec = SPEC.to_owned();
    let fact = SweepSubmitted {
        sweep: SWEEP,
        name,
        spec,
        seed: 1,
        request: 1,
        base_dir,
        provenance,
        priors: Vec::new(),
        code,
        user: String::new(),
    };
    entry(term, vec![Fact::SweepSubmitted(fact)])
}

/// A trial is created and starts.
pub(crate) fn begin(term: u64, trial: u32) -> Entry {
    entry(term, begun(trial))
}

/// A trial of five reports, from its creation to its end.
pub(crate) fn life(term: u64, trial: u32) -> Entry {
    let (sweep, attempt) = (SWEEP, ATTEMPT);
    let mut facts = begun(trial);
    facts.extend((1..=5).map(|step| reported(trial, step)));
    let ended = AttemptEnded { sweep, trial, attempt, ran_ms: 60_000, cpu_ms: 58_000, ..AttemptEnded::default() };
    let settled = TrialSettled { sweep, trial, state: TrialState::Completed.into(), ..TrialSettled::default() };
    facts.extend([Fact::AttemptEnded(ended), Fact::TrialSettled(settled)]);
    entry(term, facts)
}

/// A trial that runs reports `count` steps, from `step` on.
pub(crate) fn reports(term: u64, trial: u32, step: u64, count: u64) -> Entry {
    entry(term, (step..step + count).map(|step| reported(trial, step)).collect())
}

/// A kilobyte that takes the place of the one before: the log grows by it and the state does not.
pub(crate) fn filler(term: u64) -> Entry {
    let (name, version) = ("filler ".repeat(150), "0.1.0".to_owned());
    entry(
        term,
        vec![Fact::AgentAttached(AgentAttached {
            agent: AGENT,
            name,
            inventory: Inventory::default(),
            version,
            places: Vec::new(),
        })],
    )
}

fn begun(trial: u32) -> Vec<Fact> {
    let (sweep, attempt, agent, grant) =
        (SWEEP, ATTEMPT, AGENT, Grant { cpus: 1, memory: 1 << 30, gpus: Vec::new(), ..Grant::default() });
    let share = f64::from(trial) / 1e6;
    let params = [
        ("lr", Value::Float(share)),
        ("dropout", Value::Float(1.0 - share)),
        ("layers", Value::Int(i64::from(trial % 8))),
        ("optimizer", Value::Str("adamw".to_owned())),
    ];
    let params = params.into_iter().collect();
    vec![
        Fact::TrialCreated(TrialCreated {
            sweep,
            trial,
            params,
            saw_index: 0,
            enqueued: false,
            confirms: None,
            forked: None,
        }),
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial,
            attempt,
            agent,
            grant,
            ahead: false,
            from: None,
            variant: 0,
            members: Vec::new(),
            port: 0,
        }),
        Fact::TrialStarted(TrialStarted { sweep, trial, attempt, ..TrialStarted::default() }),
    ]
}

fn reported(trial: u32, step: u64) -> Fact {
    let loss = 1.0 / (step as f64 + f64::from(trial));
    let metrics: Metrics = [("loss", loss), ("accuracy", 1.0 - loss)].into_iter().collect();
    Fact::TrialReported(TrialReported { sweep: SWEEP, trial, attempt: ATTEMPT, step, metrics })
}
