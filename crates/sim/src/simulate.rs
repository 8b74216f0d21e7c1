//! The run itself: events in the order of their time, each followed by the leader's turn, as in a coordinator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use heats_core::invariants::violations;
use heats_core::ops::agents::Attached;
use heats_core::ops::attempts::{End, Finish, Key};
use heats_core::ops::start::Start;
use heats_core::ops::submit::Submit;
use heats_core::{Entry, Fact, Leading, Op, Refusal, Reply, State, Sweep, Trial, history};
use heats_domain::{AgentId, Metrics, SweepId, SweepSpec};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agents::{Agent, Link, Process, about};
use crate::{Running, SimConfig, SimError, SimReport, Step, Suggester, Troubles, Workload};

/// How often limits of time are looked at, in virtual milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;
/// Within which time a repeated message arrives again, and agents find a new leader.
const SOON_MS: u64 = 5_000;

/// Runs `spec` to its end in virtual time.
///
/// # Errors
/// See [`SimError`]; all but `Refused`, `Stalled` and `TooLong` are defects of Heats.
pub fn simulate(spec: &SweepSpec, workload: &mut dyn Workload, config: SimConfig) -> Result<SimReport, SimError> {
    let mut sim = Sim::new(workload, config);
    sim.submit(spec)?;
    sim.open(spec);
    loop {
        sim.turns()?;
        if sim.sweep()?.is_ended() {
            return sim.report();
        }
        let Some(((at_ms, _), happening)) = sim.agenda.pop_first() else { return Err(sim.stalled()) };
        sim.now_ms = sim.now_ms.max(at_ms);
        sim.happen(happening)?;
    }
}

/// What is going to happen at a time.
enum Happening {
    /// A process has done a step.
    Stepped(AgentId, Key, u64, Metrics),
    /// A process has ended.
    Ended(AgentId, Key, End),
    /// A message arrives again.
    Again(Box<Op>),
    Dies(AgentId),
    Returns(AgentId),
    IsCut(AgentId),
    Reconnects(AgentId),
    /// The agent has been silent for as long as a lease lasts, unless its link changed since.
    Silent(AgentId, u64),
    FailsOver,
    Looks,
}

struct Sim<'a> {
    workload: &'a mut dyn Workload,
    config: SimConfig,
    rng: ChaCha8Rng,
    now_ms: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    planned: u64,
    agents: BTreeMap<AgentId, Agent>,
    inbox: VecDeque<Op>,
    leading: Leading,
    term: u64,
    suggester: Suggester,
    applied: State,
    sweep: SweepId,
    log: blake3::Hasher,
    /// Trials that go on from a pause, and have no process yet.
    resumed: BTreeSet<u32>,
    steps: u64,
    improvements: Vec<(u64, f64)>,
    troubles: Troubles,
}

impl<'a> Sim<'a> {
    fn new(workload: &'a mut dyn Workload, config: SimConfig) -> Self {
        let applied = State::default();
        let agents = (1..=u64::from(config.agents)).map(|bits| (AgentId { bits }, Agent::new())).collect();
        Self {
            workload,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            now_ms: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            agents,
            inbox: VecDeque::new(),
            leading: Leading::new(1, 0, applied.clone()),
            term: 1,
            suggester: Suggester::default(),
            applied,
            sweep: SweepId { bits: 1 },
            log: blake3::Hasher::new(),
            resumed: BTreeSet::new(),
            steps: 0,
            improvements: Vec::new(),
            troubles: Troubles::default(),
        }
    }

    fn submit(&mut self, spec: &SweepSpec) -> Result<(), SimError> {
        let (seed, empty) = (self.config.seed, String::new());
        let (spec, base_dir, provenance, code) = (spec.clone(), empty.clone(), empty.clone(), empty);
        let submit = Submit {
            sweep: self.sweep,
            request: 1,
            spec,
            name: None,
            seed,
            base_dir,
            provenance,
            code,
            user: String::new(),
        };
        self.leading.decide(Op::Submit(Box::new(submit)))??;
        self.end_turn()?;
        let sweep = self.sweep()?;
        history::searcher(&sweep)?;
        history::stopper(&sweep)?;
        Ok(())
    }

    /// Everything that happens without a cause: agents come, faults, looks at the clock.
    fn open(&mut self, spec: &SweepSpec) {
        let faults = self.config.faults;
        for agent in self.agents.keys().copied().collect::<Vec<_>>() {
            self.plan(0, Happening::Returns(agent));
            self.plan_fault(faults.death_every_ms, Happening::Dies(agent));
            self.plan_fault(faults.cut_every_ms, Happening::IsCut(agent));
        }
        self.plan_fault(faults.failover_every_ms, Happening::FailsOver);
        if spec.budget.wall.is_some() || spec.budget.gpu_hours.is_some() {
            self.plan(LOOK_EVERY_MS, Happening::Looks);
        }
    }

    fn plan(&mut self, in_ms: u64, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((self.now_ms + in_ms, self.planned), happening);
    }

    fn plan_fault(&mut self, every_ms: Option<u64>, happening: Happening) {
        let Some(every_ms) = every_ms else { return };
        let waits = -(1.0 - self.rng.random::<f64>()).ln() * every_ms as f64;
        self.plan(waits.ceil() as u64, happening);
    }

    fn soon(&mut self, within_ms: u64) -> u64 {
        self.rng.random_range(1..=within_ms.max(1))
    }

    fn happen(&mut self, happening: Happening) -> Result<(), SimError> {
        let faults = self.config.faults;
        match happening {
            Happening::Stepped(agent, key, at, metrics) => self.stepped(agent, key, at, metrics)?,
            Happening::Ended(agent, key, end) => self.ended(agent, key, end),
            Happening::Again(op) => {
                self.troubles.repeated += 1;
                self.inbox.push_back(*op);
            }
            Happening::Dies(agent) => {
                self.plan_fault(faults.death_every_ms, Happening::Dies(agent));
                if self.link(agent) != Some(Link::Dead) {
                    self.troubles.deaths += 1;
                    self.leave(agent, Link::Dead);
                    let back = self.soon(2 * self.config.lease_ms);
                    self.plan(back, Happening::Returns(agent));
                }
            }
            Happening::IsCut(agent) => {
                self.plan_fault(faults.cut_every_ms, Happening::IsCut(agent));
                if self.link(agent) == Some(Link::Attached) {
                    self.troubles.cuts += 1;
                    self.leave(agent, Link::Cut);
                    let back = self.soon(2 * self.config.lease_ms);
                    self.plan(back, Happening::Reconnects(agent));
                }
            }
            Happening::Returns(agent) if self.link(agent) == Some(Link::Dead) => self.attach(agent)?,
            Happening::Reconnects(agent) if self.link(agent) == Some(Link::Cut) => self.attach(agent)?,
            Happening::Returns(_) | Happening::Reconnects(_) => {}
            Happening::Silent(agent, epoch) => {
                if self.agents.get(&agent).is_some_and(|agent| agent.epoch == epoch) {
                    self.troubles.expired += 1;
                    self.inbox.push_back(Op::Expire(agent, self.config.lease_ms));
                }
            }
            Happening::FailsOver => {
                self.plan_fault(faults.failover_every_ms, Happening::FailsOver);
                self.fail_over()?;
            }
            Happening::Looks => self.plan(LOOK_EVERY_MS, Happening::Looks),
        }
        Ok(())
    }

    fn link(&self, agent: AgentId) -> Option<Link> {
        self.agents.get(&agent).map(|agent| agent.link)
    }

    /// The leader hears nothing of the agent from now on.
    fn leave(&mut self, id: AgentId, link: Link) {
        self.leading.detach(id);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.relink(link);
        let epoch = agent.epoch;
        self.plan(self.config.lease_ms, Happening::Silent(id, epoch));
    }

    fn attach(&mut self, id: AgentId) -> Result<(), SimError> {
        let Some(agent) = self.agents.get_mut(&id) else { return Ok(()) };
        agent.relink(Link::Attached);
        let attach = agent.attach(id, self.config.inventory.clone());
        // Alone in its turn: what the agent has to say comes after the answer.
        self.turns()?;
        self.leading.begin(self.now_ms);
        if let Reply::Attached(Attached { kill, stop, run }) = self.leading.decide(Op::Attach(attach))?? {
            self.end_turn()?;
            if let Some(agent) = self.agents.get_mut(&id) {
                kill.into_iter().for_each(|key| agent.kill(key));
                let spooled = std::mem::take(&mut agent.outbox);
                spooled.into_iter().for_each(|op| self.arrive(op));
            }
            stop.into_iter().for_each(|key| self.stop(id, key));
            for key in run {
                self.start(id, key)?;
            }
        }
        Ok(())
    }

    /// A new leader: it has the log and nothing else, and every agent looks for it.
    fn fail_over(&mut self) -> Result<(), SimError> {
        self.turns()?;
        self.check()?;
        self.troubles.failovers += 1;
        self.term += 1;
        self.leading = Leading::new(self.term, 0, self.applied.clone());
        self.suggester = Suggester::default();
        for id in self.agents.keys().copied().collect::<Vec<_>>() {
            // Every lease is granted one whole time from now on, whatever the last leader had heard.
            let link = self.link(id);
            if link == Some(Link::Attached) {
                let back = self.soon(SOON_MS);
                self.plan(back, Happening::Reconnects(id));
            }
            self.leave(id, if link == Some(Link::Dead) { Link::Dead } else { Link::Cut });
        }
        Ok(())
    }

    fn start(&mut self, id: AgentId, key: Key) -> Result<(), SimError> {
        let sweep = self.sweep()?;
        let Some(params) = sweep.trial(key.trial).and_then(|trial| sweep.params(trial)) else {
            return Ok(());
        };
        let seed = history::trial_seed(sweep.seed, key.trial);
        let reported = sweep.trial(key.trial).and_then(|trial| trial.last_step);
        let step = match reported.filter(|_| self.resumed.remove(&key.trial)) {
            Some(reported) => {
                let running = Running { trial: key.trial, attempt: key.attempt, params: &params, seed };
                self.workload.resume(&running, reported)
            }
            None => 0,
        };
        let process = Process { params, seed, step, started_ms: self.now_ms, stopping: false };
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.processes.insert(key, process);
        }
        let (environment, cold) = (String::new(), String::new());
        let start = Start { key, rank: 0, environment, name: None, found: None, warm: false, cold };
        self.say(id, Op::Start(start));
        self.advance(id, key);
        Ok(())
    }

    /// Asks the workload what the process does next.
    fn advance(&mut self, id: AgentId, key: Key) {
        let Some(process) = self.agents.get(&id).and_then(|agent| agent.processes.get(&key)) else { return };
        let Process { params, seed, step, .. } = process;
        let running = Running { trial: key.trial, attempt: key.attempt, params, seed: *seed };
        match self.workload.step(&running, step + 1) {
            Step::Trained { at, took_ms, metrics } => self.plan(took_ms, Happening::Stepped(id, key, at, metrics)),
            Step::Done => self.plan(0, Happening::Ended(id, key, End::Exited(0))),
            Step::Ended { after_ms, end } => self.plan(after_ms, Happening::Ended(id, key, end)),
        }
    }

    fn stepped(&mut self, id: AgentId, key: Key, at: u64, metrics: Metrics) -> Result<(), SimError> {
        let process = self.agents.get_mut(&id).and_then(|agent| agent.processes.get_mut(&key));
        let Some(process) = process.filter(|process| !process.stopping) else { return Ok(()) };
        process.step += 1;
        self.steps += 1;
        if self.steps > self.config.steps_max {
            return Err(SimError::TooLong { steps: self.steps });
        }
        self.say(id, Op::Report(key, at, metrics));
        // The verdict comes before the next step: an agent answers from what it knows, and knows it by then.
        if self.link(id) == Some(Link::Attached) {
            self.turns()?;
        }
        self.advance(id, key);
        Ok(())
    }

    fn ended(&mut self, id: AgentId, key: Key, end: End) {
        let process = self.agents.get_mut(&id).and_then(|agent| agent.processes.remove(&key));
        let Some(process) = process else { return };
        let ran_ms = self.now_ms - process.started_ms;
        let finish = Finish { key, rank: 0, end, ran_ms, cpu_ms: ran_ms, max_rss: 0, detail: String::new() };
        self.say(id, Op::Finish(finish));
    }

    fn stop(&mut self, id: AgentId, key: Key) {
        let process = self.agents.get_mut(&id).and_then(|agent| agent.processes.get_mut(&key));
        if let Some(process) = process.filter(|process| !process.stopping) {
            process.stopping = true;
            self.plan(0, Happening::Ended(id, key, End::Stopped));
        }
    }

    /// A message of an agent: it arrives now, or waits for the stream.
    fn say(&mut self, id: AgentId, op: Op) {
        match self.agents.get_mut(&id) {
            Some(agent) if agent.link == Link::Cut => agent.outbox.push_back(op),
            Some(_) | None => self.arrive(op),
        }
    }

    /// A message arrives, and may arrive again: its acknowledgement was lost.
    fn arrive(&mut self, op: Op) {
        if self.config.faults.repeat > 0.0 && self.rng.random::<f64>() < self.config.faults.repeat {
            let later = self.soon(SOON_MS);
            self.plan(later, Happening::Again(Box::new(op.clone())));
        }
        self.inbox.push_back(op);
    }

    /// Turns of the leader until nobody has anything to say.
    fn turns(&mut self) -> Result<(), SimError> {
        loop {
            self.leading.begin(self.now_ms);
            while let Some(op) = self.inbox.pop_front() {
                let key = about(&op);
                match (self.leading.decide(op)?, key) {
                    (Err(Refusal::Stale { .. }), Some(key)) => {
                        self.troubles.stale += 1;
                        self.agents.values_mut().for_each(|agent| agent.kill(key));
                    }
                    (Err(refusal), _) => return Err(refusal.into()),
                    (Ok(_), _) => {}
                }
            }
            self.leading.limits()?;
            self.leading.dispatch(&mut self.suggester)?;
            if let Some(refusal) = self.suggester.broken() {
                return Err(refusal.clone().into());
            }
            self.end_turn()?;
            if self.inbox.is_empty() {
                return Ok(());
            }
        }
    }

    /// The entry goes through its encoding to the follower, and its facts to the agents.
    fn end_turn(&mut self) -> Result<(), SimError> {
        let Some(entry) = self.leading.finish() else { return Ok(()) };
        let index = self.applied.applied + 1;
        let bytes = entry.encode_to_vec();
        self.log.update(&bytes);
        let entry = Entry::decode(bytes.as_slice()).map_err(|_| SimError::Encoding { index })?;
        self.applied.apply(index, self.term, entry.clone())?;
        self.note_best();
        for fact in entry.facts.into_iter().filter_map(|cell| cell.fact) {
            match fact {
                Fact::TrialResumed(fact) => {
                    self.resumed.insert(fact.trial);
                }
                Fact::TrialLeased(fact) => {
                    let key = Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt };
                    self.start(fact.agent, key)?;
                }
                Fact::TrialSettled(fact) => self.settled(fact.trial)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A trial that is over, or holds at a rung, may still have a process: its agent is told, if it can be.
    fn settled(&mut self, trial: u32) -> Result<(), SimError> {
        let sweep = self.sweep()?;
        let over = sweep.trial(trial).filter(|trial| trial.state.is_at_rest());
        if let Some((attempt, live)) = over.and_then(Trial::live)
            && self.link(live.agent) == Some(Link::Attached)
        {
            self.stop(live.agent, Key { sweep: self.sweep, trial, attempt });
        }
        Ok(())
    }

    fn sweep(&self) -> Result<Arc<Sweep>, SimError> {
        let sweep = self.applied.sweeps.get(&self.sweep).cloned();
        sweep.ok_or_else(|| Refusal::NoSuchSweep(self.sweep.to_string()).into())
    }

    fn stalled(&self) -> SimError {
        let trials = self.applied.sweeps.get(&self.sweep).map_or(0, |sweep| sweep.created());
        SimError::Stalled { trials }
    }

    /// Every invariant, and that leader and follower are one.
    fn check(&self) -> Result<(), SimError> {
        let index = self.applied.applied;
        if let Some(violation) = violations(&self.applied).into_iter().next() {
            return Err(SimError::Broken { index, violation });
        }
        if self.leading.draft().hash() == self.applied.hash() { Ok(()) } else { Err(SimError::Diverged { index }) }
    }

    fn note_best(&mut self) {
        let sweep = self.applied.sweeps.get(&self.sweep);
        // By the ranking: who is the best by what was confirmed is no better value.
        let first = sweep.and_then(|sweep| sweep.trial(sweep.ranking.get_min()?.trial));
        let best = first.and_then(|trial| trial.best);
        if let Some(best) = best.map(|best| best.value)
            && self.improvements.last().is_none_or(|(_, last)| *last != best)
        {
            self.improvements.push((self.now_ms, best));
        }
    }

    fn report(&self) -> Result<SimReport, SimError> {
        self.check()?;
        let sweep = self.sweep()?;
        let ending = sweep.status.ending().ok_or_else(|| self.stalled())?;
        Ok(SimReport {
            ending,
            took_ms: self.now_ms,
            steps: self.steps,
            improvements: self.improvements.clone(),
            entries: self.applied.applied,
            state_hash: self.applied.hash(),
            log_hash: self.log.finalize(),
            troubles: self.troubles,
            sweep,
        })
    }
}
