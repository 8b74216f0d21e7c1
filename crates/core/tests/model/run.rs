//! Plays operations on the leader and on the oracle side by side, and compares them after every turn.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::dispatch::{Offer, PATIENCE_MS, Suggestions};
use heats_core::fact::{AgentQuarantined, Logged};
use heats_core::invariants::violations;
use heats_core::ops::agent_drain::Drain;
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Finish, Key};
use heats_core::ops::control::{Edit, Verb};
use heats_core::ops::logs::KeepLogs;
use heats_core::ops::start::Start;
use heats_core::ops::tokens::{Create, Join};
use heats_core::sweep::Savings;
use heats_core::testing::{self, SweepBuilder};
use heats_core::token::secret_hash;
use heats_core::{Entry, Leading, Op, Reply, State, Status, Sweep, TokenRole};
use heats_domain::{AgentId, Metrics, Params, SweepId, TokenId, TrialState, Value};
use prost::Message;

use crate::giving::Queue;
use crate::kind::{Kind, TARGET, UPPER};
use crate::logs::{LOGS_MAX, SWEEP_LOGS_MAX};
use crate::machines::Quarantine;
use crate::oracle::{self, Answer, Ask, Oracle, Standing, ask};
use crate::surroundings::{self, RanIn};
use crate::tokens::Token;

/// One thing that happens. Numbers pick among what there is when it happens.
#[derive(Clone, Debug)]
pub enum Happening {
    Submit { kind: Kind, id: u64, request: u64, name: u8 },
    Control(u64, u8),
    CancelTrial(u64, u32),
    Edit(u64, Edit),
    Enqueue(u64, bool),
    Retry(u64, Vec<u32>),
    Remove(u64),
    Attach { agent: u64, cpus: u32, gpus: u32, forgets: u8, bogus: bool, able: bool },
    Able(u64, bool),
    Drain { agent: u64, reason: u8, now: bool },
    Undrain(u64),
    Release(u64),
    Restore(u64),
    Detach(u64),
    Expire(u64),
    Start(u16, RanIn),
    Report { pick: u16, ahead: i64, value: u8 },
    Finish { pick: u16, end: u8, ran_ms: u64 },
    KeepLogs { pick: u16, agent: u64, bundle: u8, length: u64 },
    Told { id: u64, what: u8, place: u32 },
    CreateToken { id: u64, secret: u8, role: u8, ttl: Option<u64>, uses: u32 },
    RevokeToken(u64),
    Join { token: u64, agent: u64, key: u8 },
    Limits,
    Dispatch(u64),
    Clock(i64),
    FailOver,
    EndTurn,
}

struct Script {
    salt: u64,
    spaces: BTreeMap<u64, Option<u32>>,
}

impl Suggestions for Script {
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer {
        let space = self.spaces.get(&sweep.id.bits).copied().flatten();
        match ask(self.salt, sweep.id.bits, space, sweep.proposed, fixed.is_some()) {
            Ask::Ready => {
                let mut params = fixed.cloned().unwrap_or_default();
                params.insert("x", Value::Float(f64::from(sweep.created()) / 100.0));
                Offer::Ready { params, saw_index: 1 }
            }
            Ask::Later => Offer::Later,
            Ask::Exhausted => Offer::Exhausted,
            Ask::Infeasible => Offer::Infeasible { draws: 9 },
        }
    }
}

pub struct Run {
    leading: Leading,
    applied: State,
    oracle: Oracle,
    now: u64,
    term: u64,
    turns: u64,
    begins: bool,
    /// Every entry, encoded: what two equal runs have in common.
    pub log: Vec<u8>,
}

impl Run {
    pub fn new() -> Self {
        let applied = State::default();
        let leading = Leading::new(1, 0, applied.clone());
        let oracle = Oracle { entry: 1, ..Oracle::default() };
        Self { leading, applied, oracle, now: 1_000_000, term: 1, turns: 0, begins: true, log: Vec::new() }
    }

    pub fn play(&mut self, happenings: &[Happening]) {
        for happening in happenings {
            if self.begins {
                self.leading.begin(self.now);
                self.oracle.begin(self.now);
                self.begins = false;
            }
            self.happen(happening);
        }
        self.end_turn();
    }

    fn happen(&mut self, happening: &Happening) {
        match happening.clone() {
            Happening::Submit { kind, id, request, name } => {
                let mut submit = testing::submit(SweepId { bits: id }, request, file(&kind));
                submit.name = Some(format!("name-{name}"));
                let expected = self.oracle.submit(id, request, format!("name-{name}"), kind);
                self.expect(Op::Submit(Box::new(submit)), expected);
            }
            Happening::Control(id, verb) => {
                let verb = [Verb::Pause, Verb::Resume, Verb::Stop, Verb::Cancel][usize::from(verb) % 4];
                let expected = self.oracle.control(id, verb);
                self.expect(Op::Control(SweepId { bits: id }, verb), expected);
            }
            Happening::CancelTrial(id, number) => {
                let expected = self.oracle.cancel_trial(id, number);
                self.expect(Op::CancelTrial(SweepId { bits: id }, number), expected);
            }
            Happening::Edit(id, edit) => {
                let expected = self.oracle.edit(id, edit);
                self.expect(Op::Edit(SweepId { bits: id }, edit), expected);
            }
            Happening::Enqueue(id, fits) => {
                let expected = self.oracle.enqueue(id, fits);
                let x = Value::Float(if fits { 0.5 } else { 1.5 });
                self.expect(Op::Enqueue(SweepId { bits: id }, [("x", x)].into_iter().collect()), expected);
            }
            Happening::Retry(id, numbers) => {
                let expected = self.oracle.retry(id, &numbers);
                self.expect(Op::Retry(SweepId { bits: id }, numbers), expected);
            }
            Happening::Remove(id) => {
                let expected = self.oracle.remove(id);
                self.expect(Op::Remove(SweepId { bits: id }), expected);
            }
            Happening::Attach { agent, cpus, gpus, forgets, bogus, able } => {
                let mut holding: BTreeSet<Key> = self.oracle.held(agent).into_iter().collect();
                holding.retain(|key| (key.trial as u8 + 1) & forgets == 0);
                if bogus {
                    holding.insert(Key { sweep: SweepId { bits: 1 }, trial: 0, attempt: 77 });
                }
                let expected = self.oracle.attach(agent, cpus, gpus, able, &holding);
                let lineage = self.oracle.lineage;
                let attach = Attach { holding, able, lineage, ..testing::attach(agent, cpus, gpus) };
                self.expect(Op::Attach(attach), expected);
            }
            Happening::Restore(lineage) => {
                let expected = self.oracle.restore(lineage);
                self.expect(Op::Restore(lineage), expected);
            }
            Happening::Able(agent, able) => {
                self.oracle.able(agent, able);
                self.leading.set_able(AgentId { bits: agent }, able);
            }
            Happening::Drain { agent, reason, now } => {
                let reason = ["", "disk", "fans"][usize::from(reason) % 3];
                let expected = self.oracle.drain(agent, reason, now);
                let (agent, by) = (AgentId { bits: agent }, "ann".to_owned());
                self.expect(Op::Drain(Drain { agent, reason: reason.to_owned(), by, now }), expected);
            }
            Happening::Undrain(agent) => {
                let expected = self.oracle.undrain(agent);
                self.expect(Op::Undrain(AgentId { bits: agent }), expected);
            }
            Happening::Release(agent) => {
                let expected = self.oracle.release(agent);
                let (agent, by) = (AgentId { bits: agent }, "ann".to_owned());
                self.expect(Op::Release { agent, by }, expected);
            }
            Happening::Detach(agent) => {
                self.oracle.detach(agent);
                self.leading.detach(AgentId { bits: agent });
            }
            Happening::Expire(agent) => {
                let expected = self.oracle.expire(agent);
                self.expect(Op::Expire(AgentId { bits: agent }, 5), expected);
            }
            Happening::Start(pick, told) => {
                if let Some(key) = self.pick(pick) {
                    let rank = self.rank(pick, key);
                    let expected = self.oracle.start(key, rank, told);
                    self.expect(Op::Start(Start { rank, ..surroundings::start(key, told) }), expected);
                }
            }
            Happening::Report { pick, ahead, value } => {
                let Some(key) = self.pick(pick) else { return };
                let sweep = self.oracle.sweeps.get(&key.sweep.bits);
                let reports = sweep.and_then(|sweep| sweep.trials.get(&key.trial)).map(|trial| &trial.reports);
                let last = reports.and_then(|reports| reports.last()).map_or(0, |(step, _)| *step);
                let step = last.saturating_add_signed(ahead);
                let value = values()[usize::from(value) % values().len()];
                let expected = self.oracle.report(key, step, value);
                let other = [("other", 1.0)].into_iter();
                let metrics: Metrics = other.chain(value.map(|value| ("loss", value))).collect();
                self.expect(Op::Report(key, step, metrics), expected);
            }
            Happening::Finish { pick, end, ran_ms } => {
                let Some(key) = self.pick(pick) else { return };
                let end = ends()[usize::from(end) % ends().len()];
                let rank = self.rank(pick, key);
                let expected = self.oracle.finish(key, rank, end, ran_ms);
                let finish = Finish { rank, cpu_ms: ran_ms, ..testing::finish(key, end, ran_ms) };
                self.expect(Op::Finish(finish), expected);
            }
            Happening::KeepLogs { pick, agent, bundle, length } => {
                let Some(key) = self.pick(pick) else { return };
                let attempts = BTreeSet::from([(key.trial, key.attempt), (key.trial + 1, key.attempt)]);
                let expected = self.oracle.keep_logs(key.sweep.bits, agent, bundle, length, &attempts);
                let attempts = attempts.into_iter().map(|(trial, attempt)| Logged { trial, attempt }).collect();
                let bundle = format!("{bundle:02x}").repeat(32).parse().expect("a name");
                let (agent, sweep, limit, sweep_limit) = (AgentId { bits: agent }, key.sweep, LOGS_MAX, SWEEP_LOGS_MAX);
                let keep = KeepLogs { agent, sweep, bundle, length, attempts, limit, sweep_limit };
                self.expect(Op::KeepLogs(keep), expected);
            }
            Happening::Told { id, what, place } => {
                let known = self.oracle.sweeps.contains_key(&id);
                let (sweep, hook, reader) = (SweepId { bits: id }, 0, "ann".to_owned());
                let op = match what % 3 {
                    // No sweep of the model has a webhook: nothing is noted.
                    0 => Op::NoticeDelivered { sweep, hook, place },
                    1 => Op::GiveUpHook { sweep, hook, why: String::new() },
                    _ => Op::ReadNotice { sweep, reader, place },
                };
                self.expect(op, if known { Answer::Done } else { Answer::Refused("H0001") });
            }
            Happening::CreateToken { id, secret, role, ttl, uses } => {
                let role = [TokenRole::Agent, TokenRole::User, TokenRole::Admin][usize::from(role) % 3];
                let create = Create {
                    token: TokenId { bits: id },
                    name: String::new(),
                    role,
                    hash: secret_hash(&secret.to_string()),
                    ttl_ms: ttl,
                    uses_max: uses,
                };
                let expires = ttl.map(|ttl| self.oracle.now + ttl);
                let token = Token { secret, role, expires, max: uses, users: BTreeSet::new() };
                let expected = self.oracle.tokens.create(self.oracle.now, id, token);
                self.expect(Op::CreateToken(create), expected);
            }
            Happening::RevokeToken(id) => {
                let expected = self.oracle.tokens.revoke(id);
                self.expect(Op::RevokeToken(TokenId { bits: id }.to_string()), expected);
            }
            Happening::Join { token, agent, key } => {
                let expected = self.oracle.tokens.join(self.oracle.now, token, agent, key);
                let (token, agent) = (TokenId { bits: token }, AgentId { bits: agent });
                self.expect(Op::Join(Join { token, agent, key: [key; 32] }), expected);
            }
            Happening::Limits => {
                self.oracle.limits();
                self.leading.limits().expect("no contradiction");
            }
            Happening::Dispatch(salt) => self.dispatch(salt),
            Happening::Clock(ms) => self.now = self.now.saturating_add_signed(ms),
            Happening::FailOver => {
                self.end_turn();
                self.term += 1;
                self.leading = Leading::new(self.term, 0, self.applied.clone());
                // What a leader read off its clock and never wrote down is lost with it.
                self.oracle.now = self.applied.at_ms;
                self.oracle.queue = Queue::default();
                self.oracle.agents.values_mut().for_each(|agent| agent.attached = false);
            }
            Happening::EndTurn => self.end_turn(),
        }
    }

    fn dispatch(&mut self, salt: u64) {
        let spaces = self.oracle.sweeps.iter().map(|(id, sweep)| (*id, sweep.kind.space)).collect();
        self.oracle.dispatch(salt);
        self.leading.dispatch(&mut Script { salt, spaces }).expect("no contradiction");
    }

    /// An attempt: mostly a live one, sometimes one that is over or never was.
    fn pick(&self, pick: u16) -> Option<Key> {
        let place = usize::from(pick / 4);
        let key = |live_only: bool| {
            let mut keys = Vec::new();
            for (id, sweep) in &self.oracle.sweeps {
                for (number, trial) in &sweep.trials {
                    let live = trial.attempts.last().is_some_and(|attempt| attempt.ran.is_none());
                    let attempts = trial.attempts.len() as u32;
                    let from = if live_only { attempts } else { 0 };
                    let to = if live_only { attempts + u32::from(live) } else { attempts + 2 };
                    keys.extend((from..to).map(|attempt| Key {
                        sweep: SweepId { bits: *id },
                        trial: *number,
                        attempt,
                    }));
                }
            }
            (!keys.is_empty()).then(|| keys[place % keys.len()])
        };
        if pick.is_multiple_of(4) { key(false) } else { key(true) }
    }

    /// One of the members of the attempt.
    fn rank(&self, pick: u16, key: Key) -> u32 {
        u32::from(pick / 256) % self.oracle.nodes(key)
    }

    fn expect(&mut self, op: Op, expected: Answer) {
        let said = format!("{op:?}");
        let answer = match self.leading.decide(op).expect("no contradiction") {
            Err(refusal) => Answer::Refused(refusal.code()),
            Ok(Reply::Done) => Answer::Done,
            Ok(Reply::Submitted(submitted)) => Answer::Submitted(submitted.sweep.bits, submitted.existed),
            Ok(Reply::Enqueued(count)) => Answer::Enqueued(count),
            Ok(Reply::Retried(trials)) => Answer::Retried(trials),
            Ok(Reply::Attached(a)) => Answer::Attached { kill: a.kill, stop: a.stop, run: a.run },
            Ok(Reply::Token(token)) => Answer::Token(token.bits),
            Ok(Reply::Study(done)) => panic!("{done:?}: studies have a model of their own"),
        };
        assert_eq!(answer, expected, "the answer to {said}");
        compare(&self.oracle, self.leading.draft(), &said);
    }

    fn end_turn(&mut self) {
        self.begins = true;
        assert_eq!(self.leading.faults(), Vec::<String>::new());
        let Some(entry) = self.leading.finish() else { return };
        self.turns += 1;
        self.oracle.entry += 1;
        assert_eq!(violations(self.leading.draft()), []);
        let bytes = entry.encode_to_vec();
        let decoded = Entry::decode(bytes.as_slice()).expect("decodes");
        assert_eq!(decoded.encode_to_vec(), bytes, "an entry is what its encoding says");
        assert!(entry.at_ms >= self.applied.at_ms, "time never goes back along the log");

        let mut deposed = self.applied.clone();
        deposed.apply(self.applied.applied + 1, self.term + 1, decoded.clone()).expect("records nothing");
        deposed.applied = self.applied.applied;
        assert_eq!((deposed.hash(), deposed.at_ms), (self.applied.hash(), self.applied.at_ms));
        compare_all(&deposed, &self.applied);

        self.applied.apply(self.applied.applied + 1, self.term, decoded).expect("applies");
        assert_eq!(self.applied.hash(), self.leading.draft().hash());
        compare(&self.oracle, &self.applied, "the entry");
        if self.turns.is_multiple_of(4) {
            self.restore();
        }
        self.log.extend(bytes);
    }

    /// A snapshot of the state makes the state again.
    fn restore(&self) {
        let runs = self.applied.pieces().map(|piece| piece.unpack().expect("unpacks"));
        let restored = State::from_runs(self.applied.applied, self.applied.turn, runs).expect("restores");
        assert_eq!(restored.hash(), self.applied.hash());
        assert_eq!(restored.pieces().count(), self.applied.pieces().count(), "what is packed stays so");
        compare(&self.oracle, &restored, "the snapshot");
        compare_all(&restored, &self.applied);
    }

    /// Heals everything, and lets every sweep come to its end.
    pub fn settle(&mut self) {
        let attach = |agent| Happening::Attach { agent, cpus: 64, gpus: 64, forgets: 0, bogus: false, able: true };
        let mut rest: Vec<Happening> = [1, 2, 3].map(attach).into();
        rest.extend([1, 2, 3].map(Happening::Undrain));
        rest.extend([1, 2, 3].map(Happening::Release));
        rest.push(Happening::Clock(PATIENCE_MS as i64));
        rest.extend(self.oracle.sweeps.keys().map(|id| Happening::Control(*id, 1)));
        self.play(&rest);
        for _ in 0..400 {
            self.play(&[Happening::Dispatch(0), Happening::EndTurn]);
            let held = |agent| self.oracle.held(agent).into_iter().map(move |key| (agent, key));
            let live: Vec<(u64, Key)> = [1, 2, 3].into_iter().flat_map(held).collect();
            for (agent, key) in live {
                let rank = self.oracle.rank(agent, key).expect("is held");
                if rank == 0 {
                    let step = u64::MAX;
                    let expected = self.oracle.report(key, step, Some(0.5));
                    self.expect(Op::Report(key, step, testing::metrics(0.5)), expected);
                }
                let expected = self.oracle.finish(key, rank, End::Exited(0), 10);
                let finish = Finish { rank, cpu_ms: 10, ..testing::finish(key, End::Exited(0), 10) };
                self.expect(Op::Finish(finish), expected);
            }
            self.end_turn();
        }
        self.restore();
        for (id, sweep) in &self.oracle.sweeps {
            assert!(sweep.over(), "sweep {id} comes to its end: {sweep:?}");
            let finished = sweep.standing == Standing::Ended(heats_core::Ending::Finished);
            if finished && !sweep.cut_short {
                assert_eq!(sweep.proposed(), sweep.max, "sweep {id} ends with exactly its budget");
            }
            assert!(sweep.trials.values().all(|trial| trial.state().is_terminal()));
        }
    }
}

fn file(kind: &Kind) -> SweepBuilder {
    let mut builder = match kind.maximize {
        Some(true) => SweepBuilder::maximize("loss"),
        Some(false) => SweepBuilder::minimize("loss"),
        None => SweepBuilder::unranked(),
    };
    builder = builder.trials(kind.trials).set("run", "retries", kind.retries).set("resources", "gpus", kind.gpus);
    builder = builder.set("resources", "nodes", kind.nodes);
    if kind.upper {
        let audit = kind.audit.then_some(0.5);
        let rule = serde_json::json!({"algorithm": "threshold", "upper": UPPER, "audit": audit});
        builder = builder.top("early_stop", rule);
    }
    if kind.stop_at && kind.maximize.is_some() {
        builder = builder.set("objective", "stop_at", TARGET);
    }
    if let (Some((top, seeds)), Some(_)) = (kind.confirm, kind.maximize) {
        builder = builder.set("objective", "confirm", serde_json::json!({ "top": top, "seeds": seeds }));
    }
    if let Some(parallel) = kind.parallel {
        builder = builder.set("budget", "parallel", parallel);
    }
    if let Some(max) = kind.max_failures {
        builder = builder.set("budget", "max_failures", max);
    }
    if let Some(ms) = kind.wall_ms {
        builder = builder.set("budget", "wall", format!("{ms}ms"));
    }
    builder
}

fn values() -> [Option<f64>; 10] {
    let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1.0, 4.0, 6.0, -4.5].map(Some);
    let mut all = [None; 10];
    all[..9].copy_from_slice(&numbers);
    all
}

fn ends() -> [End; 12] {
    let codes = [0, 0, 1, 65, 75].map(End::Exited);
    let [a, b, c, d, e] = codes;
    let [f, g] = [End::Signaled(9), End::OutOfMemory];
    [a, b, c, d, e, f, g, End::TimedOut, End::StartFailed, End::Lost, End::Stopped, End::Preempted]
}

/// Everything that the oracle knows must be what the state says.
fn compare(oracle: &Oracle, state: &State, after: &str) {
    assert_eq!(
        state.sweeps.keys().map(|id| id.bits).collect::<Vec<_>>(),
        oracle.sweeps.keys().copied().collect::<Vec<_>>(),
        "the sweeps after {after}"
    );
    for (id, expected) in &oracle.sweeps {
        let sweep = &state.sweeps[&SweepId { bits: *id }];
        let standing = match &sweep.status {
            Status::Running => Standing::Running,
            Status::Paused => Standing::Paused,
            Status::Draining(ending, _) => Standing::Draining(*ending),
            Status::Ended { ending, .. } => Standing::Ended(*ending),
        };
        assert_eq!(standing, expected.standing, "sweep {id} after {after}");
        assert_eq!(
            (sweep.trials_max, sweep.parallel, sweep.queue.len()),
            (Some(expected.max), expected.parallel, expected.queue),
            "the limits of sweep {id} after {after}"
        );
        assert_eq!(sweep.live.iter().copied().collect::<Vec<_>>(), expected.live(), "leases of {id} after {after}");
        let best = sweep.best().and_then(|trial| Some((trial.number, trial.best?.value)));
        assert_eq!(best, expected.best(), "the best of sweep {id} after {after}");
        compare_trials(sweep, expected, after);
    }
    surroundings::compare(oracle, state, after);
    let bundles: Vec<(u64, u64)> = state.shelf.oldest().map(|(sweep, _, length)| (sweep.bits, length)).collect();
    assert_eq!(bundles, oracle.logs.bundles(), "the logs that are kept after {after}");
    let bytes: u64 = bundles.iter().map(|(_, length)| length).sum();
    assert!(state.shelf.bytes() == bytes && bytes <= LOGS_MAX, "{bytes} bytes of logs after {after}");
    assert_eq!(state.lineage(), oracle.lineage, "the lineage after {after}");
    let tokens = state.tokens.iter().map(|(id, token)| (id.bits, token.role(), token.uses() as usize));
    let expected = oracle.tokens.good.iter().map(|(id, token)| (*id, Some(token.role), token.users.len()));
    assert_eq!(tokens.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the tokens after {after}");
    for agent in 1..=3 {
        let key = oracle.tokens.keys.get(&agent).map(|key| [*key; 32]);
        assert_eq!(state.agent_key(AgentId { bits: agent }), key.as_ref().map(|key| &key[..]), "keys after {after}");
        let held = state.leases.get(&AgentId { bits: agent });
        let held = held.into_iter().flatten().map(|((sweep, trial), lease)| Key {
            sweep: *sweep,
            trial: *trial,
            attempt: lease.attempt,
        });
        assert_eq!(held.collect::<Vec<_>>(), oracle.held(agent), "what agent {agent} holds after {after}");
        let drained = state.drain(AgentId { bits: agent }).map(|(drain, _)| (drain.reason.clone(), drain.now));
        let expected = oracle.agents.get(&agent).and_then(|agent| agent.drained.clone());
        assert_eq!(drained, expected, "whether agent {agent} is drained after {after}");
        let quarantines = state.quarantined(AgentId { bits: agent }).map(|(part, fact)| {
            let AgentQuarantined { since_ms: since, until_ms: until, delay_ms: delay, proven, .. } = *fact;
            ((agent, part.gpu), Quarantine { since, until, delay, proven })
        });
        let expected = oracle.quarantines.iter().filter(|((of, _), _)| *of == agent).map(|(part, one)| (*part, *one));
        assert_eq!(
            quarantines.collect::<Vec<_>>(),
            expected.collect::<Vec<_>>(),
            "what of agent {agent} is left alone after {after}"
        );
    }
}

fn compare_trials(sweep: &Sweep, expected: &oracle::Sweep, after: &str) {
    assert_eq!(sweep.trials.len(), expected.trials.len(), "the trials after {after}");
    let mut ran = 0;
    for (number, expected) in &expected.trials {
        let trial = sweep.trial(*number).expect("is there");
        let place = format!("trial {number} of {} after {after}", sweep.id);
        assert_eq!((trial.state, trial.spared), (expected.state(), expected.spared), "{place}");
        assert_eq!(trial.confirms, expected.confirms, "{place}");
        assert_eq!((trial.attempts.len(), trial.retries_used), (expected.attempts.len(), expected.retries), "{place}");
        for (attempt, expected) in trial.attempts.iter().zip(&expected.attempts) {
            let alone = [(attempt.agent, &attempt.grant, attempt.end)];
            let members = attempt.gang.iter().flat_map(|gang| &gang.members).map(|m| (m.agent, &m.grant, m.end));
            let all: Vec<_> = if attempt.gang.is_some() { members.collect() } else { alone.into() };
            let all = all.into_iter().map(|(agent, grant, end)| {
                let gpus: BTreeSet<u32> = grant.gpus.iter().copied().collect();
                (agent.bits, gpus, end.map(|end| end.ran_ms))
            });
            let members = expected.members.iter().map(|member| (member.agent, member.gpus.clone(), member.ran));
            assert_eq!(all.collect::<Vec<_>>(), members.collect::<Vec<_>>(), "{place}");
            assert_eq!(attempt.end.map(|end| end.ran_ms), expected.ran, "{place}");
            assert_eq!(attempt.end.is_some_and(|end| end.excused), expected.excused, "{place}");
            ran += expected.ran.unwrap_or(0);
        }
        let reports = (0..trial.series.len()).map(|place| {
            let (fact, _) = sweep.report(trial, place).expect("what the series names is a report");
            (fact.step, fact.metrics.get("loss").map(f64::to_bits))
        });
        let bits = |(step, value): &(u64, Option<f64>)| (*step, value.map(f64::to_bits));
        assert_eq!(
            reports.collect::<Vec<_>>(),
            expected.reports.iter().map(bits).collect::<Vec<_>>(),
            "every accepted report exactly once: {place}"
        );
    }
    assert_eq!(sweep.ledger.attempt_ms, ran, "the ledger of {} after {after}", sweep.id);
    for state in TrialState::ALL {
        let count = expected.trials.values().filter(|trial| trial.state() == state).count();
        assert_eq!(sweep.counts.of(state) as usize, count, "{state} trials after {after}");
    }
}

/// Everything that is derived from the journals is the same in both.
/// What early stopping saved, found by walking over the trials; as the sweep says it.
fn saved(sweep: &Sweep) -> Savings {
    let trials = || sweep.trials.iter();
    let longest = trials().filter_map(|trial| trial.last_step).max().unwrap_or(0);
    let last_of = |state| trials().filter(move |trial| trial.state == state).filter_map(|trial| trial.last_step);
    let not_run: u128 = last_of(TrialState::Stopped).map(|last| u128::from(longest - last)).sum();
    let steps_saved = if sweep.members.is_some() { 0 } else { u64::try_from(not_run).unwrap_or(u64::MAX) };
    let whole = trials().filter(|trial| trial.state == TrialState::Completed && trial.last_step.is_some());
    let whole_ms: u128 = whole.filter_map(|trial| trial.attempts.last()?.end).map(|end| u128::from(end.ran_ms)).sum();
    let whole_steps: u128 = last_of(TrialState::Completed).map(u128::from).sum();
    let ms_saved = (u128::from(steps_saved) * whole_ms).checked_div(whole_steps).unwrap_or(0);
    let savings = Savings {
        steps: trials().map(|trial| u64::from(trial.reports())).sum(),
        steps_saved,
        ms_saved: u64::try_from(ms_saved).unwrap_or(u64::MAX),
    };
    assert_eq!(sweep.savings(), savings);
    savings
}

fn compare_all(a: &State, b: &State) {
    let describe = |state: &State| {
        let sweeps: Vec<_> = state
            .sweeps
            .values()
            .map(|s| {
                (
                    (&s.trials, &s.status, &s.counts, &s.ranking, &s.ledger, &s.stopped_by, &s.queue),
                    (s.forgiven, &s.fresh, &s.tallies, saved(s)),
                )
            })
            .map(|all| format!("{all:?}"))
            .collect();
        let held: Vec<_> = state.leases.iter().filter(|(_, held)| !held.is_empty()).collect();
        let State { agents, drains, quarantines, tokens, restored, .. } = state;
        format!("{sweeps:?} {held:?} {agents:?} {drains:?} {quarantines:?} {tokens:?} {restored:?}")
    };
    assert_eq!(describe(a), describe(b));
}
