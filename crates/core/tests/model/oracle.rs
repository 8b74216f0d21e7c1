//! A second, slower machine that follows the rules as they are written down, not the code: plain maps, every
//! total counted again at every question. Knows nothing of facts, journals, terms or encodings.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::Ending;
use heats_core::ops::attempts::Key;
use heats_core::ops::control::{Edit, Verb};
use heats_domain::TrialState;

use crate::giving::Queue;
use crate::kind::Kind;
use crate::logs::Logs;
use crate::machines::{Happened, Part, Quarantine};
use crate::surroundings::RanIn;
use crate::tokens::Tokens;

#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    Running,
    Paused,
    Draining(Ending),
    Ended(Ending),
}

/// What one machine has of an attempt.
#[derive(Clone, Debug)]
pub struct Member {
    pub agent: u64,
    pub gpus: BTreeSet<u32>,
    pub started: Option<u64>,
    pub ran: Option<u64>,
    pub ran_in: Option<RanIn>,
}

/// How one member of an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub ran: u64,
    pub outcome: Outcome,
    /// As a failure; as its own or its machine's.
    pub failed: bool,
    pub own_failure: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// By rank; most have one.
    pub members: Vec<Member>,
    /// How the first of them ended that did not end well, and on which agent that was.
    cause: Option<(End, u64)>,
    pub ran: Option<u64>,
    given_back: bool,
    pub leased: u64,
    /// It has reported something new or ended well.
    pub worked: bool,
    /// When it ended, and whether as a failure; on which agent, where that was its own or its machine's.
    pub ended: Option<u64>,
    pub failed: bool,
    pub failed_on: Option<u64>,
    /// The failure is put down to the machine.
    pub excused: bool,
    /// The trial was tried again for one of its retries.
    pub retried: bool,
}

impl Attempt {
    pub fn of(seats: Vec<(u64, BTreeSet<u32>)>, leased: u64) -> Self {
        let member = |(agent, gpus)| Member { agent, gpus, started: None, ran: None, ran_in: None };
        Self { members: seats.into_iter().map(member).collect(), leased, ..Self::default() }
    }

    /// Its agent, where it has one: what becomes of several is put down to none of them.
    pub fn only_agent(&self) -> Option<u64> {
        match &self.members[..] {
            [only] => Some(only.agent),
            _ => None,
        }
    }

    /// Whether it failed, or a member of it, before the others were ended for that.
    pub fn has_failed(&self) -> bool {
        self.cause.is_some_and(|(end, _)| end.failed && !matches!(end.outcome, Outcome::GivenBack))
    }

    /// The GPUs that it holds of its only machine, and that machine.
    pub fn parts(&self) -> Vec<Part> {
        let Some(agent) = self.only_agent() else { return Vec::new() };
        let gpus = self.members[0].gpus.iter().map(|gpu| (agent, Some(*gpu)));
        gpus.chain([(agent, None)]).collect()
    }
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

    pub fn live(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.ran.is_none())
    }

    pub fn ended(&self) -> bool {
        self.state().is_terminal()
    }

    /// Its processes are to end.
    pub fn is_being_ended(&self) -> bool {
        self.ended() || self.live().is_some_and(|attempt| attempt.cause.is_some())
    }

    /// The member of this rank, where it runs.
    pub fn member(&self, rank: u32) -> Option<&Member> {
        self.live()?.members.get(rank as usize).filter(|member| member.ran.is_none())
    }

    /// The agents on which it failed, of its own accord or theirs.
    pub fn failed_on(&self) -> BTreeSet<u64> {
        self.attempts.iter().filter_map(|attempt| attempt.failed_on).collect()
    }

    /// How often it was tried again, before its last attempt, without a retry.
    pub fn requeues(&self) -> u32 {
        let before = &self.attempts[..self.attempts.len() - 1];
        before.iter().filter(|attempt| !attempt.given_back).count() as u32 - self.retries
    }

    fn may_be_asked_for_again(&self) -> bool {
        let has_failed = || self.attempts.last().is_some_and(|attempt| attempt.failed);
        self.state() == TrialState::Failed || self.state() == TrialState::Infeasible && has_failed()
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
    /// How its attempts fare on machines, and on which trials ended well; until it ends.
    pub happened: Vec<Happened>,
    pub ended_well: BTreeSet<u64>,
}

impl Sweep {
    fn count(&self, state: TrialState) -> usize {
        self.trials.values().filter(|trial| trial.state() == state).count()
    }

    pub fn live(&self) -> Vec<u32> {
        self.trials.iter().filter(|(_, trial)| trial.live().is_some()).map(|(n, _)| *n).collect()
    }

    pub fn waiting(&self) -> Vec<u32> {
        self.trials.iter().filter(|(_, trial)| trial.state() == TrialState::Waiting).map(|(n, _)| *n).collect()
    }

    pub fn created(&self) -> u32 {
        self.trials.len() as u32
    }

    pub fn proposed(&self) -> u32 {
        self.trials.values().filter(|trial| trial.confirms.is_none()).count() as u32
    }

    pub fn over(&self) -> bool {
        matches!(self.standing, Standing::Ended(_))
    }

    pub fn draining(&self) -> bool {
        matches!(self.standing, Standing::Draining(_))
    }

    pub fn hungry(&self) -> bool {
        self.standing == Standing::Running
            && self.parallel.is_none_or(|max| self.live().len() < max as usize)
            && (!self.waiting().is_empty() || self.proposed() < self.max)
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

    pub fn settle(&mut self, number: u32, state: TrialState) {
        let trial = self.trials.get_mut(&number).expect("is there");
        trial.state = Some(state);
        if matches!(state, TrialState::Completed | TrialState::Stopped) {
            self.ended_well.extend(trial.attempts.last().and_then(Attempt::only_agent));
        }
        self.forgiven = self.forgiven.min(self.count(TrialState::Failed));
    }

    pub fn drain(&mut self, ending: Ending, running: Option<TrialState>) {
        self.standing = Standing::Draining(ending);
        self.cut_short = true;
        self.clear(running);
    }

    pub fn clear(&mut self, running: Option<TrialState>) {
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
    pub fn follow(&mut self, now: u64) {
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
        self.happened.clear();
        self.ended_well.clear();
        self.open.last_mut().expect("was opened").1 = Some(now);
    }

    fn reopen(&mut self, now: u64) {
        self.standing = Standing::Running;
        self.cut_short = false;
        self.forgiven = self.count(TrialState::Failed);
        self.open.push((now, None));
    }

    /// Ends one member of the live attempt, and with the last the attempt; what becomes of the trial unless it is over already.
    pub fn end(&mut self, number: u32, rank: u32, end: End, now: u64) {
        let (draining, retries) = (self.draining(), self.kind.retries);
        let trial = self.trials.get_mut(&number).expect("is there");
        let over = trial.ended();
        let attempt = trial.attempts.last_mut().expect("is live");
        let member = &mut attempt.members[rank as usize];
        member.ran = Some(end.ran);
        let is_good = matches!(end.outcome, Outcome::Is(TrialState::Completed));
        if !over && !is_good && attempt.cause.is_none() {
            attempt.cause = Some((end, member.agent));
        }
        if attempt.members.iter().any(|member| member.ran.is_none()) {
            return;
        }
        let cause = attempt.cause.filter(|_| !over);
        attempt.ran = attempt.members.iter().filter_map(|member| member.ran).max();
        attempt.ended = Some(now);
        attempt.failed = cause.is_some_and(|(end, _)| end.failed);
        attempt.failed_on = cause.filter(|(end, _)| end.own_failure).map(|(_, agent)| agent);
        attempt.worked |= !over && !attempt.failed;
        let outcome = cause.map_or(Outcome::Is(TrialState::Completed), |(end, _)| end.outcome);
        attempt.given_back = matches!(outcome, Outcome::GivenBack);
        if over {
            return;
        }
        let mut retried = false;
        let state = match outcome {
            Outcome::Is(state) => state,
            Outcome::NotItsFault | Outcome::GivenBack if draining => TrialState::Cancelled,
            Outcome::GivenBack => TrialState::Waiting,
            Outcome::NotItsFault if trial.requeues() < 20 => TrialState::Waiting,
            Outcome::Failed { .. } if !draining && trial.retries < retries => {
                retried = true;
                TrialState::Waiting
            }
            Outcome::Failed { everywhere: true } if !draining => TrialState::Infeasible,
            Outcome::NotItsFault | Outcome::Failed { .. } => TrialState::Failed,
        };
        trial.retries += u32::from(retried);
        trial.attempts.last_mut().expect("has ended").retried = retried;
        self.settle(number, state);
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Is(TrialState),
    NotItsFault,
    GivenBack,
    /// And whether it does wherever it is tried.
    Failed {
        everywhere: bool,
    },
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
    /// The machines and GPUs that are left alone.
    pub quarantines: BTreeMap<Part, Quarantine>,
    /// In which entry each was last released.
    pub released: BTreeMap<Part, u64>,
    pub tokens: Tokens,
    pub lineage: u64,
    pub logs: Logs,
    /// The number of the entry that is being decided.
    pub entry: u64,
    /// What the leader remembers of trials that span machines: another one begins anew.
    pub queue: Queue,
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
        let id = (id..).find(|id| !self.sweeps.contains_key(id)).expect("few are taken");
        if self.named(&name) {
            return Answer::Refused("H0003");
        }
        let (max, parallel, open) = (kind.trials, kind.parallel, vec![(self.now, None)]);
        let (trials, standing) = (BTreeMap::new(), Standing::Running);
        let (queue, cut_short, forgiven, happened, ended_well) = (0, false, 0, Vec::new(), BTreeSet::new());
        let sweep = Sweep {
            kind,
            name,
            request,
            max,
            parallel,
            queue,
            trials,
            standing,
            cut_short,
            open,
            forgiven,
            happened,
            ended_well,
        };
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
        // Those whose configuration failed everywhere have to be named.
        let failed = |n: &&u32| match numbers.is_empty() {
            true => sweep.trials[n].state() == TrialState::Failed,
            false => sweep.trials[n].may_be_asked_for_again(),
        };
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
}
