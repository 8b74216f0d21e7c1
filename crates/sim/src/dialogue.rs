//! A sweep whose trials another program evaluates: it is asked, and it tells. The leader's own code decides, as in a
//! real sweep; time stands still, nothing is lost, and nothing is tried again.

use std::collections::BTreeMap;

use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Finish, Key};
use heats_core::ops::submit::Submit;
use heats_core::{Fact, Leading, Op, Refusal, State, Sweep, history};
use heats_domain::spec::{Needs, Run};
use heats_domain::{AgentId, Inventory, Metrics, Params, StopReason, SweepId, SweepSpec};

use crate::{SimError, Suggester};

const SWEEP: SweepId = SweepId { bits: 1 };
const AGENT: AgentId = AgentId { bits: 1 };

/// A sweep in conversation.
pub struct Dialogue {
    leading: Leading,
    suggester: Suggester,
    metric: String,
    /// What was asked and is not told yet.
    open: BTreeMap<u32, Key>,
}

/// A configuration to evaluate.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// The trial's number.
    pub trial: u32,
    /// Its configuration.
    pub params: Params,
    /// It goes on from this step, where it was paused.
    pub after: Option<u64>,
}

/// Why a conversation cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DialogueError {
    /// The sweep ranks nothing, so that there is nothing to tell.
    #[error("the sweep has no objective")]
    Unranked,
    /// Nobody asked, or it was told already.
    #[error("trial {trial} is not one that was asked for and is open")]
    NotOpen {
        /// The trial.
        trial: u32,
    },
    /// Steps of one trial increase.
    #[error("trial {trial} has told step {last} already, and step {step} is not after it")]
    Step {
        /// The trial.
        trial: u32,
        /// What it told.
        step: u64,
        /// What it had told before.
        last: u64,
    },
    /// The trial is said to be done and has told no value.
    #[error("trial {trial} has told no value")]
    NoValue {
        /// The trial.
        trial: u32,
    },
    /// The sweep cannot be run.
    #[error(transparent)]
    Sim(#[from] SimError),
}

impl From<Refusal> for DialogueError {
    fn from(refusal: Refusal) -> Self {
        Self::Sim(refusal.into())
    }
}

impl From<heats_core::TurnError> for DialogueError {
    fn from(error: heats_core::TurnError) -> Self {
        Self::Sim(error.into())
    }
}

impl Dialogue {
    /// Opens a sweep in which at most `places` trials are open at once. What a trial needs of a machine does not matter
    /// here. Where the sweep has no seed, it is 0.
    ///
    /// # Errors
    /// The sweep has no objective, or its searcher or stopper cannot be built.
    pub fn open(spec: &SweepSpec, places: u32) -> Result<Self, DialogueError> {
        let objective = spec.objective().ok_or(DialogueError::Unranked)?;
        let metric = objective.metric().to_owned();
        let mut spec = spec.clone();
        (spec.resources, spec.run) = (Needs::default(), Run { retries: 0, ..Run::default() });
        let empty = String::new();
        let (leading, suggester) = (Leading::new(1, 0, State::default()), Suggester::default());
        let mut dialogue = Self { leading, suggester, metric, open: BTreeMap::new() };
        let (base_dir, provenance, code) = (empty.clone(), empty.clone(), empty.clone());
        let submit = Submit {
            sweep: SWEEP,
            request: 1,
            spec,
            name: None,
            seed: 0,
            base_dir,
            provenance,
            code,
            user: String::new(),
        };
        dialogue.leading.decide(Op::Submit(Box::new(submit)))??;
        history::searcher(dialogue.sweep()?)?;
        history::stopper(dialogue.sweep()?)?;
        let inventory = Inventory { cpus: places, memory: 0, gpus: Vec::new(), ..Inventory::default() };
        let (name, version, holding) = (empty.clone(), empty, [].into());
        let attach = Attach {
            agent: AGENT,
            name,
            inventory,
            version,
            holding,
            able: true,
            unusable: Default::default(),
            lineage: 0,
            places: Vec::new(),
        };
        dialogue.leading.decide(Op::Attach(attach))??;
        Ok(dialogue)
    }

    /// What is to be evaluated now, beside what is open already.
    ///
    /// # Errors
    /// No configuration can be proposed.
    pub fn ask(&mut self) -> Result<Vec<Question>, DialogueError> {
        self.leading.dispatch(&mut self.suggester)?;
        if let Some(refusal) = self.suggester.broken() {
            return Err(refusal.clone().into());
        }
        let mut questions = Vec::new();
        for fact in self.end_turn()? {
            if let Fact::TrialLeased(fact) = fact {
                let (trial, sweep) = (fact.trial, self.sweep()?);
                let known = sweep.trial(trial);
                let params = known.and_then(|trial| sweep.params(trial)).unwrap_or_default();
                // Nothing is tried again here: who was open before was paused.
                let after = known.and_then(|trial| trial.last_step);
                self.open.insert(trial, Key { sweep: SWEEP, trial, attempt: fact.attempt });
                questions.push(Question { trial, params, after });
            }
        }
        Ok(questions)
    }

    /// A trial has come to `step`; why it is to be stopped there, where it is. It is open no more then, and over unless its
    /// rule promotes it later.
    ///
    /// # Errors
    /// The trial is not open, or was at that step before.
    pub fn tell(&mut self, trial: u32, step: u64, value: f64) -> Result<Option<StopReason>, DialogueError> {
        let key = self.key(trial)?;
        if let Some(last) = self.last_step(trial)?.filter(|last| step <= *last) {
            return Err(DialogueError::Step { trial, step, last });
        }
        let metrics: Metrics = [(self.metric.as_str(), value)].into_iter().collect();
        self.leading.decide(Op::Report(key, step, metrics))??;
        let verdict = |fact| match fact {
            Fact::TrialSettled(fact) if fact.trial == trial => fact.reason,
            _ => None,
        };
        Ok(self.end_turn()?.into_iter().find_map(verdict))
    }

    /// A trial is done: with this value, or with what it has told on the way.
    ///
    /// # Errors
    /// The trial is not open, or has told nothing.
    pub fn complete(&mut self, trial: u32, value: Option<f64>) -> Result<(), DialogueError> {
        self.key(trial)?;
        let last = self.last_step(trial)?;
        match value {
            None if last.is_none() => return Err(DialogueError::NoValue { trial }),
            None => {}
            Some(value) => {
                let step = last.map_or(1, |last| last.saturating_add(1));
                if self.tell(trial, step, value)?.is_some() {
                    return Ok(());
                }
            }
        }
        self.finish(trial, End::Exited(0))
    }

    /// A trial has failed: nothing is known about its configuration.
    ///
    /// # Errors
    /// The trial is not open.
    pub fn fail(&mut self, trial: u32) -> Result<(), DialogueError> {
        self.finish(trial, End::Exited(1))
    }

    /// Whether the sweep is over.
    pub fn is_over(&self) -> bool {
        self.sweep().is_ok_and(Sweep::is_ended)
    }

    /// The best trial and its best value.
    pub fn best(&self) -> Option<(u32, f64)> {
        let trial = self.sweep().ok()?.best()?;
        Some((trial.number, trial.best?.value))
    }

    fn key(&self, trial: u32) -> Result<Key, DialogueError> {
        self.open.get(&trial).copied().ok_or(DialogueError::NotOpen { trial })
    }

    fn last_step(&self, trial: u32) -> Result<Option<u64>, DialogueError> {
        Ok(self.sweep()?.trial(trial).and_then(|trial| trial.last_step))
    }

    fn finish(&mut self, trial: u32, end: End) -> Result<(), DialogueError> {
        let key = self.open.remove(&trial).ok_or(DialogueError::NotOpen { trial })?;
        self.leading.decide(Op::Finish(finish(key, end)))??;
        self.end_turn()?;
        Ok(())
    }

    fn sweep(&self) -> Result<&Sweep, DialogueError> {
        let sweep = self.leading.draft().sweeps.get(&SWEEP);
        Ok(sweep.ok_or_else(|| Refusal::NoSuchSweep(SWEEP.to_string()))?)
    }

    /// Ends the turn; what was decided in it. Trials that it ended have no process to wait for: they are open no more.
    fn end_turn(&mut self) -> Result<Vec<Fact>, DialogueError> {
        let mut facts = Vec::new();
        while let Some(entry) = self.leading.finish() {
            for fact in entry.facts.into_iter().filter_map(|cell| cell.fact) {
                if let Fact::TrialSettled(settled) = &fact
                    && let Some(key) = self.open.remove(&settled.trial)
                {
                    self.leading.decide(Op::Finish(finish(key, End::Stopped)))??;
                }
                facts.push(fact);
            }
        }
        Ok(facts)
    }
}

const fn finish(key: Key, end: End) -> Finish {
    Finish { key, rank: 0, end, ran_ms: 0, cpu_ms: 0, max_rss: 0, detail: String::new() }
}
