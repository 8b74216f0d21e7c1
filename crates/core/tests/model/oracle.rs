//! A second, slower machine that follows the rules as they are written down, not the code: plain maps, every
//! total counted again at every question. Knows nothing of facts, journals, terms or encodings.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::Ending;
use heats_core::ops::attempts::{End, Key};
use heats_core::ops::control::{Edit, Verb};
use heats_domain::{SweepId, TrialState};
use heats_search::stoppers::audit::is_drawn;

use crate::kind::{Kind, SEED, TARGET, UPPER};
use crate::logs::Logs;
use crate::surroundings::RanIn;
use crate::tokens::Tokens;

#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    Running,
    Paused,
    Draining(Ending),
    Ended(Ending),
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub agent: u64,
    pub gpus: BTreeSet<u32>,
    pub started: Option<u64>,
    pub ran: Option<u64>,
    pub given_back: bool,
    pub ran_in: Option<RanIn>,
}

#[derive(Clone, Debug, Default)]
pub struct Trial {
    pub state: Option<TrialState>,
    pub attempts: Vec<Attempt>,
    pub retries: u32,
    /// It would have been stopped.
    pub spared: bool,
    /// Whose configuration it runs again.
    pub confirms: Option<u32>,
    /// Every report that counted; the value where the objective was in it.
    pub reports: Vec<(u64, Option<f64>)>,
}

impl Trial {
    pub fn state(&self) -> TrialState {
        self.state.expect("was created")
    }

    fn live(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.ran.is_none())
    }

    fn ended(&self) -> bool {
        self.state().is_terminal()
    }

    /// Its best number, as something that is to be small.
    fn least(&self, sign: f64) -> Option<f64> {
        let numbers = self.reports.iter().filter_map(|(_, value)| value.filter(|v| v.is_finite()));
        numbers.map(|value| sign * value + 0.0).min_by(f64::total_cmp)
    }
}

#[derive(Clone, Debug)]
pub struct Sweep {
    pub kind: Kind,
    pub name: String,
    request: u64,
    pub max: u32,
    pub parallel: Option<u32>,
    pub queue: usize,
    pub trials: BTreeMap<u32, Trial>,
    pub standing: Standing,
    /// It ended for another reason than its budget.
    pub cut_short: bool,
    open: Vec<(u64, Option<u64>)>,
    forgiven: usize,
}

impl Sweep {
    fn count(&self, state: TrialState) -> usize {
        self.trials.values().filter(|trial| trial.state() == state).count()
    }

    pub fn live(&self) -> Vec<u32> {
        self.trials.iter().filter(|(_, trial)| trial.live().is_some()).map(|(n, _)| *n).collect()
    }

    fn waiting(&self) -> Option<u32> {
        self.trials.iter().find(|(_, trial)| trial.state() == TrialState::Waiting).map(|(n, _)| *n)
    }

    fn created(&self) -> u32 {
        self.trials.len() as u32
    }

    pub fn proposed(&self) -> u32 {
        self.trials.values().filter(|trial| trial.confirms.is_none()).count() as u32
    }

    pub fn over(&self) -> bool {
        matches!(self.standing, Standing::Ended(_))
    }

    fn draining(&self) -> bool {
        matches!(self.standing, Standing::Draining(_))
    }

    fn hungry(&self) -> bool {
        self.standing == Standing::Running
            && self.parallel.is_none_or(|max| self.live().len() < max as usize)
            && (self.waiting().is_some() || self.proposed() < self.max)
    }

    /// Trials that did not end badly, with their best numbers, the best first.
    fn ranking(&self) -> Vec<(f64, u32)> {
        let Some(sign) = self.sign() else { return Vec::new() };
        let badly = [TrialState::Failed, TrialState::Infeasible, TrialState::Cancelled];
        let good = self.trials.iter().filter(|(_, t)| t.confirms.is_none() && !badly.contains(&t.state()));
        let mut ranking: Vec<(f64, u32)> = good.filter_map(|(n, trial)| Some((trial.least(sign)?, *n))).collect();
        ranking.sort_by(|a, b| a.partial_cmp(b).expect("are numbers"));
        ranking
    }

    fn sign(&self) -> Option<f64> {
        Some(if self.kind.maximize? { -1.0 } else { 1.0 })
    }

    fn fresh(&self, leader: u32) -> impl Iterator<Item = &Trial> {
        self.trials.values().filter(move |trial| trial.confirms == Some(leader))
    }

    /// The best trial and its best number: where the leaders were confirmed, the one with the best mean.
    pub fn best(&self) -> Option<(u32, f64)> {
        let (sign, mut ranking) = (self.sign()?, self.ranking());
        if self.standing == Standing::Ended(Ending::Finished) {
            let mean = |leader: u32| {
                let completed = self.fresh(leader).filter(|trial| trial.state() == TrialState::Completed);
                let values: Vec<f64> = completed.filter_map(|trial| trial.least(sign)).collect();
                if values.is_empty() { f64::INFINITY } else { values.iter().sum::<f64>() / values.len() as f64 }
            };
            ranking.sort_by(|(_, a), (_, b)| mean(*a).total_cmp(&mean(*b)));
        }
        ranking.first().map(|(least, n)| (*n, sign * least + 0.0))
    }

    /// The leaders run again, as often as they have not yet; whether there was anything to run.
    fn confirm(&mut self) -> bool {
        let Some((top, seeds)) = self.kind.confirm else { return false };
        let before = self.created();
        for (_, leader) in self.ranking().into_iter().take(top as usize) {
            for _ in self.fresh(leader).count()..seeds as usize {
                let state = Some(TrialState::Waiting);
                self.trials.insert(self.created(), Trial { state, confirms: Some(leader), ..Trial::default() });
            }
        }
        self.created() > before
    }

    fn settle(&mut self, number: u32, state: TrialState) {
        let trial = self.trials.get_mut(&number).expect("is there");
        trial.state = Some(state);
        self.forgiven = self.forgiven.min(self.count(TrialState::Failed));
    }

    fn drain(&mut self, ending: Ending, running: Option<TrialState>) {
        self.standing = Standing::Draining(ending);
        self.cut_short = true;
        self.clear(running);
    }

    fn clear(&mut self, running: Option<TrialState>) {
        for number in self.trials.keys().copied().collect::<Vec<_>>() {
            let trial = &self.trials[&number];
            if trial.state() == TrialState::Waiting {
                self.settle(number, TrialState::Cancelled);
            } else if let (false, Some(state)) = (trial.ended(), running) {
                self.settle(number, state);
            }
        }
    }

    /// What follows from where the sweep stands.
    fn follow(&mut self, now: u64) {
        if matches!(self.standing, Standing::Running | Standing::Paused) {
            let failed = self.count(TrialState::Failed) - self.forgiven;
            if self.kind.max_failures.is_some_and(|max| failed >= max as usize) {
                self.drain(Ending::Failed, Some(TrialState::Cancelled));
            }
        }
        let idle = self.trials.values().all(|trial| trial.ended() && trial.live().is_none());
        let ending = match self.standing {
            Standing::Draining(ending) if idle => ending,
            Standing::Running | Standing::Paused if idle && self.proposed() >= self.max => {
                if self.confirm() {
                    return;
                }
                Ending::Finished
            }
            _ => return,
        };
        self.standing = Standing::Ended(ending);
        self.open.last_mut().expect("was opened").1 = Some(now);
    }

    fn reopen(&mut self, now: u64) {
        self.standing = Standing::Running;
        self.cut_short = false;
        self.forgiven = self.count(TrialState::Failed);
        self.open.push((now, None));
    }

    /// Ends the live attempt; what becomes of the trial unless it is over already.
    fn end(&mut self, number: u32, ran: u64, outcome: Outcome) {
        let (draining, retries) = (self.draining(), self.kind.retries);
        let trial = self.trials.get_mut(&number).expect("is there");
        let attempt = trial.attempts.last_mut().expect("is live");
        attempt.ran = Some(ran);
        attempt.given_back = matches!(outcome, Outcome::GivenBack) && !trial.state.is_some_and(TrialState::is_terminal);
        if trial.ended() {
            return;
        }
        let mut retried = false;
        let state = match outcome {
            Outcome::Is(state) => state,
            Outcome::NotItsFault | Outcome::GivenBack if draining => TrialState::Cancelled,
            Outcome::GivenBack => TrialState::Waiting,
            Outcome::NotItsFault => {
                let counted = trial.attempts.iter().filter(|attempt| !attempt.given_back).count() as u32;
                let requeues = counted - 1 - trial.retries;
                if requeues < 20 { TrialState::Waiting } else { TrialState::Failed }
            }
            Outcome::Failed if !draining && trial.retries < retries => {
                retried = true;
                TrialState::Waiting
            }
            Outcome::Failed => TrialState::Failed,
        };
        trial.retries += u32::from(retried);
        self.settle(number, state);
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Is(TrialState),
    NotItsFault,
    GivenBack,
    Failed,
}

#[derive(Clone, Debug, Default)]
pub struct Agent {
    pub cpus: u32,
    pub gpus: u32,
    pub attached: bool,
    pub able: bool,
    /// Why it is drained, and whether what runs there is to be ended.
    pub drained: Option<(String, bool)>,
}

/// What an operation is answered with; a refusal by its code.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Refused(&'static str),
    Done,
    Submitted(u64, bool),
    Enqueued(u32),
    Retried(Vec<u32>),
    Attached { kill: Vec<Key>, stop: Vec<Key>, run: Vec<Key> },
    Token(u64),
}

/// What the searcher of a sweep has for its next trial.
pub enum Ask {
    Ready,
    Later,
    Exhausted,
    Infeasible,
}

/// The searcher of the test: a function of the dispatch, the sweep, its next trial and whether a point waits.
pub fn ask(salt: u64, sweep: u64, space: Option<u32>, trial: u32, fixed: bool) -> Ask {
    match (salt ^ (sweep * 31) ^ (u64::from(trial) * 17)) % 16 {
        _ if salt == 0 && space.is_none_or(|space| trial < space) => Ask::Ready,
        0 | 1 if salt != 0 => Ask::Later,
        2 | 3 if salt != 0 && fixed => Ask::Infeasible,
        2 if salt.is_multiple_of(8) && salt != 0 => Ask::Infeasible,
        _ if !fixed && space.is_some_and(|space| trial >= space) => Ask::Exhausted,
        _ => Ask::Ready,
    }
}

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    pub now: u64,
    pub sweeps: BTreeMap<u64, Sweep>,
    pub agents: BTreeMap<u64, Agent>,
    pub tokens: Tokens,
    pub lineage: u64,
    pub logs: Logs,
}

impl Oracle {
    pub fn begin(&mut self, now: u64) {
        self.logs.turn += 1;
        self.now = self.now.max(now);
    }

    fn named(&self, name: &str) -> bool {
        self.sweeps.values().any(|sweep| sweep.name == name && !sweep.over())
    }

    pub fn submit(&mut self, id: u64, request: u64, name: String, kind: Kind) -> Answer {
        if let Some((id, _)) = self.sweeps.iter().find(|(_, sweep)| sweep.request == request) {
            return Answer::Submitted(*id, true);
        }
        if self.sweeps.contains_key(&id) {
            return Answer::Refused("H0015");
        }
        if self.named(&name) {
            return Answer::Refused("H0003");
        }
        let (max, parallel, open) = (kind.trials, kind.parallel, vec![(self.now, None)]);
        let (trials, standing) = (BTreeMap::new(), Standing::Running);
        let (queue, cut_short, forgiven) = (0, false, 0);
        let sweep = Sweep { kind, name, request, max, parallel, queue, trials, standing, cut_short, open, forgiven };
        self.sweeps.insert(id, sweep);
        Answer::Submitted(id, false)
    }

    pub fn remove(&mut self, id: u64) -> Answer {
        match self.sweeps.get(&id) {
            None => Answer::Refused("H0001"),
            Some(sweep) if !sweep.over() => Answer::Refused("H0005"),
            Some(_) => {
                self.sweeps.remove(&id);
                self.logs.forget(id);
                Answer::Done
            }
        }
    }

    pub fn control(&mut self, id: u64, verb: Verb) -> Answer {
        let now = self.now;
        let Some(sweep) = self.sweeps.get_mut(&id) else { return Answer::Refused("H0001") };
        match (verb, &sweep.standing) {
            (_, Standing::Ended(_)) => return Answer::Refused("H0004"),
            (Verb::Pause, Standing::Running) => sweep.standing = Standing::Paused,
            (Verb::Resume, Standing::Paused) => sweep.standing = Standing::Running,
            (Verb::Stop, Standing::Running | Standing::Paused) => sweep.drain(Ending::Stopped, None),
            (Verb::Cancel, Standing::Draining(Ending::Cancelled)) => {}
            (Verb::Cancel, _) => sweep.drain(Ending::Cancelled, Some(TrialState::Cancelled)),
            (Verb::Pause | Verb::Resume | Verb::Stop, _) => {}
        }
        sweep.follow(now);
        Answer::Done
    }

    pub fn cancel_trial(&mut self, id: u64, number: u32) -> Answer {
        let now = self.now;
        let Some(sweep) = self.sweeps.get_mut(&id) else { return Answer::Refused("H0001") };
        if sweep.over() {
            return Answer::Refused("H0004");
        }
        match sweep.trials.get(&number).map(Trial::ended) {
            None => return Answer::Refused("H0002"),
            Some(true) => {}
            Some(false) => sweep.settle(number, TrialState::Cancelled),
        }
        sweep.follow(now);
        Answer::Done
    }

    pub fn edit(&mut self, id: u64, edit: Edit) -> Answer {
        let now = self.now;
        let Some(sweep) = self.sweeps.get(&id) else { return Answer::Refused("H0001") };
        if edit.parallel == Some(0) {
            return Answer::Refused("H0014");
        }
        let trials = edit.trials.or(edit.more_trials.map(|more| (i64::from(sweep.max) + more).max(0) as u32));
        if trials.is_some_and(|trials| trials < sweep.proposed()) {
            return Answer::Refused("H0007");
        }
        let grows = trials.is_some_and(|trials| trials > sweep.proposed());
        let reopens = match sweep.standing {
            Standing::Running | Standing::Paused => false,
            Standing::Ended(Ending::Finished) if grows && self.named(&sweep.name) => {
                return Answer::Refused("H0003");
            }
            Standing::Ended(Ending::Finished) if grows => true,
            Standing::Draining(_) | Standing::Ended(_) => return Answer::Refused("H0004"),
        };
        let sweep = self.sweeps.get_mut(&id).expect("is there");
        sweep.max = trials.unwrap_or(sweep.max);
        sweep.parallel = edit.parallel.or(sweep.parallel);
        if reopens {
            sweep.reopen(now);
        }
        sweep.follow(now);
        Answer::Done
    }

    pub fn enqueue(&mut self, id: u64, fits: bool) -> Answer {
        let Some(sweep) = self.sweeps.get_mut(&id) else { return Answer::Refused("H0001") };
        if sweep.over() || sweep.draining() {
            return Answer::Refused("H0004");
        }
        if !fits {
            return Answer::Refused("H0008");
        }
        if sweep.proposed() as usize + sweep.queue + 1 > sweep.max as usize {
            return Answer::Refused("H0010");
        }
        sweep.queue += 1;
        Answer::Enqueued(sweep.queue as u32)
    }

    pub fn retry(&mut self, id: u64, numbers: &[u32]) -> Answer {
        let now = self.now;
        let Some(sweep) = self.sweeps.get(&id) else { return Answer::Refused("H0001") };
        if sweep.draining() {
            return Answer::Refused("H0004");
        }
        if numbers.iter().any(|number| !sweep.trials.contains_key(number)) {
            return Answer::Refused("H0002");
        }
        let wanted = |n: &&u32| numbers.is_empty() || numbers.contains(n);
        let failed = |n: &&u32| sweep.trials[n].state() == TrialState::Failed;
        let chosen: Vec<u32> = sweep.trials.keys().filter(wanted).filter(failed).copied().collect();
        if chosen.is_empty() {
            return Answer::Refused("H0011");
        }
        if sweep.over() && self.named(&sweep.name) {
            return Answer::Refused("H0003");
        }
        let sweep = self.sweeps.get_mut(&id).expect("is there");
        if sweep.over() {
            if sweep.standing != Standing::Ended(Ending::Finished) {
                sweep.max = sweep.proposed();
            }
            sweep.reopen(now);
        }
        for number in &chosen {
            sweep.settle(*number, TrialState::Waiting);
        }
        sweep.follow(now);
        Answer::Retried(chosen)
    }

    /// The attempts that an agent has leases for.
    pub fn held(&self, agent: u64) -> Vec<Key> {
        let mut keys = Vec::new();
        for (id, sweep) in &self.sweeps {
            for number in sweep.live() {
                let attempts = &sweep.trials[&number].attempts;
                if attempts.last().is_some_and(|attempt| attempt.agent == agent) {
                    let attempt = attempts.len() as u32;
                    keys.push(Key { sweep: SweepId { bits: *id }, trial: number, attempt });
                }
            }
        }
        keys
    }

    fn lose(&mut self, keys: &[Key]) {
        let now = self.now;
        for key in keys {
            let sweep = self.sweeps.get_mut(&key.sweep.bits).expect("is there");
            let started = sweep.trials[&key.trial].live().and_then(|attempt| attempt.started);
            sweep.end(key.trial, started.map_or(0, |since| now - since), Outcome::NotItsFault);
        }
        for key in keys {
            self.sweeps.get_mut(&key.sweep.bits).expect("is there").follow(now);
        }
    }

    pub fn attach(&mut self, agent: u64, cpus: u32, gpus: u32, able: bool, holding: &BTreeSet<Key>) -> Answer {
        let drained = self.agents.remove(&agent).and_then(|agent| agent.drained);
        self.agents.insert(agent, Agent { cpus, gpus, attached: true, able, drained });
        let held = self.held(agent);
        let (mut stop, mut run, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for key in &held {
            let state = self.sweeps[&key.sweep.bits].trials[&key.trial].state();
            match (holding.contains(key), state) {
                (true, state) if state.is_terminal() => stop.push(*key),
                (true, _) => {}
                (false, TrialState::Leased) => run.push(*key),
                (false, _) => lost.push(*key),
            }
        }
        self.lose(&lost);
        Answer::Attached { kill: holding.iter().filter(|key| !held.contains(key)).copied().collect(), stop, run }
    }

    pub fn expire(&mut self, agent: u64) -> Answer {
        self.detach(agent);
        self.lose(&self.held(agent));
        Answer::Done
    }

    /// What ran until the backup is lost, and nobody is attached. No time has passed since it was taken.
    pub fn restore(&mut self, lineage: u64) -> Answer {
        self.lineage = lineage;
        self.agents.values_mut().for_each(|agent| agent.attached = false);
        let held: Vec<Key> = self.agents.keys().flat_map(|agent| self.held(*agent)).collect();
        self.lose(&held);
        Answer::Done
    }

    pub fn able(&mut self, agent: u64, able: bool) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.able = able;
        }
    }

    pub fn drain(&mut self, agent: u64, reason: &str, now: bool) -> Answer {
        let Some(agent) = self.agents.get_mut(&agent) else { return Answer::Refused("H0020") };
        let (old, ending) = agent.drained.clone().unwrap_or_default();
        let reason = if reason.is_empty() { old } else { reason.to_owned() };
        agent.drained = Some((reason, now || ending));
        Answer::Done
    }

    pub fn undrain(&mut self, agent: u64) -> Answer {
        let Some(agent) = self.agents.get_mut(&agent) else { return Answer::Refused("H0020") };
        agent.drained = None;
        Answer::Done
    }

    pub fn detach(&mut self, agent: u64) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.attached = false;
        }
    }

    fn fenced(&mut self, key: Key) -> Option<&mut Sweep> {
        let sweep = self.sweeps.get_mut(&key.sweep.bits)?;
        let trial = sweep.trials.get(&key.trial)?;
        (trial.live().is_some() && trial.attempts.len() as u32 == key.attempt).then_some(sweep)
    }

    pub fn start(&mut self, key: Key, told: RanIn) -> Answer {
        let (now, known) = (self.now, self.known(told));
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        let attempt = trial.attempts.last_mut().expect("is live");
        attempt.started = attempt.started.or(Some(now));
        attempt.ran_in = attempt.ran_in.or(Some(known));
        if trial.state() == TrialState::Leased {
            trial.state = Some(TrialState::Running);
        }
        Answer::Done
    }

    pub fn report(&mut self, key: Key, step: u64, value: Option<f64>) -> Answer {
        let now = self.now;
        let Some(sweep) = self.fenced(key) else { return Answer::Refused("H0006") };
        let kind = sweep.kind.clone();
        let trial = sweep.trials.get_mut(&key.trial).expect("is there");
        if trial.ended() || trial.reports.last().is_some_and(|(last, _)| step <= *last) {
            return Answer::Done;
        }
        // A negative zero is recorded as a zero.
        trial.reports.push((step, value.map(|value| value + 0.0)));
        trial.state = Some(TrialState::Running);
        let judged = sweep.trials[&key.trial].confirms.is_none();
        if let (true, Some(maximize), Some(value)) = (judged, kind.maximize, value) {
            let reached = if maximize { value >= TARGET } else { value <= TARGET };
            if kind.stop_at && value.is_finite() && reached && !sweep.draining() {
                if kind.confirm.is_some() {
                    sweep.max = sweep.proposed();
                    sweep.clear(Some(TrialState::Stopped));
                } else {
                    sweep.drain(Ending::Finished, Some(TrialState::Stopped));
                }
            } else if kind.upper && (!value.is_finite() || value > UPPER) && !sweep.trials[&key.trial].spared {
                let before = sweep.trials.range(..key.trial).filter(|(_, trial)| trial.confirms.is_none()).count();
                if kind.audit && is_drawn(SEED, before as u32, 0.5) {
                    sweep.trials.get_mut(&key.trial).expect("is there").spared = true;
                } else {
                    sweep.settle(key.trial, TrialState::Stopped);
                }
            }
        }
        sweep.follow(now);
        Answer::Done
    }

    pub fn finish(&mut self, key: Key, end: End, ran: u64) -> Answer {
        let now = self.now;
        let Some(sweep) = self.fenced(key) else { return Answer::Done };
        let measured = sweep.trials[&key.trial].reports.iter().any(|(_, value)| value.is_some());
        let outcome = match end {
            End::Exited(0) if sweep.kind.maximize.is_some() && !measured => Outcome::Is(TrialState::Failed),
            End::Exited(0) => Outcome::Is(TrialState::Completed),
            End::Exited(65) | End::Infeasible => Outcome::Is(TrialState::Infeasible),
            End::Exited(75) | End::Lost | End::Stopped => Outcome::NotItsFault,
            End::Preempted => Outcome::GivenBack,
            End::Exited(_) | End::Signaled(_) | End::OutOfMemory | End::TimedOut | End::StartFailed => Outcome::Failed,
        };
        sweep.end(key.trial, ran, outcome);
        sweep.follow(now);
        Answer::Done
    }

    pub fn limits(&mut self) {
        let now = self.now;
        for sweep in self.sweeps.values_mut() {
            let open: u64 = sweep.open.iter().map(|(from, to)| to.unwrap_or(now) - from).sum();
            if sweep.over() || sweep.kind.wall_ms.is_none_or(|wall| open < wall) {
                continue;
            }
            match sweep.standing {
                Standing::Draining(ending) => sweep.drain(ending, Some(TrialState::Stopped)),
                _ => sweep.drain(Ending::Stopped, Some(TrialState::Stopped)),
            }
            sweep.follow(now);
        }
    }

    /// The lowest agent that is attached, not drained, can start something and has room, and the GPUs that it gives.
    fn place(&self, gpus: u32) -> Option<(u64, BTreeSet<u32>)> {
        let may = |agent: &Agent| agent.attached && agent.able && agent.drained.is_none();
        self.agents.iter().filter(|(_, agent)| may(agent)).find_map(|(id, agent)| {
            let held = self.held(*id);
            let taken: BTreeSet<u32> = held
                .iter()
                .flat_map(|key| self.sweeps[&key.sweep.bits].trials[&key.trial].attempts.last())
                .flat_map(|attempt| attempt.gpus.iter().copied())
                .collect();
            let free: Vec<u32> = (0..agent.gpus).filter(|gpu| !taken.contains(gpu)).collect();
            let fits = held.len() < agent.cpus as usize && free.len() >= gpus as usize;
            fits.then(|| (*id, free.into_iter().take(gpus as usize).collect()))
        })
    }

    pub fn dispatch(&mut self, salt: u64) {
        let now = self.now;
        let mut done = BTreeSet::new();
        loop {
            let hungry = self.sweeps.iter().filter(|(id, sweep)| sweep.hungry() && !done.contains(*id));
            let Some(id) = hungry.min_by_key(|(id, sweep)| (sweep.live().len(), **id)).map(|(id, _)| *id) else {
                return;
            };
            let Some((agent, gpus)) = self.place(self.sweeps[&id].kind.gpus) else {
                done.insert(id);
                continue;
            };
            let sweep = self.sweeps.get_mut(&id).expect("is there");
            let lease = Attempt { agent, gpus, started: None, ran: None, given_back: false, ran_in: None };
            if let Some(number) = sweep.waiting() {
                let trial = sweep.trials.get_mut(&number).expect("is there");
                trial.attempts.push(lease);
                trial.state = Some(TrialState::Leased);
                continue;
            }
            let (created, proposed, fixed) = (sweep.created(), sweep.proposed(), sweep.queue > 0);
            let mut create = |state, attempts| {
                sweep.queue = sweep.queue.saturating_sub(1);
                sweep.trials.insert(created, Trial { state: Some(state), attempts, ..Trial::default() });
            };
            match ask(salt, id, sweep.kind.space, proposed, fixed) {
                Ask::Ready => create(TrialState::Leased, vec![lease]),
                Ask::Infeasible if fixed => create(TrialState::Infeasible, Vec::new()),
                Ask::Later => {
                    done.insert(id);
                }
                Ask::Exhausted => {
                    sweep.max = proposed;
                    done.insert(id);
                }
                Ask::Infeasible => {
                    sweep.drain(Ending::Failed, None);
                    done.insert(id);
                }
            }
            self.sweeps.get_mut(&id).expect("is there").follow(now);
        }
    }
}
