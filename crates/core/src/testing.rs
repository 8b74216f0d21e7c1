//! Builders for the tests of this and other crates: a sweep in one line, and a leader whose entries are
//! applied to a second state at once. Checks every invariant after every turn; knows no rule itself.

use std::collections::VecDeque;

use heats_domain::resources::{Gpu, Rendezvous};
use heats_domain::{AgentId, Checkpoint, Inventory, Metrics, Params, SweepId, SweepSpec, TrialState, Value};
use prost::Message;
use serde_json::{Value as Json, json};

use crate::dispatch::{Offer, Suggestions};
use crate::invariants::violations;
use crate::ops::agents::{Attach, Attached};
use crate::ops::attempts::{End, Finish, Key};
use crate::ops::control::{Edit, Verb};
use crate::ops::start::Start;
use crate::ops::submit::Submit;
use crate::{Entry, Fact, Leading, Op, Refusal, Reply, State, Status, Sweep, Trial};

/// A sweep file, built key by key.
#[derive(Clone, Debug)]
pub struct SweepBuilder {
    file: Json,
}

impl SweepBuilder {
    fn new(objective: Json) -> Self {
        let file = json!({
            "command": ["true"],
            "space": {"x": {"float": [0.0, 1.0]}},
            "objective": objective,
            "search": {"algorithm": "random", "seed": 7},
            "early_stop": {"algorithm": "none"},
            "budget": {"trials": 3},
        });
        Self { file }
    }

    /// One that looks for small values of `metric`: three random trials over `x` from 0 to 1.
    pub fn minimize(metric: &str) -> Self {
        Self::new(json!({ "minimize": metric }))
    }

    /// One that looks for large values of `metric`.
    pub fn maximize(metric: &str) -> Self {
        Self::new(json!({ "maximize": metric }))
    }

    /// One without an objective.
    pub fn unranked() -> Self {
        let mut builder = Self::new(Json::Null);
        builder.file.as_object_mut().expect("a map").remove("objective");
        builder
    }

    /// With this many trials.
    #[must_use]
    pub fn trials(self, trials: u32) -> Self {
        self.set("budget", "trials", trials)
    }

    /// With `section.key` set to `value`, as in the file.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: impl Into<Json>) -> Self {
        self.file[section][key] = value.into();
        self
    }

    /// With a whole top-level key set to `value`, as in the file.
    #[must_use]
    pub fn top(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.file[key] = value.into();
        self
    }

    /// The specification.
    ///
    /// # Panics
    /// When it is not one.
    pub fn build(self) -> SweepSpec {
        serde_json::from_value(self.file).expect("a specification")
    }
}

/// Answers every ask with `x` = trial / 1000, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Scripted {
    /// The next answers; the usual one where there is none.
    pub next: VecDeque<Offer>,
}

impl Suggestions for Scripted {
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer {
        self.next.pop_front().unwrap_or_else(|| {
            let mut params = fixed.cloned().unwrap_or_default();
            if params.get("x").is_none() {
                params.insert("x", Value::Float(f64::from(sweep.created()) / 1_000.0));
            }
            Offer::Ready { params, saw_index: sweep.journal.last().log_index }
        })
    }
}

/// A cluster of one node: every turn's entry goes through its encoding into a second state.
pub struct Cluster {
    /// The leader.
    pub leading: Leading,
    /// What a follower has.
    pub applied: State,
    /// Every entry so far.
    pub entries: Vec<Entry>,
    /// What suggestions there are.
    pub suggestions: Scripted,
    /// The clock.
    pub now_ms: u64,
    term: u64,
    minted: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            leading: Leading::new(1, 0, State::default()),
            applied: State::default(),
            entries: Vec::new(),
            suggestions: Scripted::default(),
            now_ms: 1_000,
            term: 1,
            minted: 0,
        }
    }
}

#[expect(clippy::missing_panics_doc, reason = "a test fixture panics where the test should fail")]
impl Cluster {
    /// Carries out `op` in a turn of its own, without a dispatch.
    ///
    /// # Errors
    /// Its refusal.
    pub fn op(&mut self, op: Op) -> Result<Reply, Refusal> {
        self.leading.begin(self.now_ms);
        let reply = self.leading.decide(op).expect("no contradiction");
        self.end_turn();
        reply
    }

    /// Ends the turn: its entry is encoded, decoded and applied, and everything is checked. Its facts.
    pub fn end_turn(&mut self) -> Vec<Fact> {
        let Some(entry) = self.leading.finish() else { return Vec::new() };
        let entry = Entry::decode(entry.encode_to_vec().as_slice()).expect("decodes");
        self.applied.apply(self.applied.applied + 1, self.term, entry.clone()).expect("applies");
        assert_eq!(violations(&self.applied), []);
        assert_eq!(violations(self.leading.draft()), []);
        assert_eq!(self.leading.draft().hash(), self.applied.hash(), "the draft is what followers have");
        let facts = entry.facts.iter().map(|cell| cell.fact.clone().expect("a known fact")).collect();
        self.entries.push(entry);
        facts
    }

    /// Submits the sweep with the next id.
    pub fn submit(&mut self, builder: SweepBuilder) -> SweepId {
        self.minted += 1;
        let id = SweepId { bits: self.minted };
        self.op(Op::Submit(Box::new(submit(id, self.minted, builder)))).expect("is submitted");
        id
    }

    /// An agent with these processors attaches and holds nothing.
    pub fn attach(&mut self, agent: u64, cpus: u32) -> Attached {
        self.attach_holding(agent, cpus, &[])
    }

    /// An agent with these processors attaches and holds these attempts.
    pub fn attach_holding(&mut self, agent: u64, cpus: u32, holding: &[Key]) -> Attached {
        let attach = Attach { holding: holding.iter().copied().collect(), ..attach(agent, cpus, 0) };
        match self.op(Op::Attach(attach)).expect("attaches") {
            Reply::Attached(attached) => attached,
            other => panic!("{other:?}"),
        }
    }

    /// Leases what fits; the attempts that were leased.
    pub fn dispatch(&mut self) -> Vec<Key> {
        self.leading.begin(self.now_ms);
        self.leading.dispatch(&mut self.suggestions).expect("no contradiction");
        self.end_turn().iter().filter_map(leased).collect()
    }

    /// Free places are given out, then trials are leased ahead; what was leased.
    pub fn dispatch_ahead(&mut self) -> Vec<Key> {
        self.leading.begin(self.now_ms);
        self.leading.dispatch(&mut self.suggestions).expect("no contradiction");
        self.leading.dispatch_ahead(&mut self.suggestions).expect("no contradiction");
        self.end_turn().iter().filter_map(leased).collect()
    }

    /// The attempt's process was started.
    pub fn start(&mut self, key: Key) {
        self.start_member(key, 0);
    }

    /// The process of one member of the attempt was started.
    pub fn start_member(&mut self, key: Key, rank: u32) {
        self.op(Op::Start(Start { rank, ..start(key) })).expect("is live");
    }

    /// The attempt reports `loss`.
    ///
    /// # Errors
    /// Its refusal.
    pub fn report(&mut self, key: Key, step: u64, loss: f64) -> Result<Reply, Refusal> {
        self.op(Op::Report(key, step, metrics(loss)))
    }

    /// The attempt ended after a second.
    pub fn finish(&mut self, key: Key, end: End) {
        self.finish_member(key, 0, end);
    }

    /// One member of the attempt ended after a second.
    pub fn finish_member(&mut self, key: Key, rank: u32, end: End) {
        self.op(Op::Finish(Finish { rank, ..finish(key, end, 1_000) })).expect("ends are never refused");
    }

    /// The trial reports `loss` at step 1 and exits with 0.
    pub fn complete(&mut self, key: Key, loss: f64) {
        self.report(key, 1, loss).expect("is live");
        self.finish(key, End::Exited(0));
    }

    /// What a user asks for.
    ///
    /// # Errors
    /// Its refusal.
    pub fn control(&mut self, sweep: SweepId, verb: Verb) -> Result<Reply, Refusal> {
        self.op(Op::Control(sweep, verb))
    }

    /// A new number of trials.
    ///
    /// # Errors
    /// Its refusal.
    pub fn edit_trials(&mut self, sweep: SweepId, trials: u32) -> Result<Reply, Refusal> {
        self.op(Op::Edit(sweep, Edit { trials: Some(trials), ..Edit::default() }))
    }

    /// The clock moves on, and the limits of time are looked at.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.leading.begin(self.now_ms);
        self.leading.limits().expect("no contradiction");
        self.end_turn();
    }

    /// A new leader takes over from the applied state; no agent is attached to it yet.
    pub fn fail_over(&mut self) {
        self.term += 1;
        self.leading = Leading::new(self.term, 0, self.applied.clone());
    }

    /// The sweep as a follower has it.
    pub fn sweep(&self, id: SweepId) -> &Sweep {
        self.applied.sweeps.get(&id).expect("is there")
    }

    /// The trial as a follower has it.
    pub fn trial(&self, id: SweepId, number: u32) -> &Trial {
        self.sweep(id).trial(number).expect("is there")
    }

    /// Where a trial stands.
    pub fn state(&self, id: SweepId, number: u32) -> TrialState {
        self.trial(id, number).state
    }

    /// How the sweep ended, where it has, and why.
    pub fn ending(&self, id: SweepId) -> Option<(&'static str, &str)> {
        match &self.sweep(id).status {
            Status::Ended { ending, why, at_ms: _ } => Some((ending.name(), why)),
            Status::Running | Status::Paused | Status::Draining(..) => None,
        }
    }
}

/// What `pick` takes of the events of a sweep, from a place in its journal on.
pub fn seen<T>(sweep: &Sweep, place: usize, mut pick: impl FnMut(&heats_search::Event<'_>) -> Option<T>) -> Vec<T> {
    let mut picked = Vec::new();
    crate::history::replay_from(sweep, place, |event| picked.extend(pick(event)));
    picked
}

/// The attempt that a fact leases.
pub fn leased(fact: &Fact) -> Option<Key> {
    let Fact::TrialLeased(fact) = fact else { return None };
    Some(Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt })
}

/// The start of an attempt, whose agent says nothing of its environment.
pub const fn start(key: Key) -> Start {
    Start { key, rank: 0, environment: String::new(), name: None, found: None, warm: false, cold: String::new() }
}

/// A report of `loss`.
pub fn metrics(loss: f64) -> Metrics {
    [("loss", loss)].into_iter().collect()
}

/// The end of an attempt.
pub fn finish(key: Key, end: End, ran_ms: u64) -> Finish {
    Finish { key, rank: 0, end, ran_ms, cpu_ms: ran_ms / 2, max_rss: 0, detail: String::new() }
}

/// A submission.
pub fn submit(sweep: SweepId, request: u64, builder: SweepBuilder) -> Submit {
    let spec = builder.build();
    let (base_dir, provenance, code) = (String::new(), String::new(), String::new());
    Submit { sweep, request, spec, name: None, seed: 3, base_dir, provenance, code, user: String::new() }
}

/// An agent that holds nothing.
pub fn attach(agent: u64, cpus: u32, gpus: u32) -> Attach {
    let gpus = (0..gpus).map(|index| Gpu { index, model: "fake".into(), memory: 1 << 30, ..Gpu::default() }).collect();
    let rendezvous = Some(Rendezvous { address: format!("10.0.0.{agent}"), first_port: 29_500, ports: 64 });
    Attach {
        agent: AgentId { bits: agent },
        name: format!("node-{agent}"),
        inventory: Inventory { cpus, memory: 1 << 30, gpus, rendezvous, ..Inventory::default() },
        version: "1".into(),
        holding: Default::default(),
        able: true,
        unusable: Default::default(),
        lineage: 0,
        places: vec![format!("local:{agent}")],
    }
}

/// A checkpoint that an attempt has made after `step`.
pub fn checkpoint(Key { sweep, trial, attempt }: Key, step: u64, place: &str) -> Checkpoint {
    Checkpoint { sweep, trial, attempt, step, hash: vec![7; 32], bytes: 100, place: place.to_owned() }
}
